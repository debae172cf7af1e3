"""The engine's wiring in small: journal, approve, send, receive. One for whole runs, one around a desk of the core's tests."""

from __future__ import annotations

import hashlib

import numpy as np

from runtime.adapters.journal_memory import MemoryJournal
from runtime.adapters.simulator import SimulatedExchange
from runtime.approval import ApprovedOrder, approved_orders, row_hashes_of
from runtime.chain import compute_block_hash
from runtime.core import codes as c
from runtime.core import step
from runtime.core.digest import HEADER, SECTION, Block, RowHasher, decode_payload
from runtime.core.records import RECORD_TYPES
from runtime.engine import BlockChain, RunInputs, StageSeconds, backtest_events, new_out, new_state
from runtime.verify import forecast_hashes
from tests.support.desk import Desk

GENESIS = b'{"account_id":1,"mode_id":1}'
OVER = (c.O_CANCELLED, c.O_CANCELLING, c.O_EXPIRED, c.O_DUST)


def run_with_exchange(inputs: RunInputs, exchange: SimulatedExchange) -> list[Block]:
    """Run a backtest with orders going through a journal, an approval and the Exchange port; return its blocks."""
    genesis = inputs.genesis
    policies, states, out = genesis.profile.to_record(genesis.pairs), new_state(genesis.account_id, genesis.mode_id), new_out()
    bars, forecasts, clusters = inputs.bars, inputs.forecasts.rows, inputs.clusters.rows
    chain = BlockChain(inputs, bars, forecasts, clusters, StageSeconds())
    journal = MemoryJournal(genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id)
    hasher = RowHasher(bytes.fromhex(genesis.policy_digest), forecast_hashes(inputs.forecasts))
    open_orders: dict[int, ApprovedOrder] = {}

    def take(event: np.ndarray) -> None:
        out.n[:] = 0
        rows = [
            table[max(int(event[name][0]), 0)] if len(table) else np.zeros(32, table.dtype)
            for name, table in (("bar_n", bars), ("forecast_n", forecasts), ("cluster_n", clusters))
        ]
        step.step(policies, states, out, event, *rows)
        (block,) = chain.extend(out)
        journal.append([block])
        hashes = row_hashes_of(block, hasher)
        ended = decode_payload(block.payload).get("order_request", [])
        for row in ended:
            if row["status_id"] in OVER:
                exchange.cancel(open_orders[int(row["order_id"])])
        for order in approved_orders(journal, block.seq_n, hashes, hasher.hashes["trade_signal"]):
            open_orders[order.terms.order_id] = order
            assert exchange.submit(order) == ()

    events = backtest_events(inputs)
    for i in range(len(events)):
        event = events[i : i + 1].copy()
        if event["kind_id"][0] == c.EV_BARS:
            exchange.on_bars(bars[int(event["bar_n"][0])], int(event["value_n"][0]), int(event["at_t"][0]))
            for fill in exchange.receive():
                take(fill.to_record())
        take(event)
    return list(journal.read())


class Office:
    """A desk whose rows are journaled, so that its orders can be approved and its venue's events taken in."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.journal = MemoryJournal(GENESIS, account_id=1, mode_id=1)
        self.hasher = RowHasher(bytes(32), lambda _instrument, _forecast_t: bytes(32))
        self._done = {record.name: 0 for record in RECORD_TYPES}

    def journal_rows(self) -> tuple[Block, list[bytes]]:
        """Put everything the desk wrote since the last call into one block; return it and its row hashes."""
        payload, hashes, count = b"", [], 0
        for record in RECORD_TYPES:
            last = int(self.desk.out.n[0][record.name])
            rows = getattr(self.desk.out, record.name)[self._done[record.name] : last]
            if len(rows):
                payload += SECTION.pack(record.code, len(rows)) + rows.tobytes()
                hashes += self.hasher.hash_rows(record, rows)
                count += len(rows)
            self._done[record.name] = last
        head = self.journal.head()
        header = HEADER.pack(head.seq_n + 1, self.desk.now_t, c.EV_BARS, 1, 1, count)
        digest = hashlib.sha256(b"".join(hashes)).digest()
        block_hash = compute_block_hash(head.block_hash, header, bytes(32), digest)
        block = Block(head.seq_n + 1, self.desk.now_t, c.EV_BARS, header, bytes(32), payload, digest, block_hash)
        self.journal.append([block])
        return block, hashes

    def approve(self) -> tuple[ApprovedOrder, ...]:
        """Journal what the desk wrote and return the orders in it."""
        block, hashes = self.journal_rows()
        return approved_orders(self.journal, block.seq_n, hashes, self.hasher.hashes["trade_signal"])

    def take(self, events: tuple) -> None:
        """Apply a venue's events to the desk."""
        for event in events:
            self.desk.now_t = max(self.desk.now_t, event.at_t)
            fields = {name: value for name, value in event._asdict().items() if name not in {"kind_id", "at_t"}}
            self.desk.event(event.kind_id, **fields)
