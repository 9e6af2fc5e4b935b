"""Batch systems: a script for each, by templates, and how it is submitted."""
