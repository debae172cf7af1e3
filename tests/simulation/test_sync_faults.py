"""Ten thousand faults, kill -9 among them: backfill and sync always end in the lake of a run that nothing disturbed.

A campaign is a home folder, a venue whose clock moves on, and jobs one after the other, each disturbed by seeded faults and some
killed at random moments. Faults are counted as the venue serves them. At the end of a campaign the venue is honest again and a sync
runs; then the lake must be the clean one, byte of its digest for byte, with one version per series (nothing was ever taken
for a correction), every bar must be the venue's, the watermarks must be right, and a further sync must change nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime.adapters.local_kraken.faults import REST, Fault, Switch
from runtime.errors import EXIT_ENVIRONMENT
from tests.support import tally
from tests.support.bars import START_T as LOCAL_START_T
from tests.support.bars import write_series
from tests.support.faulty_venue import HOUR, NAMES, FaultyVenue, make_venue, serve
from tests.support.sync_worker import SyncOrder
from tests.support.venue_bars import serve_folder, venue_bars
from workbench.data.bars import Bars
from workbench.data.store.lake import Lake
from workbench.data.sync.state import SyncState

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FAULTS_N: Final = int(os.environ.get("BALLAST_SYNC_FAULTS", "10000"))
SEED: Final = 41
START_T: Final = 1_700_006_400
HOURS: Final = 1_100
CRASHING: Final = "watermark before the lake"
TRIES_MAX: Final = 60


@dataclass
class Worker:
    """The forking process of tests/support/sync_worker.py, as a context."""

    process: subprocess.Popen[str] = field(init=False)

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.sync_worker"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def run(self, order: SyncOrder, kill_after_s: float | None = None) -> int:
        """Run a job to its end, or kill it after a while; return its exit code (-9: it was killed)."""
        self._say(json.dumps(dataclasses.asdict(order)))
        child = int(self._answer())
        if kill_after_s is not None:
            moment = time.perf_counter() + kill_after_s
            while time.perf_counter() < moment:
                time.sleep(min(0.001, kill_after_s))
            os.kill(child, signal.SIGKILL)  # a child that ended by itself keeps its id until it is reaped
        self._say("reap")
        return int(self._answer())

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@dataclass
class Proof:
    """Runs campaigns until enough faults were served and enough processes killed."""

    venue: FaultyVenue
    worker: Worker
    folder: Path
    end_t: int
    defect: str = ""
    kills_n: int = 0
    jobs_n: int = 0
    campaigns_n: int = 0
    clean: str = ""

    def order(self, home: Path, kind: str, timeout_s: float = 20.0) -> SyncOrder:
        """Return a job at the venue's present time; a patient one, where nothing is to go wrong."""
        return SyncOrder(kind, str(home), self.venue.url, START_T, self.venue.now_t, timeout_s, self.defect)

    def make_clean(self) -> None:
        """Run one backfill that nothing disturbs, and hold it against bars made here from the venue's own trades."""
        self.venue.now_t, self.venue.fault_share = self.end_t, 0.0
        home = self.folder / "clean"
        assert self.worker.run(dataclasses.replace(self.order(home, "backfill"), defect="")) == 0
        self.clean = Lake(home).digest()
        for pair, market in self.venue.markets.items():
            assert bars_of(home, pair) == candles_of(market, self.end_t), f"{pair} is not what the venue traded"

    def campaign(self, seed: int, kill_share: float) -> None:
        """Run one campaign and judge its end."""
        rng = random.Random(seed)
        home = self.folder / f"{seed}"
        steps = sorted(rng.sample(range(900, HOURS), rng.randint(1, 3)))
        self.venue.rng = random.Random(seed)
        for step, hours in enumerate([*steps, (self.end_t - START_T) // HOUR]):
            self.venue.now_t = START_T + hours * HOUR + rng.randrange(HOUR if hours < HOURS else 1)
            if hours == (self.end_t - START_T) // HOUR:
                self.venue.now_t = self.end_t
            self._disturbed(home, "backfill" if step == 0 else rng.choice(("sync", "sync", "backfill")), rng, kill_share)
        self.venue.fault_share = 0.0
        self._judge(home, seed)
        self.campaigns_n += 1

    def _disturbed(self, home: Path, kind: str, rng: random.Random, kill_share: float) -> None:
        """Run a job until it ends well, through faults and kills."""
        for attempt in range(TRIES_MAX):
            self.venue.fault_share = rng.uniform(0.05, 0.6) if attempt < TRIES_MAX // 2 else 0.05
            kill_after_s = 10 ** rng.uniform(-2.5, 0.2) if rng.random() < kill_share else None
            began = (home / "sync.sqlite").exists()
            timeout_s = 0.4 if attempt < TRIES_MAX // 4 else 4.0  # a busy machine is no fault of the sync
            code = self.worker.run(self.order(home, kind if began else "backfill", timeout_s), kill_after_s)
            self.jobs_n += 1
            self.kills_n += code == -signal.SIGKILL
            if code == 0:
                return
            allowed = {-signal.SIGKILL, EXIT_ENVIRONMENT}
            assert code in allowed, f"{kind} in {home} ended with {code}, expected one of {allowed}: {why(home)}"
        pytest.fail(f"{kind} did not end well in {TRIES_MAX} attempts")

    def _judge(self, home: Path, seed: int) -> None:
        where = f"campaign of seed {seed} in {home}"
        # a planted crash belongs to the jobs before; the judge's own job must end
        last = dataclasses.replace(self.order(home, "sync"), defect="" if self.defect == CRASHING else self.defect)
        assert self.worker.run(last) == 0, where
        if Lake(home).digest() != self.clean:
            for pair, market in self.venue.markets.items():
                found, true = bars_of(home, pair), candles_of(market, self.end_t)
                wrong = [t for t in sorted({*found, *true}) if found.get(t) != true.get(t)]
                assert not wrong, f"{where}: {pair} at {wrong[0]} is {found.get(wrong[0])}, the venue's is {true.get(wrong[0])}"
        assert Lake(home).digest() == self.clean, where
        assert [len(e.versions) for e in Lake(home).catalog().entries] == [1, 1, 1], f"{where}: a fault passed for a correction"
        with SyncState(home, clock=time.time, writable=False) as state:
            marks = {m.series: m.scanned_until_t for m in state.watermarks()}
            assert set(marks.values()) == {self.end_t // HOUR * HOUR}, f"{where}: {marks}"
            assert len(marks) == 3, where
        before = tree(home)
        assert self.worker.run(last) == 0, where
        assert tree(home) == before, f"{where}: a further sync changed the lake"
        assert not list((home / "lake").rglob(".partial-*")), f"{where}: something half-written is left"


def why(home: Path) -> str:
    """Return what the last jobs said about series that failed."""
    with SyncState(home, clock=time.time, writable=False) as state:
        return "; ".join(f"{o.series}: {o.detail}" for o in state.outcomes() if o.verdict != "ok")


def bars_of(home: Path, pair: str) -> dict[int, tuple[float, ...]]:
    """Return the bars of the lake by opening time."""
    entry = Lake(home).catalog().get(f"kraken-spot/1h/{pair}")
    assert entry is not None, f"no {pair}"
    return rows(Lake(home).read(entry.key, entry.current.segments))


def candles_of(market: object, end_t: int) -> dict[int, tuple[float, ...]]:
    """Return the venue's own closed hours by opening time, its exact decimals as the nearest floats."""
    candles = market.candles  # type: ignore[attr-defined]
    return {
        t: (float(c.open), float(c.high), float(c.low), float(c.close), float(c.volume), float(c.trades_n))
        for t, c in candles.items()
        if t >= START_T and t + HOUR <= end_t
    }


def tree(home: Path) -> dict[str, bytes]:
    """Return every file of the lake with its bytes."""
    return {str(p.relative_to(home)): p.read_bytes() for p in sorted((home / "lake").rglob("*")) if p.is_file()}


def prove(folder: Path, faults_n: int, kills_n: int, *, seed: int = SEED, defect: str = "") -> Proof:
    """Run campaigns until `faults_n` faults were served and `kills_n` jobs killed; raise AssertionError at the first wrong end."""
    venue = make_venue(7, start_t=START_T, hours=HOURS, per_hour=16)
    with serve(venue, stall_s=lambda: 1.0), Worker() as worker:
        proof = Proof(venue, worker, folder, START_T + HOURS * HOUR, defect)
        proof.make_clean()
        number = 0
        while sum(venue.faults.values()) < faults_n or proof.kills_n < kills_n:
            number += 1
            missing = proof.kills_n / max(1, kills_n) < sum(venue.faults.values()) / max(1, faults_n)
            proof.campaign(seed * 1_000 + number, 0.6 if missing else 0.1)
    return proof


def told(proof: Proof) -> str:
    """Return the tally of a proof in one line."""
    faults: Counter[str] = proof.venue.faults
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(faults.items()))
    total = sum(faults.values()) + proof.kills_n
    return (
        f"sync faults: {total} in {proof.campaigns_n} campaigns and {proof.jobs_n} jobs, all ended in the clean lake: "
        f"{kinds}, {proof.kills_n} kill -9"
    )


def test_disturbed_backfills_and_syncs_end_in_the_clean_lake(tmp_path: Path) -> None:
    proof = prove(tmp_path, 150, 2)
    tally.report(told(proof))
    assert sum(proof.venue.faults.values()) >= 150
    assert proof.kills_n >= 2


def test_a_backfill_killed_after_a_few_calls_makes_progress_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every start lives for 16 calls, of which 11 go into getting under way; each resumes in the middle of its series."""
    hours, asked = 900, list[str]()
    venue = make_venue(11, start_t=START_T, hours=hours, per_hour=64)
    answer = venue.answer
    monkeypatch.setattr(venue, "answer", lambda path: (asked.append(path), answer(path))[1])
    candles_t, home = START_T + (hours - 720) * HOUR, tmp_path / "killed"
    with serve(venue, stall_s=lambda: 0.0), Worker() as worker:
        proof = Proof(venue, worker, tmp_path, START_T + hours * HOUR)
        proof.make_clean()
        seen, resumed_n = dict[str, int](), 0
        for start in range(60):
            asked.clear()
            code = worker.run(dataclasses.replace(proof.order(home, "backfill"), calls_max_n=16))
            queries = [parse_qs(urlsplit(path).query) for path in asked if "/Trades" in path]
            begins = {(q["pair"][0], int(q["since"][0]) + 1) for q in queries}
            middle = {pair: t for pair, t in seen.items() if START_T < t < candles_t}
            expected = {(pair, t * 10**9) for pair, t in middle.items()}
            assert expected <= begins, f"start {start} does not go on at {middle}"
            resumed_n += len(middle)
            with SyncState(home, clock=time.time, writable=False) as state:
                now = {m.series.rpartition("/")[2]: m.scanned_until_t for m in state.watermarks()}
            assert code == 0 or sum(now.values()) > sum(seen.values()), f"start {start} of 16 calls kept nothing: {now}"
            assert all(now[pair] >= t for pair, t in seen.items())
            seen = now
            if code == 0:
                break
            assert code == -signal.SIGKILL
    assert code == 0
    assert resumed_n >= 10, "it was to be interrupted in the middle of its series"
    assert Lake(home).digest() == proof.clean
    assert {len(e.versions) for e in Lake(home).catalog().entries} == {1}


def test_the_local_kraken_with_all_its_faults_and_kills_ends_in_the_clean_lake(tmp_path: Path) -> None:
    """The shipped stand-in of the venue, its own faults, its own bars: what arrives is what its files hold."""
    bars = {pair: venue_bars(730, 4 + n, 5, 400) for n, pair in enumerate(NAMES)}
    for pair, true in bars.items():
        write_series(tmp_path / "venue", f"kraken-spot/1h/{pair}", true)
    rng, home, now_t = random.Random(SEED), tmp_path / "home", LOCAL_START_T + 729 * HOUR + 1_800
    with serve_folder(tmp_path / "venue", now_t=now_t, stall_s=1.0) as venue, Worker() as worker:
        order = SyncOrder("backfill", str(home), venue.url, LOCAL_START_T, now_t)
        assert worker.run(dataclasses.replace(order, home=str(tmp_path / "clean"), timeout_s=20.0)) == 0
        for fault in sorted(REST):
            venue.venue.faults.add(Switch(fault, probability_ppm=15_000 if fault is Fault.STALL else 30_000))
        for attempt in range(TRIES_MAX):
            code = worker.run(order, 10 ** rng.uniform(-2, 0) if attempt < 3 else None)
            if code == 0:
                break
            assert code in {-signal.SIGKILL, EXIT_ENVIRONMENT}, why(home)
        assert code == 0
        assert sum(venue.venue.faults.injected.values()) > 5
    assert Lake(home).digest() == Lake(tmp_path / "clean").digest()
    for pair, true in bars.items():
        assert bars_of(home, pair) == {t: values for t, values in rows(true).items() if t + HOUR <= now_t}


def rows(bars: Bars) -> dict[int, tuple[float, ...]]:
    """Return bars by opening time."""
    found = zip(bars.t.tolist(), *(values.tolist() for _, values in bars.columns()), strict=True)
    return {t: tuple(values) for t, *values in found}


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_ten_thousand_faults_end_in_the_clean_lake(tmp_path: Path) -> None:
    proof = prove(tmp_path, FAULTS_N, max(2, FAULTS_N // 100), seed=SEED + 1)
    tally.report(told(proof))
    assert min(proof.venue.faults[kind] for kind in proof.venue.kinds) >= FAULTS_N // 100, "every kind was met often"


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        (CRASHING, "is None, the venue's is|no [A-Z]+USD"),
        pytest.param("repeated trades counted again", "ended with|the venue's is", marks=pytest.mark.slow),
    ],
)
def test_the_proof_finds_a_sync_that_breaks_its_word(tmp_path: Path, defect: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        prove(tmp_path, 2_000, 100, defect=defect)
