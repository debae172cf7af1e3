"""A paper chain made from a backtest: the same events, each with what it names."""

from __future__ import annotations

from pathlib import Path

from runtime import event as ev
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.core import codes as c
from runtime.core.digest import Block, decode_payload
from runtime.desk import Desk
from runtime.engine import RunInputs, backtest_events, iterate_blocks
from runtime.event import Event, Note
from runtime.files import write_bytes
from runtime.home import RUN_MARK
from tests.support.checks import BUSY
from tests.support.markets import random_inputs


def clerk(reason: str = "a test", command_id: str = "") -> Note:
    """Return a note of somebody who does something."""
    return Note(actor="operator", reason=reason, command_id=command_id)


def paper_inputs(seed: int = 2, hours: int = 300, symbols: int = 6) -> RunInputs:
    """Return a random market whose genesis is that of a paper account."""
    inputs = random_inputs(seed, hours, symbols, BUSY, wildness=1.5)
    genesis = inputs.genesis.model_copy(update={"mode_id": c.MODE_PAPER})
    return RunInputs(genesis, inputs.bars, inputs.close_t, inputs.forecasts, inputs.clusters)


def events_of(inputs: RunInputs) -> list[Event]:
    """Return the events of a backtest, its fills included, each with what it names."""
    schedule = iter(backtest_events(inputs))
    events: list[Event] = []
    for block in (block for blocks in iterate_blocks(inputs) for block in blocks):
        if block.kind_id == c.EV_FILL:
            rows = decode_payload(block.payload)["order_fill"][0]
            record = ev.no_inputs()
            record["kind_id"], record["at_t"] = c.EV_FILL, block.at_t
            for name in ("instrument_id", "quote_id", "order_id", "liquidity_id", "qty_e8", "price_e8", "reference_e8"):
                record[name] = rows[name]
            events.append(Event(record))
            continue
        row = next(schedule)
        assert int(row["kind_id"]) == block.kind_id
        if block.kind_id == c.EV_BARS:
            n = int(row["forecast_n"])
            made = (inputs.forecasts.rows[n], inputs.forecasts.feature_digests[n]) if n >= 0 else (None, b"")
            events.append(ev.bars(block.at_t, int(row["value_n"]), inputs.bars[int(row["bar_n"])], *made))
        elif block.kind_id == c.EV_CLUSTERS:
            events.append(ev.clusters(block.at_t, int(row["value_n"]), inputs.clusters.rows[int(row["cluster_n"])]))
        else:
            events.append(ev.cash(block.at_t, block.kind_id, int(row["quote_id"]), int(row["amount_e8"]), clerk()))
    return events


def store_paper(run_dir: Path, inputs: RunInputs, events: list[Event]) -> list[Block]:
    """Journal a paper chain in a run folder and return its blocks."""
    genesis = inputs.genesis
    desk = Desk(genesis)
    blocks = [desk.apply(event) for event in events]
    journal = SqliteJournal.create(
        run_dir / JOURNAL_NAME, genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id
    )
    journal.append(blocks)
    journal.close()
    write_bytes(run_dir / RUN_MARK, genesis.canonical())
    return blocks
