"""Evaluation: metrics over a data set, and how they were measured."""
