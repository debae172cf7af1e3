"""The gates run over a lake or over files, gaps certified on evidence, sources side by side."""
