"""How processes of ours talk: messages, channels, and TLS with the cluster's keys."""
