"""The control API: authenticated commands become journaled events, reads come from an immutable view and the live tables."""
