"""The real daemon as a process, on a local Kraken whose time a pacemaker steps: faults before a step, kills inside it, no sleeping.

The pacemaker moves the venue's time on only when the daemon has done all that the present time asks for, which it reads from the journal
and from the venue; so what the daemon sees is a function of seed and schedule, and two runs can be compared decision by decision.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from runtime.adapters.local_kraken.faults import FaultPlan, Switch
from runtime.adapters.local_kraken.ladder import BookShape
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.server import LocalKraken, Settings, serve
from runtime.core.codes import EV_BARS, EV_HEARTBEAT, EV_SESSION
from runtime.core.records import EVENT
from runtime.errors import EnvironmentFailure
from runtime.ops.api_client import ControlClient, JsonObject
from runtime.ops.bundles.store import activate
from runtime.ops.endpoint import read_endpoint
from runtime.ops.lock import holder, runtime_path
from runtime.settings import SETTINGS_NAME
from tests.support.paper_market import HOUR_T, PaperMarket
from tests.support.paper_schedule import Step, once

COMMAND: Final = (sys.executable, "-m", "runtime.cli")
ARGUMENTS: Final = ("runtime", "run", "--mode", "paper")
PATIENCE_S: Final = 180.0
"""For anything that a daemon is waited for; a machine with other work is slow."""
POLL_S: Final = 0.002
BATCH_MS: Final = 3_600_000
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_VALUE_AT: Final = int(EVENT.fields["value_n"][1]) + 1  # type: ignore[index]  # SQL counts from 1
_LAST: Final = (
    f"SELECT kind_id, at_t, substr(inputs, {_VALUE_AT}, 8), seq_n FROM block WHERE kind_id IN ({EV_BARS}, {EV_HEARTBEAT}, {EV_SESSION}) "
    "AND seq_n > ? ORDER BY seq_n"
)


SETTINGS: Final = "[trading]\nlost_max_t = 86400\n"
"""A connection that ends while an hour is stepped is lost for that hour by the venue's clock, though it was back at once by ours."""


class Daemon:
    """One `ballast runtime run`; killed and started again as often as needed."""

    def __init__(self, home: Path, url: str, *options: str, plant: str = "") -> None:
        """Take what to run; `plant` is Python that spoils the daemon before it begins."""
        self.home, self.url, self.options = home, url, options
        self._command = (sys.executable, "-c", f"{plant}\nfrom runtime.cli import main\nmain()") if plant else COMMAND
        self.process: subprocess.Popen[bytes] | None = None
        self.starts_s: list[float] = []
        self.errors = home / "daemon.err"

    def start(self) -> None:
        """Start it and return when its control API answers."""
        began_s = time.monotonic()
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*self._command, *ARGUMENTS, "--home", str(self.home), "--venue", self.url, *self.options],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip
        wait_for(self._ready, "a control API that answers", alive=self)
        self.starts_s.append(time.monotonic() - began_s)

    def _ready(self) -> bool:
        found = read_endpoint(self.home)
        return found is not None and self.process is not None and found.pid == self.process.pid and self.client().healthy()

    def client(self) -> ControlClient:
        """Return a client of its control API."""
        endpoint = read_endpoint(self.home)
        assert endpoint is not None
        return ControlClient(endpoint)

    def status(self) -> JsonObject:
        """Return what it says of itself."""
        return self.client().get("/runtime/status")

    def kill(self) -> None:
        """Kill it with -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> float:
        """Ask it to end; return after how many seconds it had."""
        assert self.process is not None
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        took_s = time.monotonic() - began_s
        assert code == 0, f"exit code {code}\n{self.said()}"
        assert holder(self.home) is None
        return took_s

    def rss_bytes(self) -> int:
        """Return its resident memory."""
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def require_alive(self) -> None:
        """Fail with its last words when it has ended."""
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"the daemon ended with exit code {code}\n{self.said()}"

    def said(self) -> str:
        """Return the end of what it said."""
        log = runtime_path(self.home) / "daemon.log"
        tails = [path.read_text("utf-8", "replace")[-3_000:] for path in (self.errors, log) if path.exists()]
        return "\n".join(tails)


def wait_for(done: Callable[[], bool], what: str, *, alive: Daemon | None = None, seconds: float = PATIENCE_S) -> None:
    """Return once something is so; fail when the daemon ends before, or after much patience."""
    until_s = time.monotonic() + seconds
    while not done():
        if alive is not None:
            alive.require_alive()
        if time.monotonic() > until_s:
            raise AssertionError(f"waited {seconds:.0f} s for {what}\n{alive.said() if alive else ''}")
        time.sleep(POLL_S)


class Progress:
    """What the journal says that the daemon has done, read while it is written."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._connection: sqlite3.Connection | None = None
        self.seq_n = 0
        self.bars_open_t = self.beat_t = -1

    def look(self) -> None:
        """Read what is new."""
        if self._connection is None:
            found = list(self._home.glob("runs/paper-*/journal.sqlite"))
            if not found:
                return
            self._connection = sqlite3.connect(f"file:{found[0]}?mode=ro", uri=True, isolation_level=None)
        for kind_id, at_t, value, seq_n in self._connection.execute(_LAST, (self.seq_n,)):
            self.seq_n = seq_n
            if kind_id == EV_BARS:
                self.bars_open_t = int.from_bytes(value, "little", signed=True)
            else:
                self.beat_t = at_t if kind_id == EV_HEARTBEAT else -1

    def reached(self, now_t: int) -> bool:
        """Return whether the bars that closed at a time are in, and a heartbeat at it behind the last start."""
        self.look()
        return self.bars_open_t + HOUR_T >= now_t and self.beat_t >= now_t

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()


@dataclass
class Measured:
    """What a run took.

    Attributes:
        hours_n: virtual hours.
        trading_s: from the first step to the last, restarts apart.
        steps_s: of each step without a kill.
        restarts_s: of each kill, until the daemon had done what the present time asks for again.
        rss: resident bytes of the daemon, by virtual hour since its start: (process, hour, bytes).
        p99_ms, p50_ms: event to durable block of each process, with the blocks it is over.
        stop_s: from SIGTERM to the end.
        injected: faults by kind.
        reads_n: answers that readers got meanwhile.
        sync_ms: median and 99 % of the disk's own syncs meanwhile.
    """

    hours_n: int = 0
    trading_s: float = 0.0
    steps_s: list[float] = field(default_factory=list)
    restarts_s: list[float] = field(default_factory=list)
    rss: list[tuple[int, int, int]] = field(default_factory=list)
    latency: list[tuple[float, float, int]] = field(default_factory=list)
    stop_s: float = 0.0
    injected: dict[str, int] = field(default_factory=dict)
    reads_n: int = 0
    sync_ms: tuple[float, float] = (0.0, 0.0)
    paper_days: int = -1
    kills_thrown: set[str] = field(default_factory=set)

    def mb_a_day(self) -> float:
        """Return the slope of the daemon's memory in MB per virtual day, by least squares, over its longest process after a day."""
        by_process: dict[int, list[tuple[int, int]]] = {}
        for process_n, hour_n, size in self.rss:
            by_process.setdefault(process_n, []).append((hour_n, size))
        points = max(by_process.values(), key=len)
        settled = [point for point in points if point[0] >= points[0][0] + 24] or points
        hours, sizes = np.array(settled, np.float64).T
        if len(hours) < 3:
            return float("nan")
        return float(np.polyfit(hours / 24, sizes / 1e6, 1)[0])


class Pacemaker:
    """Steps a venue while a daemon trades on it."""

    def __init__(self, local: LocalKraken, plan: FaultPlan, daemon: Daemon) -> None:
        self.local, self.plan, self.daemon = local, plan, daemon
        self.progress = Progress(daemon.home)
        self.measured = Measured()
        self._process_n = 0

    @property
    def now_t(self) -> int:
        """Return the venue's time, seconds UTC."""
        return self.local.now_ns // NS

    def begin(self) -> None:
        """Start the daemon and return when it trades and has done everything that the present time asks for."""
        asked_n = self._times_asked()
        self.daemon.start()
        self._settle(asked_n)

    def run(self, steps: list[Step]) -> Measured:
        """Go through steps; return what was measured. The daemon is running before and after."""
        for step in steps:
            for fault, place, skip_n in step.faults:
                self._in_venue(self.plan.add, once(fault, place, skip_n))
            began_s = time.monotonic()
            asked_n = self._times_asked()
            target_ns = self.local.now_ns + step.hours_n * HOUR_T * NS
            if step.kill_after is None:
                self.local.advance(target_ns)
                self._settle(asked_n)
                self.measured.steps_s.append(time.monotonic() - began_s)
                self.measured.trading_s += self.measured.steps_s[-1]
            else:
                self._killed(target_ns, step.kill_after)
            self.measured.hours_n += step.hours_n
            self.measured.rss.append((self._process_n, self.measured.hours_n, self.daemon.rss_bytes()))
        self._look()
        return self.measured

    def _killed(self, target_ns: int, after: float) -> None:
        """Step, kill the daemon somewhere inside, start it again and let it go on."""
        usual_s = float(np.median(self.measured.steps_s[-50:])) if self.measured.steps_s else 0.3
        self._look()
        began_s = time.monotonic()
        stepping = threading.Thread(target=self.local.advance, args=(target_ns,))
        stepping.start()
        while time.monotonic() - began_s < after * usual_s:  # a random moment: nothing is waited for
            time.sleep(0.0005)
        self.daemon.kill()
        stepping.join()
        self.measured.trading_s += time.monotonic() - began_s
        began_s = time.monotonic()
        self._process_n += 1
        asked_n = self._times_asked()
        self.daemon.start()
        self._settle(asked_n)
        self.measured.restarts_s.append(time.monotonic() - began_s)

    def _settle(self, asked_n: int) -> None:
        """Return when the daemon has done all that the present time asks for.

        That is: the bars are in, a heartbeat followed them, the clock's skew was measured, and the feed stands.
        """
        now_t = self.now_t
        wait_for(lambda: self.progress.reached(now_t), f"the bars of {now_t - HOUR_T} and a heartbeat", alive=self.daemon)
        wait_for(lambda: self._times_asked() > asked_n, "a measurement of the clock's skew", alive=self.daemon)
        wait_for(self._connected, "a feed that stands", alive=self.daemon)

    def _connected(self) -> bool:
        try:
            status = self.daemon.status()
        except EnvironmentFailure:
            return False
        feed, switches, head = status["feed"], status["switches"], status["head"]
        assert isinstance(feed, dict)
        assert isinstance(switches, dict)
        assert isinstance(head, dict)
        if switches["kill_on"]:
            self.measured.kills_thrown.add(str(switches["kill"]))
        # the view is replaced after all of an event was done: what followed from the bars is in the journal too
        return bool(feed["connected"]) and status["state"] == "running" and head["seq_n"] >= self.progress.seq_n

    def _times_asked(self) -> int:
        return self.local.venue.rest.calls.get("Time", 0)

    def _look(self) -> None:
        status = self.daemon.status()
        latency, days = status["latency"], status["paper_days"]
        assert isinstance(latency, dict)
        assert isinstance(days, dict)
        self.measured.latency.append((latency["p50_ms"], latency["p99_ms"], latency["blocks_n"]))
        self.measured.paper_days = max(self.measured.paper_days, days["completed_n"])

    def _in_venue(self, call: Callable[[Switch], None], switch: Switch) -> None:
        """Call something in the venue's own loop, so that it meets no request halfway."""

        async def body() -> None:
            call(switch)

        asyncio.run_coroutine_threadsafe(body(), self.local._loop).result()


@contextmanager
def paper_venue(
    market: PaperMarket, *, seed: int = 3, shape: BookShape | None = None
) -> Iterator[tuple[LocalKraken, FaultPlan]]:
    """Serve a market from its start on, one message per symbol, channel and hour."""
    plan = FaultPlan(seed)
    replayed = LocalMarket.open(market.folders, seed=seed, start_ns=market.start_t * NS, shape=shape)
    with serve(replayed, faults=plan, settings=Settings(batch_ms=BATCH_MS, stall_s=5.0)) as local:
        yield local, plan


@contextmanager
def trading(home: Path, bundle: Path, market: PaperMarket, *options: str, plant: str = "") -> Iterator[Pacemaker]:
    """Activate a bundle, start the daemon on a fresh venue, and end both afterwards."""
    activate(home, bundle)
    (runtime_path(home) / SETTINGS_NAME).write_text(SETTINGS)
    with paper_venue(market) as (local, plan):
        pacemaker = Pacemaker(local, plan, Daemon(home, local.url, *options, plant=plant))
        try:
            pacemaker.begin()
            yield pacemaker
        finally:
            pacemaker.progress.close()
            process = pacemaker.daemon.process
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
            pacemaker.measured.injected = plan.counts()
