from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from workbench.data.bars import Bars
from workbench.data.providers import simulate as module
from workbench.data.providers.simulate import ASSETS, HOURS, OUTAGES, simulate
from workbench.data.quality.gates import Series, form_findings, history_findings

GOLDEN = {
    "BTC": "d5a826848f898b0d",
    "ETH": "0782b5c6fc65df2a",
    "XRP": "4e0b764b19cb4cbd",
    "SOL": "cc535215e0ea93bd",
    "ADA": "2f8934c7439e674d",
    "LINK": "61053c11db5bb5ec",
    "LTC": "d9d0ed32e52644cb",
    "AVAX": "1b8c06a76bba349d",
}
"""First digits of the digests of the default market: the same on every machine, operating system and NumPy."""


@pytest.fixture(scope="module")
def market() -> dict[str, Bars]:
    return simulate().bars


def returns(bars: Bars) -> np.ndarray:
    return bars.close[1:] / bars.close[:-1] - 1


def test_the_default_market_is_the_same_everywhere(market: dict[str, Bars]) -> None:
    assert {name: bars.digest[:16] for name, bars in market.items()} == GOLDEN


def test_it_does_not_depend_on_vector_units_or_hash_seed() -> None:
    """Another process without NumPy's dispatched vector code stands for another processor."""
    code = "from workbench.data.providers.simulate import simulate\nfor n, b in simulate(hours=9000).bars.items(): print(n, b.digest)"
    outputs = set()
    for settings in ({}, {"NPY_DISABLE_CPU_FEATURES": _dispatched(), "PYTHONHASHSEED": "99"}):
        environment = os.environ | {"PYTHONHASHSEED": "1"} | settings
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=Path.cwd()
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1


def _dispatched() -> str:
    from numpy._core._multiarray_umath import __cpu_baseline__, __cpu_dispatch__, __cpu_features__

    return " ".join(f for f in __cpu_dispatch__ if __cpu_features__.get(f) and f not in __cpu_baseline__)


def test_only_correctly_rounded_functions_are_called() -> None:
    """The source calls no NumPy function whose bits may differ between processors."""
    allowed = {
        "array", "arange", "asarray", "empty", "zeros", "ones", "where", "flatnonzero", "rint", "maximum", "minimum", "uint64", "PCG64",
    }  # fmt: skip
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) in {"np", "np.random"}
    }  # fmt: skip
    assert called <= allowed
    assert not any(isinstance(node, ast.MatMult) for node in ast.walk(ast.parse(inspect.getsource(module))))


def test_it_takes_at_most_five_seconds() -> None:
    began_s = time.process_time()
    simulate()
    assert time.process_time() - began_s < 5.0


def test_another_seed_is_another_market() -> None:
    assert simulate(1, 500).bars["BTC"].digest != simulate(2, 500).bars["BTC"].digest
    assert simulate(1, 500).bars["BTC"].digest == simulate(1, 500).bars["BTC"].digest


def test_bars_are_well_formed_on_the_tick(market: dict[str, Bars]) -> None:
    for asset in ASSETS:
        bars = market[asset.name]
        assert form_findings(bars, Series(asset.name, asset.name, 3_600)) == []
        for name in ("open", "high", "low", "close"):
            ticks = getattr(bars, name) * 10**asset.decimals
            assert float(np.abs(ticks - np.rint(ticks)).max()) < 1e-3


def test_every_history_gate_has_something_to_find(market: dict[str, Bars]) -> None:
    found = [f for name, bars in market.items() for f in history_findings(bars, Series(name, name, 3_600))]
    assert Counter(f.gate for f in found if f.gate == "gap") == {"gap": 48}, "outages of every listed asset, and single holes"
    assert {(f.symbol, f.rows_n) for f in found if f.gate == "zero_volume"} == {("LTC", 1), ("XRP", 1), ("LINK", 2)}
    assert {f.symbol for f in found if f.gate == "wick"} == {name for name, *_ in module.WICKS}
    for start, n in OUTAGES:
        missing = module.FIRST_T + 3_600 * np.arange(start, start + n)
        assert not np.isin(missing, market["BTC"].t).any()


def test_the_market_looks_like_one(market: dict[str, Bars]) -> None:
    for bars in market.values():
        r = returns(bars)
        size = np.abs(r)
        z = (r - r.mean()) / r.std()
        assert 0.4 < float(r.std() * np.sqrt(8_760)) < 1.6, "yearly volatility"
        assert float((z**4).mean()) > 4.0, "fat tails"
        assert float(np.corrcoef(size[24:], size[:-24])[0, 1]) > 0.05, "volatility clusters over days"
    assert len(market["BTC"]) == HOURS - sum(n for _, n in OUTAGES)
    both = np.intersect1d(market["BTC"].t, market["ETH"].t)
    btc, eth = (returns(market[s].take(np.isin(market[s].t, both))) for s in ("BTC", "ETH"))
    assert 0.5 < float(np.corrcoef(btc, eth)[0, 1]) < 0.9


def test_the_stated_predictability_is_there_and_small() -> None:
    """Over many seeds a day follows about a tenth of the day before; the last hour's own move reverses a little."""
    trend, reversal, daily = [], [], []
    for seed in range(100, 112):
        market = simulate(seed, 20_000).bars
        close, other = market["BTC"].close, market["ETH"].close
        past, coming = close[720:-72:24] / close[:-792:24] - 1, close[792::24] / close[720:-72:24] - 1
        trend.append(float(np.corrcoef(past, coming[: len(past)])[0, 1]))
        day = close[24::24] / close[:-24:24] - 1
        daily.append(float(np.corrcoef(day[1:], day[:-1])[0, 1]))
        own = (other[1:] / other[:-1]) - 1.15 * (close[1:] / close[:-1]) + 0.15
        reversal.append(float(np.corrcoef(own[1:], own[:-1])[0, 1]))
    assert 0.05 < float(np.mean(daily)) < 0.2
    assert 0.0 < float(np.mean(trend)) < 0.25
    assert -0.08 < float(np.mean(reversal)) < -0.02
