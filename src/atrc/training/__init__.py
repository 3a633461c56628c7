"""Training, searching and evaluating on Lightning."""
