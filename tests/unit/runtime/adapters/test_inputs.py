"""Content-addressed inputs: what is loaded is what was stored, or one typed error."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.adapters.inputs import (
    InputChanged,
    InputMissing,
    bars_digest,
    load_bars,
    load_forecasts,
    open_bars,
    open_forecasts,
    store_bars,
    store_forecasts,
)
from runtime.core.records import BAR, FORECAST, HOUR_T, INSTRUMENTS
from runtime.errors import EnvironmentFailure, InvariantError
from runtime.inference.bundle import Forecasts

I64 = st.integers(-(2**63), 2**63 - 1)


def make_bars(rows_n: int, used_n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.Generator(np.random.PCG64(seed))
    bars = np.zeros((rows_n, INSTRUMENTS), BAR)
    for field in BAR.names or ():
        bars[field][:, :used_n] = rng.integers(0, 2**62, (rows_n, used_n))
    return bars, 1_577_840_400 + HOUR_T * np.arange(rows_n, dtype=np.int64)


def make_forecasts(rows_n: int, symbols: tuple[str, ...] = ("BTC", "ETH"), seed: int = 2) -> Forecasts:
    rng = np.random.Generator(np.random.PCG64(seed))
    rows = np.zeros((rows_n, INSTRUMENTS), FORECAST)
    for field in FORECAST.names or ():
        rows[field][:, : len(symbols)] = rng.integers(-(10**6), 10**6, (rows_n, len(symbols)))
    at_t = 1_577_840_400 + 4 * HOUR_T * np.arange(rows_n, dtype=np.int64)
    return Forecasts(
        symbols=symbols, at_t=at_t, rows=rows, feature_digests=[hashlib.sha256(b"%d" % i).digest() for i in range(rows_n)]
    )


@pytest.mark.parametrize(("rows_n", "used_n"), [(0, 0), (1, 0), (1, INSTRUMENTS), (100, 5)])
def test_bars_come_back_as_stored(home: Path, rows_n: int, used_n: int) -> None:
    bars, close_t = make_bars(rows_n, used_n)
    digest = store_bars(home, bars, close_t)
    found, found_t = load_bars(home, digest)
    assert found.dtype == BAR
    assert found.tobytes() == bars.tobytes()
    assert found_t.tobytes() == close_t.tobytes()
    assert digest == bars_digest(bars, close_t) == store_bars(home, bars, close_t)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, INSTRUMENTS - 1), st.sampled_from(BAR.names or ()), I64), max_size=8
    )
)
def test_any_bars_come_back_as_stored(home: Path, values: list[tuple[int, int, str, int]]) -> None:
    bars, close_t = make_bars(3, 0)
    for row, instrument, field, value in values:
        bars[field][row, instrument] = value
    found, _ = load_bars(home, store_bars(home, bars, close_t))
    assert found.tobytes() == bars.tobytes()


def test_the_address_is_the_documented_hash_and_covers_every_part() -> None:
    bars, close_t = make_bars(3, 2)
    content = b"ballast.bars.1\0" + (3).to_bytes(8, "little") + close_t.astype("<i8").tobytes() + bars.tobytes()
    assert bars_digest(bars, close_t) == hashlib.sha256(content).hexdigest()
    assert bars_digest(np.asfortranarray(bars), close_t) == bars_digest(bars, close_t)
    assert bars_digest(bars, close_t + 1) != bars_digest(bars, close_t)


@pytest.mark.parametrize("rows_n", [0, 1, 50])
def test_forecasts_come_back_as_stored(home: Path, rows_n: int) -> None:
    forecasts = make_forecasts(rows_n)
    digest = store_forecasts(home, forecasts)
    found = load_forecasts(home, digest)
    assert digest == forecasts.digest == found.digest
    assert found.symbols == forecasts.symbols
    assert found.rows.tobytes() == forecasts.rows.tobytes()
    assert found.at_t.tobytes() == forecasts.at_t.tobytes()
    assert found.feature_digests == forecasts.feature_digests


def test_a_missing_input(home: Path) -> None:
    for load in (load_bars, load_forecasts):
        with pytest.raises(InputMissing, match="no core input"):
            load(home, "0" * 64)


def change_cell(table: pa.Table, name: str) -> pa.Table:
    values = table[name].to_pylist()
    values[1] = bytes(32) if isinstance(values[1], bytes) else values[1] + 1
    return table.set_column(table.column_names.index(name), name, pa.array(values, table.schema.field(name).type))


CHANGES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "cell": lambda t: change_cell(t, t.column_names[3]),
    "time": lambda t: change_cell(t, t.column_names[0]),
    "one row less": lambda t: t.slice(0, t.num_rows - 1),
    "column dropped": lambda t: t.drop_columns([t.column_names[-1]]),
    "instrument dropped": lambda t: t.drop_columns([n for n in t.column_names if n.endswith("_01")]),
    "time dropped": lambda t: t.drop_columns([t.column_names[0]]),
    "null": lambda t: t.set_column(3, t.column_names[3], pa.array([None] * t.num_rows, pa.int64())),
    "type": lambda t: t.set_column(3, t.column_names[3], pa.array([0.5] * t.num_rows)),
    "kind": lambda t: t.replace_schema_metadata({}),
}


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("kind", ["bars", "forecasts"])
def test_a_changed_input(home: Path, kind: str, change: str) -> None:
    digest = store_bars(home, *make_bars(5, 2)) if kind == "bars" else store_forecasts(home, make_forecasts(5))
    load = load_bars if kind == "bars" else load_forecasts
    path = home / "inputs" / f"{digest}.parquet"
    pq.write_table(CHANGES[change](pq.read_table(path)), path)
    with pytest.raises(InputChanged, match="was changed"):
        load(home, digest)


def test_changed_symbols_and_feature_digests(home: Path) -> None:
    digest = store_forecasts(home, make_forecasts(5))
    path = home / "inputs" / f"{digest}.parquet"
    original = pq.read_table(path)
    metadata = original.schema.metadata
    for table in (
        change_cell(original, "feature_digest"),
        original.drop_columns(["feature_digest"]),
        original.set_column(1, "feature_digest", pa.array([None] * 5, pa.binary(32))),
        original.replace_schema_metadata(metadata | {b"ballast.symbols": b'["ETH","BTC"]'}),
        original.replace_schema_metadata(metadata | {b"ballast.symbols": b'["BTC","BTC"]'}),
        original.replace_schema_metadata(metadata | {b"ballast.symbols": b"7"}),
        original.replace_schema_metadata({b"ballast.kind": b"forecasts"}),
    ):
        pq.write_table(table, path)
        with pytest.raises(InputChanged, match="was changed"):
            load_forecasts(home, digest)


def test_any_damaged_byte_is_found_or_harmless(home: Path) -> None:
    bars, close_t = make_bars(40, 3)
    digest = store_bars(home, bars, close_t)
    path = home / "inputs" / f"{digest}.parquet"
    content = path.read_bytes()
    rng = np.random.Generator(np.random.PCG64(3))
    found_n = 0
    for at in rng.integers(0, len(content), 60).tolist():
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bytes(damaged))
        try:
            loaded, loaded_t = load_bars(home, digest)
        except InputChanged:
            found_n += 1
        else:
            assert (loaded.tobytes(), loaded_t.tobytes()) == (bars.tobytes(), close_t.tobytes())
    assert found_n > 30


def test_a_file_that_changes_under_a_run_is_noticed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.adapters.inputs._ROW_GROUP_ROWS_N", 10)
    bars, close_t = make_bars(50, 3)
    digest = store_bars(home, bars, close_t)
    other = bars.copy()
    other["close_e8"][5, 1] ^= 1
    path, changed = (home / "inputs" / f"{name}.parquet" for name in (digest, store_bars(home, other, close_t)))
    opened, found_t = open_bars(home, digest)
    assert len(opened) == 50
    assert found_t.tobytes() == close_t.tobytes()
    for first, stop in ((0, 50), (3, 7), (8, 31), (49, 50), (20, 20), (0, 10)):
        assert opened[first:stop].tobytes() == bars[first:stop].tobytes()
    assert opened[17].tobytes() == bars[17].tobytes()
    assert opened[30:50].tobytes() == bars[30:50].tobytes()  # the first groups are no longer held
    path.write_bytes(changed.read_bytes())  # the same file, of the same layout
    with pytest.raises(InputChanged, match="since it was opened"):
        opened[0:10]


def test_row_groups_of_any_size_are_the_same_rows(home: Path) -> None:
    bars, close_t = make_bars(5, 2)
    digest = store_bars(home, bars, close_t)
    path = home / "inputs" / f"{digest}.parquet"
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema) as writer:
        for first, rows_n in ((0, 0), (0, 2), (2, 0), (2, 3), (5, 0)):
            writer.write_table(table.slice(first, rows_n))
    assert pq.ParquetFile(path).metadata.num_row_groups == 5
    opened, _ = open_bars(home, digest)
    for first, stop in ((0, 5), (1, 4), (2, 2), (4, 5)):
        assert opened[first:stop].tobytes() == bars[first:stop].tobytes()
    assert opened[4].tobytes() == bars[4].tobytes()


def test_a_file_that_holds_less_than_its_footer_says_is_changed(home: Path) -> None:
    """The number of rows stands in the footer as a number of its own: a forger makes it one more."""
    digest = store_bars(home, *make_bars(5, 0))
    path = home / "inputs" / f"{digest}.parquet"
    content = path.read_bytes()
    told = set()
    for at in range(len(content) - int.from_bytes(content[-8:-4], "little") - 8, len(content) - 8):
        if content[at] == 2 * 5:  # five as a zigzag integer
            path.write_bytes(content[:at] + bytes([2 * 6]) + content[at + 1 :])
            try:
                load_bars(home, digest)
            except InputChanged as e:
                told.add(e.got.rpartition("was changed: ")[2])
    assert "5 rows where 6 should be" in told


def test_feature_digests_are_read_by_number(home: Path) -> None:
    forecasts = make_forecasts(7)
    found = open_forecasts(home, store_forecasts(home, forecasts)).feature_digests
    assert [found[n] for n in range(7)] == list(found) == forecasts.feature_digests
    assert found[2:5] == forecasts.feature_digests[2:5]
    with pytest.raises(IndexError):
        found[7]


def test_a_forecast_of_no_symbol_is_no_forecast_of_a_run(home: Path) -> None:
    forecasts = make_forecasts(3)
    forecasts.rows["valid_n"][1, 2] = 1  # a forger: the digest fits
    digest = store_forecasts(home, forecasts)
    with pytest.raises(InputChanged, match="without a symbol"):
        load_forecasts(home, digest)


def test_rows_are_read_in_their_order(home: Path) -> None:
    opened, _ = open_bars(home, store_bars(home, *make_bars(5, 1)))
    with pytest.raises(ValueError, match="in their order"):
        opened[::2]


@pytest.mark.parametrize("at_t", [[3, 2, 1], [1, 1, 2]])
def test_times_out_of_order_are_refused(home: Path, at_t: list[int]) -> None:
    forecasts = make_forecasts(3)
    forecasts.at_t[:] = at_t  # a forger: the digest fits
    digest = store_forecasts(home, forecasts)
    with pytest.raises(InputChanged, match="do not increase strictly"):
        load_forecasts(home, digest)


def test_storing_again_heals_a_damaged_file(home: Path) -> None:
    bars, close_t = make_bars(5, 2)
    digest = store_bars(home, bars, close_t)
    (home / "inputs" / f"{digest}.parquet").write_bytes(b"")
    assert store_bars(home, bars, close_t) == digest
    assert load_bars(home, digest)[0].tobytes() == bars.tobytes()


def test_bars_of_another_shape_are_refused(home: Path) -> None:
    bars, close_t = make_bars(5, 2)
    for wrong in (bars[:, :3], bars[:4], np.zeros((5, INSTRUMENTS), FORECAST)):
        with pytest.raises(InvariantError, match="core inputs of shape"):
            store_bars(home, wrong, close_t)
    assert not (home / "inputs").exists()


def test_an_unwritable_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFailure, match="cannot write"):
        store_bars(tmp_path / "file", *make_bars(2, 1))
