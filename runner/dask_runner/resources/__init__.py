"""What of the node belongs to this rank, and how its workers divide it."""
