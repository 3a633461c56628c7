"""Several processes: devices, failures, synchronised batch normalisation."""
