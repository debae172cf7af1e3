"""Reconciliation: how far two sources of the same bars agree. Nothing is repaired and nothing is filled; it only reports.

Series are matched by what the universe says they are: the same asset, quote and ticker (`XBTUSD` of Kraken and `BTCUSDT` of
Binance are both BTC in USD). Bars that may not have closed take no part. Every sum is exact before it is rounded once
(`math.fsum`), medians and percentiles are values of the data, and rows are sorted, so the same bars give the same report on
every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from runtime.errors import DataError
from runtime.inference.panel import Floats, Ints
from runtime.progress import Report, silent
from workbench.data.bars import REQUIRED, Bars, from_frame, interval_seconds
from workbench.data.providers.simulated import VENUE as SIMULATED
from workbench.data.quality.gates import Series, form_findings
from workbench.data.store.catalog import Catalog, Entry
from workbench.data.store.lake import Lake
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, Universe, load_universe

WORST_N: Final = 5
"""Worst bars kept per pair unless the caller asks for another number."""
BP: Final = 10_000.0
RETURNS_MIN_N: Final = 3
"""With fewer returns than this a correlation says nothing."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WorstBar(_Frozen):
    """One bar both sources have, with both values.

    Attributes:
        open_t: opening time, seconds UTC.
        close_a, close_b: closes.
        volume_a, volume_b: volumes.
        difference_bp: `(close_a / close_b - 1) * 10,000`.
    """

    open_t: int
    close_a: float
    close_b: float
    volume_a: float
    volume_b: float
    difference_bp: float


class Reconciliation(_Frozen):
    """Two series of one asset beside each other.

    Attributes:
        asset: name in the universe, or a file's name.
        ticker: the former ticker the bars are of, when they are of one.
        series_a, series_b: `venue/interval/SYMBOL`, or a file's name.
        rows_a, rows_b: closed bars of each series as a whole.
        span_first_t, span_last_t: the time both series cover: opening times; None when they never overlap.
        both_n, only_a_n, only_b_n: bars within that time.
        first_t, last_t: opening times of the first and last bar on both; None when there is none.
        equal_n: bars on both whose open, high, low and close are all equal.
        correlation: of simple returns between neighbouring bars that both have; None with fewer than three, or with no variance.
        returns_n: how many such returns.
        median_bp, p95_bp, max_bp: absolute difference of closes, `|a / b - 1|` in basis points; the 95th percentile is the
            smallest value that at least 95 % of the bars do not exceed.
        bias_bp: median of the signed difference: above zero, A is dearer (the premium of its quote currency, say).
        volume_ratio: volume of A over volume of B, on bars both have; None when B has none.
        worst: bars whose closes differ, largest absolute difference first.
    """

    asset: str
    ticker: str = ""
    series_a: str
    series_b: str
    rows_a: int
    rows_b: int
    span_first_t: int | None
    span_last_t: int | None
    both_n: int
    only_a_n: int
    only_b_n: int
    first_t: int | None
    last_t: int | None
    equal_n: int
    correlation: float | None
    returns_n: int
    median_bp: float | None
    p95_bp: float | None
    max_bp: float | None
    bias_bp: float | None
    volume_ratio: float | None
    worst: tuple[WorstBar, ...]


class Reconciled(_Frozen):
    """Every asset two sources share, and the series only one of them has."""

    a: str
    b: str
    interval: str
    pairs: tuple[Reconciliation, ...]
    series_only_a: tuple[str, ...]
    series_only_b: tuple[str, ...]


class Source(NamedTuple):
    """Bars to compare and what to call them."""

    name: str
    bars: Bars


def reconcile_bars(
    asset: str, a: Source, b: Source, interval_t: int, *, worst_n: int = WORST_N, ticker: str = ""
) -> Reconciliation:
    """Compare two well-formed series of one asset.

    Args:
        asset: what the bars are of.
        a, b: the two sources; opening times strictly ascending.
        interval_t: seconds per bar.
        worst_n: bars to name.
        ticker: the former ticker, when the bars are of one.
    """
    first_t, last_t = (
        (int(max(a.bars.t[0], b.bars.t[0])), int(min(a.bars.t[-1], b.bars.t[-1]))) if len(a.bars) and len(b.bars) else (1, 0)
    )
    overlap = first_t <= last_t
    common, at_a, at_b = np.intersect1d(a.bars.t, b.bars.t, assume_unique=True, return_indices=True)
    mine, theirs = a.bars.take(at_a), b.bars.take(at_b)
    signed = [(x / y - 1.0) * BP for x, y in zip(mine.close.tolist(), theirs.close.tolist(), strict=True)]
    far = sorted(abs(x) for x in signed)
    equal = np.ones(len(common), dtype=np.bool_)
    for name in ("open", "high", "low", "close"):
        equal &= getattr(mine, name) == getattr(theirs, name)
    correlation, returns_n = _correlation(common, mine.close, theirs.close, interval_t)
    volume_b = math.fsum(theirs.volume.tolist())
    order = sorted(range(len(signed)), key=lambda i: (-abs(signed[i]), int(common[i])))
    return Reconciliation(
        asset=asset, ticker=ticker, series_a=a.name, series_b=b.name, rows_a=len(a.bars), rows_b=len(b.bars),
        span_first_t=first_t if overlap else None, span_last_t=last_t if overlap else None,
        both_n=len(common),
        only_a_n=_inside(a.bars.t, first_t, last_t) - len(common) if overlap else 0,
        only_b_n=_inside(b.bars.t, first_t, last_t) - len(common) if overlap else 0,
        first_t=int(common[0]) if len(common) else None, last_t=int(common[-1]) if len(common) else None,
        equal_n=int(equal.sum()), correlation=correlation, returns_n=returns_n,
        median_bp=median(far), p95_bp=percentile(far, 95), max_bp=far[-1] if far else None, bias_bp=median(sorted(signed)),
        volume_ratio=math.fsum(mine.volume.tolist()) / volume_b if volume_b > 0.0 else None,
        worst=tuple(
            WorstBar(
                open_t=int(common[i]), close_a=float(mine.close[i]), close_b=float(theirs.close[i]),
                volume_a=float(mine.volume[i]), volume_b=float(theirs.volume[i]), difference_bp=signed[i],
            )
            for i in order[:worst_n]
            if signed[i] != 0.0
        ),
    )  # fmt: skip


def median(ordered: Sequence[float]) -> float | None:
    """Return the middle of ascending values, or the mean of the two in the middle; None of nothing."""
    n = len(ordered)
    if n == 0:
        return None
    return ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2.0


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return the smallest of ascending values that at least `percent` % of them do not exceed (nearest rank)."""
    return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else None


def _inside(t: Ints, first_t: int, last_t: int) -> int:
    return int(((t >= first_t) & (t <= last_t)).sum())


def _correlation(t: Ints, a: Floats, b: Floats, interval_t: int) -> tuple[float | None, int]:
    """Return Pearson's correlation of the simple returns of neighbouring bars, and how many there are."""
    at = np.flatnonzero(np.diff(t) == interval_t)
    n = len(at)
    if n < RETURNS_MIN_N:
        return None, n
    x, y = a[at + 1] / a[at] - 1.0, b[at + 1] / b[at] - 1.0
    dx, dy = x - math.fsum(x.tolist()) / n, y - math.fsum(y.tolist()) / n
    spread = math.sqrt(math.fsum((dx * dx).tolist())) * math.sqrt(math.fsum((dy * dy).tolist()))
    if not spread > 0.0:
        return None, n
    # Rounding may carry two equal series a hair past 1.
    return max(-1.0, min(1.0, math.fsum((dx * dy).tolist()) / spread)), n


def closed_bars(lake: Lake, entry: Entry) -> Bars:
    """Return the current bars of a series, verified, without those that may not have closed.

    Raises:
        VerificationError: a file of the lake was altered.
    """
    bars = lake.read(entry.key, entry.current.segments)
    return bars.take(~np.isin(bars.t, entry.current.unclosed_t)) if entry.current.unclosed_t else bars


def reconcile_venues(
    home: Path,
    a: str,
    b: str,
    interval: str = "1h",
    assets: Sequence[str] = (),
    *,
    worst_n: int = WORST_N,
    universe: Universe | None = None,
    report: Report = silent,
) -> Reconciled:
    """Compare every asset that two venues of the lake share, in universe order.

    Args:
        home: the home folder.
        a, b: venues; a second source (`binance-spot-b`) is one too.
        interval: bar length by name.
        assets: keeps these assets; a venue's own symbol may be given too.
        worst_n: bars to name per asset.
        universe: default version v1.
        report: told per asset.

    Raises:
        DataError: the two have no asset in common.
        VerificationError: a file of the lake was altered.
    """
    universe = universe or load_universe()
    lake = Lake(home)
    catalog = lake.catalog()
    interval_t = interval_seconds(interval)
    sides = [_listed(catalog, universe, v, interval, assets) for v in (a, b)]
    matched = sorted(set(sides[0]) & set(sides[1]), key=lambda key: (universe.assets.index(key[0]), key))
    pairs = []
    for i, key in enumerate(matched):
        report("reconcile", i, len(matched))
        for one, other in product(sides[0][key], sides[1][key]):
            left, right = (Source(e.key, closed_bars(lake, e)) for e in (one, other))
            pairs.append(reconcile_bars(key[0], left, right, interval_t, worst_n=worst_n, ticker=key[2]))
    report("reconcile", len(matched), len(matched))
    if not pairs:
        raise DataError(
            f"{a} and {b} have no {interval} series" + (f" of {', '.join(assets)}" if assets else "") + " in common",
            expected="two venues of the lake with bars of one asset; it has "
            + (", ".join(sorted({f"{e.venue}/{e.interval}" for e in catalog.entries})) or "nothing"),
            action="see `ballast data list`; import the other source, or choose another --interval",
        )
    return Reconciled(
        a=a,
        b=b,
        interval=interval,
        pairs=tuple(pairs),
        series_only_a=tuple(e.key for key, entries in sides[0].items() if key not in sides[1] for e in entries),
        series_only_b=tuple(e.key for key, entries in sides[1].items() if key not in sides[0] for e in entries),
    )


Identity = tuple[str, str, str]
"""What a series is of: asset, quote it stands for, former ticker (empty for the present one)."""


def _listed(
    catalog: Catalog, universe: Universe, venue: str, interval: str, assets: Sequence[str]
) -> dict[Identity, list[Entry]]:
    """Return a venue's series by what they are of, in the order of their symbols."""
    found: dict[Identity, list[Entry]] = {}
    for entry in catalog.find(venue, interval):
        listing = universe.resolve(venue, entry.symbol)
        if listing is not None and (not assets or listing.asset in assets or entry.symbol in assets):
            found.setdefault((listing.asset, listing.quote, listing.former), []).append(entry)
    return found


def source_pairs(entries: Sequence[Entry], universe: Universe | None = None) -> Iterator[tuple[str, str, str]]:
    """Yield (venue, venue, interval) of every two real sources of a lake that share an asset; a second source only beside its first."""
    universe = universe or load_universe()
    held: dict[tuple[str, str], set[Identity]] = {}
    for e in entries:
        listing = universe.resolve(e.venue, e.symbol)
        if listing is not None and e.venue != SIMULATED:
            held.setdefault((e.interval, e.venue), set()).add((listing.asset, listing.quote, listing.former))
    for (interval, a), (other, b) in product(sorted(held), repeat=2):
        if interval == other and a < b and held[interval, a] & held[interval, b]:
            second_of_other = b.endswith(SECOND_SOURCE_SUFFIX) and b.removesuffix(SECOND_SOURCE_SUFFIX) != a
            if not second_of_other and not a.endswith(SECOND_SOURCE_SUFFIX):
                yield a, b, interval


# ---- files: bars, or trades that make bars ---------------------------------------------------------------------------


def trade_bars(frame: pl.DataFrame, interval_t: int, where: str) -> Bars:
    """Return the bars that trades make: first, highest, lowest and last price, volume and number of trades of each interval.

    An interval without trades has no bar. The first and the last may be cut by the download; they are kept, and show.

    Args:
        frame: `ts_utc` (with a zone), `price`, `amount`; in time order.
        interval_t: seconds per bar.
        where: names the source in messages.

    Raises:
        DataError: a column is missing, or the trades are out of order.
    """
    missing = [c for c in ("ts_utc", "price", "amount") if c not in frame.columns]
    if missing or frame.is_empty():
        raise DataError(
            f"{where}: " + (f"no column {', '.join(missing)}" if missing else "no rows"),
            expected="trades: ts_utc, price, amount",
            action="give a file of bars or of trades",
        )
    micros = frame["ts_utc"].dt.timestamp("us").to_numpy()
    if bool((np.diff(micros) < 0).any()):
        raise DataError(
            f"{where}: trades out of order", expected="trades in time order", action="sort the file by its trade ids"
        )
    price, amount = (frame[c].cast(pl.Float64).to_numpy() for c in ("price", "amount"))
    opened = micros // (interval_t * 1_000_000) * interval_t
    starts = np.flatnonzero(np.diff(opened, prepend=opened[0] - interval_t))
    ends = np.append(starts[1:], len(opened))
    volume = [math.fsum(amount[i:j].tolist()) for i, j in zip(starts, ends, strict=True)]
    return Bars(
        np.ascontiguousarray(opened[starts]),
        price[starts],
        np.maximum.reduceat(price, starts),
        np.minimum.reduceat(price, starts),
        price[ends - 1],
        np.array(volume),
        (ends - starts).astype(np.float64),
    )


def file_source(path: Path, interval: str) -> Source:
    """Return the bars of a Parquet file of bars, or those that a Parquet file of trades makes.

    Raises:
        DataError: it cannot be read, or its bars are malformed.
    """
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as e:
        raise DataError(
            f"{path.name}: {str(e).splitlines()[0]}", expected="a Parquet file of bars or trades", action="choose another file"
        ) from e
    interval_t = interval_seconds(interval)
    is_bars = all(c in frame.columns for c in REQUIRED)
    bars = from_frame(frame, path.name) if is_bars else trade_bars(frame, interval_t, path.name)
    malformed = form_findings(bars, Series(path.stem, path.name, interval_t))
    if malformed:
        raise DataError(
            f"{path.name}: {malformed[0].detail}", expected=f"well-formed {interval} bars", action="see `ballast data check`"
        )
    return Source(path.name, bars)


def reconcile_files(a: Path, b: Path, interval: str, *, worst_n: int = WORST_N) -> Reconciled:
    """Compare two Parquet files of bars or trades, such as the trades of a venue and its own bars.

    Raises:
        DataError: one of them cannot be read.
    """
    one, other = file_source(a, interval), file_source(b, interval)
    pair = reconcile_bars(a.stem, one, other, interval_seconds(interval), worst_n=worst_n)
    return Reconciled(a=a.name, b=b.name, interval=interval, pairs=(pair,), series_only_a=(), series_only_b=())
