"""A process that forks one backfill or sync per order, so that a test can kill it at any moment: see test_sync_faults.py.

Orders are JSON lines on stdin: a `SyncOrder` starts a child, whose process id is answered; `reap` waits for it and answers its exit
status. The server itself never touches data, so that a fork has no threads to lose.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import BallastError
from runtime.progress import Report
from workbench.data.providers import BarProvider
from workbench.data.providers.calls import CallLedger
from workbench.data.providers.kraken import CALLS_PER_PAGE, KrakenProvider
from workbench.data.providers.trades import BarMaker, Trade
from workbench.data.store.ingest import ImportedSeries
from workbench.data.sync import jobs, writer
from workbench.data.sync.reader import Piece
from workbench.data.sync.state import SyncState, Watermark

ASSETS = ("BTC", "ETH", "SOL")


@dataclass(frozen=True)
class SyncOrder:
    """One job: `kind` is `backfill` or `sync`; `defect` names one to plant, `now_t` is the clock.

    With `calls_max_n` it kills itself before the call after so many, once what it had read by then is written.
    """

    kind: str
    home: str
    url: str
    since_t: int
    now_t: int
    timeout_s: float = 0.4
    defect: str = ""
    calls_max_n: int = 0


def run_order(order: SyncOrder) -> int:
    """Run a job in this process and return its exit code."""

    def open_provider(
        asked: jobs.Asked, interval: str, ledger: CallLedger, sleep: Callable[[float], None], report: Report
    ) -> BarProvider:
        return KrakenProvider(
            assets=ASSETS,
            interval=interval,
            url=order.url,
            call_interval_ms=0,
            calls_per_page=CALLS_PER_PAGE if order.calls_max_n else 1,
            attempts=4,
            timeout_s=order.timeout_s,
            ledger=ledger,
            sleep=lambda _: sleep(0.0),
            report=report,
        )

    job = jobs.Job(Path(order.home), open_provider, 3, lambda _: None, lambda: float(order.now_t), batch_s=0.0)
    plant(order.defect)
    if order.calls_max_n:
        die_after(order.calls_max_n)
    asked = jobs.Asked("kraken-rest", {}, ("1h",) if order.kind == "backfill" else ())
    try:
        result = jobs.backfill(job, asked, order.since_t, None) if order.kind == "backfill" else jobs.sync(job, asked)
    except BallastError as e:
        return e.exit_code
    return result.exit_code


def die_after(calls_max_n: int) -> None:
    """Let this process kill itself before a call: at one call a second the writer has long written what came before it."""
    acquire, take, write_if_due = SyncState.acquire, writer.Writer.take, writer.Writer.write_if_due
    calls, idle_n = itertools.count(), 0

    def taken(self: writer.Writer, piece: Piece) -> None:
        nonlocal idle_n
        idle_n = 0
        take(self, piece)

    def written(self: writer.Writer) -> None:
        nonlocal idle_n
        write_if_due(self)
        idle_n += not self._pending

    def acquired(self: SyncState, account: str, cost_n: int) -> float:
        if next(calls) >= calls_max_n:
            while idle_n < 3:  # the queue was empty when the writer looked again
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return acquire(self, account, cost_n)

    writer.Writer.take, writer.Writer.write_if_due = taken, written  # type: ignore[method-assign]
    SyncState.acquire = acquired  # type: ignore[method-assign]


def plant(defect: str) -> None:
    """Plant a defect that the proof must find."""
    if defect == "watermark before the lake":
        absorb, waiting = writer.absorb, list[tuple[SyncState, list[Watermark]]]()

        def write(self: writer.Writer) -> None:
            marks = [mark for n, p in self._pending.items() if p.reached and (mark := self._mark(n, p.reached)) is not None]
            waiting.append((self._state, marks))
            honest(self)

        def late_absorb(home: Path, deliveries: object, *, restatement: str = "") -> list[ImportedSeries]:
            while waiting:
                state, marks = waiting.pop()
                state.advance(marks)
            if random.random() < 0.15:
                os.kill(os.getpid(), signal.SIGKILL)  # a crash at the one moment where it matters
            return absorb(home, deliveries, restatement=restatement)  # type: ignore[arg-type]

        honest = writer.Writer.write
        writer.Writer.write = write  # type: ignore[method-assign]
        writer.absorb = late_absorb
        random.seed(os.getpid())
    elif defect == "repeated trades counted again":
        take = BarMaker.add

        def add(self: BarMaker, page: list[Trade], *, continues: bool = False) -> int:
            self._times.clear()
            self._last = None
            del continues
            return take(self, page)

        BarMaker.add = add  # type: ignore[method-assign, assignment]
    elif defect:
        raise ValueError(defect)


def main() -> None:
    """Take orders until stdin ends."""
    print("ready", flush=True)
    child = 0
    for line in sys.stdin:
        if line.strip() == "reap":
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        order = SyncOrder(**json.loads(line))
        child = os.fork()
        if child == 0:
            try:
                os._exit(run_order(order))
            except BaseException as e:  # noqa: BLE001  # a child must never go on with the server's loop
                print(f"{type(e).__name__}: {e}", file=sys.stderr, flush=True)
                os._exit(99)
        print(child, flush=True)


if __name__ == "__main__":
    main()
