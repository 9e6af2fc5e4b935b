"""How the ranks of a launch find rank 0: one record, and the ways it travels."""
