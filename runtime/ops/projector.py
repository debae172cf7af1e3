"""The thread that keeps the live tables and the count of paper days behind the journal. Trading never waits for it.

A failure of it is logged and tried again: the tables are a projection, and what reads them says how far they are.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.live_tables import LIVE_NAME, LiveTables
from runtime.errors import BallastError

POLL_S: Final = 0.05
AGAIN_S: Final = 2.0
STOP_S: Final = 1.0
LAG_S: Final = 10.0
"""How long the tables may stand still before an operator is told."""
Log = Callable[[str, dict[str, str]], None]


class Projector:
    """Follows the journal of one run folder in a thread of its own, with connections of its own."""

    def __init__(self, folder: Path, log: Log) -> None:
        self._folder = folder
        self._log = log
        self._stop = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self._failed_s = 0.0
        self._failure = ""

    @property
    def path(self) -> Path:
        """The live tables."""
        return self._folder / LIVE_NAME

    @property
    def problem(self) -> str:
        """Why the tables stand still, once they have done so for a while; empty when they do not. Callable from any thread."""
        failure = self._failure
        return failure if failure and time.monotonic() - self._failed_s > LAG_S else ""

    def start(self) -> None:
        """Catch up in the calling thread, so that readers find tables, then go on in the background.

        Raises:
            EnvironmentFailure: the tables cannot be written.
            VerificationError: the journal does not link.
        """
        tables = LiveTables(self.path)
        try:
            journal = SqliteJournal.open(self._folder / JOURNAL_NAME)
            try:
                tables.follow(journal)
            finally:
                journal.close()
        finally:
            tables.close()
        self._thread.start()

    def wake(self) -> None:
        """Say that there is a new block; costs nothing where it is called."""
        self._woken.set()

    def stop(self) -> None:
        """End the thread after what it has begun. Twice is harmless."""
        self._stop.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            # A projection may fail in any way: trading goes on, this thread stays, and it is tried again.
            except Exception as e:  # noqa: BLE001
                if not self._failure:
                    self._failed_s = time.monotonic()
                said = e.got if isinstance(e, BallastError) else f"{type(e).__name__}: {e}"
                self._failure = f"the live tables stand still: {said}"
                self._log("the live tables fell behind", {"got": said, "traceback": traceback.format_exc()})
                self._stop.wait(AGAIN_S)

    def _follow(self) -> None:
        tables = LiveTables(self.path)
        try:
            journal = SqliteJournal.open(self._folder / JOURNAL_NAME)
            try:
                while not self._stop.is_set():
                    self._woken.clear()
                    tables.follow(journal)  # at once, also after a failure: what woke it then is not said again
                    self._failure = ""
                    self._stop.wait(POLL_S)
                    self._woken.wait()
            finally:
                journal.close()
        finally:
            tables.close()
