"""Whole runs of the decision core over random markets and profiles, held against an independent account."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from runtime.core import codes as c
from runtime.core.digest import Block, decode_payload
from runtime.core.records import BAR, RECORD_TYPES
from runtime.engine import RunInputs, iterate_blocks
from runtime.policy import DrawdownTier, FeeTier, PairRules, QuoteCap, RiskProfile
from tests.support import tally
from tests.support.adversaries import MARKETS, PREDICTIONS, against
from tests.support.audit import Audit
from tests.support.markets import random_inputs

WIDE = {"cluster_cap_ppm": 1_000_000, "liquidity_ppm": 1_000_000}
"""For tests of something else: one cluster cap and a liquidity gate that do not bind."""


def run(inputs: RunInputs) -> list[Block]:
    return [block for chunk in iterate_blocks(inputs) for block in chunk]


@st.composite
def profiles(draw: st.DrawFn) -> RiskProfile:
    """Draw any profile the schema admits, adversarial corners included."""
    ppm = st.integers(0, 1_000_000)
    cap = st.one_of(st.sampled_from([1_000_000] * 6 + [600_000, 200_000, 50_000]), st.integers(0, 1_000_000))
    amount = st.sampled_from([0, 0, 0, 10**10, 10**13])
    probabilities = sorted(draw(st.lists(st.integers(300_000, 700_000), min_size=4, max_size=4)))
    sizes = sorted(draw(st.lists(ppm, min_size=3, max_size=3)), reverse=True)
    downs = sorted(draw(st.sets(st.integers(1, 500_000), min_size=3, max_size=3)))
    tiers = [DrawdownTier(drawdown_ppm=0, size_ppm=1_000_000, allow_entry=True)]
    tiers += [
        DrawdownTier(drawdown_ppm=d, size_ppm=z, allow_entry=draw(st.booleans())) for d, z in zip(downs, sizes, strict=True)
    ]
    caps = [QuoteCap(cap_ppm=draw(cap), cap_e8=draw(amount)) for _ in range(3)]
    positive, negative = draw(st.integers(0, 8_000)), -draw(st.integers(0, 8_000))
    return RiskProfile(
        strong_negative_prob_ppm=probabilities[0],
        negative_prob_ppm=probabilities[1],
        positive_prob_ppm=probabilities[2],
        strong_prob_ppm=probabilities[3],
        positive_ret_ppm=positive,
        strong_ret_ppm=positive + draw(st.integers(0, 10_000)),
        negative_ret_ppm=negative,
        strong_negative_ret_ppm=negative - draw(st.integers(0, 10_000)),
        entry_persist_n=draw(st.integers(1, 4)),
        exit_persist_n=draw(st.integers(1, 4)),
        uncertain_ppm=draw(ppm),
        near_drop_ppm=draw(st.integers(0, 20_000)),
        derisk_ppm=draw(ppm),
        derisk_max_n=draw(st.integers(0, 4)),
        base_ppm=draw(st.sampled_from([20_000, 50_000, 200_000, 1_000_000])),
        positions_max=draw(st.integers(1, 32)),
        total_cap_ppm=draw(cap),
        cluster_cap_ppm=draw(cap),
        cluster_cap_e8=draw(amount),
        liquidity_ppm=draw(st.sampled_from([1, 50_000, 1_000_000, 1_000_000])),
        maker_entry=draw(st.booleans()),
        severe_max=draw(st.integers(1, 32)),
        severe_loss_ppm=draw(st.integers(60_000, 1_000_000)),
        recovery_patience_n=draw(st.integers(1, 10)),
        rebound_exit_ppm=draw(ppm),
        take_profit_ppm=draw(st.integers(0, 50_000)),
        take_near_ppm=-draw(st.integers(0, 5_000)),
        reentry_near_ppm=draw(st.integers(0, 5_000)),
        take_ppm=draw(ppm),
        total_cap_e8=draw(st.sampled_from([0, 0, 0, 1, 10**10, 10**13])),
        entry_min_ppm=draw(st.sampled_from([0, 250_000, 1_000_000])),
        budget_cap_ppm=draw(cap),
        quote_caps=(caps[0], caps[1], caps[2]),
        tiers=(tiers[0], tiers[1], tiers[2], tiers[3]),
        fees=(
            FeeTier(volume_e8=0, maker_ppm=2_000, taker_ppm=draw(st.integers(2_000, 20_000))),
            FeeTier(volume_e8=10**12, maker_ppm=500, taker_ppm=1_000),
            FeeTier(volume_e8=10**13, maker_ppm=0, taker_ppm=100),
        ),
        margin_ppm=draw(st.integers(0, 10_000)),
        limit_ppm=draw(st.integers(0, 50_000)),
        participation_ppm=draw(st.integers(1, 100_000)),
        order_ttl_t=draw(st.integers(60, 20_000)),
        latency_t=draw(st.integers(1, 3_599)),
    )


@settings(max_examples=int(os.environ.get("BALLAST_EXAMPLES", "60")), deadline=None, derandomize="CI" in os.environ)
@given(
    st.integers(0, 2**32 - 1),
    profiles(),
    st.integers(1, 32),
    st.sampled_from([10**8, 10**11, 10**13, 10**16]),
    st.sampled_from([0.3, 1.0, 4.0]),
    st.sampled_from([1, 10**4, 10**8]),
    st.sampled_from([1, 10**4, 10**7]),
)
def test_no_invariant_breaks_under_any_profile(
    seed: int, profile: RiskProfile, symbols: int, cash_e8: int, wildness: float, lot_e8: int, depth: int
) -> None:
    pairs = tuple(PairRules(lot_e8=lot_e8) for _ in range(symbols))
    inputs = random_inputs(seed, hours=120, symbols=symbols, profile=profile, cash_e8=cash_e8, wildness=wildness, pairs=pairs)
    inputs = against(inputs, "as drawn", "as drawn", depth=depth)
    Audit(inputs).check(run(inputs))


TOTALS: Counter[str] = Counter()
HOSTILE = given(
    st.integers(0, 2**32 - 1),
    profiles(),
    st.integers(1, 32),
    st.sampled_from([10**8, 10**11, 10**13, 10**16]),
    st.sampled_from([0.3, 1.0, 4.0]),
    st.sampled_from(MARKETS),
    st.sampled_from(PREDICTIONS),
    st.sampled_from([(0,), (0, 1), (2, 1, 0)]),
    st.sampled_from([1, 10**4, 10**7]),
)


def hostile_run(
    seed: int,
    profile: RiskProfile,
    symbols: int,
    cash_e8: int,
    wildness: float,
    market: str,
    predictions: str,
    quotes: tuple[int, ...],
    depth: int,
) -> None:
    """Audit a run whose market and predictions are made to break it."""
    inputs = random_inputs(seed, hours=120, symbols=symbols, profile=profile, cash_e8=cash_e8, wildness=wildness)
    inputs = against(inputs, market, predictions, quotes, depth)
    audit = Audit(inputs)
    audit.check(run(inputs))
    TOTALS.update(runs=1, admissions=audit.counts["admissions"], fills=audit.counts["order_fill"])
    TOTALS.update({f"gate {c.GATE_NAMES[gate]}": n for gate, n in audit.refusals.items()})
    TOTALS.update(refusals=sum(audit.refusals.values()), hours=120 * symbols)


def hostile_runs(examples: int) -> None:
    """Audit so many hostile runs and leave a line on how many cases that was."""
    number = int(os.environ.get("BALLAST_SEED") or (0 if "CI" in os.environ else random.getrandbits(32)))
    TOTALS.clear()
    chosen = settings(
        max_examples=examples, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    started = time.perf_counter()
    try:
        seed(number)(chosen(HOSTILE(hostile_run)))()
    finally:
        tally.report(
            f"hostile runs: {TOTALS['runs']:,} runs, {TOTALS['hours']:,} instrument hours, {TOTALS['admissions']:,} admissions "
            f"checked against every cap, {TOTALS['refusals']:,} refusals, {TOTALS['fills']:,} fills, "
            f"{time.perf_counter() - started:.0f} s, BALLAST_SEED={number}"
        )


def test_risk_cannot_be_bypassed() -> None:
    hostile_runs(60)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_risk_cannot_be_bypassed_at_length() -> None:
    hostile_runs(int(os.environ.get("BALLAST_RUNS", "2000")))
    assert TOTALS["admissions"] > TOTALS["runs"] // 2


@pytest.mark.parametrize(
    ("profile", "gates"),
    [
        (
            RiskProfile(positions_max=3, base_ppm=90_000, participation_ppm=2_000, margin_ppm=0, **WIDE),
            {c.G_POSITIONS, c.G_BUSY},
        ),
        (RiskProfile(base_ppm=150_000, uncertain_ppm=300_000, **WIDE), {c.G_TOTAL, c.G_COST}),
        (RiskProfile(base_ppm=40_000, liquidity_ppm=1_000_000), {c.G_CLUSTER}),
        (RiskProfile(maker_entry=True, severe_max=1, severe_loss_ppm=60_000, **WIDE), {c.G_SEVERE_LOSS}),
    ],
)
def test_long_run_exercises_every_record(profile: RiskProfile, gates: set[int]) -> None:
    inputs = random_inputs(11, hours=3_000, symbols=8, profile=profile)
    audit = Audit(inputs)
    audit.check(run(inputs))
    assert all(audit.counts[record.name] > 10 for record in RECORD_TYPES), dict(audit.counts)
    assert gates <= set(audit.refusals), dict(audit.refusals)


@pytest.mark.parametrize("cut", [40, 150, 299])
def test_the_future_changes_nothing_before_it(cut: int) -> None:
    inputs = random_inputs(5, hours=300)
    bars = inputs.bars.copy()
    after = bars[cut:]
    for name in ("open_e8", "high_e8", "low_e8", "close_e8", "volume_e4"):
        after[name] = after[name] * 3 // 2 + 7
    rows = inputs.forecasts.rows.copy()
    later = inputs.forecasts.at_t > inputs.close_t[cut - 1]
    rows["ret_main_ppm"][later] = 50_000 * rows["valid_n"][later]
    changed = dataclasses.replace(inputs, bars=bars, forecasts=dataclasses.replace(inputs.forecasts, rows=rows))
    end_t = int(inputs.close_t[cut - 1])
    before = [b.payload for b in run(inputs) if b.at_t <= end_t]
    assert before == [b.payload for b in run(changed) if b.at_t <= end_t]
    assert [b.payload for b in run(inputs)] != [b.payload for b in run(changed)]


def dispatched() -> str:
    """Return the vector levels that NumPy would choose on this processor: without them it stands for another one."""
    from numpy._core._multiarray_umath import __cpu_baseline__, __cpu_dispatch__, __cpu_features__

    return " ".join(f for f in __cpu_dispatch__ if __cpu_features__.get(f) and f not in __cpu_baseline__)


@pytest.mark.parametrize(
    "settings_",
    [{"NUMBA_DISABLE_JIT": "1", "PYTHONHASHSEED": "77"}, {"NPY_DISABLE_CPU_FEATURES": dispatched(), "PYTHONHASHSEED": "5"}],
    ids=["plain Python", "another processor"],
)
def test_blocks_are_the_same_everywhere(repository: Path, settings_: dict[str, str]) -> None:
    head = run(random_inputs(9, hours=400))[-1].block_hash.hex()
    script = (
        "from tests.support.markets import random_inputs; from runtime.engine import iterate_blocks; "
        "import numpy as np; np.seterr(all='raise'); "
        "print([b for c in iterate_blocks(random_inputs(9, hours=400)) for b in c][-1].block_hash.hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=repository,
        env={**os.environ, **settings_},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == head


def test_a_gap_neither_fills_nor_admits() -> None:
    inputs = random_inputs(21, hours=400, symbols=3)
    bars = inputs.bars.copy()
    bars[100:300, 1] = np.zeros((), BAR)
    inputs = dataclasses.replace(inputs, bars=bars)
    gap = (int(inputs.close_t[100]), int(inputs.close_t[299]))
    for block in run(inputs):
        for fill in decode_payload(block.payload).get("order_fill", []):
            if fill["instrument_id"] == 1:
                assert not gap[0] - 3_600 <= block.at_t < gap[1]
        for order in decode_payload(block.payload).get("order_request", []):
            if order["instrument_id"] == 1 and order["status_id"] == c.O_NEW and order["side_id"] == c.BUY:
                assert not gap[0] <= block.at_t <= gap[1]


def test_known_head() -> None:
    """A golden value: a change of it is a change of what the core decides, and needs a line in the changelog."""
    blocks = run(random_inputs(1, hours=500))
    digest = hashlib.sha256(b"".join(block.payload for block in blocks)).hexdigest()
    assert len(blocks) > 500
    assert digest[:16] == "d5e859f342ca5e9d"
