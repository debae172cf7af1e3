"""Turning events into blocks: the wiring of a backtest or replay around `step`, and the hashing of what it did.

`iterate_blocks` is the same code for a backtest, which journals the blocks, and for its replay, which compares them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from runtime.core import step
from runtime.core.codes import EV_BARS, EV_CLUSTERS, EV_DEPOSIT
from runtime.core.digest import BLOCK_TAG, HEADER, SECTION, Block, RowHasher, forecast_hash
from runtime.core.records import (
    BAR,
    CLUSTER,
    COUNTS,
    E8,
    EVENT,
    FORECAST,
    INSTRUMENTS,
    MAX_LOTS,
    QUOTES,
    RECORD_TYPES,
    STATE,
    Out,
)
from runtime.errors import InvariantError
from runtime.genesis import Genesis
from runtime.inference.bundle import Forecasts
from runtime.inference.clusters import Clusters
from runtime.progress import Report, silent

Rows = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]

CHUNK_ROWS: Final = 8_192
"""Output rows kept per record type before they are hashed and handed on; memory does not grow with history."""


@dataclass(slots=True)
class StageSeconds:
    """Where the time of a run went, in seconds of this process."""

    core: float = 0.0
    row_hashes: float = 0.0
    block_chain: float = 0.0


@dataclass(frozen=True, slots=True)
class RunInputs:
    """All that a run is computed from.

    Attributes:
        genesis: names and digests of everything below.
        bars: BAR [T, INSTRUMENTS].
        close_t: int64 [T], when each bar is known; strictly increasing.
        forecasts: model output; its times are a subset of `close_t`.
        clusters: cluster memberships over time; before the first one every instrument shares cluster 0 and its cap.
    """

    genesis: Genesis
    bars: Rows
    close_t: Ints
    forecasts: Forecasts
    clusters: Clusters


def new_state(account_id: int, mode_id: int) -> Rows:
    """Return the empty STATE [1] of an account: no cash, every rate to the base currency 1."""
    state = np.zeros(1, STATE)
    state[0]["desk"]["account_id"] = account_id
    state[0]["desk"]["mode_id"] = mode_id
    for quote in range(QUOTES):
        state[0]["cash"][quote]["rate_e8"] = E8
    return state


def new_out(rows: int = CHUNK_ROWS) -> Out:
    """Return empty output buffers with room for at least one worst-case hour."""
    worst = {"position_lot": (MAX_LOTS + 1) * INSTRUMENTS, "executed_trade": MAX_LOTS * INSTRUMENTS}
    buffers = [np.zeros(max(rows, worst.get(r.name, 0) + 8 * INSTRUMENTS), r.dtype) for r in RECORD_TYPES]
    return Out(np.zeros(1, COUNTS), np.zeros(rows, COUNTS), np.zeros(rows, EVENT), *buffers)


def backtest_events(inputs: RunInputs) -> Rows:
    """Return the EVENT stream of a backtest: the deposits, then every closed bar with the forecasts made on it.

    Raises:
        InvariantError: a forecast is not on a bar's closing time.
    """
    genesis, close_t, forecast_t = inputs.genesis, inputs.close_t, inputs.forecasts.at_t
    bar_of = np.searchsorted(close_t, forecast_t)
    if len(forecast_t) and (bar_of[-1] >= len(close_t) or not np.array_equal(close_t[bar_of], forecast_t)):
        raise InvariantError(
            "forecast times that are not closing times of bars",
            expected="each forecast on the bar it was made from",
            action="make the forecasts on the panel's grid",
        )
    deposits, memberships = len(genesis.deposits), len(inputs.clusters.at_t)
    events = np.zeros(deposits + memberships + len(close_t), EVENT)
    for name in ("bar_n", "forecast_n", "cluster_n"):
        events[name] = -1
    for event, deposit in zip(events[:deposits], genesis.deposits, strict=True):
        event["kind_id"] = EV_DEPOSIT
        event["at_t"] = close_t[0] - genesis.interval_t
        event["quote_id"] = deposit.quote_id
        event["amount_e8"] = int(deposit.amount_e8)
    bars = events[deposits : deposits + len(close_t)]
    bars["kind_id"] = EV_BARS
    bars["at_t"] = close_t
    bars["bar_n"] = np.arange(len(close_t))
    bars["value_n"] = close_t - genesis.interval_t
    bars["forecast_n"][bar_of] = np.arange(len(forecast_t))
    changes = events[deposits + len(close_t) :]
    changes["kind_id"] = EV_CLUSTERS
    changes["at_t"] = inputs.clusters.at_t
    changes["cluster_n"] = np.arange(memberships)
    changes["value_n"] = np.arange(1, memberships + 1)
    # a membership made on the bars up to t governs decisions after t: the venue's fills between two bars precede it
    return events[np.argsort(events["at_t"], kind="stable")]


class Sweep:
    """A backtest under way: policy, state, buffers and events, moved on by `advance`.

    Args:
        inputs: all that the run is computed from.
        states: STATE [1] that the first `done` events left; by default the empty state before the first event.
        done: events applied to it.
        blocks_n: blocks that they made.
    """

    def __init__(self, inputs: RunInputs, states: Rows | None = None, done: int = 0, blocks_n: int = 0) -> None:
        genesis = inputs.genesis
        self.policies = genesis.profile.to_record(genesis.pairs)
        self.states = new_state(genesis.account_id, genesis.mode_id) if states is None else states
        self.out = new_out()
        self.events = backtest_events(inputs)
        self.bars = np.ascontiguousarray(inputs.bars, BAR)
        self.forecasts = np.ascontiguousarray(inputs.forecasts.rows, FORECAST)
        if len(self.forecasts) == 0:
            self.forecasts = np.zeros((1, INSTRUMENTS), FORECAST)  # the compiled code takes row 0 of something
        self.clusters = np.ascontiguousarray(inputs.clusters.rows, CLUSTER)
        if len(self.clusters) == 0:
            self.clusters = np.zeros((1, INSTRUMENTS), CLUSTER)
        self.done = done
        self.blocks_n = blocks_n
        self._scratch = np.zeros(1, EVENT)

    @property
    def finished(self) -> bool:
        """Whether every event is applied."""
        return self.done >= len(self.events)

    def advance(self, stop: int | None = None) -> None:
        """Empty the buffers and apply events until they could overflow, or event number `stop` is next.

        Raises:
            InvariantError: the core found a broken invariant.
        """
        events = self.events if stop is None else self.events[:stop]
        out = self.out
        out.n[:] = 0
        inputs = (events, self.bars, self.forecasts, self.clusters)
        try:
            self.done = step.sweep(self.policies, self.states, out, *inputs, self._scratch, self.done)
        except (ValueError, OverflowError, ZeroDivisionError) as e:
            raise InvariantError(
                f"the decision core stopped after block {self.blocks_n + int(out.n[0]['event'])}: {e}",
                expected="an event stream that keeps every invariant",
                action="halt, keep the inputs as evidence and report this as a defect",
            ) from e
        self.blocks_n += int(out.n[0]["event"])


def iterate_blocks(inputs: RunInputs, report: Report = silent, seconds: StageSeconds | None = None) -> Iterator[list[Block]]:
    """Run a backtest from its genesis and yield its blocks, in chunks of bounded size.

    The first block follows the genesis hash. Given the inputs, the blocks are the same bytes on any machine and for
    any chunk size.

    Raises:
        InvariantError: the core found a broken invariant; what was yielded before stays valid.
    """
    seconds = seconds if seconds is not None else StageSeconds()
    sweep = Sweep(inputs)
    yield from blocks_of(sweep, BlockChain(inputs, sweep.bars, sweep.forecasts, sweep.clusters, seconds), report)


def blocks_of(sweep: Sweep, chain: BlockChain, report: Report = silent) -> Iterator[list[Block]]:
    """Run a sweep to its end and yield the blocks of each filling of the buffers; both stand behind what was yielded."""
    while not sweep.finished:
        started = time.perf_counter()
        sweep.advance()
        chain.seconds.core += time.perf_counter() - started
        report("backtest", sweep.done, len(sweep.events))
        yield chain.extend(sweep.out)


@dataclass(slots=True)
class BlockChain:
    """Hashes what a sweep wrote and links it into blocks."""

    inputs: RunInputs
    bars: Rows
    forecasts: Rows
    clusters: Rows
    seconds: StageSeconds
    seq_n: int = 0
    head: bytes = b""
    _hasher: RowHasher = field(init=False)
    _forecast_row: dict[int, int] = field(init=False)
    _forecast_hashes: dict[tuple[int, int], bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.head = self.head or self.inputs.genesis.hash
        self._hasher = RowHasher(bytes.fromhex(self.inputs.genesis.policy_digest), self._forecast_hash)
        self._forecast_row = {int(t): i for i, t in enumerate(self.inputs.forecasts.at_t)}
        self._forecast_hashes = {}

    def parent_hashes(self) -> dict[str, list[bytes]]:
        """Return the hashes that later rows may name as parents, by table and row id; a restored chain replaces them."""
        return self._hasher.hashes

    def _forecast_hash(self, instrument: int, at_t: int) -> bytes:
        key = (instrument, at_t)
        found = self._forecast_hashes.get(key)
        if found is None:
            n = self._forecast_row[at_t]
            found = forecast_hash(self.forecasts[n, instrument].tobytes(), self.inputs.forecasts.feature_digests[n])
            self._forecast_hashes[key] = found
        return found

    def extend(self, out: Out) -> list[Block]:
        """Return the blocks of everything in the buffers."""
        started = time.perf_counter()
        counts = out.n[0]
        row_hashes = {r.name: self._hasher.hash_rows(r, getattr(out, r.name)[: counts[r.name]]) for r in RECORD_TYPES}
        self._forecast_hashes = {}
        middle = time.perf_counter()
        self.seconds.row_hashes += middle - started
        blocks = self._link(out, row_hashes)
        self.seconds.block_chain += time.perf_counter() - middle
        return blocks

    def _link(self, out: Out, row_hashes: dict[str, list[bytes]]) -> list[Block]:
        blocks_n = int(out.n[0]["event"])
        sections = [
            (r.name, r.code, r.dtype.itemsize, getattr(out, r.name)[: out.n[0][r.name]].tobytes(), row_hashes[r.name])
            for r in RECORD_TYPES
        ]
        marks = out.marks[:blocks_n]
        ends = list(zip(*(marks[name].tolist() for name, *_ in sections), strict=True))
        events = out.event[:blocks_n]
        event_bytes, event_size = events.tobytes(), EVENT.itemsize
        plain = list(
            zip(*(events[name].tolist() for name in ("at_t", "kind_id", "bar_n", "forecast_n", "cluster_n")), strict=True)
        )
        owner = (self.inputs.genesis.account_id, self.inputs.genesis.mode_id)
        feature_digests = self.inputs.forecasts.feature_digests
        sha256: Callable[[bytes], Any] = hashlib.sha256
        blocks = []
        before = (0,) * len(sections)
        for i, (at_t, kind_id, bar_n, forecast_n, cluster_n) in enumerate(plain):
            content = event_bytes[i * event_size : (i + 1) * event_size]
            if bar_n >= 0:
                content += self.bars[bar_n].tobytes()
            if forecast_n >= 0:
                content += self.forecasts[forecast_n].tobytes() + feature_digests[forecast_n]
            if cluster_n >= 0:
                content += self.clusters[cluster_n].tobytes()
            inputs_digest = sha256(content).digest()
            payload, hashes, records_n = b"", b"", 0
            for (_, code, size, data, found), first, last in zip(sections, before, ends[i], strict=True):
                if last > first:
                    payload += SECTION.pack(code, last - first) + data[first * size : last * size]
                    hashes += b"".join(found[first:last])
                    records_n += last - first
            before = ends[i]
            self.seq_n += 1
            header = HEADER.pack(self.seq_n, at_t, kind_id, *owner, records_n)
            records_digest = sha256(hashes).digest()
            self.head = sha256(BLOCK_TAG + self.head + header + inputs_digest + records_digest).digest()
            blocks.append(Block(self.seq_n, at_t, kind_id, header, inputs_digest, payload, records_digest, self.head))
        return blocks
