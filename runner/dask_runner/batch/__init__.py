"""Batch systems: a job script for each, by templates, and how it is submitted."""
