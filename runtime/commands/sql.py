"""`ballast sql`: read-only SQL over the projections of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.console import print_json, progress, stderr_console, stdout_console
from runtime.errors import UsageError

if TYPE_CHECKING:
    import duckdb

CATALOG = """SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema = 'main' ORDER BY table_name, ordinal_position"""


def sql(
    run: Annotated[str, typer.Argument(help="Run: id, unique beginning of it, path, `latest`, `ml` or `trend`.")],
    query: Annotated[str, typer.Argument(help="One SELECT; without it, the tables and their columns are listed.")] = CATALOG,
    *,
    home: Annotated[Path | None, typer.Option("--home", "--out", help="Home folder [env BALLAST_HOME, ./out].")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows shown in the table; 0 shows all.")] = 200,
    csv: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print all rows as one JSON object.")] = False,
) -> None:
    """Run one SELECT over the tables of a run.

    Each table is there as stored (scaled integers) and as v_TABLE with decimals, times and names:
    trade_signal, risk_event, order_request, order_fill, position_lot, executed_trade, cash_ledger,
    portfolio_hourly_state, risk_hourly_state, block, model_prediction, instrument.
    """
    from runtime.adapters.views import connect, lock
    from runtime.home import find_run, home_path

    if csv and json:
        raise UsageError("--csv together with --json", expected="one of them", action="choose one")
    folder = home_path(home)
    run_dir = find_run(folder, run)
    with progress() as report:
        connection = connect(run_dir, folder, report)
    try:
        lock(connection, run_dir)
        names, rows = execute(connection, query)
    finally:
        connection.close()
    if json:
        print_json({"run": run_dir.name, "columns": names, "rows": [[_json_value(v) for v in row] for row in rows]})
    elif csv:
        _print_csv(names, rows)
    else:
        _print_table(names, rows, limit)


def execute(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[list[str], list[tuple[object, ...]]]:
    """Run one SELECT and return its column names and rows.

    Raises:
        UsageError: the text is not one SELECT, or DuckDB refuses it.
    """
    import duckdb

    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UsageError(
                f"not one SELECT: {query!r:.200}",
                expected="exactly one statement that reads",
                action="projections are sealed; copy data out with --csv or --json",
            )
        cursor = connection.execute(statements[0])
        return [str(column[0]) for column in cursor.description or ()], cursor.fetchall()
    except duckdb.Error as e:
        raise UsageError(
            f"SQL: {str(e).strip()}",
            expected="one SELECT over the run's tables",
            action="list tables and columns with `ballast sql RUN`",
        ) from e


def _json_value(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, list | tuple):
        return [_json_value(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _json_value(v) for k, v in value.items()}
    return _text(value)


def _text(value: object) -> str:
    from datetime import datetime
    from decimal import Decimal

    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime):
        return value.isoformat() + ("Z" if value.tzinfo is None else "")
    return str(value)


def _print_csv(names: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    import csv
    import sys

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_text(v) for v in row] for row in rows)
    sys.stdout.flush()


def _print_table(names: Sequence[str], rows: Sequence[tuple[object, ...]], limit: int) -> None:
    """Print a table; on a terminal too narrow for it, one line per column and row instead. Pipes get full lines."""
    import sys

    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = rows[:limit] if limit else rows
    cells = [["NULL" if v is None else _text(v) for v in row] for row in shown]
    widths = [max(len(text) for text in (name, *column)) for name, *column in zip(names, *cells, strict=True)]
    console = stdout_console()
    if not sys.stdout.isatty():
        console.width = max(console.width, sum(widths) + 3 * len(widths))
    if sum(widths) + 3 * len(widths) <= console.width:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for i, name in enumerate(names):
            table.add_column(Text(name), justify="right" if any(_is_number(row[i]) for row in shown) else "left", no_wrap=True)
        for row in cells:
            table.add_row(*map(Text, row))
        console.print(table)
    else:
        name_width = max(map(len, names))
        for n, row in enumerate(cells, 1):
            console.print(Text(f"row {n}", style="bold"))
            for name, text in zip(names, row, strict=True):
                console.print(Text(f"  {name:<{name_width}}  {text}"), soft_wrap=True)
    if len(shown) < len(rows):
        stderr_console().print(f"{len(shown)} of {len(rows)} rows; --limit 0, --csv or --json show all")


def _is_number(value: object) -> bool:
    from decimal import Decimal

    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
