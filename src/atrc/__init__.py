"""Adaptive task-relational context for multi-task dense prediction."""

__version__ = "0.1.0"
