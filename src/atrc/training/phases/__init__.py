"""What a training and the two kinds of search do in a step."""
