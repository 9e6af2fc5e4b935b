"""What a program outside the launch does with running clusters: find, attach, end."""
