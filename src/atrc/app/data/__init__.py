"""`atrc data`: check a data set, and show some of it."""
