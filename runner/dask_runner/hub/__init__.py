"""Rank 0's server: the roster, when the cluster is ready, and how it ends."""
