"""SQL over projections: every table as it is (exact int64), and `v_<table>` with decimals, times and names.

What a view makes of a column, by the ending of its name:

- `_e8 _e4 _ppm`  the name without the ending, DECIMAL, exact (a product of decimals; DuckDB's `/` gives DOUBLE)
- `_t`            `<name>_utc`, TIMESTAMP in UTC; 0 (none) is NULL
- `_id` with a code table   the name without the ending, text; a code without a name shows as its number
- `instrument_id`           `symbol`
- `_v`            DECIMAL(38,8) in the scale that the row's `scale_id` names
- hashes          lower-case hexadecimal text

Everything else (other identities, counts) is unchanged. The database lives in memory and reads the Parquet files; there
is no DuckDB file that a second process could block on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa

from runtime.adapters.projections import PROJECTIONS_NAME, TABLES, ensure_projections, table_schema
from runtime.core import codes as c
from runtime.core.records import BY_NAME
from runtime.progress import Report, silent

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

SCALES: Final = {"_e8": 8, "_e4": 4, "_ppm": 6}
RENAMED: Final = {"left": "qty_left"}
"""Names that would be reserved words of SQL."""
_SCALE_DIGITS: Final = {c.SCALE_N: 0, c.SCALE_E8: 8, c.SCALE_PPM: 6, c.SCALE_T: 0, c.SCALE_E4: 4}
_COMMON: Final[dict[str, Mapping[int, str]]] = {"mode_id": c.MODE_NAMES}
_BLOCK: Final[dict[str, Mapping[int, str]]] = {"kind_id": c.EVENT_NAMES}


def connect(run_dir: Path, home: Path, report: Report = silent) -> duckdb.DuckDBPyConnection:
    """Return an in-memory DuckDB with the tables and views of a run; close it when done.

    Args:
        run_dir: the run.
        home: home folder with the core inputs.
        report: told about progress when projections must be built first.

    Raises:
        DataError, VerificationError, EnvironmentFailure: as `ensure_projections`.
    """
    ensure_projections(run_dir, home, report)
    connection = duckdb.connect(
        ":memory:", config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    # Where DuckDB believes a person watches (a notebook's kernel, `python -c`) it would draw its progress among the results.
    connection.execute("SET enable_progress_bar = false")
    for name in TABLES:
        path = _quote(str(_file(run_dir, name)))
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({path})")  # noqa: S608  see view_sql
    symbols: dict[int, str] = dict(connection.execute("SELECT instrument_id, symbol FROM instrument").fetchall())
    for name in TABLES:
        if name != "instrument":
            connection.execute(view_sql(name, symbols))
    return connection


def lock(connection: duckdb.DuckDBPyConnection, run_dir: Path) -> None:
    """Let a connection read the run's projections and nothing else: no other file, no network, no extension."""
    files = ", ".join(_quote(str(_file(run_dir, name))) for name in TABLES)
    connection.execute(f"SET allowed_paths = [{files}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def ibis_backend(run_dir: Path, home: Path, report: Report = silent) -> Backend:
    """Return an ibis backend over the tables and views of a run, for notebooks and reports."""
    import ibis

    return ibis.duckdb.from_connection(connect(run_dir, home, report))


def view_sql(name: str, symbols: Mapping[int, str]) -> str:
    """Return the statement that makes `v_<name>`; a view keeps the order of its table's rows."""
    coded = _COMMON | (_BLOCK if name == "block" else dict(BY_NAME[name].names) if name in BY_NAME else {})
    columns = ", ".join(_expression(field, coded, symbols) for field in table_schema(name))
    return f"CREATE VIEW v_{name} AS SELECT {columns} FROM {name} t"  # noqa: S608  our own names only


def _expression(field: pa.Field, coded: Mapping[str, Mapping[int, str]], symbols: Mapping[int, str]) -> str:
    name = field.name
    if pa.types.is_fixed_size_binary(field.type):
        return f"lower(hex(t.{name})) AS {name}"
    if name == "instrument_id":
        return f"{_named(name, symbols)} END AS symbol" if symbols else "CAST(NULL AS VARCHAR) AS symbol"
    if name in coded:
        return f"{_named(name, coded[name])} ELSE CAST(t.{name} AS VARCHAR) END AS {name.removesuffix('_id')}"
    if name.endswith("_t"):
        return f"make_timestamp(nullif(t.{name}, 0) * 1000000) AS {name.removesuffix('_t')}_utc"
    if name.endswith("_v"):
        cases = " ".join(f"WHEN {code} THEN {_decimal(name, digits)}" for code, digits in _SCALE_DIGITS.items())
        return f"CAST(CASE t.scale_id {cases} ELSE t.{name} END AS DECIMAL(38,8)) AS {name}"
    for ending, digits in SCALES.items():
        if name.endswith(ending):
            plain = name.removesuffix(ending)
            return f"CAST({_decimal(name, digits)} AS DECIMAL(38,{digits})) AS {RENAMED.get(plain, plain)}"
    return f"t.{name} AS {name}"


def _named(name: str, names: Mapping[int, str]) -> str:
    return f"CASE t.{name} " + " ".join(f"WHEN {code} THEN {_quote(text)}" for code, text in names.items())


def _decimal(name: str, digits: int) -> str:
    """Return the exact decimal of an int64 column: DECIMAL(19,0) x DECIMAL(9,d), at most 28 digits."""
    unit = f"0.{'0' * (digits - 1)}1" if digits else "1"
    return f"CAST(t.{name} AS DECIMAL(19,0)) * CAST('{unit}' AS DECIMAL(9,{digits}))"


def _file(run_dir: Path, name: str) -> Path:
    return (run_dir / PROJECTIONS_NAME / f"{name}.parquet").resolve()


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
