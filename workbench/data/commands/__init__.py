"""`ballast data`, `ballast dataset` and `ballast universe`."""
