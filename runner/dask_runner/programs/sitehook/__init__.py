"""A directory for PYTHONPATH, and what it shares with our own client."""
