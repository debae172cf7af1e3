"""The operator's dashboards: not started; a process of its own that will know only the control API."""
