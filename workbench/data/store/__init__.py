"""The lake: where bars are, and how they get in."""
