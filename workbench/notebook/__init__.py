"""Governed notebooks: marimo sources executed under papermill, sealed, pinned and checked by a second runtime."""
