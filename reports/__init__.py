"""What people read: self-contained reports of a study (static) and, later, the dashboards."""
