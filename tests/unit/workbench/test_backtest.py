from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from runtime.core.records import FORECAST, INSTRUMENTS
from runtime.errors import DataError
from runtime.genesis import Bundle
from runtime.inference.bundle import Forecasts
from runtime.inference.panel import BarPanel
from runtime.policy import RiskProfile
from workbench.backtest import WARM_UP_BARS, Origin, RunSummary, load_summary, run_backtest

HASH = "0" * 64
ORIGIN = Origin(HASH, "test", simulated=True, universe_version="test")
BUNDLE = Bundle(name="trend", bundle_hash=HASH, feature_set_hash=HASH, model_hashes=())
CASH_E8 = 100_000 * 10**8


def panel(hours: int = 600) -> BarPanel:
    rng = np.random.default_rng(4)
    close = 100 * np.cumprod(1 + 0.01 * (rng.random((hours, 2)) - 0.49), axis=0)
    opened = np.vstack([close[:1], close[:-1]])
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    times = 1_577_836_800 + 3_600 * np.arange(hours, dtype=np.int64)
    return BarPanel(("BTC", "ETH"), 3_600, times, opened, high, low, close, np.full((hours, 2), 5_000.0))


def forecasts(bars: BarPanel, first: int = 200) -> Forecasts:
    at = np.arange(first, len(bars.open_t), 4)
    rows = np.zeros((len(at), INSTRUMENTS), FORECAST)
    sign = np.where((at // 48) % 2 == 0, 1, -1)[:, None]
    rows["prob_main_ppm"][:, :2] = 500_000 + 90_000 * sign
    rows["ret_main_ppm"][:, :2] = rows["ret_far_ppm"][:, :2] = 20_000 * sign
    rows["valid_n"][:, :2] = 1
    return Forecasts(bars.symbols, bars.open_t[at] + 3_600, rows, [bytes(32)] * len(at))


def run(home: Path, **fields: object) -> RunSummary:
    bars = panel()
    return run_backtest(
        home, bars, fields.pop("forecasts", forecasts(bars)), ORIGIN, BUNDLE, RiskProfile(), initial_cash_e8=CASH_E8, **fields
    )


def test_a_run_is_complete_and_repeatable(home: Path) -> None:
    first = run(home)
    folder = home / "runs" / first.run_id
    assert sorted(p.name for p in folder.iterdir()) == [
        "genesis.json",
        "head.json",
        "journal.sqlite",
        "platform.json",
        "projections",
        "run.json",
    ]
    assert first.fills > 0
    assert first.trades > 0
    again = run(home)
    assert again.model_dump(exclude={"seconds"}) == first.model_dump(exclude={"seconds"})
    assert load_summary(folder) == again
    assert [p.name for p in (home / "runs").iterdir()] == [first.run_id], "no leftovers"


def test_the_summary_says_what_the_tables_say(home: Path) -> None:
    summary = run(home)
    tables = home / "runs" / summary.run_id / "projections"
    states = pq.read_table(tables / "portfolio_hourly_state.parquet")
    assert summary.final_pv_e8 == states["pv_e8"][-1].as_py()
    assert summary.net_return_ppm == (summary.final_pv_e8 - CASH_E8) * 10**6 // CASH_E8
    fills = pq.read_table(tables / "order_fill.parquet")
    assert summary.fills == fills.num_rows
    assert summary.fees_e8 == sum(fills["fee_e8"].to_pylist())
    assert summary.turnover_e8 == sum(fills["notional_e8"].to_pylist())


def test_the_period_is_bounded(home: Path) -> None:
    bars = panel()
    last_t = int(bars.open_t[400])
    summary = run(home, last_t=last_t)
    assert summary.last_t == last_t
    assert summary.first_t == int(bars.open_t[200 - WARM_UP_BARS]) + 3_600


def test_without_forecasts_nothing_is_written(home: Path) -> None:
    empty = Forecasts(("BTC", "ETH"), np.zeros(0, np.int64), np.zeros((0, INSTRUMENTS), FORECAST), [])
    with pytest.raises(DataError, match="0 forecasts"):
        run(home, forecasts=empty)
    assert list(home.iterdir()) == []


def test_an_interrupted_run_leaves_no_folder(home: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(home, report=interrupt)
    assert list((home / "runs").iterdir()) == []
