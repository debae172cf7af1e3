"""Market data: providers, quality gates, the lake, the universe, content-addressed datasets."""
