"""The same rule in other frameworks. Each `*_run.py` is started by the Python of its own environment, never imported by ours."""
