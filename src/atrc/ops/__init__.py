"""Kernels: local attention."""
