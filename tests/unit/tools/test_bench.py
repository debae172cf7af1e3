"""The benchmark measures a market that trades, and everything it promises."""

from __future__ import annotations

import numpy as np

from tools import bench


def test_the_market_is_sound_and_seeded() -> None:
    bars = bench.make_bars(50)
    used = bars[:, : bench.SYMBOLS_N]
    body_high = np.maximum(used["open_e8"], used["close_e8"])
    body_low = np.minimum(used["open_e8"], used["close_e8"])
    assert (used["high_e8"] >= body_high).all()
    assert (used["low_e8"] <= body_low).all()
    assert (used["low_e8"] > 0).all()
    assert not bars[:, bench.SYMBOLS_N :]["present_n"].any()
    assert bars.tobytes() == bench.make_bars(50).tobytes()


def test_every_stage_is_measured_on_a_ledger_that_is_not_empty() -> None:
    measured = bench.measure_core(240)
    assert {*bench.STAGES, "blocks", "rows"} == set(measured)
    assert measured["blocks"] > 240, "fills are blocks of their own"
    assert measured["rows"] > 2 * 240, "more than the hourly states"
    assert all(measured[stage] > 0 for stage in bench.STAGES)
