"""The benchmark: our own figures against their budgets, and the same trades in other frameworks; see `__main__.py`."""
