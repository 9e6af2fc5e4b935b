"""One node: its leader, the ranks that it plays for, and their processes."""
