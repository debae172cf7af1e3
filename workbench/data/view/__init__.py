"""The researcher's view of the lake, and what an exploration computes."""
