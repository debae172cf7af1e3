"""A real daemon in a process of its own against a local Kraken in this one, driven hour by hour through the commands of an operator."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.local_kraken.ladder import BookShape
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.server import LocalKraken, Settings, serve
from runtime.core.codes import EV_BARS, EV_SESSION
from runtime.event import Event
from runtime.home import find_run
from tests.support.paper_home import PaperHome

HOUR_T: Final = 3_600
PATIENCE_S: Final = 60.0
POLL_S: Final = 0.02


@contextmanager
def stepped_venue(paper: PaperHome) -> Iterator[LocalKraken]:
    """Yield a local Kraken that stands at the home's beginning until it is stepped."""
    market = LocalMarket.open([paper.market], seed=1, start_ns=paper.begin_t * NS, shape=BookShape.unconstraining())
    with serve(market, settings=Settings(speed=0.0, batch_ms=HOUR_T * 1_000)) as venue:
        yield venue


class Operator:
    """Types commands of `ballast runtime`, and steps the venue.

    Args:
        paper: the home.
        venue: where it trades.
        python: the interpreter whose Ballast is run.
    """

    def __init__(self, paper: PaperHome, venue: LocalKraken, python: Path = Path(sys.executable)) -> None:
        self.home, self.venue, self._python = paper.home, venue, python
        self._now_t = paper.begin_t

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of `ballast runtime ARGUMENTS`."""
        return [str(self._python), "-m", "runtime.cli", "runtime", *arguments, "--home", str(self.home)]

    def type(self, *arguments: str, code: int = 0) -> dict[str, object]:
        """Run a command to its end and return its JSON object."""
        done = subprocess.run([*self.command(*arguments), "--json"], capture_output=True, text=True, check=False, cwd=self.home)
        assert done.returncode == code, done.stdout + done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def start(self) -> int:
        """Start the daemon and return its process number."""
        pid = self.type("start", "--venue", self.venue.url)["pid"]
        assert isinstance(pid, int)
        return pid

    def status(self) -> dict[str, object]:
        """Return what the daemon says of itself."""
        return self.type("status")

    def step(self, hours_n: int = 1) -> None:
        """Let hours pass, one by one, each until the daemon has taken its bars in."""
        for _ in range(hours_n):
            self._now_t += HOUR_T
            self.venue.advance(self._now_t * NS)
            self._await_bars(self._now_t - HOUR_T)

    def _await_bars(self, open_t: int) -> None:
        journal = SqliteJournal.open(self.run() / JOURNAL_NAME)
        deadline_s = time.monotonic() + PATIENCE_S
        try:
            seen_n = 0
            while time.monotonic() < deadline_s:
                for block in journal.read(seen_n + 1):
                    seen_n = block.seq_n
                    if block.kind_id == EV_BARS and int(Event.decode(block.inputs).record[0]["value_n"]) >= open_t:
                        return
                time.sleep(POLL_S)  # another process works
        finally:
            journal.close()
        raise AssertionError(f"no bars of {open_t} within {PATIENCE_S} s: {self.status()}")

    def run(self) -> Path:
        """Return the run folder of the account."""
        return find_run(self.home, "paper")

    def events(self) -> list[Event]:
        """Return every event of the chain."""
        journal = SqliteJournal.open(self.run() / JOURNAL_NAME)
        found = [Event.decode(block.inputs) for block in journal.read()]
        journal.close()
        return found

    def opened(self) -> list[int]:
        """Return the opening times of the bars that the chain took in, in its order."""
        return [int(e.record[0]["value_n"]) for e in self.events() if e.kind_id == EV_BARS]

    def sessions(self) -> list[str]:
        """Return the causes of the chain's sessions, in its order."""
        notes = [event.note_of() for event in self.events() if event.kind_id == EV_SESSION]
        return [note.session.cause for note in notes if note is not None and note.session is not None]
