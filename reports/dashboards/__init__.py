"""The operator's dashboards: a process of its own that knows only the control API and holds its token server-side."""
