"""Optimisers, learning-rate schedules and parameter groups."""
