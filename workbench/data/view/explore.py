"""What the exploring notebook computes of a dataset: coverage, findings, correlations, volatility, spreads.

It looks at bars as they are: a return needs two bars next to each other, a longer bar takes part only when it is whole, and a
hole stays a hole. Figures that enter a result are whole numbers (`Explored`), so that the last bit of a sum is never part of it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from runtime.errors import DataError
from runtime.inference.panel import Floats
from runtime.progress import Report, silent
from workbench.data.bars import interval_seconds
from workbench.data.datasets.manifests import load_manifest
from workbench.data.view.estimates import BP, YEAR_T, Correlations, Market, apart, log_returns
from workbench.data.view.lake_view import LakeView, open_view

HASH: Final = r"^[0-9a-f]{64}$"
DAY: Final = r"^(\d{4}-\d{2}-\d{2})?$"


class ExploreSpec(BaseModel):
    """Parameters of an exploration. Equal specs give equal results; datasets are named by their full hashes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dataset: str = Field(pattern=HASH, description="dataset hash")
    second: str = Field(
        default="", pattern=r"^([0-9a-f]{64})?$", description="dataset of another venue to compare with; empty: none"
    )
    symbols: Annotated[tuple[str, ...], Field(strict=False)] = Field(default=(), description="assets; none chosen: all")
    bars: Literal["15m", "1h", "4h", "1d"] = Field(default="1h", description="length of the bars looked at")
    first_day: str = Field(default="", pattern=DAY, description="first day (UTC); empty: from the beginning")
    last_day: str = Field(default="", pattern=DAY, description="last day (UTC); empty: to the end")
    window_days: int = Field(default=30, ge=5, le=180, description="days of the rolling volatility window")

    @model_validator(mode="after")
    def _consistent(self) -> ExploreSpec:
        first_t, end_t = self.window_t()
        if first_t is not None and end_t is not None and first_t >= end_t:
            raise ValueError(f"last_day {self.last_day} is before first_day {self.first_day}")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"symbols are named twice: {', '.join(self.symbols)}")
        return self

    def window_t(self) -> tuple[int | None, int | None]:
        """Return the time looked at as `[first, end)`, seconds UTC; None = no bound."""
        first_t = _day_t(self.first_day) if self.first_day else None
        return first_t, _day_t(self.last_day) + 86_400 if self.last_day else None


class VenueSpread(BaseModel):
    """How far the closes of two venues lie apart, in units of 0.01 basis points of the second one's price."""

    model_config = ConfigDict(frozen=True)

    symbol: str
    bars_n: int
    median: int
    low: int
    high: int


class Explored(BaseModel):
    """What was found, in whole numbers.

    Attributes:
        coverage_ppm: bars there over bars due, per asset.
        volatility_bp: annualised volatility of all returns, per asset.
        correlation_e4: mean correlation with all other assets, per asset; null when there is none.
        corwin_schultz_e2bp, abdi_ranaldo_e2bp: mean spread estimates in 0.01 basis points, per asset.
    """

    model_config = ConfigDict(frozen=True)

    dataset_hash: str
    second_hash: str
    label: str
    bars: str
    symbols: tuple[str, ...]
    bars_n: int
    partial_n: int
    gaps_n: int
    missing_n: int
    findings: dict[str, int]
    coverage_ppm: dict[str, int]
    volatility_bp: dict[str, int]
    correlation_e4: dict[str, int | None]
    corwin_schultz_e2bp: dict[str, int | None]
    abdi_ranaldo_e2bp: dict[str, int | None]
    venue_spread: tuple[VenueSpread, ...]


# ---- reading ---------------------------------------------------------------------------------------------------------


def load(spec: ExploreSpec, home: Path, report: Report = silent) -> Market:
    """Return the bars a spec asks for, every file verified.

    Raises:
        UsageError: no such dataset, or bars that cannot be made of the dataset's.
        DataError: no whole bar lies in the window, or the dataset has no such asset.
        VerificationError: a file of the lake was altered.
    """
    return _market(spec, spec.dataset, spec.symbols or None, home, report)


def load_second(spec: ExploreSpec, home: Path, market: Market, report: Report = silent) -> Market | None:
    """Return the bars of the second dataset for the assets both have, or None when none is asked for."""
    if not spec.second:
        return None
    with open_view(home, dataset=spec.second, verify=False) as view:
        common = [s for s in market.symbols if s in {n.symbol for n in view.names}]
    if not common:
        raise DataError(
            f"dataset {spec.second[:12]} has none of {', '.join(market.symbols)}",
            expected="an asset that both datasets have",
            action="choose another second dataset or other symbols",
        )
    return _market(spec, spec.second, tuple(common), home, report)


def _market(spec: ExploreSpec, dataset: str, symbols: tuple[str, ...] | None, home: Path, report: Report) -> Market:
    first_t, end_t = spec.window_t()
    as_of = None if end_t is None else datetime.fromtimestamp(end_t, UTC)
    with open_view(home, dataset=dataset, symbols=symbols, as_of=as_of, report=report) as view:
        own = view.interval == spec.bars
        bars = view.frame() if own else view.aggregate(spec.bars).frame()
        months, gaps = view.coverage("month"), view.gaps()
        kept = bars if first_t is None else bars.filter(pl.col("ts_utc") >= datetime.fromtimestamp(first_t, UTC))
        found = kept.select(
            "symbol", "ts_utc", "high", "low", "close", pl.lit(value=True).alias("whole") if own else "whole"
        ).collect()
        return _gridded(view, spec, found, months, gaps, (first_t, end_t))


def _gridded(
    view: LakeView,
    spec: ExploreSpec,
    found: pl.DataFrame,
    months: pl.DataFrame,
    gaps: pl.DataFrame,
    window: tuple[int | None, int | None],
) -> Market:
    whole = found.filter("whole")
    if whole.is_empty() or view.manifest is None:
        raise DataError(
            f"no whole {spec.bars} bar between {spec.first_day or 'the beginning'} and {spec.last_day or 'the end'}",
            expected="a window with bars",
            action="choose other days or shorter bars",
        )
    symbols = tuple(dict.fromkeys(n.symbol for n in view.names if n.symbol in set(whole["symbol"].unique())))
    interval_t = interval_seconds(spec.bars)
    t = whole["ts_utc"].dt.epoch("s").to_numpy()
    grid = np.arange(int(t.min()), int(t.max()) + 1, interval_t, dtype=np.int64)
    row, column = (
        (t - grid[0]) // interval_t,
        whole["symbol"].replace_strict(list(symbols), list(range(len(symbols)))).to_numpy(),
    )
    values = {}
    for name in ("high", "low", "close"):
        values[name] = np.full((len(grid), len(symbols)), np.nan)
        values[name][row, column] = whole[name].to_numpy()
    first_t, end_t = window[0] or 0, window[1] if window[1] is not None else view.as_of_t
    inside = pl.col("month") >= datetime.fromtimestamp(first_t, UTC).replace(day=1).date()
    return Market(
        view.manifest,
        view.manifest.label,
        symbols,
        interval_t,
        grid,
        values["high"],
        values["low"],
        values["close"],
        months.filter(inside & pl.col("symbol").is_in(symbols)),
        gaps.filter((pl.col("last_utc") >= datetime.fromtimestamp(first_t, UTC)) & pl.col("symbol").is_in(symbols)),
        tuple(f for f in view.manifest.findings if f.symbol in symbols and f.last_t >= first_t and f.first_t < end_t),
        found.height - whole.height,
    )


# ---- the result --------------------------------------------------------------------------------------------------------


def summarise(spec: ExploreSpec, market: Market, second: Market | None, found: Correlations, spread: pl.DataFrame) -> Explored:
    """Return the figures of an exploration as whole numbers."""
    covered = market.months.group_by("symbol").agg(pl.col("bars_n", "due_n").sum())
    counts = {s: (n, due) for s, n, due in covered.iter_rows()}
    returns = log_returns(market)
    yearly = YEAR_T / market.interval_t
    weights = spread.with_columns(pl.col("corwin_schultz", "abdi_ranaldo") * pl.col("n"))
    total = weights.group_by("symbol").agg(pl.col("corwin_schultz", "abdi_ranaldo", "n").sum())
    mean = {s: (cs / n, ar / n) for s, cs, ar, n in total.iter_rows()}
    gates: dict[str, int] = {}
    for f in market.findings:
        gates[f.gate] = gates.get(f.gate, 0) + 1
    others = {s: np.delete(found.matrix[i], i) for i, s in enumerate(found.symbols)}
    return Explored(
        dataset_hash=spec.dataset,
        second_hash=spec.second,
        label=market.label,
        bars=spec.bars,
        symbols=market.symbols,
        bars_n=sum(n for n, _ in counts.values()),
        partial_n=market.partial_n,
        gaps_n=market.gaps.height,
        missing_n=sum(due - n for n, due in counts.values()),
        findings=dict(sorted(gates.items())),
        coverage_ppm={s: 1_000_000 * counts[s][0] // counts[s][1] for s in market.symbols},
        volatility_bp={
            s: round(BP * float(np.sqrt(yearly * np.mean(r * r)))) if len(r := returns[~np.isnan(returns[:, i]), i]) else 0
            for i, s in enumerate(market.symbols)
        },
        correlation_e4={s: None if np.isnan(c).all() else round(BP * float(np.nanmean(c))) for s, c in others.items()},
        corwin_schultz_e2bp={s: round(100 * mean[s][0]) if s in mean else None for s in market.symbols},
        abdi_ranaldo_e2bp={s: round(100 * mean[s][1]) if s in mean else None for s in market.symbols},
        venue_spread=tuple(_venue_spread(s, distance) for s, _, distance in apart(market, second)),
    )


def _venue_spread(symbol: str, distance: Floats) -> VenueSpread:
    low, middle, high = (round(100 * float(q)) for q in np.quantile(distance, [0.05, 0.5, 0.95], method="nearest"))
    return VenueSpread(symbol=symbol, bars_n=len(distance), median=middle, low=low, high=high)


def _day_t(day: str) -> int:
    return int((datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) - datetime.fromtimestamp(0, UTC)) / timedelta(seconds=1))


# ---- tables for people -------------------------------------------------------------------------------------------------


def assets_of(spec: ExploreSpec, home: Path) -> tuple[str, ...]:
    """Return the assets of the dataset a spec names."""
    return load_manifest(home, spec.dataset).symbols


def longest_gaps(market: Market, n: int = 12) -> pl.DataFrame:
    """Return the longest holes: asset, first and last missing bar, number of bars."""
    longest = market.gaps.sort(["bars_n", "first_utc", "symbol"], descending=[True, False, False]).head(n)
    times = (pl.col(c).dt.strftime("%Y-%m-%d %H:%M") for c in ("first_utc", "last_utc"))
    return longest.select(pl.col("symbol").alias("asset"), *times, pl.col("bars_n").alias("bars missing"))


def figures(found: Explored) -> pl.DataFrame:
    """Return one row per asset of the figures of a result."""

    def scaled(values: dict[str, int | None] | dict[str, int], unit: float, decimals: int) -> list[float | None]:
        return [None if (v := values[s]) is None else round(v / unit, decimals) for s in found.symbols]

    return pl.DataFrame({
        "asset": found.symbols,
        "coverage %": scaled(found.coverage_ppm, 1e4, 3),
        "volatility %": scaled(found.volatility_bp, 100, 1),
        "correlation": scaled(found.correlation_e4, BP, 3),
        "Corwin-Schultz bp": scaled(found.corwin_schultz_e2bp, 100, 1),
        "Abdi-Ranaldo bp": scaled(found.abdi_ranaldo_e2bp, 100, 1),
    })  # fmt: skip
