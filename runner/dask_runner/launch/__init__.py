"""Find this rank's World, Plan and options: pure functions of the environment."""
