"""Rank 0's server: who is there, when the cluster is ready, how it ends."""
