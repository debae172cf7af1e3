from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.adapters.bar_tail import BarTail
from runtime.adapters.kraken.rest import quiet_bar
from runtime.errors import DataError, EnvironmentFailure, UsageError
from runtime.inference.panel import BarPanel
from runtime.market import ClosedBar
from tests.support.kraken_socket import START_T

HOUR_T = 3_600
SYMBOLS = ("BTC", "ETH", "SOL")


def bar(n: int, hour_n: int, close: float = 0.1 + 0.2) -> ClosedBar:
    return ClosedBar(n, START_T + hour_n * HOUR_T, 1.0, 2.0, 0.5, close, 7.25, "ws")


@pytest.fixture
def tail(tmp_path: Path) -> Iterator[BarTail]:
    made = BarTail(tmp_path / "bars.sqlite", SYMBOLS, HOUR_T)
    yield made
    made.close()


def test_what_was_put_comes_back_bit_for_bit_and_the_rest_is_absent(tail: BarTail) -> None:
    assert tail.last_open_t is None
    assert not tail.has(0, START_T)
    assert tail.put([bar(0, 0), bar(2, 1, 1e-320), quiet_bar(1, START_T, "rest")]) == []
    panel = tail.panel(START_T + HOUR_T, 3)
    assert panel.open_t.tolist() == [START_T - HOUR_T, START_T, START_T + HOUR_T]
    assert panel.close[1, 0].hex() == (0.1 + 0.2).hex()
    assert panel.close[2, 2] == 1e-320
    assert np.isnan(panel.close).sum() == 7
    assert tail.has(1, START_T)
    assert not tail.has(1, START_T + HOUR_T)
    assert not tail.has(1, START_T + 99 * HOUR_T)
    assert tail.last_open_t == START_T + HOUR_T
    assert np.isnan(tail.panel(START_T + 99 * HOUR_T, 3).close).all()


def test_a_bar_that_changed_afterwards_is_returned_and_the_first_stays(tail: BarTail) -> None:
    tail.put([bar(0, 0), quiet_bar(1, START_T, "rest")])
    assert tail.put([bar(0, 0), quiet_bar(1, START_T, "rest")]) == []
    assert tail.put([bar(0, 0, 9.0), bar(1, 0)]) == [bar(0, 0, 9.0), bar(1, 0)]
    assert tail.panel(START_T, 1).close[0, 0] == 0.1 + 0.2


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-40, 900), st.floats(allow_infinity=False)), max_size=40),
    st.integers(-50, 910),
)
def test_a_file_opened_again_has_the_same_bars(tmp_path: Path, rows: list[tuple[int, int, float]], before_n: int) -> None:
    path = tmp_path / f"{time.monotonic_ns()}.sqlite"
    first = BarTail(path, SYMBOLS, HOUR_T)
    wanted: dict[tuple[int, int], float] = {}
    for n, hour_n, close in rows:
        first.put([bar(n, hour_n, close)])
        wanted.setdefault((n, hour_n), close)
    first.prune(START_T + before_n * HOUR_T)
    wanted = {key: close for key, close in wanted.items() if key[1] >= before_n}
    panels = [first.panel(START_T + 900 * HOUR_T, 960)]
    first.close()
    second = BarTail(path, SYMBOLS, HOUR_T)
    panels.append(second.panel(START_T + 900 * HOUR_T, 960))
    kept_t = {START_T + hour_n * HOUR_T for _, hour_n in wanted}
    assert second.last_open_t == (max(kept_t) if kept_t else None)
    second.close()
    second.close()
    assert panels[0].close.tobytes() == panels[1].close.tobytes()
    for (n, hour_n), close in wanted.items():
        assert np.float64(close).tobytes() == panels[0].close[hour_n + 59, n].tobytes()
    assert np.isfinite(panels[0].volume).sum() == len(wanted)


def test_the_seed_of_a_bundle_fills_what_is_not_known_and_nothing_else(tail: BarTail) -> None:
    tail.put([bar(0, 1)])
    values = np.arange(6.0).reshape(2, 3) + 1
    values[1, 2] = math.nan
    tail.seed(BarPanel(SYMBOLS, HOUR_T, np.array([START_T, START_T + HOUR_T]), values, values, values, values, values))
    panel = tail.panel(START_T + HOUR_T, 2)
    assert panel.close[0].tolist() == [1.0, 2.0, 3.0]
    assert panel.close[1, :2].tolist() == [0.1 + 0.2, 5.0]
    assert tail.put([bar(2, 1)]) == []  # absent in the bundle is not known, and may still come
    with pytest.raises(UsageError, match="3600 s"):
        tail.seed(BarPanel(("BTC",), HOUR_T, np.array([START_T]), *[values[:1, :1]] * 5))


def test_nine_hundred_rows_of_thirty_assets_are_read_quickly(tmp_path: Path) -> None:
    symbols = tuple(f"A{n}" for n in range(30))
    tail = BarTail(tmp_path / "bars.sqlite", symbols, HOUR_T)
    tail.put([bar(n, hour_n) for hour_n in range(900) for n in range(30)])
    took_s = []
    for _ in range(20):
        began_s = time.perf_counter()
        tail.panel(START_T + 899 * HOUR_T, 900)
        took_s.append(time.perf_counter() - began_s)
    tail.close()
    assert sorted(took_s)[10] < 0.010


def test_what_is_no_bar_of_this_tail_is_refused(tail: BarTail) -> None:
    for wrong in (bar(3, 0), bar(-1, 0), bar(0, 0)._replace(open_t=START_T + 1)):
        with pytest.raises(UsageError, match="on the grid"):
            tail.put([wrong])
    for last_open_t, rows_n in ((START_T + 1, 5), (START_T, 0)):
        with pytest.raises(UsageError):
            tail.panel(last_open_t, rows_n)


def test_a_file_of_other_instruments_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    BarTail(tmp_path / "bars.sqlite", SYMBOLS, HOUR_T).close()
    with pytest.raises(DataError, match="BTC ETH SOL every 3600 s"):
        BarTail(tmp_path / "bars.sqlite", ("BTC",), HOUR_T)
    (tmp_path / "junk.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        BarTail(tmp_path / "junk.sqlite", SYMBOLS, HOUR_T)
    (tmp_path / "short.sqlite").touch()
    short = BarTail(tmp_path / "short.sqlite", SYMBOLS, HOUR_T)
    short.close()
    with sqlite3.connect(tmp_path / "short.sqlite") as store:
        store.execute("INSERT INTO bar VALUES (?, 0, x'00')", (START_T,))
    with pytest.raises(DataError, match="cannot be read"):
        BarTail(tmp_path / "short.sqlite", SYMBOLS, HOUR_T)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tail = BarTail(tmp_path / "bars.sqlite", SYMBOLS, HOUR_T)
    blocker = sqlite3.connect(tmp_path / "bars.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    tail._store.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(EnvironmentFailure, match="cannot be written"):
        tail.put([bar(0, 0)])
    blocker.close()
    tail.close()


def test_a_disk_that_cannot_take_it_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="cannot be written"):
        BarTail(tmp_path / "no folder" / "bars.sqlite", SYMBOLS, HOUR_T)


def test_pruning_an_empty_tail_or_too_early_changes_nothing(tail: BarTail) -> None:
    tail.prune(START_T)
    tail.put([bar(0, 0)])
    tail.prune(START_T)
    assert tail.last_open_t == START_T
    tail.prune(START_T + 1)
    assert tail.last_open_t is None
    tail.put([bar(0, 5)])
    assert tail.last_open_t == START_T + 5 * HOUR_T
