"""Data sets, joint transforms and the rendered Rooms scenes."""
