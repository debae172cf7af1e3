"""Views: exact decimals, names, times; and nothing but the run can be read."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.adapters.projections import TABLES, table_schema
from runtime.adapters.views import connect, ibis_backend, lock, view_sql
from runtime.core import codes as c
from runtime.core.records import BY_NAME

SCALED = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 10**8, 10**18]))


def one_row(name: str, **values: int) -> duckdb.DuckDBPyConnection:
    schema = table_schema(name)
    columns = [
        pa.array([values.get(f.name, 0) if pa.types.is_int64(f.type) else b"\xab" * 32], f.type) for f in schema
    ]  # fmt: skip
    connection = duckdb.connect()
    connection.register("given", pa.Table.from_arrays(columns, schema=schema))
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
    connection.execute(view_sql(name, {0: "BTC", 1: "O'X"}))
    return connection


@settings(max_examples=60, deadline=None)
@given(value=SCALED)
def test_decimals_are_exact(value: int) -> None:
    connection = one_row("cash_ledger", before_e8=value)
    (found, kind) = connection.execute("SELECT before, typeof(before) FROM v_cash_ledger").fetchall()[0]
    assert kind == "DECIMAL(38,8)"
    assert found == Decimal(value).scaleb(-8)
    connection.close()
    connection = one_row("trade_signal", prob_ppm=value)
    assert connection.execute("SELECT prob FROM v_trade_signal").fetchall() == [(Decimal(value).scaleb(-6),)]
    connection.close()


@pytest.mark.parametrize(
    ("scale", "digits"), [(c.SCALE_N, 0), (c.SCALE_E8, 8), (c.SCALE_PPM, 6), (c.SCALE_T, 0), (c.SCALE_E4, 4), (99, 0)]
)
def test_compared_numbers_take_the_scale_of_their_row(scale: int, digits: int) -> None:
    connection = one_row("risk_event", scale_id=scale, limit_v=2**63 - 1, value_v=-123)
    found = connection.execute("SELECT limit_v, value_v FROM v_risk_event").fetchall()
    assert found == [(Decimal(2**63 - 1).scaleb(-digits), Decimal(-123).scaleb(-digits))]
    connection.close()


def test_codes_times_symbols_and_hashes_are_readable() -> None:
    connection = one_row(
        "trade_signal",
        action_id=c.ENTER,
        gate_id=999,
        outlook_id=c.STRONG_NEGATIVE,
        mode_id=1,
        instrument_id=1,
        at_t=1_577_836_800,
    )
    found = connection.execute(
        "SELECT action, gate, outlook, mode, symbol, at_utc, forecast_utc, row_hash, persist_n FROM v_trade_signal"
    ).fetchall()
    day = datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    assert found == [("ENTER", "999", "STRONG_NEGATIVE", "backtest", "O'X", day, None, "ab" * 32, 0)]
    connection.close()


@pytest.mark.parametrize("name", [name for name in TABLES if name != "instrument"])
def test_every_column_has_its_place_and_no_name_needs_quotes(name: str) -> None:
    connection = one_row(name)
    columns = [row[0] for row in connection.execute(f"DESCRIBE v_{name}").fetchall()]
    assert len(columns) == len(set(columns)) == len(table_schema(name))
    assert connection.execute(f"SELECT {', '.join(columns)} FROM v_{name}").fetchall()
    for code_column in BY_NAME[name].names if name in BY_NAME else ():
        assert code_column.removesuffix("_id") in columns
    connection.close()


def test_the_views_of_a_run_agree_with_its_tables(made_home: Path, made_run: Path) -> None:
    connection = connect(made_run, made_home)
    lock(connection, made_run)
    for name in TABLES:
        (rows_n,) = connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0]
        view = name if name == "instrument" else f"v_{name}"
        assert connection.execute(f"SELECT count(*) FROM {view}").fetchall() == [(rows_n,)]
    ids = [row[0] for row in connection.execute("SELECT entry_id FROM v_cash_ledger").fetchall()]
    assert ids == list(range(1, len(ids) + 1))
    wrong = "SELECT count(*) FROM v_cash_ledger WHERE before + delta <> after"
    assert connection.execute(wrong).fetchall() == [(0,)]
    raw, shown = connection.execute(
        "SELECT (SELECT sum(delta_e8) FROM cash_ledger), (SELECT sum(delta) FROM v_cash_ledger)"
    ).fetchall()[0]
    assert Decimal(raw).scaleb(-8) == shown
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM read_parquet('{other}')",
        "COPY (SELECT 1) TO '{out}'",
        "ATTACH '{out}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_paths = ['{secret}']",
        "EXPORT DATABASE '{out}'",
    ],
)
def test_a_locked_connection_reaches_nothing_else(made_home: Path, made_run: Path, tmp_path: Path, statement: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    other = next((made_home / "inputs").glob("*.parquet"))
    connection = connect(made_run, made_home)
    lock(connection, made_run)
    with pytest.raises(duckdb.Error):
        connection.execute(statement.format(secret=secret, other=other, out=tmp_path / "out")).fetchall()
    connection.close()
    assert not (tmp_path / "out").exists()


def test_a_run_folder_with_a_quote_in_its_name(made_home: Path, made_run: Path, tmp_path: Path) -> None:
    place = tmp_path / "it's here"
    place.symlink_to(made_run, target_is_directory=True)
    connection = connect(place, made_home)
    lock(connection, place)
    assert connection.execute("SELECT count(*) > 0 FROM v_block").fetchall() == [(True,)]
    connection.close()


def test_nothing_is_drawn_where_results_are_written(made_home: Path, made_run: Path) -> None:
    program = (
        "from pathlib import Path; from runtime.adapters.views import connect;"
        f"c = connect(Path({str(made_run)!r}), Path({str(made_home)!r}));"
        "print(c.execute(\"select current_setting('enable_progress_bar')\").fetchone())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "(False,)\n"


def test_ibis_reads_the_views(made_home: Path, made_run: Path) -> None:
    backend = ibis_backend(made_run, made_home)
    fills = backend.table("v_order_fill")
    found = fills.group_by("symbol").aggregate(fee=fills.fee.sum()).order_by("symbol").to_pyarrow()
    raw = backend.table("order_fill").aggregate(fee=lambda t: t.fee_e8.sum()).to_pyarrow()["fee"][0].as_py()
    assert sum(found["fee"].to_pylist()) == Decimal(int(raw)).scaleb(-8)
    backend.disconnect()
