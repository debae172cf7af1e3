"""The desk: one live chain's state, policy and hashes, moved on event by event. Paper, live, recovery and replay are the same desk.

It decides nothing itself: `runtime.core.step` does. It makes the block; who drives it journals the block before acting on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.approval import ApprovedOrder, approved_orders
from runtime.chain import compute_block_hash
from runtime.core import step
from runtime.core.codes import EV_BUNDLE, EV_POLICY, O_NEW
from runtime.core.digest import HEADER, Block, RowHasher, by_block
from runtime.core.records import BAR, CLUSTER, FORECAST, INSTRUMENTS, RECORD_TYPES
from runtime.difference import first_difference
from runtime.engine import new_out, new_state
from runtime.errors import InvariantError, VerificationError
from runtime.event import BundleNote, Event
from runtime.genesis import Genesis
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
        self._before = self.state.copy()
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
        np.copyto(self._before, self.state)
        before = (self.profile, self.policy, self._hasher.policy_digest)
        try:
            event = event.numbered(*self.brought_n)
            event.check()
            self._govern(event)
            self._step(event)
        except (ValueError, OverflowError, ZeroDivisionError) as e:
            np.copyto(self.state, self._before)
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
    ) -> Desk:
        """Return the desk that stands after some stored blocks: each is computed again and must come out the same.

        Args:
            genesis: where the chain starts.
            blocks: all of its blocks, in order.
            report: told after every thousand blocks.
            total_n: how many there are, for the report.
            seen: told each event and block, for what else is to be recovered from them.

        Raises:
            VerificationError: a stored block is not what the core computes.
        """
        desk = cls(genesis)
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
        out, hasher = self._out, self._hasher
        counts = out.n[0]
        row_hashes = {r.name: hasher.hash_rows(r, getattr(out, r.name)[: counts[r.name]]) for r in RECORD_TYPES}
        signals = hasher.hashes["trade_signal"]
        (payload,), (hashes,), records_n = by_block(out, row_hashes)
        seq_n, content = self.head.seq_n + 1, event.content()
        header = HEADER.pack(seq_n, event.at_t, event.kind_id, self.genesis.account_id, self.genesis.mode_id, int(records_n[0]))
        inputs_digest, records_digest = hashlib.sha256(content).digest(), hashlib.sha256(hashes).digest()
        block_hash = compute_block_hash(self.head.block_hash, header, inputs_digest, records_digest)
        self._note_approvals(seq_n, [h for r in RECORD_TYPES for h in row_hashes[r.name]], signals)
        hasher.settle()
        self.forecasts.settle()
        self.head = Head(seq_n, block_hash)
        if event.kind_id == EV_BUNDLE:
            note = event.note_of()
            self.bundle = note.bundle if note else None
            self.bundles_n += 1
        return Block(seq_n, event.at_t, event.kind_id, header, inputs_digest, payload, records_digest, block_hash, content)

    def _note_approvals(self, seq_n: int, row_hashes: list[bytes], signals: dict[int, bytes]) -> None:
        """Remember where each open order was last approved, and forget the others."""
        rows = self._out.order_request[: self._out.n[0]["order_request"]]
        new = rows[rows["status_id"] == O_NEW]
        approval = Approval(seq_n, row_hashes, {i: signals[i] for i in new["signal_id"].tolist()})
        self._approvals |= dict.fromkeys(new["order_id"].tolist(), approval)
        open_ids = set(self.state[0]["orders"]["order_id"].tolist())
        self._approvals = {i: a for i, a in self._approvals.items() if i in open_ids}


def _differs(block: Block, why: str) -> VerificationError:
    return VerificationError(
        f"block {block.seq_n} of the journal is not what the core computes: {why}",
        expected="a journal that this version wrote, unchanged",
        action="keep the evidence and run `ballast replay` for the details; nothing was traded",
    )
