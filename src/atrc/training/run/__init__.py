"""The folder of a run: its lock, checkpoints, tables and results."""
