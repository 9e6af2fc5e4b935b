"""From the environment to this rank's World and Plan: pure functions of a mapping."""
