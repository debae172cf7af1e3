"""How fast bars come in and are looked at: imports of Parquet and CSV, and hourly bars of a year of minutes, each beside a plain way.

The plain way of an import is polars reading every file and writing it again, compressed as the lake compresses: no digest, no
gate, no catalog, nothing synced. That of the hourly bars is one DuckDB query over the same files, written by hand.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import polars as pl

from workbench import data
from workbench.data.bars import Bars, to_frame
from workbench.data.providers import Page, SeriesRef
from workbench.data.providers.files import FileProvider
from workbench.data.providers.simulate import simulate
from workbench.data.store.ingest import import_bars
from workbench.data.universe.versions import load_universe

FIRST_T: Final = 1_704_067_200
"""2024-01-01."""
YEAR_MINUTES_N: Final = 525_600
HOUR_US: Final = 3_600_000_000
VENUE: Final = "kraken-spot"
REPEATS_N: Final = 3
COPIES_N: Final = 4
"""The simulated market stands in under so many venue folders where there is no folder of real bars."""
VENUES: Final = ("kraken-spot", "kraken-spot-b", "binance-spot", "binance-spot-b")
COLUMNS: Final = ("open", "high", "low", "close", "volume", "trades")


class Minutes:
    """One-minute bars of the universe's assets, made one series at a time."""

    name = "benchmark"
    closed = True

    def __init__(self, symbols_n: int, minutes_n: int) -> None:
        self._symbols_n, self._minutes_n = symbols_n, minutes_n

    def series(self) -> Sequence[SeriesRef]:
        """Return one series per asset."""
        universe = load_universe()
        names = [universe.symbol(VENUE, asset) for asset in universe.assets[: self._symbols_n]]
        return [SeriesRef(VENUE, "1m", name, "seeded", str(i)) for i, name in enumerate(names)]

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:  # noqa: ARG002  whole series only
        """Yield the bars of one series in one page."""
        bars = minute_bars(int(ref.locator), self._minutes_n)
        yield Page(bars, int(bars.t[-1]) + 60)


def minute_bars(seed: int, n: int) -> Bars:
    """Return n seeded one-minute bars: a walk in cents, volumes with three decimals, numbers of trades."""
    random = np.random.Generator(np.random.PCG64(seed))
    close = np.round(100.0 * np.exp(np.cumsum(random.normal(0.0, 5e-4, n))), 2)
    opened = np.concatenate(([100.0], close[:-1]))
    wicks = 1.0 + np.abs(random.normal(0.0, 2e-4, (2, n)))
    high = np.round(np.maximum(opened, close) * wicks[0], 2)
    low = np.minimum(np.round(np.minimum(opened, close) / wicks[1], 2), np.minimum(opened, close))
    volume = np.round(random.lognormal(1.0, 1.0, n), 3)
    return Bars(
        FIRST_T + 60 * np.arange(n, dtype=np.int64),
        opened,
        np.maximum(high, np.maximum(opened, close)),
        low,
        close,
        volume,
        np.floor(7 * volume),
    )


# ---- imports -----------------------------------------------------------------------------------------------------------


def imports(source: str) -> dict[str, float]:
    """Return bars, and the seconds of each import and of its plain way, of a folder of bars ("" = the simulated market).

    Raises:
        RuntimeError: the lake does not hold what the folder held.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parquet = Path(source) if source else write_simulated(folder / "simulated")
        csv = write_csv(parquet, folder / "csv")
        found: dict[str, float] = {}
        for kind, path in (("parquet", parquet), ("csv", csv)):
            bars_n, seconds = fastest(lambda home, path=path: _import(path, home), folder)  # type: ignore[misc]  # the loop's value
            found[f"{kind}_bars"], found[f"{kind}_s"] = bars_n, seconds
            plain_n, found[f"{kind}_plain_s"] = fastest(lambda home, path=path: _copy(path, home), folder)  # type: ignore[misc]  # see above
            if plain_n < bars_n:
                raise RuntimeError(f"{bars_n} bars imported of {plain_n}")
        return found


def fastest(step: Callable[[Path], int], folder: Path) -> tuple[int, float]:
    """Return what a step returns and its seconds, the fastest of some, each into an empty folder of its own."""
    best, found = float("inf"), 0
    for _ in range(REPEATS_N):
        with tempfile.TemporaryDirectory(dir=folder) as home:
            began_s = time.perf_counter()
            found = step(Path(home))
            best = min(best, time.perf_counter() - began_s)
    return found, best


def _import(path: Path, home: Path) -> int:
    return sum(s.rows for s in import_bars(home, FileProvider(path)).series)


def _copy(path: Path, home: Path) -> int:
    """Read every file of bars and write it again; return the rows."""
    rows = 0
    for i, file in enumerate(sorted(p for p in path.glob("*/*/*") if p.suffix in {".parquet", ".csv"})):
        frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, try_parse_dates=True)
        frame.write_parquet(home / f"{i}.parquet", compression="zstd")
        rows += frame.height
    return rows


def write_simulated(folder: Path) -> Path:
    """Write the simulated market as Parquet under several venues' names."""
    universe = load_universe()
    for venue in VENUES[:COPIES_N]:
        for asset, bars in simulate().bars.items():
            path = folder / venue / "1h" / f"{universe.symbol(venue, asset)}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            to_frame(bars).write_parquet(path)
    return folder


def write_csv(parquet: Path, folder: Path) -> Path:
    """Write the bars of a Parquet folder as CSV in the same layout, with the columns the lake keeps."""
    for file in sorted(parquet.glob("*/*/*.parquet")):
        path = folder / file.relative_to(parquet).with_suffix(".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = pl.read_parquet(file)
        kept = frame.select("ts_utc", *(c for c in COLUMNS if c in frame.columns))
        kept.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    return folder


# ---- hourly bars of a year of minutes ----------------------------------------------------------------------------------


def hourly(symbols_n: str, minutes_n: str) -> dict[str, float]:
    """Return the seconds of hourly bars of one-minute bars by the view, from opening to a frame, and by a plain query.

    `minutes_n` is a number of whole hours: an hour still open is none of the view's.

    Raises:
        RuntimeError: the two do not agree.
    """
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        began_s = time.perf_counter()
        import_bars(home, Minutes(int(symbols_n), int(minutes_n)))
        found = {"import_s": time.perf_counter() - began_s, "rows": float(int(symbols_n) * int(minutes_n))}
        found["mib"] = sum(p.stat().st_size for p in (home / "lake").rglob("*.parquet")) / 2**20
        ours, found["view_s"] = timed(lambda: by_view(home))
        plain, found["plain_s"] = timed(lambda: by_query(home))
        if not ours.select(plain.columns).equals(plain):
            raise RuntimeError("the view and the plain query make other hourly bars")
        _, found["verified_s"] = timed(lambda: by_view(home, verify=True))
    return {**found, "hours": float(ours.height)}


def timed(step: Callable[[], pl.DataFrame]) -> tuple[pl.DataFrame, float]:
    """Return what a step returns and its seconds, the fastest of some."""
    best, found = float("inf"), pl.DataFrame()
    for _ in range(REPEATS_N):
        began_s = time.perf_counter()
        found = step()
        best = min(best, time.perf_counter() - began_s)
    return found, best


def by_view(home: Path, *, verify: bool = False) -> pl.DataFrame:
    """Return the hourly bars through the researcher's view."""
    with data.open(home, interval="1m", verify=verify) as view:
        return view.aggregate("1h").frame().collect()


def by_query(home: Path) -> pl.DataFrame:
    """Return the hours' prices and numbers of bars by one query over the files, in the view's order."""
    query = f"""SELECT split_part(filename, '/', -2) AS venue_symbol, to_timestamp(epoch_us(ts_utc) // {HOUR_US} * 3600) AS ts_utc,
        arg_min(open, ts_utc) AS open, max(high) AS high, min(low) AS low, arg_max(close, ts_utc) AS close, count(*) AS bars_n
        FROM read_parquet('{home}/lake/bars/*/1m/*/*.parquet', filename = true) GROUP BY ALL"""  # noqa: S608  a folder of ours
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        found = connection.execute(query).pl()
    universe = load_universe()
    order = {universe.symbol(VENUE, asset): i for i, asset in enumerate(universe.assets)}
    return found.sort(pl.col("venue_symbol").replace_strict(order), "ts_utc")
