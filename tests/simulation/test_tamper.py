"""Random changes of a stored run: each is found at its place, or is none. Attacks with a plan: tests/unit/runtime/test_replay_tamper.py."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.errors import BallastError
from runtime.replay import FailureClass, Level, replay
from tests.support.crashes import Reference
from tests.support.tampering import COLUMNS, DIGESTS, Place, flip_journal, flipped, logical_content

FLIPS_N = int(os.environ.get("BALLAST_TEST_FLIPS", "2000"))
full = pytest.param(FLIPS_N, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])


@pytest.fixture
def run(reference: Reference, tmp_path: Path) -> Path:
    """Return a copy of the run's folder that a test may change; its inputs stay where they are."""
    return Path(shutil.copytree(reference.run_dir, tmp_path / reference.run_dir.name))


def found_place(run: Path, home: Path, level: Level) -> Place:
    """Return what replay names, which must be a chain break."""
    failure = replay(run, home, level=level).failure
    assert failure is not None, "not detected"
    assert failure.kind == FailureClass.CHAIN_BREAK
    if failure.block == 0:
        assert "genesis" in failure.detail
    return Place(failure.block, failure.record, failure.row, failure.field)


@pytest.mark.parametrize("flips_n", [20, full])
def test_a_flip_in_what_is_stored_is_found_at_its_place(reference: Reference, run: Path, flips_n: int) -> None:
    path, seed = run / JOURNAL_NAME, 11
    original, last_n = path.read_bytes(), len(reference.blocks)
    rng = np.random.Generator(np.random.PCG64(seed))
    met: Counter[str] = Counter()
    for n in range(flips_n):
        column, place = flip_journal(path, reference.blocks, rng, n)
        about = f"flip {n} of seed {seed}, {column}, {place}"
        decisions = found_place(run, reference.home, Level.DECISIONS)
        # the chain level does the same up to the bad block: every fourth will do, and all columns come round
        chain = found_place(run, reference.home, Level.CHAIN) if flips_n < 100 or n % 4 == 0 else decisions._replace(record="")
        path.write_bytes(original)
        met[column] += 1
        assert chain.block == decisions.block == place.block, about
        expected = place
        if place.block == last_n and column in {"block_hash", "seq_n"}:  # the anchor names the last block
            expected = Place(last_n, "block_hash")
        elif column == "seq_n":
            expected = Place(place.block)
        assert decisions == expected, about
        assert chain.record in {"", expected.record} or not place.field, about
    assert flips_n < 100 or set(met) == set(COLUMNS)


@pytest.mark.parametrize("flips_n", [20, full])
def test_a_flip_anywhere_in_the_file_is_found_or_changes_nothing(reference: Reference, run: Path, flips_n: int) -> None:
    """Whatever the byte is: a typed error, a replay without parity, or a database that reads back equal."""
    path, seed = run / JOURNAL_NAME, 13
    original, content = path.read_bytes(), logical_content(path)
    rng = np.random.Generator(np.random.PCG64(seed))
    met: Counter[str] = Counter()
    for n in range(flips_n):
        # a third in the first two pages: SQLite's own header and our schema
        changed = flipped(original, int(rng.integers(0, 8_192 if n % 3 == 0 else len(original))), rng)
        path.write_bytes(changed)
        try:
            outcome = "equal" if replay(run, reference.home).parity else "no parity"
        except BallastError as e:
            outcome = e.kind
        met[outcome] += 1
        if outcome == "equal":
            assert logical_content(path) == content, f"flip {n} of seed {seed}"
            journal = SqliteJournal.open(path, writable=True)
            assert list(journal.read()) == reference.blocks
            journal.close()
        for left in run.glob(f"{JOURNAL_NAME}-*"):
            left.unlink()
    assert met["no parity"] > flips_n // 2
    assert flips_n < 100 or met["equal"] > flips_n // 100, "free pages and unused bytes were met"


def test_the_flips_would_notice_a_detector_that_looks_away(
    reference: Reference, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Teeth: with the hash of a link no longer compared, a flip in a digest is found at the wrong place or not at all."""
    from runtime import chain

    path = run / JOURNAL_NAME
    original = path.read_bytes()
    monkeypatch.setattr(chain, "compute_block_hash", lambda *_parts: Anything())
    wrong_n = 0
    for n in [k for k, column in enumerate(COLUMNS) if column in DIGESTS]:
        _, place = flip_journal(path, reference.blocks, np.random.Generator(np.random.PCG64(n)), n)
        failure = replay(run, reference.home, level=Level.CHAIN).failure
        wrong_n += failure is None or failure.block != place.block
        path.write_bytes(original)
    assert wrong_n > 0


class Anything:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0
