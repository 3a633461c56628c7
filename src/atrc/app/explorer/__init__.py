"""`atrc explore`: a page on this machine that shows what a network predicts, and what every pixel attends to."""
