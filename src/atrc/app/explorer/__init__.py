"""`atrc explore`: a page on this machine with the predictions of a network, and what every pixel attends to."""
