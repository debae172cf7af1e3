"""Everything that decides, executes and records; installable alone; imports no research package."""
