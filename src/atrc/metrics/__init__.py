"""Metrics: a functional core under thin torchmetrics classes."""
