"""Per asset: prices, fills and refusals for the charts, and the exact lists of trades."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from reports.static.charts import Chart
from reports.static.charts_market import Marks, Prices, price_chart
from reports.static.facts import SERIES, refused
from reports.static.inputs import RUNS, Inputs, Run
from reports.static.numbers import NO_VALUE, plural, ratio_ppm
from runtime.core import codes as c
from runtime.inference.panel import Ints


@dataclass(frozen=True, slots=True)
class Trade:
    """One closed lot."""

    run: str
    opened_t: int
    closed_t: int
    qty_e8: int
    cost_e8: int
    proceeds_e8: int
    pnl_e8: int
    return_ppm: int
    campaign_id: int


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset's part of the market section."""

    symbol: str
    says: str
    fills_n: int
    chart: Chart | None
    trades: tuple[Trade, ...]


def period(inputs: Inputs) -> tuple[int, int]:
    """Return first and last time of the tests, else of all runs, else of the dataset."""
    folds = inputs.tables["folds"]
    if len(folds):
        return min(folds["test_first_t"].to_list()), max(folds["test_last_t"].to_list())
    if not inputs.runs:
        return inputs.manifest.first_t, inputs.manifest.last_t
    summaries = [run.summary for run in inputs.runs.values()]
    return min(s.first_t for s in summaries), max(s.last_t for s in summaries)


def prices_of(inputs: Inputs, symbol: str) -> Prices | None:
    """Return the bars of an asset in the test period; None when it has none there."""
    first_t, last_t = period(inputs)
    panel = inputs.panel
    if symbol not in panel.symbols:
        return None
    column = panel.symbols.index(symbol)
    rows = (panel.open_t >= first_t - panel.interval_t) & (panel.open_t <= last_t)
    close = panel.close[rows, column]
    if len(close) < 2 or np.isnan(close).all():
        return None
    return Prices(panel.open_t[rows], panel.low[rows, column], panel.high[rows, column], close)


def marks_of(run: Run, instrument: int) -> Marks:
    """Return when and where a run bought, sold and was refused in one asset."""
    fills = run.tables["order_fill"].filter(pl.col("instrument_id") == instrument)
    buys, sells = fills.filter(pl.col("side_id") == c.BUY), fills.filter(pl.col("side_id") == c.SELL)
    return Marks(
        _times(buys), buys["price_e8"].to_numpy() / 1e8, _times(sells), sells["price_e8"].to_numpy() / 1e8,
        np.sort(_times(refused(run).filter(pl.col("instrument_id") == instrument))),
    )  # fmt: skip


def _times(frame: pl.DataFrame) -> Ints:
    return frame["at_t"].cast(pl.Int64).to_numpy()


def trades_of(run: Run, instrument: int) -> list[Trade]:
    """Return the closed lots of a run in one asset, oldest first."""
    rows = run.tables["executed_trade"].filter(pl.col("instrument_id") == instrument).sort("trade_id")
    columns = ("opened_t", "at_t", "qty_e8", "cost_e8", "proceeds_e8", "pnl_e8", "campaign_id")
    return [
        Trade(SERIES[run.name], opened_t, closed_t, qty, cost, proceeds, pnl, ratio_ppm(cost + pnl, cost), campaign)
        for opened_t, closed_t, qty, cost, proceeds, pnl, campaign in rows.select(columns).iter_rows()
    ]


def assets(inputs: Inputs) -> list[Asset]:
    """Return every asset of the runs, in instrument order, with its chart when it has prices in the test period."""
    runs = {name: inputs.runs[name] for name in RUNS if name in inputs.runs}
    symbols = next(iter(runs.values())).symbols if runs else ()
    found = []
    for i, symbol in enumerate(symbols):
        marks = {name: marks_of(run, i) for name, run in runs.items()}
        trades = [trade for run in runs.values() for trade in trades_of(run, i)]
        prices = prices_of(inputs, symbol)
        says = describe(marks)
        drawn = price_chart(symbol, prices, marks, f"{symbol}. {says}", inputs.study.simulated) if prices else None
        fills_n = sum(len(m.buy_t) + len(m.sell_t) for m in marks.values())
        found.append(Asset(symbol, says, fills_n, drawn, tuple(trades)))
    return found


def describe(marks: Mapping[str, Marks]) -> str:
    """Return what every run did in an asset, in one line."""
    parts = []
    for name, mine in marks.items():
        done = f"{plural(len(mine.buy_t), 'buy', 'buys')}, {plural(len(mine.sell_t), 'sale')}"
        nothing = not len(mine.buy_t) and not len(mine.sell_t)
        parts.append(f"{SERIES[name]}: {'no fill' if nothing else done}, {plural(len(mine.refused_t), 'refusal')}")
    return "; ".join(parts) + "." if parts else NO_VALUE
