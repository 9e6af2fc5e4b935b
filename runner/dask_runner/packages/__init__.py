"""More packages for a job without another image: resolved once, used by all nodes."""
