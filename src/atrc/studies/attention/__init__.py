"""Attention of a trained network: what one pixel attends to, and its figure."""
