"""Changing a journal as somebody would who owns its file."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def meddle(path: Path, *statements: str) -> None:
    """Run SQL on a journal as it is: the triggers hold."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def forge(path: Path, *statements: str) -> None:
    """Drop the triggers, run SQL, put the triggers back."""
    connection = sqlite3.connect(path)
    with connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in triggers:
            connection.execute(sql)
    connection.close()
