"""MPI in our processes, and whether an image's MPI fits a host."""
