"""The live tables hold what the journal holds, follow it, and are rebuilt whenever they are not of it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime import event as ev
from runtime.adapters.journal_memory import MemoryJournal
from runtime.adapters.live_reader import Filters, LiveReader
from runtime.adapters.live_tables import LIVE_NAME, LiveTables
from runtime.core import codes as c
from runtime.core.digest import Block, decode_payload
from runtime.core.records import RECORD_TYPES
from runtime.desk import Desk
from runtime.engine import RunInputs
from runtime.errors import EnvironmentFailure, VerificationError
from runtime.event import BundleNote, Note
from runtime.policy import ProfileVersion
from tests.support.paper import clerk, events_of, paper_inputs

HEX = "ab" * 32


def chain(inputs: RunInputs) -> list[Block]:
    """Return a paper chain with operator events at its end."""
    desk = Desk(inputs.genesis)
    events = events_of(inputs)
    at_t = events[-1].at_t
    profile = inputs.genesis.profile.model_copy(update={"version": 2, "margin_ppm": 9_000})
    bundle = BundleNote(name="next", bundle_hash=HEX, feature_set_hash=HEX, manifest_digest=HEX, signer=HEX)
    events += [
        ev.quote(at_t, 0, 10**8, 2 * 10**8),
        ev.heartbeat(at_t, 5),
        ev.policy(at_t, Note(actor="ada", reason="dearer", profile=ProfileVersion.seal(profile, "dearer"))),
        ev.bundle(at_t, 1, Note(actor="ada", bundle=bundle)),
        ev.control(at_t, c.SWITCH_KILL, 1, clerk("smoke", "id-1")),
    ]
    return [desk.apply(event) for event in events]


@pytest.fixture(scope="module")
def inputs() -> RunInputs:
    """Return a random market."""
    return paper_inputs(hours=200)


@pytest.fixture(scope="module")
def blocks(inputs: RunInputs) -> list[Block]:
    """Return its chain; never change it."""
    return chain(inputs)


def journal_of(inputs: RunInputs, blocks: list[Block]) -> MemoryJournal:
    """Return a journal that holds some blocks."""
    genesis = inputs.genesis
    journal = MemoryJournal(genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id)
    journal.append(blocks)
    return journal


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table."""
    connection = sqlite3.connect(path)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    connection.close()
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, inputs: RunInputs, blocks: list[Block]) -> Path:
    """Return tables of the whole chain; never change them."""
    path = tmp_path_factory.mktemp("live") / LIVE_NAME
    tables = LiveTables(path)
    assert tables.follow(journal_of(inputs, blocks)) == len(blocks)
    assert tables.follow(journal_of(inputs, blocks)) == 0
    tables.close()
    return path


def test_tables_hold_every_row_as_the_core_wrote_it(path: Path, blocks: list[Block]) -> None:
    """Rows, blocks, bars and forecasts are those of the journal."""
    found = content(path)
    for record in RECORD_TYPES:
        expected = [
            (*row, block.seq_n)
            for block in blocks
            for row in decode_payload(block.payload).get(record.name, np.zeros(0, record.dtype)).tolist()
        ]
        assert found[record.name] == expected, record.name
    assert [row[0] for row in found["block"]] == [b.seq_n for b in blocks]
    decoded = [(b, ev.Event.decode(b.inputs)) for b in blocks if b.kind_id == c.EV_BARS]
    assert len(found["bar"]) == sum(int(e.bars["present_n"].sum()) for _, e in decoded if e.bars is not None)
    assert len(found["forecast"]) == sum(int(e.forecasts["valid_n"].sum()) for _, e in decoded if e.forecasts is not None)
    assert {row[2] for row in found["note"]} >= {c.EV_DEPOSIT, c.EV_POLICY, c.EV_BUNDLE, c.EV_CONTROL}


@pytest.mark.parametrize("part", [1, 7, 113])
def test_following_in_parts_gives_the_same_tables(
    part: int, tmp_path: Path, path: Path, inputs: RunInputs, blocks: list[Block]
) -> None:
    """However the journal grows, the tables are the same; also through a restart in between."""
    own = tmp_path / LIVE_NAME
    for stop in (*range(part, len(blocks), len(blocks) // 3 if part == 1 else part), len(blocks)):
        tables = LiveTables(own)
        tables.follow(journal_of(inputs, blocks[:stop]))
        assert tables.watermark() == (stop, blocks[stop - 1].block_hash)
        tables.close()
    assert content(own) == content(path)


def test_tables_of_another_chain_are_rebuilt(tmp_path: Path, path: Path, inputs: RunInputs, blocks: list[Block]) -> None:
    """A watermark that is not in the journal, and another genesis, lead to the journal's tables and no other row."""
    own = tmp_path / LIVE_NAME
    other = paper_inputs(seed=5, hours=60)
    tables = LiveTables(own)
    tables.follow(journal_of(other, [Desk(other.genesis).apply(events_of(other)[0])]))
    tables.follow(journal_of(inputs, blocks))
    assert content(own) == content(path)
    tables._set_meta("block_hash", bytes(32))
    assert tables.follow(journal_of(inputs, blocks)) == len(blocks)
    tables.follow(journal_of(inputs, blocks[:50]))  # the watermark is beyond the journal
    assert LiveReader(own).watermark() == (50, blocks[49].block_hash)
    tables.close()


@pytest.mark.parametrize("damage", [b"no database at all", b"\0" * 8_192])
def test_a_damaged_file_is_replaced(damage: bytes, tmp_path: Path, path: Path, inputs: RunInputs, blocks: list[Block]) -> None:
    """What is no database, or has pages of nothing, is built anew."""
    own = tmp_path / LIVE_NAME
    own.write_bytes(damage)
    tables = LiveTables(own)
    tables.follow(journal_of(inputs, blocks))
    tables.close()
    assert content(own) == content(path)


def test_a_block_that_does_not_link_is_refused(tmp_path: Path, inputs: RunInputs, blocks: list[Block]) -> None:
    """The tables stop before a broken link and keep what was before."""

    class Bent(MemoryJournal):
        def read(self, first_n: int = 1, last_n: int | None = None) -> Iterator[Block]:
            for block in super().read(first_n, last_n):
                yield block._replace(at_t=block.at_t + 1) if block.seq_n == 31 else block

    genesis = inputs.genesis
    journal = Bent(genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id)
    journal.append(blocks[:30])
    tables = LiveTables(tmp_path / LIVE_NAME)
    tables.follow(journal)
    journal.append(blocks[30:40])
    with pytest.raises(VerificationError, match="does not link"):
        tables.follow(journal)
    assert tables.watermark().seq_n == 30
    tables.close()


def test_the_timeline_filters_and_pages(path: Path) -> None:
    """Pages without a hole or a repetition; each filter keeps exactly the rows that it says."""
    reader = LiveReader(path)
    every = reader.timeline(limit=10_000).rows
    assert len(every) > 100
    assert [row["signal_id"] for row in every] == sorted((row["signal_id"] for row in every), reverse=True)
    paged, cursor = [], None
    while True:
        page = reader.timeline(cursor=cursor, limit=7)
        paged += page.rows
        cursor = page.cursor
        if cursor is None:
            break
    assert paged == every
    first = every[len(every) // 2]
    chosen = {
        "instrument_id": Filters(instruments=(first["instrument_id"],)),
        "action_id": Filters(actions=(first["action_id"],)),
        "gate_id": Filters(gates=(first["gate_id"],)),
        "outlook_id": Filters(outlooks=(first["outlook_id"],)),
        "reason_id": Filters(reasons=(first["reason_id"],)),
    }
    for column, filters in chosen.items():
        found = reader.timeline(filters, limit=10_000).rows
        assert found == [row for row in every if row[column] == first[column]]
    since = reader.timeline(Filters(since_t=first["at_t"], until_t=first["at_t"]), limit=10_000).rows
    assert since == [row for row in every if row["at_t"] == first["at_t"]]


def test_a_decision_has_all_that_came_of_it(path: Path, inputs: RunInputs, blocks: list[Block]) -> None:
    """An entry that was filled shows its forecast, orders, fills, lots, trades, cash entries and block."""
    reader = LiveReader(path)
    entry = next(
        d for row in reversed(reader.timeline(Filters(actions=(c.ENTER,)), limit=10_000).rows)
        if (d := reader.decision(row["signal_id"])) is not None and d.trades
    )  # fmt: skip
    assert entry.block.block_hash == blocks[entry.block.seq_n - 1].block_hash
    assert entry.governing.policy_digest == inputs.genesis.policy_digest
    assert entry.forecast is not None
    assert entry.forecast.at_t == entry.signal["forecast_t"]
    assert {o["signal_id"] for o in entry.orders} == {entry.signal["signal_id"]}
    assert sum(f["qty_e8"] for f in entry.fills) == sum(lot["qty_e8"] for lot in entry.lots if lot["qty_e8"] > 0)
    assert len(entry.entries) == len(entry.fills)
    assert {t["lot_id"] for t in entry.trades} <= {lot["lot_id"] for lot in entry.lots}
    refused = next(row for row in reader.timeline(limit=10_000).rows if row["gate_id"] != c.G_PASS)
    found = reader.decision(refused["signal_id"])
    assert found is not None
    assert found.risk_events
    assert not found.orders
    assert reader.decision(10**9) is None


def test_equity_keeps_first_last_lowest_and_highest(path: Path) -> None:
    """Thinning to few points loses no extreme."""
    reader = LiveReader(path)
    every = reader.equity(points=10_000)
    few = reader.equity(points=20)
    assert len(few) <= 20 < len(every)
    assert (few[0], few[-1]) == (every[0], every[-1])
    values = [point.pv_e8 for point in every]
    assert {min(values), max(values)} <= {point.pv_e8 for point in few}
    middle = every[len(every) // 2].close_t
    assert reader.equity(middle, middle) == [every[len(every) // 2]]


def test_hours_of_an_outage_stand_at_their_own_close(tmp_path: Path, inputs: RunInputs) -> None:
    """After an outage many hours are taken in at one moment, one of them twice: each stands once, where it closed."""
    desk = Desk(inputs.genesis)
    events = events_of(inputs)
    hours = [e for e in events if e.kind_id == c.EV_BARS]
    back_t = hours[-1].at_t + 1_200
    opened = [int(e.record[0]["value_n"]) for e in hours]
    blocks = [desk.apply(e) for e in events[: events.index(hours[20])]]
    for event, open_t in zip([*hours[20:], hours[-1]], [*opened[20:], opened[-1]], strict=True):
        blocks.append(desk.apply(ev.bars(back_t, open_t, event.bars, event.forecasts, event.feature_digest)))
    tables = LiveTables(tmp_path / LIVE_NAME)
    tables.follow(journal_of(inputs, blocks))
    tables.close()
    reader = LiveReader(tmp_path / LIVE_NAME)
    points = reader.equity(points=10_000)
    assert [p.close_t for p in points] == [open_t + 3_600 for open_t in opened]
    assert {p.at_t for p in points[20:]} == {back_t}
    assert points[-1].pv_e8 == int(desk.state[0]["desk"]["pv_e8"])
    assert [p.close_t for p in reader.equity(opened[30], opened[40])] == [
        t for t in (o + 3_600 for o in opened) if opened[30] <= t <= opened[40]
    ]


def test_candles_notes_forecasts_and_blocks(path: Path, inputs: RunInputs, blocks: list[Block]) -> None:
    """Charts, operator's acts, last forecasts and last blocks."""
    reader = LiveReader(path)
    candles, marks = reader.candles(0, limit=10_000)
    assert [x.open_t for x in candles] == sorted(x.open_t for x in candles)
    assert marks
    assert all(mark.signal_id for mark in marks)
    assert reader.candles(0, limit=3)[0] == candles[-3:]
    kill, bundle, policy, *_ = reader.notes()
    assert (kill.actor, kill.reason, kill.command_id, kill.switch_id) == ("operator", "smoke", "id-1", c.SWITCH_KILL)
    assert '"name":"next"' in bundle.body
    assert policy.actor == "ada"
    assert [f.at_t for f in reader.forecasts()] == [int(inputs.forecasts.at_t[-1])] * len(reader.forecasts())
    assert [b.seq_n for b in reader.last_blocks(3)] == [len(blocks) - i for i in range(3)]
    assert [b.seq_n for b in reader.blocks_after(len(blocks) - 2)] == [len(blocks) - 1, len(blocks)]
    assert reader.symbols() == inputs.genesis.symbols
    assert reader.hourly() is not None
    assert reader.clusters() is not None


def test_readers_see_whole_batches_while_the_writer_writes(tmp_path: Path, inputs: RunInputs, blocks: list[Block]) -> None:
    """Many threads read one reader during a rebuild and follow; each answer is of one moment."""
    own = tmp_path / LIVE_NAME
    tables = LiveTables(own)
    tables.follow(journal_of(inputs, blocks[:40]))
    reader = LiveReader(own)
    problems: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            watermark, last = reader.watermark(), reader.last_blocks(1)
            if not last or last[0].seq_n < watermark.seq_n - len(blocks):
                problems.append(f"{watermark} {last}")

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for stop in range(41, len(blocks), 3):
        tables.follow(journal_of(inputs, blocks[:stop]))
    done.set()
    for thread in threads:
        thread.join()
    assert not problems
    tables.close()
    own.unlink()
    with pytest.raises(EnvironmentFailure, match="cannot be read"):
        reader.watermark()
    reader.close()


def test_it_keeps_up_with_a_thousand_blocks_a_second(tmp_path: Path, inputs: RunInputs, blocks: list[Block]) -> None:
    """Following takes less than a millisecond of processor time per block, and a filter of all signals less than 100 ms."""
    tables = LiveTables(tmp_path / LIVE_NAME)
    journal = journal_of(inputs, blocks)
    started = time.thread_time()
    tables.follow(journal)
    assert len(blocks) / (time.thread_time() - started) > 1_000
    tables.close()
    reader = LiveReader(tmp_path / LIVE_NAME)
    started = time.thread_time()
    reader.timeline(Filters(gates=(c.G_PASS,)), limit=10_000)
    assert time.thread_time() - started < 0.1


def test_tables_of_another_version_are_replaced(tmp_path: Path, path: Path, inputs: RunInputs, blocks: list[Block]) -> None:
    """A file that an older program wrote, or one without tables of ours, is built anew."""
    own = tmp_path / LIVE_NAME
    tables = LiveTables(own)
    tables.follow(journal_of(inputs, blocks[:20]))
    tables._set_meta("schema", bytes(8))
    tables.close()
    tables = LiveTables(own)
    assert tables.watermark().seq_n == 0
    tables.close()
    own.unlink()
    connection = sqlite3.connect(own)
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    tables = LiveTables(own)
    tables.follow(journal_of(inputs, blocks))
    tables.close()
    assert content(own) == content(path)


def test_damage_found_while_following_replaces_the_file_and_readers_notice(
    tmp_path: Path, path: Path, inputs: RunInputs, blocks: list[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is made anew, and a reader that has the old one open reads the new one."""
    own = tmp_path / LIVE_NAME
    tables = LiveTables(own)
    tables.follow(journal_of(inputs, blocks[:20]))
    reader = LiveReader(own)
    assert reader.watermark().seq_n == 20
    take, calls = LiveTables._take, []

    def damaged(self: LiveTables, batch: list[Block]) -> None:
        calls.append(len(batch))
        if len(calls) == 1:
            raise sqlite3.DatabaseError("database disk image is malformed")
        take(self, batch)

    monkeypatch.setattr(LiveTables, "_take", damaged)
    tables.follow(journal_of(inputs, blocks))
    assert reader.watermark().seq_n == len(blocks)
    reader.close()
    tables.close()
    assert content(own) == content(path)


def test_a_full_disk_is_an_environment_failure_and_nothing_half_written(
    tmp_path: Path, inputs: RunInputs, blocks: list[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is rolled back; the next follow goes on where the last one ended."""
    own = tmp_path / LIVE_NAME
    tables = LiveTables(own)
    tables.follow(journal_of(inputs, blocks[:20]))
    take = LiveTables._take

    def full(self: LiveTables, batch: list[Block]) -> None:
        take(self, batch)
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(LiveTables, "_take", full)
        with pytest.raises(EnvironmentFailure, match="disk is full"):
            tables.follow(journal_of(inputs, blocks))
    assert tables.watermark().seq_n == 20
    assert tables.follow(journal_of(inputs, blocks)) == len(blocks) - 20
    tables.close()
