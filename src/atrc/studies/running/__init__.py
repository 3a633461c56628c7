"""Running the cells of a study: on this machine or on Slurm, and continuing them after an interruption."""
