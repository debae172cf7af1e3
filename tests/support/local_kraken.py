"""Files and clients for tests of the local Kraken."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from runtime.adapters.local_kraken.columns import TradeColumns

Bar = tuple[int, float, float, float, float, float, int | None]
"""Opening time in seconds, open, high, low, close, volume, number of trades (None: the file has no such column)."""
HOUR_S = 3_600
START_T = 1_700_006_400  # 2023-11-15T00:00Z


def write_bars(path: Path, bars: Sequence[Bar], *, row_group_n: int = 1_000) -> Path:
    """Write a Parquet file of bars as the shared data has them."""
    t, o, h, low, c, v, n = zip(*bars, strict=True)
    columns: dict[str, object] = {
        "ts_utc": pa.array([datetime.fromtimestamp(x, UTC) for x in t], pa.timestamp("us", "UTC")),
        "open": o,
        "high": h,
        "low": low,
        "close": c,
        "volume": v,
    }
    if n[0] is not None:
        columns["trades"] = [float(x) for x in n if x is not None]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_n)
    return path


def write_trades(path: Path, rows: Sequence[tuple[int, int, float, float]]) -> Path:
    """Write a Parquet file of trades from (time in microseconds, id, price, amount)."""
    t, ids, price, amount = zip(*rows, strict=True)
    columns = {
        "ts_utc": pa.array(t, pa.int64()).cast(pa.timestamp("us", "UTC")),
        "trade_id": ids,
        "type": ["limit" if n % 3 else "market" for n in ids],
        "side": ["buy" if n % 2 else "sell" for n in ids],
        "price": price,
        "amount": amount,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def hourly(hours: int, *, quiet: frozenset[int] = frozenset(), base: float = 100.0) -> list[Bar]:
    """Return bars of consecutive hours but the quiet ones, with prices of two decimals and a gentle wave."""
    found: list[Bar] = []
    for h in range(hours):
        if h in quiet:
            continue
        mid = round(base + (h * 7 % 23) / 10, 2)
        found.append(
            (START_T + h * HOUR_S, mid, round(mid + 0.75, 2), round(mid - 0.52, 2), round(mid + 0.11, 2), 10.5 + h % 5, None)
        )
    return found


def first_difference(made: TradeColumns, bar: tuple[int, int, int, int, int, int], interval_s: int) -> str:
    """Return how the trades of one bar differ from it (open, high, low, close, lots, count; times inside), empty when they do not."""
    o, h, low, c, lots, n = bar
    found = (
        int(made.price[0]),
        int(made.price.max()),
        int(made.price.min()),
        int(made.price[-1]),
        int(made.lots.sum()),
        len(made.price),
    )
    if found != (o, h, low, c, lots, n):
        return f"made {found} of {(o, h, low, c, lots, n)}"
    if made.lots.min() < 1:
        return "a trade without a lot"
    times = made.time_ns.tolist()
    if any(a >= b for a, b in pairwise(times)):
        return "times that do not rise"
    if times[0] // 10**9 // interval_s != times[-1] // 10**9 // interval_s:
        return "times outside the bar"
    return ""
