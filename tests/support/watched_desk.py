"""A real paper account to be watched: a journaled chain of a made-up market, its live tables, and the control API over both.

    python -m tests.support.watched_desk HOME [HOURS] [SYMBOLS] [EVERY_MS]

serves until it is ended, and takes in one more hour every EVERY_MS milliseconds.
"""

from __future__ import annotations

import secrets
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.live_reader import LiveReader, NoteRow
from runtime.adapters.live_tables import LIVE_NAME, LiveTables
from runtime.control.app import Sources
from runtime.control.server import ControlServer
from runtime.control.settings import ControlSettings
from runtime.core import codes as c
from runtime.core.digest import Block
from runtime.desk import Desk
from runtime.engine import RunInputs
from runtime.errors import InvariantError
from runtime.event import BundleNote, Event, SessionNote
from runtime.genesis import Genesis
from runtime.home import RUN_MARK, runs_path
from runtime.ops.endpoint import Endpoint, endpoint_path, write_endpoint
from runtime.policy import RiskProfile
from runtime.trading.commands import Command, Kill, Receipt
from runtime.trading.operator import Refused, event_of
from runtime.trading.view import FeedHealth, Latency, PaperDays, RuntimeView
from tests.support.checks import BUSY
from tests.support.markets import random_inputs
from tests.support.paper import events_of
from tests.support.paper_desk import HEX, session

SYMBOLS: Final = ("BTC", "ETH", "SOL", "XRP", "ADA", "LINK", "DOT", "AVAX", "LTC", "ATOM", "UNI", "AAVE")
CALM: Final = BUSY.model_copy(
    update={
        "tiers": RiskProfile().tiers, "positions_max": 8, "base_ppm": 60_000, "participation_ppm": 100_000, "total_cap_ppm": 400_000, "cluster_cap_ppm": 140_000,
        "name": "balanced", "quote_age_max_t": 60,
    }
)  # fmt: skip
"""Trades often, as the desks of other tests do, under the tiers and caps of the presets."""
SESSION: Final = SessionNote(
    version="0.1.0", core_digest=HEX, clock="venue", venue="loopback", simulated=True, settings_digest=HEX, cause="start"
)


def watched_inputs(hours: int = 480, symbols: int = 8, seed: int = 4) -> RunInputs:
    """Return a paper account over a random market with the names of real assets."""
    inputs = random_inputs(seed, hours, symbols, CALM, wildness=0.35)
    genesis = inputs.genesis.model_copy(update={"mode_id": c.MODE_PAPER, "symbols": SYMBOLS[:symbols]})
    return RunInputs(
        Genesis.model_validate(genesis.model_dump()), inputs.bars, inputs.close_t, inputs.forecasts, inputs.clusters
    )


class WatchedDesk:
    """One account: chain, tables and API.

    Args:
        home: home folder; the endpoint file is written in it.
        inputs: of the account.
        ahead_n: events that are kept back for `advance`.
    """

    def __init__(self, home: Path, inputs: RunInputs, ahead_n: int = 0) -> None:
        self.home = home
        events = [session(int(inputs.close_t[0]) - inputs.genesis.interval_t, "start", started=True), *events_of(inputs)]
        self.ahead = events[len(events) - ahead_n :]
        genesis = inputs.genesis
        self.run_dir = runs_path(home) / f"paper-{genesis.hash.hex()[:12]}"
        self.run_dir.mkdir(parents=True)
        (self.run_dir / RUN_MARK).write_bytes(genesis.canonical())
        self._writer = ThreadPoolExecutor(1)  # a journal belongs to one thread, as in the daemon
        self.journal = self._writer.submit(
            lambda: SqliteJournal.create(
                self.run_dir / JOURNAL_NAME, genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id
            )
        ).result()
        self.tables = LiveTables(self.run_dir / LIVE_NAME)
        self.desk = Desk(genesis)
        self.feed = FeedHealth(connected=True, last_message_ms=1, reconnects_n=1)
        self.latency = Latency(3.1, 8.4, 1_000)
        self._receipts: dict[str, Receipt] = {}
        self._forecasts: tuple[int, Event] | None = None
        blocks = []
        for event in events[: len(events) - ahead_n]:
            blocks.append(self.desk.apply(event))
            self._notice(event)
        self._writer.submit(self.journal.append, blocks).result()
        self._writer.submit(self.tables.follow, self.journal).result()
        self.view = self._view()
        self.server: ControlServer | None = None

    def serve(self, port: int = 0) -> str:
        """Serve the API, write the endpoint file and return the address."""
        token = secrets.token_urlsafe(32)
        sources = Sources(
            view=lambda: self.view, submit=self.submit, tables=LiveReader(self.tables.path), home=self.home, run_dir=self.run_dir,
            now_t=lambda: int(time.time()),
        )  # fmt: skip
        self.server = ControlServer.start(sources, token, ControlSettings(port=port))
        endpoint_path(self.home).parent.mkdir(parents=True, exist_ok=True)
        write_endpoint(self.home, Endpoint(url=self.server.url, launch_token=token, pid=1))
        return self.server.url

    def stop(self) -> None:
        """End the API."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    def close(self) -> None:
        """End everything."""
        self.stop()
        self._writer.submit(self.tables.close).result()
        self._writer.submit(self.journal.close).result()
        self._writer.shutdown()

    def advance(self, events_n: int = 1) -> None:
        """Take in so many of the events that were kept back."""
        for _ in range(events_n):
            if self.ahead:
                self.take(self.ahead.pop(0))

    def advance_hour(self) -> None:
        """Take in what was kept back up to the next closed bar."""
        while self.ahead:
            event = self.ahead.pop(0)
            with suppress(InvariantError):  # a fill of an order that the kill switch cancelled
                self.take(event)
            if event.kind_id == c.EV_BARS:
                return

    def take(self, event: Event) -> int:
        """Journal one event and return its block."""
        return self._writer.submit(self._take, event).result()

    def _take(self, event: Event) -> int:
        block = self.desk.apply(event)
        self.journal.append([block])
        self._notice(event)
        self.tables.follow(self.journal)
        self.view = self._view()
        return block.seq_n

    def submit(self, command: Command) -> Future[Receipt]:
        """Carry out a command, once by its id, as the trading loop does."""
        answer: Future[Receipt] = Future()
        known = self._receipts.get(command.command_id)
        if known is None:
            made = event_of(command, self.desk, self.desk.now_t, SESSION, running=True)
            if isinstance(made, Refused):
                known = Receipt(False, self.desk.head.seq_n, self.desk.now_t, made.reason)
            else:
                word = ("kill switch thrown" if command.on else "released") if isinstance(command, Kill) else "done"
                known = Receipt(True, self.take(made), self.desk.now_t, word)
            self._receipts[command.command_id] = known
        answer.set_result(known)
        return answer

    def notes(self, limit: int) -> list[NoteRow]:
        """Return what operators did last, newest first."""
        return LiveReader(self.tables.path).notes(limit)

    def blocks(self) -> list[Block]:
        """Return the journal's blocks."""
        return self._writer.submit(lambda: list(self.journal.read())).result()

    def show(self, **changes: object) -> None:
        """Let the view say something else: feed health, state, reasons."""
        self.view = replace(self.view, **changes)  # type: ignore[arg-type]

    def _notice(self, event: Event) -> None:
        if event.kind_id == c.EV_BARS:
            self.feed = replace(self.feed, last_bar_t=int(event.record[0]["at_t"]))
            if event.forecasts is not None:
                self._forecasts = int(event.record[0]["at_t"]), event

    def _view(self) -> RuntimeView:
        genesis, desk = self.desk.genesis, self.desk
        state, policy = desk.state.copy(), desk.policy.copy()
        state.setflags(write=False)
        policy.setflags(write=False)
        kill = int(state[0]["desk"]["kill_n"])
        bundle = BundleNote(
            name=genesis.bundle.name, bundle_hash=genesis.bundle.bundle_hash, feature_set_hash=genesis.bundle.feature_set_hash,
            model_hashes=(), manifest_digest=HEX, signer=HEX,
        )  # fmt: skip
        return RuntimeView(
            state="running", mode_id=genesis.mode_id, run_id=self.run_dir.name, genesis=genesis, head=desk.head, now_t=desk.now_t,
            state_row=state, policy_row=policy, profile=desk.profile, profile_version_n=0, bundle=bundle, symbols=genesis.symbols,
            forecasts=self._forecasts[1].forecasts if self._forecasts else None,
            forecast_t=self._forecasts[0] if self._forecasts else 0,
            feature_digest=self._forecasts[1].feature_digest if self._forecasts else b"", feed=self.feed, latency=self.latency,
            started_t=desk.now_t, reasons=("the kill switch is thrown",) if kill else (), simulated=True, clock="venue",
            paper_days=PaperDays(0, 30, "a simulated day does not count"),
        )  # fmt: skip


def main() -> None:
    """Serve an account until the process is ended."""
    home, hours, symbols, every_ms = (
        Path(sys.argv[1]),
        *(int(a) for a in (*sys.argv[2:], *("480", "8", "1000")[len(sys.argv) - 2 :])),
    )
    desk = WatchedDesk(home, watched_inputs(hours, symbols), ahead_n=400)
    print(desk.serve(), flush=True)
    while True:
        time.sleep(every_ms / 1000)
        desk.advance_hour()


if __name__ == "__main__":
    main()
