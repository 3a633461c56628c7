"""Data sets, joint transforms and the rendered Rooms scenes. Empty, so that rendering need not import torch."""
