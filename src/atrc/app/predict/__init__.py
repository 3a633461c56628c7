"""`atrc predict`: images and videos in, predictions of every task out."""
