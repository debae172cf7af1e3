"""A control API over a real paper chain: real desk, journal, live tables and server; only the market is a list of events.

The desk has a thread of its own that takes events and commands from one queue, as the trading loop does.
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.live_reader import LiveReader
from runtime.adapters.live_tables import LIVE_NAME, LiveTables
from runtime.control.app import Sources
from runtime.control.server import ControlServer
from runtime.control.settings import ControlSettings
from runtime.desk import Desk
from runtime.engine import RunInputs
from runtime.event import BundleNote, Event, SessionNote
from runtime.files import write_bytes
from runtime.home import RUN_MARK, runs_path
from runtime.policy import RiskProfile
from runtime.trading.commands import Command, Receipt, StartTrading, StopTrading
from runtime.trading.operator import Refused, event_of
from runtime.trading.view import FeedHealth, Latency, PaperDays, RunState, RuntimeView
from tests.support.paper import events_of, paper_inputs

TOKEN = "launch-" + "x" * 40
HEX = "ab" * 32
SESSION = SessionNote(
    version="0", core_digest=HEX, clock="venue", venue="a list", simulated=True, settings_digest=HEX, cause="start"
)
FAST = ControlSettings(poll_s=0.02, heartbeat_s=0.3, receipt_s=5.0)


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """Return the body's JSON object."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


@dataclass
class Wall:
    """A wall clock that stands until it is moved."""

    at_t: int = 1_800_000_000

    def now_t(self) -> int:
        """Return its time."""
        return self.at_t


@dataclass
class PaperDesk:
    """A paper account whose market is a list of events, in a home folder of its own."""

    home: Path
    inputs: RunInputs
    run_dir: Path
    bundle: BundleNote
    events: list[Event]
    wall: Wall = field(default_factory=Wall)
    state: RunState = "running"
    deaf: bool = False
    left_n: int = 0
    append_ms: list[float] = field(default_factory=list)

    @classmethod
    def make(cls, home: Path, hours: int = 120, symbols: int = 4, seed: int = 2, left_n: int = 0) -> PaperDesk:
        """Journal all but the last `left_n` events of a random market; by default all but the last fifth."""
        inputs = paper_inputs(seed, hours, symbols)
        bundle = BundleNote(name="ml", bundle_hash=HEX, feature_set_hash=HEX, manifest_digest=HEX, signer=HEX)
        run_dir = runs_path(home) / f"paper-{inputs.genesis.hash.hex()[:12]}"
        run_dir.mkdir(parents=True)
        made = cls(home, inputs, run_dir, bundle, events_of(inputs), left_n=left_n)
        made._thread.start()
        assert made._ready.wait(60)
        return made

    def __post_init__(self) -> None:
        self._ready = threading.Event()
        self._done: dict[str, Receipt] = {}
        self._forecasts: tuple[int, np.ndarray | None, bytes] = (0, None, b"")
        self._queue: queue.SimpleQueue[Event | tuple[Command, Future[Receipt]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.view: RuntimeView | None = None
        self.reader = LiveReader(self.run_dir / LIVE_NAME)

    def _begin(self) -> None:
        genesis, path = self.inputs.genesis, self.run_dir / JOURNAL_NAME
        self._desk = Desk(genesis)
        self._journal = SqliteJournal.create(path, genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id)
        write_bytes(self.run_dir / RUN_MARK, genesis.canonical())
        cut = len(self.events) - (self.left_n or len(self.events) // 5)
        for event in self.events[:cut]:
            self._journal.append([self._desk.apply(event)])
            self._remember(event)
        del self.events[:cut]
        self._tables = LiveTables(self.run_dir / LIVE_NAME)
        self._reading = SqliteJournal.open(path)
        self.follow()
        self.look()
        self._ready.set()

    def follow(self) -> None:
        """Let the live tables take in what the journal has."""
        self._tables.follow(self._reading)

    def submit(self, command: Command) -> Future[Receipt]:
        """Hand a command to the desk's thread."""
        future: Future[Receipt] = Future()
        self._queue.put((command, future))
        return future

    def feed(self, events: Sequence[Event]) -> None:
        """Hand market events to the desk's thread."""
        for event in events:
            self._queue.put(event)

    def close(self) -> None:
        """End the desk's thread and release all files."""
        self._queue.put(None)
        self._thread.join(10)
        self.reader.close()

    def _run(self) -> None:
        self._begin()
        try:
            self._work()
        finally:
            for store in (self._tables, self._reading, self._journal):
                store.close()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Event):
                self._append(item)
            elif not self.deaf:
                command, future = item
                future.set_result(self._receipt(command))

    def _append(self, event: Event) -> None:
        started = time.perf_counter()
        self._journal.append([self._desk.apply(event)])
        self.append_ms.append((time.perf_counter() - started) * 1_000)
        self._remember(event)
        self.look()
        if self._queue.empty():
            self.follow()

    def _remember(self, event: Event) -> None:
        if event.forecasts is not None:
            self._forecasts = (event.at_t, event.forecasts, event.feature_digest)

    def _receipt(self, command: Command) -> Receipt:
        known = self._done.get(command.command_id)
        if known is not None:
            return known
        desk = self._desk
        event = event_of(command, desk, desk.now_t, SESSION, running=self.state == "running")
        if isinstance(event, Refused):
            receipt = Receipt(False, desk.head.seq_n, desk.now_t, event.reason)
        else:
            self.state = {StartTrading: "running", StopTrading: "stopped"}.get(type(command), self.state)  # type: ignore[assignment]
            self._append(event)
            receipt = Receipt(True, desk.head.seq_n, desk.now_t, "done")
        self._done[command.command_id] = receipt
        return receipt

    def look(self) -> None:
        """Replace the view by one of now."""
        desk, genesis = self._desk, self.inputs.genesis
        forecast_t, forecasts, digest = self._forecasts
        self.view = RuntimeView(
            state=self.state, mode_id=genesis.mode_id, run_id=self.run_dir.name, genesis=genesis, head=desk.head,
            now_t=desk.now_t, state_row=_kept(desk.state), policy_row=_kept(desk.policy), profile=desk.profile,
            profile_version_n=desk.profile.version, bundle=self.bundle, symbols=genesis.symbols, forecasts=forecasts,
            forecast_t=forecast_t, feature_digest=digest, feed=FeedHealth(connected=True, stale_instruments=(1,)),
            latency=Latency(1.0, 2.0, 3), started_t=desk.now_t, reasons=(), simulated=True, clock="venue",
            paper_days=PaperDays(reason="simulated"),
        )  # fmt: skip


def _kept(rows: np.ndarray) -> np.ndarray:
    copy = rows.copy()
    copy.flags.writeable = False
    return copy


@dataclass
class Served:
    """A served desk and a client of it."""

    desk: PaperDesk
    server: ControlServer

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.url.rpartition(":")[2])

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None, *, bearer: bool = True
    ) -> Answer:
        """Send one request on a connection of its own."""
        sent = {"Authorization": f"Bearer {TOKEN}"} if bearer else {}
        content = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent |= headers or {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> dict[str, object]:
        """Return the JSON of a read that must succeed."""
        answer = self.ask("GET", path, headers=headers)
        assert answer.status == 200, answer
        return answer.json()

    def post(self, path: str, body: object, key: str, **headers: str) -> Answer:
        """Send a command."""
        return self.ask("POST", path, body, {"Idempotency-Key": key, **headers})


@contextmanager
def served(home: Path, settings: ControlSettings = FAST, hours: int = 120, left_n: int = 0) -> Iterator[Served]:
    """Serve a paper desk."""
    desk = PaperDesk.make(home, hours, left_n=left_n)
    sources = Sources(lambda: desk.view, desk.submit, desk.reader, home, desk.run_dir, desk.wall.now_t)
    server = ControlServer.start(sources, TOKEN, settings)
    try:
        yield Served(desk, server)
    finally:
        server.stop()
        desk.close()


def next_profile(profile: RiskProfile, **changes: int) -> dict[str, object]:
    """Return a profile of one's own as JSON."""
    return profile.model_copy(update={"name": "mine", **changes}).model_dump(mode="json")
