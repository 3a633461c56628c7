"""Source-task importance: what a network loses when the output of one block is permuted over the images."""
