"""A run is the same blocks however its event stream is split, wherever its replay begins, compiled or not, and in bounded memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import engine
from runtime.adapters import snapshots
from runtime.adapters.inputs import open_inputs, store_bars, store_clusters, store_forecasts
from runtime.core.digest import Block, RowHasher
from runtime.core.records import RECORD_TYPES
from runtime.engine import BlockChain, Inputs, RunInputs, StageSeconds, Sweep, backtest_events, iterate_blocks
from runtime.inference.bundle import Forecasts
from runtime.inference.clusters import Clusters
from runtime.policy import PairRules
from runtime.verify import ChainVerifier, VerifiedRows, forecast_hashes
from tests.support.checks import BUSY
from tests.support.exports import random_profile
from tests.support.markets import random_inputs
from tests.support.venues import venue_run

EXAMPLES = int(os.environ.get("BALLAST_CHUNK_EXAMPLES", "400"))
"""Examples of the slow form of each property here."""
SMALL = settings(max_examples=30, deadline=None, derandomize="CI" in os.environ, print_blob=True)
LARGE = settings(max_examples=EXAMPLES, deadline=None, derandomize="CI" in os.environ, print_blob=True)
ROWS_MIN = 200
"""The smallest buffers: room for one worst-case hour."""


@st.composite
def markets(draw: st.DrawFn) -> RunInputs:
    """Draw a market and a profile under which things happen, or under which nearly nothing does."""
    seed, symbols = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 32))
    pairs = tuple(PairRules(lot_e8=draw(st.sampled_from([1, 10**4, 10**8]))) for _ in range(symbols))
    profile = BUSY if draw(st.booleans()) else random_profile(draw(st.integers(0, 2**32 - 1)))
    return random_inputs(
        seed, draw(st.integers(1, 160)), symbols, profile, wildness=draw(st.sampled_from([0.3, 1.0, 2.5])), pairs=pairs
    )


def run(inputs: Inputs) -> list[Block]:
    return [block for chunk in iterate_blocks(inputs) for block in chunk]


def start(inputs: Inputs, rows: int = engine.CHUNK_ROWS) -> tuple[Sweep, BlockChain]:
    sweep = Sweep(inputs, rows=rows)
    return sweep, BlockChain(inputs, sweep.bars, sweep.forecasts, sweep.clusters, StageSeconds())


def split_run(inputs: Inputs, stops: list[int], rows: int) -> tuple[list[Block], list[snapshots.Snapshot]]:
    """Run with stops at some event numbers and buffers of some size; return the blocks and a snapshot at every stop."""
    sweep, chain = start(inputs, rows)
    blocks: list[Block] = []
    taken = [snapshots.take(sweep, chain)]
    for stop in sorted({*stops, len(sweep.events)}):
        while sweep.done < min(stop, len(sweep.events)):
            sweep.advance(stop)
            blocks += chain.extend(sweep.out)
        taken.append(snapshots.take(sweep, chain))
    return blocks, taken


def check_splits(inputs: RunInputs, stops: list[int], rows: int) -> None:
    whole = run(inputs)
    assert split_run(inputs, stops, rows)[0] == whole


def check_snapshots(inputs: RunInputs, stops: list[int], rows: int) -> None:
    """Resume at every stop: state, blocks and row hashes (in the records digests) are those of the run from its genesis."""
    whole = run(inputs)
    blocks, taken = split_run(inputs, stops, rows)
    assert blocks == whole
    for snapshot in taken:
        again = snapshots.decode(snapshots.encode(snapshot), snapshot.rows)
        assert again == snapshot
        sweep, chain = snapshots.resume(inputs, again)
        rest: list[Block] = []
        while not sweep.finished:
            # one by one at first: an order open here must be remembered beyond the next filling of the buffers
            sweep.advance(sweep.done + 1 if sweep.done < snapshot.events_n + 5 else None)
            rest += chain.extend(sweep.out)
        assert rest == whole[snapshot.seq_n :]
        assert snapshots.take(sweep, chain) == taken[-1]


STOPS = st.lists(st.integers(1, 400), max_size=12)
ROWS = st.sampled_from([ROWS_MIN, 223, 300, 1_000, engine.CHUNK_ROWS])


@SMALL
@given(markets(), STOPS, ROWS)
def test_any_split_of_the_events_gives_the_same_blocks(inputs: RunInputs, stops: list[int], rows: int) -> None:
    check_splits(inputs, stops, rows)


@SMALL
@given(markets(), STOPS, ROWS)
def test_replay_from_any_snapshot_is_replay_from_the_genesis(inputs: RunInputs, stops: list[int], rows: int) -> None:
    check_snapshots(inputs, stops, rows)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@LARGE
@given(markets(), STOPS, ROWS)
def test_splits_and_snapshots_at_length(inputs: RunInputs, stops: list[int], rows: int) -> None:
    check_snapshots(inputs, stops, rows)


def test_small_buffers_are_filled_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_inputs(3, hours=900)
    whole = run(inputs)
    monkeypatch.setattr(engine, "EVENTS_N", 70)
    sweep, chain = start(inputs, ROWS_MIN)
    chunks = list(engine.blocks_of(sweep, chain))
    assert len(chunks) > 12
    assert [block for chunk in chunks for block in chunk] == whole


def test_every_event_alone() -> None:
    inputs = random_inputs(1, hours=60, symbols=3)
    events = backtest_events(inputs)
    assert split_run(inputs, list(range(len(events))), ROWS_MIN)[0] == run(inputs)


@given(st.integers(0, 2**32 - 1), st.integers(1, 120), st.lists(st.integers(0, 130), max_size=6))
@settings(max_examples=60, deadline=None, derandomize="CI" in os.environ)
def test_the_schedule_is_the_sorted_stream(seed: int, hours: int, cuts: list[int]) -> None:
    inputs = random_inputs(seed, hours, 2)
    schedule = engine.Schedule(inputs)
    whole = schedule.between(0, len(schedule))
    places = sorted({0, len(schedule), *(min(cut, len(schedule)) for cut in cuts)})
    parts = [schedule.between(first, stop) for first, stop in pairwise(places)]
    assert b"".join(part.tobytes() for part in parts) == whole.tobytes()
    assert len(whole) == len(inputs.genesis.deposits) + hours + len(inputs.clusters.at_t)
    assert (np.diff(whole["at_t"]) >= 0).all()
    bars = whole[whole["bar_n"] >= 0]
    assert bars["bar_n"].tolist() == list(range(hours))
    assert bars["at_t"].tolist() == inputs.close_t.tolist()
    told = bars[bars["forecast_n"] >= 0]
    assert told["at_t"].tolist() == inputs.forecasts.at_t.tolist()
    assert told["forecast_n"].tolist() == list(range(len(told)))
    changes = whole[whole["cluster_n"] >= 0]
    assert changes["at_t"].tolist() == inputs.clusters.at_t.tolist()
    for n in np.flatnonzero(whole["cluster_n"] >= 0).tolist():  # right after the bar it was made on
        assert whole[n - 1]["bar_n"] >= 0
        assert whole[n - 1]["at_t"] == whole[n]["at_t"]


# ---- JIT off ----------------------------------------------------------------------------------------------------


def stream_digest(seeds: range) -> str:
    """Return the digest of all blocks of some runs, each split at places of its own and resumed half way."""
    h = hashlib.sha256()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        inputs = random_inputs(seed, 90, int(rng.integers(1, 12)), (BUSY, random_profile(seed))[seed % 2], wildness=1.5)
        blocks, taken = split_run(inputs, rng.integers(1, 100, 3).tolist(), ROWS_MIN)
        middle = taken[len(taken) // 2]
        rest = [block for chunk in engine.blocks_of(*snapshots.resume(inputs, middle)) for block in chunk]
        assert rest == blocks[middle.seq_n :]
        h.update(b"".join(block.block_hash + block.payload for block in blocks) + taken[-1].state)
    return h.hexdigest()


def jit_off(repository: Path, seeds: range) -> str:
    script = f"import numpy as np; np.seterr(all='raise'); from tests.property.test_chunks import stream_digest; print(stream_digest({seeds}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repository, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_plain_python_gives_the_same_streams(repository: Path) -> None:
    assert jit_off(repository, range(2)) == stream_digest(range(2))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_plain_python_gives_the_same_streams_at_length(repository: Path) -> None:
    seeds = range(100, 100 + EXAMPLES // 10)
    assert jit_off(repository, seeds) == stream_digest(seeds)


# ---- what the verifier remembers --------------------------------------------------------------------------------


def remembered(hasher: RowHasher) -> int:
    return sum(len(kept) for kept in hasher.hashes.values())


@pytest.mark.parametrize("seed", range(4))
def test_a_verifier_forgets_and_still_follows_any_order_flow(seed: int) -> None:
    """Retries, unknown outcomes, partial fills, several currencies, block by block: nothing needed is forgotten."""
    inputs, blocks, _ = venue_run(seed, 120, 4)
    genesis = inputs.genesis
    for size in (1, 7, len(blocks)):
        verifier = ChainVerifier(
            genesis.hash, (genesis.account_id, genesis.mode_id), bytes.fromhex(genesis.policy_digest), forecast_hashes(inputs.forecasts)
        )  # fmt: skip
        for first in range(0, len(blocks), size):
            assert isinstance(verifier.follow(blocks[first : first + size]), VerifiedRows)
            assert remembered(verifier._hasher) <= len(RECORD_TYPES) + 2 * 4 + 3
        assert verifier.head.block_hash == blocks[-1].block_hash


# ---- memory -----------------------------------------------------------------------------------------------------


class Meter:
    """Inputs that count how many rows are asked for at once."""

    def __init__(self, table: Any) -> None:
        self.table, self.most = table, 0

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: slice) -> Any:
        rows = self.table[key]
        self.most = max(self.most, len(rows))
        return rows


def first_hours(inputs: RunInputs, hours: int) -> RunInputs:
    """Return the same market, ended earlier."""
    forecasts, clusters = inputs.forecasts, inputs.clusters
    told = int(np.searchsorted(forecasts.at_t, inputs.close_t[hours - 1], side="right"))
    grouped = int(np.searchsorted(clusters.at_t, inputs.close_t[hours - 1], side="right"))
    return RunInputs(
        inputs.genesis, inputs.bars[:hours], inputs.close_t[:hours],
        Forecasts(forecasts.symbols, forecasts.at_t[:told], forecasts.rows[:told], forecasts.feature_digests[:told]),
        Clusters(clusters.at_t[:grouped], clusters.rows[:grouped]),
    )  # fmt: skip


def traced_peak(home: Path, inputs: RunInputs) -> int:
    """Return the most bytes that Python and NumPy held for a run from stored inputs and its verification."""
    genesis = inputs.genesis.model_copy(update={
        "bars_digest": store_bars(home, inputs.bars, inputs.close_t), "forecasts_digest": store_forecasts(home, inputs.forecasts),
        "clusters_digest": store_clusters(home, inputs.clusters),
    })  # fmt: skip
    tracemalloc.start()
    try:
        stored = open_inputs(home, genesis)
        sweep, chain = start(stored, ROWS_MIN)  # the same fill of the buffers, whatever happens in a market
        policy = bytes.fromhex(genesis.policy_digest)
        verifier = ChainVerifier(genesis.hash, (1, 1), policy, forecast_hashes(stored.forecasts))
        for blocks in engine.blocks_of(sweep, chain):
            assert isinstance(verifier.follow(blocks), VerifiedRows)
            assert remembered(chain.hasher) < 100
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_by_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the history: the same memory but for the times of bars, forecasts and memberships (some 100 bytes an hour)."""
    monkeypatch.setattr(engine, "EVENTS_N", 256)
    monkeypatch.setattr("runtime.adapters.inputs._ROW_GROUP_ROWS_N", 256)
    monkeypatch.setattr("runtime.verify.FORECAST_WINDOW_N", 64)
    market = random_inputs(5, 5_000, 4, BUSY)
    traced_peak(tmp_path, first_hours(market, 300))  # what is loaded once is not the run's
    short, long = (traced_peak(tmp_path, first_hours(market, hours)) for hours in (1_250, 5_000))
    assert long - short < 3_750 * 200, (short, long)


def test_inputs_are_read_through_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "EVENTS_N", 64)
    inputs = random_inputs(8, 600, 3)
    meter = Meter(inputs.bars)
    metered = engine.RunInputs(inputs.genesis, meter, inputs.close_t, inputs.forecasts, inputs.clusters)
    assert run(metered) == run(inputs)
    assert 56 <= meter.most <= 64  # the window of events, memberships among them


def test_stored_inputs_give_the_same_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.adapters.inputs._ROW_GROUP_ROWS_N", 37)
    inputs = random_inputs(6, 400, 5, BUSY)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        genesis = inputs.genesis.model_copy(update={
            "bars_digest": store_bars(home, inputs.bars, inputs.close_t),
            "forecasts_digest": store_forecasts(home, inputs.forecasts), "clusters_digest": store_clusters(home, inputs.clusters),
        })  # fmt: skip
        stored = open_inputs(home, genesis)
        assert run(stored) == run(stored.read())
        assert stored.read().bars.tobytes() == inputs.bars.tobytes()
        assert stored.forecasts.read().digest == inputs.forecasts.digest
