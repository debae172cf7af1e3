"""Content-addressed datasets over the lake."""
