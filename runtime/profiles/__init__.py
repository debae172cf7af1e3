"""Governed profiles as files: the presets of this release (`*.json`), append-only versions of one's own, and what differs."""
