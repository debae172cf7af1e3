"""Killing writers of journals, and judging what they leave: see crash_writer.py for the other side."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from runtime.adapters.anchor import ANCHOR_NAME, read_anchor
from runtime.adapters.inputs import load_bars, load_clusters, load_forecasts
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.core.digest import Block
from runtime.engine import RunInputs
from runtime.genesis import Genesis
from runtime.home import RUN_MARK, RUN_SUMMARY
from runtime.replay import replay
from tests.support.crash_writer import ACKNOWLEDGE, DONE, FAILED, Order
from tests.support.replays import stored_blocks

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PATIENCE_S: Final = 120.0
NOTHING: Final = -1
"""Acknowledged so far: not even the creation of the journal, which is acknowledged as block 0."""


@dataclass(frozen=True)
class Reference:
    """The run as it is when nobody interrupts it."""

    home: Path
    run_dir: Path
    inputs: RunInputs
    blocks: list[Block]
    run_root: str

    @classmethod
    def load(cls, home: Path) -> Reference:
        """Take the one run of a home folder; it must replay."""
        (run_dir,) = (home / "runs").iterdir()
        genesis = Genesis.model_validate_json((run_dir / RUN_MARK).read_bytes())
        bars, close_t = load_bars(home, genesis.bars_digest)
        inputs = RunInputs(
            genesis, bars, close_t, load_forecasts(home, genesis.forecasts_digest), load_clusters(home, genesis.clusters_digest)
        )
        result = replay(run_dir, home)
        assert result.parity, result.failure
        return cls(home, run_dir, inputs, stored_blocks(run_dir), result.run_root)


class Writers:
    """The server of writers, as a context: `start` one, `kill` it, read what it acknowledged."""

    def __init__(self, reference: Reference, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        inputs = folder / "inputs.pickle"
        inputs.write_bytes(pickle.dumps(reference.inputs))
        self._pipe, theirs = os.pipe()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.crash_writer", str(inputs), str(theirs)],
            cwd=REPOSITORY, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(theirs,), text=True,
        )  # fmt: skip
        os.close(theirs)
        self._writer = 0
        self.acknowledged: list[int] = []
        assert self._answer() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer:
            self.kill()
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(PATIENCE_S)
        os.close(self._pipe)

    def start(self, order: Order) -> None:
        """Fork a writer."""
        self.acknowledged = []
        self._say(json.dumps(dataclasses.asdict(order)))
        self._writer = int(self._answer())

    def wait_for(self, count: int) -> None:
        """Wait until the writer acknowledged this many times, or is done."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.acknowledged) < count and DONE not in self.acknowledged:
            assert FAILED not in self.acknowledged, "the writer failed: see stderr"
            assert self._take(deadline - time.monotonic()), f"the writer hangs after {self.acknowledged[-1:]}"

    def kill(self) -> None:
        """End the writer at once, whatever it is doing, and take in what it had acknowledged."""
        os.kill(self._writer, signal.SIGKILL)  # a writer that ended by itself keeps its id until it is reaped
        self._say("reap")
        self._answer()
        self._writer = 0
        while self._take(0):
            pass
        assert FAILED not in self.acknowledged, "the writer failed: see stderr"

    @property
    def last(self) -> int:
        """The last block acknowledged; `NOTHING` when not even the creation was."""
        return max((n for n in self.acknowledged if n != DONE), default=NOTHING)

    def _take(self, seconds: float) -> bool:
        if not select.select([self._pipe], [], [], max(seconds, 0))[0]:
            return False
        found = os.read(self._pipe, 512 * ACKNOWLEDGE.size)  # writes of eight bytes are whole
        self.acknowledged += [n for (n,) in ACKNOWLEDGE.iter_unpack(found)]
        return True

    def _say(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(line + "\n")
        self._server.stdin.flush()

    def _answer(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().rstrip("\n")


def wait_up_to_20_ms(rng: np.random.Generator) -> None:
    """Wait for a time between a microsecond and twenty milliseconds, as often short as long; asleep one cannot wait as short."""
    moment = time.perf_counter_ns() + int(10 ** rng.uniform(3.0, 7.3))
    while time.perf_counter_ns() < moment:
        pass


@dataclass(frozen=True)
class Survived:
    """What a crash left: the last block in the journal, and where the anchor stood (-1: there is none)."""

    head_n: int
    anchor_n: int


def judge(folder: Path, acknowledged: int, reference: Reference, scratch: Path) -> Survived:
    """Judge a run folder after a crash, on a copy: nothing acknowledged is lost, and the run can go on to the same end.

    Raises:
        AssertionError: an acknowledged block is lost, a block is another one, the anchor leads, or the replay has no parity.
        BallastError: the journal does not open.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    copy = scratch / "runs" / reference.run_dir.name
    shutil.copytree(folder, copy) if folder.exists() else copy.mkdir(parents=True)
    genesis, path = reference.inputs.genesis, copy / JOURNAL_NAME
    survived = Survived(NOTHING, NOTHING)
    if path.exists():
        anchor = read_anchor(copy / ANCHOR_NAME)
        reader = SqliteJournal.open(path)  # as a dashboard would, before any writer came to mend
        stored = list(reader.read())
        assert reader.head().seq_n == len(stored)
        reader.close()
        survived = Survived(len(stored), anchor.head.seq_n if anchor else NOTHING)
        assert stored == reference.blocks[: len(stored)], "the journal holds other blocks than were written"
        assert survived.anchor_n <= survived.head_n, "the anchor leads"
        journal = SqliteJournal.open(path, writable=True)
    else:
        journal = SqliteJournal.create(path, genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id)
    assert survived.head_n >= acknowledged, (
        f"lost: block {acknowledged} was acknowledged, the journal ends at {survived.head_n}"
    )
    journal.append(reference.blocks[journal.head().seq_n :])
    journal.close()
    for name in (RUN_MARK, RUN_SUMMARY):  # a run is given these when it is complete
        shutil.copy(reference.run_dir / name, copy / name)
    result = replay(copy, reference.home)
    assert result.parity, result.failure
    assert result.run_root == reference.run_root
    return survived
