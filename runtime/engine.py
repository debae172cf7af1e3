"""Turning events into blocks: the wiring of a backtest or replay around `step`, and the hashing of what it did.

`iterate_blocks` is the same code for a backtest, which journals the blocks, and for its replay, which compares them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from runtime.core import step
from runtime.core.codes import EV_BARS, EV_CLUSTERS, EV_DEPOSIT, MODE_BACKTEST
from runtime.core.digest import BLOCK_TAG, HEADER, Block, RowHasher, by_block
from runtime.core.records import (
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
from runtime.errors import InvariantError, VerificationError
from runtime.genesis import Genesis
from runtime.inference.bundle import Forecasts, ForecastTable, RowTable
from runtime.inference.clusters import Clusters
from runtime.progress import Report, silent
from runtime.verify import forecast_hashes

Rows = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]

CHUNK_ROWS: Final = 8_192
"""Output rows kept per record type before they are hashed and handed on; memory does not grow with history."""


EVENTS_N: Final = 4_096
"""Events applied, and bars and forecasts held, between two fillings of the buffers."""
ROW_NUMBERS: Final = ("bar_n", "forecast_n", "cluster_n")
NEVER_T: Final = np.iinfo(np.int64).max


class ForgottenHash(VerificationError):
    """A row names a parent whose hash is not known: a snapshot that is not the state its block left."""

    kind = "snapshot"


@dataclass(slots=True)
class StageSeconds:
    """Where the time of a run went, in seconds of this process."""

    core: float = 0.0
    row_hashes: float = 0.0
    block_chain: float = 0.0


class Inputs(Protocol):
    """What a run reads of `RunInputs`, in memory or stored (`runtime/adapters/inputs.py`)."""

    @property
    def genesis(self) -> Genesis:
        """Names and digests of everything below."""

    @property
    def bars(self) -> RowTable:
        """BAR [T, INSTRUMENTS]."""

    @property
    def close_t(self) -> Ints:
        """Int64 [T], when each bar is known; strictly increasing."""

    @property
    def forecasts(self) -> ForecastTable:
        """Model output."""

    @property
    def clusters(self) -> Clusters:
        """Cluster memberships over time."""


@dataclass(frozen=True, slots=True)
class RunInputs:
    """All that a run is computed from, in memory.

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


class Schedule:
    """The EVENT stream of a backtest, made for any range of it: the deposits, then every closed bar with the forecasts made on it.

    Kept for all of history are the times of bars, forecasts and cluster memberships, and the few events that are no bar.

    Raises:
        InvariantError: a forecast is not on a bar's closing time.
    """

    def __init__(self, inputs: Inputs) -> None:
        genesis, self._close_t, self._forecast_t = inputs.genesis, inputs.close_t, inputs.forecasts.at_t
        bar_of = np.searchsorted(self._close_t, self._forecast_t)
        if len(bar_of) and (bar_of[-1] >= len(self._close_t) or not np.array_equal(self._close_t[bar_of], self._forecast_t)):
            raise InvariantError(
                "forecast times that are not closing times of bars",
                expected="each forecast on the bar it was made from",
                action="make the forecasts on the panel's grid",
            )
        self._interval_t = genesis.interval_t
        deposits, memberships = len(genesis.deposits), len(inputs.clusters.at_t)
        others = _no_events(deposits + memberships)
        for event, deposit in zip(others[:deposits], genesis.deposits, strict=True):
            event["kind_id"] = EV_DEPOSIT
            event["at_t"] = self._close_t[0] - self._interval_t
            event["quote_id"] = deposit.quote_id
            event["amount_e8"] = int(deposit.amount_e8)
        changes = others[deposits:]
        changes["kind_id"] = EV_CLUSTERS
        changes["at_t"] = inputs.clusters.at_t
        changes["cluster_n"] = np.arange(memberships)
        changes["value_n"] = np.arange(1, memberships + 1)
        self._others = others[np.argsort(others["at_t"], kind="stable")]
        # a membership made on the bars up to t governs decisions after t: the venue's fills between two bars precede it
        bars_before = np.searchsorted(self._close_t, self._others["at_t"], side="right")
        self._places = bars_before + np.arange(len(others))
        self._events_n = len(others) + len(self._close_t)

    def __len__(self) -> int:
        """Return the number of events."""
        return self._events_n

    def between(self, first: int, stop: int) -> Rows:
        """Return EVENT [stop - first] of a range; their row numbers count from the first bar, forecast and membership."""
        numbers = np.arange(first, stop)
        others_before = np.searchsorted(self._places, numbers)
        is_bar = np.ones(len(numbers), np.bool_)
        is_bar[self._places[(self._places >= first) & (self._places < stop)] - first] = False
        events = _no_events(len(numbers))
        events[~is_bar] = self._others[others_before[~is_bar]]
        bar_n = (numbers - others_before)[is_bar]
        bars = _no_events(len(bar_n))
        bars["kind_id"] = EV_BARS
        bars["at_t"] = self._close_t[bar_n]
        bars["bar_n"] = bar_n
        bars["value_n"] = bars["at_t"] - self._interval_t
        forecast_n = np.searchsorted(self._forecast_t, bars["at_t"])
        made = np.append(self._forecast_t, NEVER_T)[forecast_n] == bars["at_t"]
        bars["forecast_n"] = np.where(made, forecast_n, -1)
        events[is_bar] = bars
        return events


def _no_events(count: int) -> Rows:
    events = np.zeros(count, EVENT)
    for name in ROW_NUMBERS:
        events[name] = -1
    return events


def backtest_events(inputs: Inputs) -> Rows:
    """Return the whole EVENT stream of a backtest; see `Schedule`."""
    schedule = Schedule(inputs)
    return schedule.between(0, len(schedule))


def _window(table: RowTable, numbers: Ints) -> tuple[int, Rows]:
    """Return the rows that some row numbers (-1: none) span, at least one, and the number of the first of them."""
    named = numbers[numbers >= 0]
    first, stop = (int(named.min()), int(named.max()) + 1) if len(named) else (0, 1)
    return first, np.ascontiguousarray(table[first:stop])


class Sweep:
    """A backtest under way: policy, state, buffers and events, moved on by `advance`.

    Of bars, forecasts and memberships only the rows of one advance are in memory, however long the history is.

    Args:
        inputs: all that the run is computed from.
        states: STATE [1] that the first `done` events left; by default the empty state before the first event.
        done: events applied to it.
        blocks_n: blocks that they made.
        rows: size of the output buffers; it changes nothing of what is computed.
    """

    def __init__(
        self, inputs: Inputs, states: Rows | None = None, done: int = 0, blocks_n: int = 0, rows: int = CHUNK_ROWS
    ) -> None:
        genesis = inputs.genesis
        self.policies = genesis.profile.to_record(genesis.pairs)
        self.states = new_state(genesis.account_id, genesis.mode_id) if states is None else states
        self.out = new_out(rows)
        self.events = Schedule(inputs)
        self.bars = inputs.bars
        # the compiled code takes row 0 of something
        self.forecasts = inputs.forecasts.rows if len(inputs.forecasts.rows) else np.zeros((1, INSTRUMENTS), FORECAST)
        self.clusters = inputs.clusters.rows if len(inputs.clusters.rows) else np.zeros((1, INSTRUMENTS), CLUSTER)
        self.done = done
        self.blocks_n = blocks_n
        self._scratch = np.zeros(1, EVENT)

    @property
    def finished(self) -> bool:
        """Whether every event is applied."""
        return self.done >= len(self.events)

    def advance(self, stop: int | None = None) -> None:
        """Empty the buffers and apply events until they could overflow, `EVENTS_N` are done, or number `stop` is next.

        Raises:
            InvariantError: the core found a broken invariant.
        """
        last = min(len(self.events), self.done + EVENTS_N, len(self.events) if stop is None else stop)
        events = self.events.between(self.done, last)
        tables = zip(ROW_NUMBERS, (self.bars, self.forecasts, self.clusters), strict=True)
        windows = [(name, *_window(table, events[name])) for name, table in tables]
        for name, first, _ in windows:
            events[name][events[name] >= 0] -= first
        bars, forecasts, clusters = (rows for _, _, rows in windows)
        out = self.out
        out.n[:] = 0
        try:
            self.done += step.sweep(self.policies, self.states, out, events, bars, forecasts, clusters, self._scratch, 0)
        except (ValueError, OverflowError, ZeroDivisionError) as e:
            raise InvariantError(
                f"the decision core stopped after block {self.blocks_n + int(out.n[0]['event'])}: {e}",
                expected="an event stream that keeps every invariant",
                action="halt, keep the inputs as evidence and report this as a defect",
            ) from e
        made = out.event[: out.n[0]["event"]]
        for name, first, _ in windows:
            made[name][made[name] >= 0] += first
        self.blocks_n += len(made)


def iterate_blocks(inputs: Inputs, report: Report = silent, seconds: StageSeconds | None = None) -> Iterator[list[Block]]:
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

    inputs: Inputs
    bars: RowTable
    forecasts: RowTable
    clusters: RowTable
    seconds: StageSeconds
    seq_n: int = 0
    head: bytes = b""
    hasher: RowHasher = field(init=False)

    def __post_init__(self) -> None:
        genesis = self.inputs.genesis
        self.head = self.head or genesis.hash
        self.hasher = RowHasher(bytes.fromhex(genesis.policy_digest), forecast_hashes(self.inputs.forecasts))

    def extend(self, out: Out) -> list[Block]:
        """Return the blocks of everything in the buffers.

        Raises:
            ForgottenHash: a row names a parent whose hash the snapshot that the run began at did not keep.
        """
        started = time.perf_counter()
        counts = out.n[0]
        try:
            row_hashes = {r.name: self.hasher.hash_rows(r, getattr(out, r.name)[: counts[r.name]]) for r in RECORD_TYPES}
            self.hasher.settle()
        except LookupError as e:
            raise ForgottenHash(
                f"row or time {e} is named as a parent, and its hash is not known",
                expected="rows that name open orders, last entries, forecasts of the run or rows after the snapshot",
                action="replay from the genesis",
            ) from e
        middle = time.perf_counter()
        self.seconds.row_hashes += middle - started
        blocks = self._link(out, row_hashes)
        self.seconds.block_chain += time.perf_counter() - middle
        return blocks

    def _link(self, out: Out, row_hashes: dict[str, list[bytes]]) -> list[Block]:
        blocks_n = int(out.n[0]["event"])
        events = out.event[:blocks_n]
        payloads, hashes, records_n = by_block(out, row_hashes)
        headers = np.empty((blocks_n, HEADER.size // 8), "<i8")
        headers[:, 0] = np.arange(self.seq_n + 1, self.seq_n + 1 + blocks_n)
        headers[:, 1], headers[:, 2], headers[:, 5] = events["at_t"], events["kind_id"], records_n
        headers[:, 3:5] = self.inputs.genesis.account_id, self.inputs.genesis.mode_id
        header_bytes, size = headers.tobytes(), HEADER.size
        sha256: Callable[[bytes], Any] = hashlib.sha256
        head = self.head
        keeps = self.inputs.genesis.mode_id != MODE_BACKTEST  # a backtest stores the address of its inputs instead
        blocks = []
        told = zip(headers[:, :3].tolist(), self._contents(events), payloads, hashes, strict=True)
        for i, ((seq_n, at_t, kind_id), content, payload, row_hash) in enumerate(told):
            header = header_bytes[i * size : (i + 1) * size]
            inputs_digest, records_digest = sha256(content).digest(), sha256(row_hash).digest()
            head = sha256(BLOCK_TAG + head + header + inputs_digest + records_digest).digest()
            block = Block(seq_n, at_t, kind_id, header, inputs_digest, payload, records_digest, head, content if keeps else b"")
            blocks.append(block)
        self.head = head
        self.seq_n += blocks_n
        return blocks

    def _contents(self, events: Rows) -> Iterator[bytes]:
        """Yield what each event's inputs digest covers: the event, then the bars, forecasts and memberships it names."""
        _, bars, bar_at, bar_size = _pieces(self.bars, events["bar_n"])
        first, forecasts, forecast_at, forecast_size = _pieces(self.forecasts, events["forecast_n"])
        _, clusters, cluster_at, cluster_size = _pieces(self.clusters, events["cluster_n"])
        digests = self.inputs.forecasts.feature_digests[first : first + len(forecasts) // forecast_size]
        event_bytes, size = events.tobytes(), EVENT.itemsize
        for i, (bar, forecast, cluster) in enumerate(zip(bar_at, forecast_at, cluster_at, strict=True)):
            parts: list[bytes | memoryview] = [event_bytes[i * size : (i + 1) * size]]
            if bar >= 0:
                parts.append(bars[bar : bar + bar_size])
            if forecast >= 0:
                parts += forecasts[forecast : forecast + forecast_size], digests[forecast // forecast_size]
            if cluster >= 0:
                parts.append(clusters[cluster : cluster + cluster_size])
            yield b"".join(parts)


def _pieces(table: RowTable, numbers: Ints) -> tuple[int, memoryview, list[int], int]:
    """Return (first, bytes, offsets, size) of the rows that row numbers span; the offset of number -1 is below 0."""
    first, rows = _window(table, numbers)
    size = INSTRUMENTS * rows.dtype.itemsize  # there may be no rows: a venue without memberships
    return first, rows.reshape(-1).view(np.uint8).data, ((numbers - first) * size).tolist(), size
