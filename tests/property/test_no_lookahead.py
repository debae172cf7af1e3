"""Nothing known later changes anything earlier: from bars through features, forecasts and the core to the ledger."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from runtime.adapters.inputs import load_bars, load_clusters, load_forecasts
from runtime.core.digest import decode_payload
from runtime.engine import RunInputs, iterate_blocks
from runtime.genesis import Bundle, Genesis
from runtime.inference.bundle import Forecasts
from runtime.inference.features import compute, feature_digests
from runtime.inference.panel import BarPanel
from runtime.inference.trend import DEFAULT_TREND, trend_forecasts, widen
from runtime.policy import load_profile
from workbench.backtest import Origin, run_backtest
from workbench.data.datasets.manifests import load_panel
from workbench.data.datasets.prepare import prepare_dataset

HOURS = 3_200
ASSETS = ("BTC", "ETH", "SOL", "ADA", "LINK")
PRICES = ("open", "high", "low", "close")


def last_hours(panel: BarPanel) -> BarPanel:
    """Return a few assets over a stretch in which all of them trade."""
    columns = [panel.symbols.index(name) for name in ASSETS]
    end = int(np.flatnonzero(np.isfinite(panel.close[:, columns]).all(axis=1))[-1]) + 1
    cut = {name: getattr(panel, name)[end - HOURS : end, columns] for name in (*PRICES, "volume")}
    return dataclasses.replace(panel, symbols=ASSETS, open_t=panel.open_t[end - HOURS : end], **cut)


def mutated_after(panel: BarPanel, row: int) -> BarPanel:
    """Return the panel with every bar after a row changed: prices, volumes, and a hole."""
    rng = np.random.default_rng(row)
    changed = {name: getattr(panel, name).copy() for name in (*PRICES, "volume")}
    factor = 0.5 + rng.random((len(panel.open_t) - row - 1, len(panel.symbols)))
    for values in changed.values():
        values[row + 1 :] *= factor
        values[row + 20 : row + 40, 1] = np.nan
    return dataclasses.replace(panel, **changed)


def everything(home: Path, panel: BarPanel) -> tuple[np.ndarray, np.ndarray, list[tuple[int, bytes]], Forecasts]:
    """Return decision times, features, payloads by time and forecasts of the trend rule over a panel."""
    close_t = panel.open_t + panel.interval_t
    rows = np.flatnonzero(close_t % 14_400 == 0)
    rows = rows[rows >= DEFAULT_TREND.window_n]
    features = compute(panel, rows)
    forecasts = Forecasts(panel.symbols, close_t[rows], widen(trend_forecasts(panel, rows)), feature_digests(features))
    bundle = Bundle(name="trend", bundle_hash="0" * 64, feature_set_hash=DEFAULT_TREND.digest, model_hashes=())
    origin = Origin("0" * 64, "test", simulated=False, universe_version="v1")
    summary = run_backtest(home, panel, forecasts, origin, bundle, load_profile("conservative"), initial_cash_e8=10**13)
    genesis = Genesis.model_validate_json((home / "runs" / summary.run_id / "genesis.json").read_bytes())
    inputs = RunInputs(
        genesis,
        *load_bars(home, genesis.bars_digest),
        load_forecasts(home, genesis.forecasts_digest),
        load_clusters(home, genesis.clusters_digest),
    )
    payloads = [(block.at_t, block.payload) for blocks in iterate_blocks(inputs) for block in blocks]
    return close_t[rows], features, payloads, forecasts


def ledger_rows(payloads: list[tuple[int, bytes]], until_t: int) -> int:
    return sum(len(decode_payload(p).get("cash_ledger", ())) for t, p in payloads if t <= until_t)


@pytest.mark.parametrize("source", ["simulated", "real"])
def test_the_future_changes_no_feature_forecast_signal_order_or_entry(
    source: str, home: Path, request: pytest.FixtureRequest
) -> None:
    data = request.getfixturevalue("real_data") if source == "real" else None
    panel = last_hours(load_panel(home, prepare_dataset(home, data)))
    at_t, features, payloads, forecasts = everything(home, panel)
    row = HOURS - 400
    until_t = int(panel.open_t[row] + panel.interval_t)
    at_t2, features2, payloads2, forecasts2 = everything(home, mutated_after(panel, row))
    assert at_t.tolist() == at_t2.tolist()
    known = at_t <= until_t
    assert features[known].tobytes() == features2[known].tobytes()
    assert forecasts.rows[known].tobytes() == forecasts2.rows[known].tobytes()
    assert features[~known].tobytes() != features2[~known].tobytes()
    before = [p for p in payloads if p[0] <= until_t]
    assert before == [p for p in payloads2 if p[0] <= until_t]
    assert payloads != payloads2
    assert ledger_rows(payloads, until_t) > 1, "the rule traded before the cut, so that equality says something"
