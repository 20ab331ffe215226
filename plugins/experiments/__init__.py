"""Experiments: backends compared on the same weights; for now only their statistics, and nothing registered."""
