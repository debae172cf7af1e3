"""The figures of the tables, computed exactly from the study's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from reports.static.inputs import RUNS, Inputs, Run
from reports.static.numbers import ratio_ppm, year
from runtime.core import codes as c
from runtime.inference.panel import Ints

SERIES: Final = {
    "ml": "ML bundle", "trend": "Trend rule", "flat": "Flat", "btc_hold": "BTC hold", "equal_weight": "Equal weight",
}  # fmt: skip
Series = Mapping[str, tuple[Ints, Ints]]
"""Series name -> time int64 [N], portfolio value int64 [N] in 1e-8 units."""
DAY_T: Final = 86_400


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one series ended; what only a run has is None for a baseline."""

    name: str
    label: str
    final_pv_e8: int
    net_return_ppm: int
    max_drawdown_ppm: int
    fees_e8: int | None = None
    slippage_e8: int | None = None
    turnover_e8: int | None = None
    fills_n: int | None = None
    trades_n: int | None = None
    invested_ppm: int | None = None
    beta: float | None = None


@dataclass(frozen=True, slots=True)
class YearResult:
    """One calendar year of one series."""

    year: int
    whole: bool
    return_ppm: int
    drawdown_ppm: int
    final_pv_e8: int


@dataclass(frozen=True, slots=True)
class SymbolResult:
    """What one run did in one asset."""

    symbol: str
    fills_n: int
    trades_n: int
    won_n: int
    pnl_e8: int
    fees_e8: int
    slippage_e8: int
    turnover_e8: int
    held_ppm: int
    open_qty_e8: int
    refused_n: int


@dataclass(frozen=True, slots=True)
class Check:
    """One figure found twice by different ways."""

    what: str
    stated: int
    recomputed: int

    @property
    def agrees(self) -> bool:
        """Whether both ways gave the same figure."""
        return self.stated == self.recomputed


def equity(inputs: Inputs) -> dict[str, tuple[Ints, Ints]]:
    """Return every series of the equity table, in the report's order, by rising time."""
    frame = inputs.tables["equity"].with_columns(pl.col("series").cast(pl.String)).sort("at_t")
    found = {}
    for name in SERIES:
        rows = frame.filter(pl.col("series") == name)
        if len(rows):
            found[name] = (rows["at_t"].cast(pl.Int64).to_numpy(), rows["pv_e8"].cast(pl.Int64).to_numpy())
    return found


def drawdown_ppm(pv_e8: Ints, peak_e8: int = 0) -> int:
    """Return the deepest fall below the highest value so far (at least `peak_e8`), in 1e-6 units, 0 or positive."""
    peaks = np.maximum(np.maximum.accumulate(pv_e8), peak_e8)
    worst = int(np.argmin(pv_e8 / peaks))
    return -ratio_ppm(int(pv_e8[worst]), int(peaks[worst]))


def outcomes(inputs: Inputs, series: Series) -> list[Outcome]:
    """Return one outcome per series: the runs from their summaries, the baselines from the study."""
    found = []
    for name, label in SERIES.items():
        if name in inputs.runs:
            run, s = inputs.runs[name], inputs.runs[name].summary
            found.append(Outcome(name, label, s.final_pv_e8, s.net_return_ppm, s.max_drawdown_ppm, s.fees_e8, s.slippage_e8,
                                 s.turnover_e8, s.fills, s.trades, invested_ppm(run), beta(series, name)))  # fmt: skip
        elif name in inputs.study.baselines:
            b = inputs.study.baselines[name]
            found.append(
                Outcome(name, label, b.final_pv_e8, b.net_return_ppm, b.max_drawdown_ppm, b.fees_e8, beta=beta(series, name))
            )
    return found


def invested_ppm(run: Run) -> int | None:
    """Return the mean over hours of positions' value divided by portfolio value, in 1e-6 units."""
    hours = run.tables["portfolio_hourly_state"]
    held = hours.filter(pl.col("pv_e8") > 0)
    if not len(held):
        return None
    return round(float((held["gross_e8"].to_numpy() / held["pv_e8"].to_numpy()).mean()) * 1_000_000)


def invested_most_ppm(run: Run) -> int:
    """Return the highest share of the portfolio that was in positions at any hour, in 1e-6 units."""
    hours = run.tables["portfolio_hourly_state"].filter(pl.col("pv_e8") > 0)
    return max((gross * 1_000_000 // pv for gross, pv in hours.select("gross_e8", "pv_e8").iter_rows()), default=0)


def halted(run: Run) -> tuple[int, int] | None:
    """Return when the drawdown tier HALT20 first held and for what share of all hours, in 1e-6 units; None if never."""
    hours = run.tables["risk_hourly_state"]
    rows = hours.filter(pl.col("tier_id") == c.TIER_HALT20).sort("state_id")
    return (rows["at_t"][0], len(rows) * 1_000_000 // len(hours)) if len(rows) else None


def entries(run: Run) -> tuple[int, int, int]:
    """Return how many buys a run made, and when the first and the last of them filled."""
    times = run.tables["order_fill"].filter(pl.col("side_id") == c.BUY)["at_t"].to_list()
    return len(times), min(times, default=0), max(times, default=0)


def daily(at_t: Ints, pv_e8: Ints) -> dict[int, int]:
    """Return the last value of each UTC day."""
    return dict(zip((at_t // DAY_T).tolist(), pv_e8.tolist(), strict=True))


def beta(series: Series, name: str) -> float | None:
    """Return the slope of a series' daily returns on those of BTC hold; None without variation or without BTC hold."""
    if name not in series or "btc_hold" not in series:
        return None
    mine, btc = daily(*series[name]), daily(*series["btc_hold"])
    days = sorted(set(mine) & set(btc))
    if len(days) < 30:
        return None
    a, b = (np.array([values[d] for d in days], dtype=np.float64) for values in (mine, btc))
    x, y = b[1:] / b[:-1] - 1, a[1:] / a[:-1] - 1
    spread = float(((x - x.mean()) ** 2).sum())
    return float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread else None


def years(at_t: Ints, pv_e8: Ints) -> list[YearResult]:
    """Return the result of every calendar year: from the last value of the year before (or the first of all) to its own last.

    A value at midnight closes the day before. A year is whole when the series covers it from its first day to its last.
    """
    calendar = np.array([year(t - 1) for t in at_t.tolist()])
    found = []
    before = int(pv_e8[0])
    for y in sorted(set(calendar.tolist())):
        rows = np.flatnonzero(calendar == y)
        last = int(pv_e8[rows[-1]])
        first_day, last_day = (np.array([at_t[rows[0]], at_t[rows[-1]]]) - 1).astype("datetime64[s]").astype("datetime64[D]")
        whole = str(first_day)[5:] == "01-01" and str(last_day)[5:] == "12-31"
        found.append(YearResult(y, whole, ratio_ppm(last, before), drawdown_ppm(pv_e8[rows], before), last))
        before = last
    return found


def refused(run: Run) -> pl.DataFrame:
    """Return the refusals of a run."""
    return run.tables["risk_event"].filter(pl.col("kind_id") == c.RISK_REFUSED)


def gates(run: Run) -> list[tuple[str, int, int]]:
    """Return (gate name, refused, cut) for every gate that refused or cut something, most refusals first."""
    events = run.tables["risk_event"]
    cuts: dict[str, int] = {}
    for gate, n in events.filter(pl.col("kind_id") == c.RISK_CUT).group_by("gate_id").len().sort("gate_id").iter_rows():
        cuts[c.GATE_NAMES.get(gate, str(gate))] = n
    names = sorted(set(run.summary.refusals) | set(cuts))
    rows = [(name, run.summary.refusals.get(name, 0), cuts.get(name, 0)) for name in names]
    return sorted((row for row in rows if row[1] or row[2]), key=lambda row: (-row[1], -row[2], row[0]))


def actions(run: Run) -> list[tuple[str, str, int]]:
    """Return (action, reason, number) of the signals, most frequent first."""
    counted = run.tables["trade_signal"].group_by("action_id", "reason_id").len()
    rows = [(c.ACTION_NAMES.get(a, str(a)), c.REASON_NAMES.get(r, str(r)), n) for a, r, n in counted.iter_rows()]
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def by_symbol(run: Run) -> list[SymbolResult]:
    """Return one row per asset of the run, in instrument order."""
    fills, trades, refusals = run.tables["order_fill"], run.tables["executed_trade"], refused(run)
    period_t = max(1, run.summary.last_t - run.summary.first_t)
    found = []
    for i, symbol in enumerate(run.symbols):
        mine = fills.filter(pl.col("instrument_id") == i).sort("fill_id")
        done = trades.filter(pl.col("instrument_id") == i)
        held_t, open_e8 = held(mine, run.summary.last_t)
        found.append(SymbolResult(
            symbol, len(mine), len(done), len(done.filter(pl.col("pnl_e8") > 0)), total(done, "pnl_e8"), total(mine, "fee_e8"),
            total(mine, "slippage_e8"), total(mine, "notional_e8"), held_t * 1_000_000 // period_t, open_e8,
            len(refusals.filter(pl.col("instrument_id") == i)),
        ))  # fmt: skip
    return found


def total(frame: pl.DataFrame, column: str) -> int:
    """Return the exact sum of an integer column; 0 for no rows."""
    return sum(frame[column].to_list())


def held(fills: pl.DataFrame, last_t: int) -> tuple[int, int]:
    """Return for how many seconds the fills of one asset left a position open, and the quantity left at the end."""
    qty_e8, since_t, held_t = 0, 0, 0
    for at_t, side, filled_e8 in fills.select("at_t", "side_id", "qty_e8").iter_rows():
        before = qty_e8
        qty_e8 += side * filled_e8
        if before == 0 and qty_e8 > 0:
            since_t = at_t
        elif before > 0 and qty_e8 == 0:
            held_t += at_t - since_t
    return held_t + (max(0, last_t - since_t) if qty_e8 > 0 else 0), qty_e8


def checks(inputs: Inputs, series: Series) -> list[Check]:
    """Recompute what the summaries state from the projection tables and the equity table."""
    found = []
    for name in (n for n in RUNS if n in inputs.runs):
        run, s = inputs.runs[name], inputs.runs[name].summary
        label, fills, hours = SERIES[name], run.tables["order_fill"], run.tables["portfolio_hourly_state"]
        ledger = run.tables["cash_ledger"]
        found += [
            Check(f"{label}: signals", s.signals, len(run.tables["trade_signal"])),
            Check(f"{label}: fills", s.fills, len(fills)),
            Check(f"{label}: trades", s.trades, len(run.tables["executed_trade"])),
            Check(f"{label}: refusals", sum(s.refusals.values()), len(refused(run))),
            Check(f"{label}: fees, 1e-8 USD", s.fees_e8, total(fills, "fee_e8")),
            Check(f"{label}: turnover, 1e-8 USD", s.turnover_e8, total(fills, "notional_e8")),
            Check(f"{label}: ledger entries that do not add up", 0, broken_entries(ledger)),
        ]
        if len(hours):
            found.append(Check(f"{label}: final value, 1e-8 USD", s.final_pv_e8, int(hours.sort("state_id")["pv_e8"][-1])))
        if name in series:
            found.append(Check(f"{label}: last point of the curve, 1e-8 USD", s.final_pv_e8, int(series[name][1][-1])))
    return found


def broken_entries(ledger: pl.DataFrame) -> int:
    """Return how many cash entries break `before + delta = after`, or do not begin where their predecessor ended."""
    rows = ledger.sort("entry_id")
    broken = len(rows.filter(pl.col("before_e8") + pl.col("delta_e8") != pl.col("after_e8")))
    for _, chain in sorted(rows.partition_by("account_id", "quote_id", as_dict=True).items()):
        befores, afters = chain["before_e8"].to_list(), chain["after_e8"].to_list()
        broken += sum(b != a for b, a in zip(befores, [0, *afters[:-1]], strict=True))
    return broken


def months_of(open_t: Ints) -> tuple[Ints, Ints]:
    """Return the beginning of each calendar month of a grid [M], and for every row its month's number [T]."""
    month = open_t.astype("datetime64[s]").astype("datetime64[M]")
    unique, index = np.unique(month, return_inverse=True)
    return unique.astype("datetime64[s]").astype(np.int64), index.astype(np.int64)


def coverage(inputs: Inputs) -> tuple[Sequence[str], Ints, list[list[tuple[int, int]]]]:
    """Return assets, month beginnings, and (bars present, bars of the grid) per asset and month."""
    starts_t, index = months_of(inputs.panel.open_t)
    expected = np.bincount(index, minlength=len(starts_t))
    rows = []
    for s in range(len(inputs.panel.symbols)):
        seen = np.bincount(index[~np.isnan(inputs.panel.close[:, s])], minlength=len(starts_t))
        rows.append(list(zip(seen.tolist(), expected.tolist(), strict=True)))
    return inputs.panel.symbols, starts_t, rows
