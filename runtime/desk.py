"""The desk: one live chain's state, policy and hashes, moved on event by event. Paper, live, recovery and replay are the same desk.

It decides nothing itself: `runtime.core.step` does. It makes the block; who drives it journals the block before acting on it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from runtime.approval import ApprovedOrder, approved_orders
from runtime.chain import compute_block_hash
from runtime.core import step
from runtime.core.codes import EV_BUNDLE, EV_POLICY, O_NEW
from runtime.core.digest import HEADER, SECTION, Block, RowHasher
from runtime.core.records import BAR, CLUSTER, FORECAST, INSTRUMENTS, RECORD_TYPES
from runtime.difference import first_difference
from runtime.engine import new_out, new_state
from runtime.errors import InvariantError, VerificationError
from runtime.event import BundleNote, Event
from runtime.genesis import Genesis
from runtime.jit import deciding_source_digest
from runtime.policy import RiskProfile
from runtime.ports import Head, Journal
from runtime.progress import Report, silent
from runtime.verify import JournaledForecasts, governed_by

Rows = npt.NDArray[np.void]

OUT_ROWS_N: Final = 512
"""Room in the buffers for more rows of any type than one event can write (`runtime.core.step.full`)."""


class Approval(NamedTuple):
    """Where an order that is still open was approved: its block, and what proves its row."""

    seq_n: int
    row_hashes: list[bytes]
    signal_hashes: dict[int, bytes]


class Frozen(BaseModel):
    """Where a desk stands, as data: a cache, not evidence. It is taken only for the block hash that it names.

    Attributes:
        state: STATE [1], base64.
        rows: per parent table, how many rows there are and the row hashes, by id, that later rows can name.
        forecasts: instrument, time and hash of the last forecast of each.
        approvals: per open order, where it was approved: block, hashes of its rows, hashes of its signals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_n: Literal[1] = 1
    genesis_hash: str
    core_digest: str
    seq_n: int
    block_hash: str
    state: str
    profile: RiskProfile
    bundle: BundleNote | None
    bundles_n: int
    brought_n: tuple[int, int, int]
    rows: dict[str, tuple[int, dict[int, str]]]
    forecasts: tuple[tuple[int, int, str], ...]
    approvals: tuple[tuple[int, int, tuple[str, ...], dict[int, str]], ...]


class Desk:
    """State, policy and hashes of one chain, right after its last block.

    Args:
        genesis: of a paper or live chain, or of a backtest whose events are to be computed one by one.
    """

    def __init__(self, genesis: Genesis) -> None:
        self.genesis = genesis
        self.profile: RiskProfile = genesis.profile
        self.policy: Rows = genesis.profile.to_record(genesis.pairs)
        self.state: Rows = new_state(genesis.account_id, genesis.mode_id)
        self.bundle: BundleNote | None = None
        self.bundles_n = 0
        self.head = Head(0, genesis.hash)
        self.brought_n = [0, 0, 0]
        self.forecasts = JournaledForecasts()
        self._hasher = RowHasher(bytes.fromhex(genesis.policy_digest), self.forecasts)
        self._out = new_out(OUT_ROWS_N)
        # as bytes: a structured copy goes field by field and takes ten times as long
        self._state_bytes = self.state.view(np.uint8)
        self._before = self._state_bytes.copy()
        self._approvals: dict[int, Approval] = {}
        self._none = (np.zeros(INSTRUMENTS, BAR), np.zeros(INSTRUMENTS, FORECAST), np.zeros(INSTRUMENTS, CLUSTER))

    @property
    def now_t(self) -> int:
        """Time of the last event, seconds UTC; the next one's must not be before it."""
        return int(self.state[0]["desk"]["now_t"])

    @property
    def policy_digest(self) -> str:
        """Digest of the profile that governs."""
        return self.profile.digest

    def apply(self, event: Event) -> Block:
        """Apply an event and return its block, which continues the chain.

        The caller journals the block before it acts on it. If it cannot, this desk is ahead of the journal and must be thrown away:
        `fold` makes a new one.

        Raises:
            InvariantError: the event is malformed, or the core found a broken invariant; the desk is as before the event.
        """
        np.copyto(self._before, self._state_bytes)
        before = (self.profile, self.policy, self._hasher.policy_digest)
        try:
            event = event.numbered(*self.brought_n)
            event.check()
            self._govern(event)
            self._step(event)
        except (ValueError, OverflowError, ZeroDivisionError) as e:
            np.copyto(self._state_bytes, self._before)
            self.profile, self.policy, self._hasher.policy_digest = before
            raise InvariantError(
                f"the decision core refused event {self.head.seq_n + 1} of kind {event.kind_id}: {e}",
                expected="an event that keeps every invariant",
                action="halt, keep the journal as evidence and report this as a defect",
            ) from e
        if event.forecasts is not None:
            self.forecasts.take(event.at_t, event.forecasts, event.feature_digest)
        for i, rows in enumerate((event.bars, event.forecasts, event.clusters)):
            self.brought_n[i] += rows is not None
        return self._block(event)

    def approved(self, journal: Journal) -> tuple[ApprovedOrder, ...]:
        """Return the orders that the last block approved, read back from the journal that holds it by now.

        Raises:
            InvariantError: the journal does not hold the block.
        """
        last = next((a for a in self._approvals.values() if a.seq_n == self.head.seq_n), None)
        return approved_orders(journal, *last) if last else ()

    def order(self, journal: Journal, order_id: int) -> ApprovedOrder:
        """Return an open order as it was last approved, read back from the journal.

        Raises:
            InvariantError: there is no such open order.
        """
        approval = self._approvals.get(order_id)
        found = approved_orders(journal, *approval) if approval else ()
        for order in found:
            if order.terms.order_id == order_id:
                return order
        raise InvariantError(
            f"order {order_id} is not open", expected=f"one of {sorted(self._approvals)}", action="halt and keep the evidence"
        )

    @classmethod
    def fold(
        cls,
        genesis: Genesis,
        blocks: Iterable[Block],
        report: Report = silent,
        *,
        total_n: int = 0,
        seen: Callable[[Event, Block], None] | None = None,
        start: Desk | None = None,
    ) -> Desk:
        """Return the desk that stands after some stored blocks: each is computed again and must come out the same.

        Args:
            genesis: where the chain starts.
            blocks: all of its blocks, or those after the start, in order.
            report: told after every thousand blocks.
            total_n: how many there are, for the report.
            seen: told each event and block, for what else is to be recovered from them.
            start: a desk that stands before the first of the blocks; it is moved on. By default the genesis.

        Raises:
            VerificationError: a stored block is not what the core computes.
        """
        desk = cls(genesis) if start is None else start
        for block in blocks:
            try:
                event = Event.decode(block.inputs)
                computed = desk.apply(event)
            except (ValueError, InvariantError) as e:
                raise _differs(block, str(e)) from e
            if computed != block:
                raise _differs(block, first_difference(block, computed).detail)
            if seen is not None:
                seen(event, block)
            if block.seq_n % 1_000 == 0:
                report("recover", block.seq_n, max(total_n, block.seq_n))
        return desk

    def freeze(self) -> Frozen:
        """Return where the desk stands, as data."""
        return Frozen(
            genesis_hash=self.genesis.hash.hex(),
            core_digest=deciding_source_digest(),
            seq_n=self.head.seq_n,
            block_hash=self.head.block_hash.hex(),
            state=base64.b64encode(self.state.tobytes()).decode(),
            profile=self.profile,
            bundle=self.bundle,
            bundles_n=self.bundles_n,
            brought_n=(self.brought_n[0], self.brought_n[1], self.brought_n[2]),
            rows={name: (self._hasher.rows_n[name], _as_hex(kept)) for name, kept in sorted(self._hasher.hashes.items())},
            forecasts=tuple((i, t, found.hex()) for (i, t), found in sorted(self.forecasts.known.items())),
            approvals=tuple(
                (order_id, a.seq_n, tuple(h.hex() for h in a.row_hashes), _as_hex(a.signal_hashes))
                for order_id, a in sorted(self._approvals.items())
            ),
        )

    @classmethod
    def thaw(cls, genesis: Genesis, frozen: Frozen) -> Desk:
        """Return the desk that stood where it was frozen.

        Raises:
            ValueError: it belongs to another chain or another core, or is damaged.
        """
        if (frozen.genesis_hash, frozen.core_digest) != (genesis.hash.hex(), deciding_source_digest()):
            raise ValueError("a desk of another chain, or frozen by another core")
        desk = cls(genesis)
        desk.state[:] = np.frombuffer(base64.b64decode(frozen.state, validate=True), desk.state.dtype, 1)
        desk.profile, desk.policy = frozen.profile, frozen.profile.to_record(genesis.pairs)
        desk.bundle, desk.bundles_n = frozen.bundle, frozen.bundles_n
        desk.brought_n = list(frozen.brought_n)
        desk.head = Head(frozen.seq_n, bytes.fromhex(frozen.block_hash))
        desk._hasher.policy_digest = bytes.fromhex(frozen.profile.digest)
        orders = {
            s: (int(o["signal_id"]), int(o["order_row_id"]), int(o["status_id"]))
            for s, o in enumerate(desk.state[0]["orders"])
            if o["order_id"] != 0
        }
        entries = {quote: int(cash["last_entry_id"]) for quote, cash in enumerate(desk.state[0]["cash"])}
        desk._hasher.restore({name: (n, _from_hex(kept)) for name, (n, kept) in frozen.rows.items()}, orders, entries)
        desk.forecasts.restore({(i, t): bytes.fromhex(found) for i, t, found in frozen.forecasts})
        desk._approvals = {
            order_id: Approval(seq_n, [bytes.fromhex(h) for h in hashes], _from_hex(signals))
            for order_id, seq_n, hashes, signals in frozen.approvals
        }
        return desk

    # ---- one event ---------------------------------------------------------------------------------------------

    def _govern(self, event: Event) -> None:
        """Let another profile or bundle govern from this event on."""
        if event.kind_id == EV_POLICY:
            profile = governed_by(event)
            self.profile, self.policy = profile, profile.to_record(self.genesis.pairs)
            self._hasher.policy_digest = bytes.fromhex(profile.digest)

    def _step(self, event: Event) -> None:
        bars, forecasts, clusters = self._none
        self._out.n[:] = 0
        step.step(
            self.policy,
            self.state,
            self._out,
            event.record,
            bars if event.bars is None else np.ascontiguousarray(event.bars),
            forecasts if event.forecasts is None else np.ascontiguousarray(event.forecasts),
            clusters if event.clusters is None else np.ascontiguousarray(event.clusters),
        )

    def _block(self, event: Event) -> Block:
        counts, hasher = self._out.n[0], self._hasher
        sections: list[bytes] = []
        row_hashes: list[bytes] = []
        for record in RECORD_TYPES:
            rows_n = int(counts[record.name])
            if rows_n:
                rows = getattr(self._out, record.name)[:rows_n]
                sections += SECTION.pack(record.code, rows_n), rows.tobytes()
                row_hashes += hasher.hash_rows(record, rows)
        seq_n, content = self.head.seq_n + 1, event.content()
        header = HEADER.pack(seq_n, event.at_t, event.kind_id, self.genesis.account_id, self.genesis.mode_id, len(row_hashes))
        inputs_digest, records_digest = hashlib.sha256(content).digest(), hashlib.sha256(b"".join(row_hashes)).digest()
        block_hash = compute_block_hash(self.head.block_hash, header, inputs_digest, records_digest)
        self._note_approvals(seq_n, row_hashes, hasher.hashes["trade_signal"])
        hasher.settle()
        self.forecasts.settle()
        self.head = Head(seq_n, block_hash)
        if event.kind_id == EV_BUNDLE:
            note = event.note_of()
            self.bundle = note.bundle if note else None
            self.bundles_n += 1
        payload = b"".join(sections)
        return Block(seq_n, event.at_t, event.kind_id, header, inputs_digest, payload, records_digest, block_hash, content)

    def _note_approvals(self, seq_n: int, row_hashes: list[bytes], signals: dict[int, bytes]) -> None:
        """Remember where each open order was last approved, and forget the others."""
        rows = self._out.order_request[: self._out.n[0]["order_request"]]
        if not len(rows) and not self._approvals:
            return
        new = rows[rows["status_id"] == O_NEW]
        approval = Approval(seq_n, row_hashes, {i: signals[i] for i in new["signal_id"].tolist()})
        self._approvals |= dict.fromkeys(new["order_id"].tolist(), approval)
        open_ids = set(self.state[0]["orders"]["order_id"].tolist())
        self._approvals = {i: a for i, a in self._approvals.items() if i in open_ids}


def _as_hex(hashes: dict[int, bytes]) -> dict[int, str]:
    return {i: found.hex() for i, found in sorted(hashes.items())}


def _from_hex(hashes: dict[int, str]) -> dict[int, bytes]:
    return {i: bytes.fromhex(found) for i, found in hashes.items()}


def _differs(block: Block, why: str) -> VerificationError:
    return VerificationError(
        f"block {block.seq_n} of the journal is not what the core computes: {why}",
        expected="a journal that this version wrote, unchanged",
        action="keep the evidence and run `ballast replay` for the details; nothing was traded",
    )
