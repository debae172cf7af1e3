"""Parameterised jobs: a schema of parameters, one workbench call, one notebook."""
