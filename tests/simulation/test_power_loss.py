"""The power fails while a process writes: whatever the disk may hold then, nothing acknowledged is lost.

The writer runs under power_loss.c, which logs what it does to the disk; power_loss.py draws what a disk may hold at the end of
the log (the moment of a kill -9), or at any earlier step of it. The product's own SQLite and anchor are under test, unchanged.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import BallastError
from tests.support.crash_writer import DONE, Order
from tests.support.crashes import NOTHING, Reference, Writers, judge, wait_up_to_20_ms
from tests.support.power_loss import ACKNOWLEDGE, CREATE, RENAME, SECTOR, SYNC, WRITE, Disk, Record, lay_out, read_log

SEED = 37
LOSSES_N = int(os.environ.get("BALLAST_TEST_POWER_LOSSES", "300"))
SHIM = Path(__file__).with_name("power_loss.c")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the compiled shim; skip where it cannot be had, fail there in CI."""
    if sys.platform != "linux":
        pytest.skip("power_loss.c takes the place of Linux' libc calls")
    compiler = shutil.which("cc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("no C compiler `cc`: the power loss test must run in CI")
        pytest.skip("no C compiler `cc` for power_loss.c")
    target = tmp_path_factory.mktemp("shim") / "power_loss.so"
    subprocess.run([compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-O2", "-o", target, SHIM], check=True)
    return target


@pytest.fixture
def writers(shim: Path, reference: Reference, tmp_path: Path) -> Iterator[Writers]:
    """Return a server of writers that log what they do."""
    with Writers(reference, tmp_path, os.environ | {"LD_PRELOAD": str(shim)}) as server:
        yield server


def lose_power(
    writers: Writers, reference: Reference, folder: Path, losses_n: int, seed: int, *, fault: str = "", syncs: bool = True
) -> list[tuple[int, int, int]]:
    """Let the power fail while writers go on with what the last failure left; return (acknowledged, head, anchor) of each.

    A run that came to its end begins anew, in a folder that its writer makes.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    found: list[tuple[int, int, int]] = []
    disk, log = folder / "disk", folder / "log"
    run_dir, acknowledged = disk / "runs" / "one", NOTHING
    disk.mkdir()
    while len(found) < losses_n:
        before = Disk(disk)
        log.unlink(missing_ok=True)
        live = rng.random() < 0.6
        writers.start(Order(str(run_dir), 0 if live else int(rng.integers(1, 2**31)), str(disk), str(log), fault))
        writers.wait_for(int(rng.integers(0, 60 if live else 8)))
        wait_up_to_20_ms(rng)
        writers.kill()
        records = read_log(log)
        if DONE in writers.acknowledged:  # otherwise the kill may have come between a write and its record
            assert_all_there(before, records, disk)
        made = next((k for k, record in enumerate(records) if record.op == ACKNOWLEDGE), len(records))
        if acknowledged == NOTHING and rng.random() < 0.4:  # while the journal is made
            records = records[: int(rng.integers(0, made + 1))]
        elif rng.random() < 0.7:  # at any step before the kill, mostly while something was under way
            records = records[: int(rng.integers(0, len(records) + 1))]
        acknowledged = max(acknowledged, before.play(records, syncs=syncs))
        shutil.rmtree(disk)
        disk.mkdir()
        lay_out(before.survivors(rng), disk)
        if run_dir.exists() and rng.random() < 0.5:  # shared memory is not meant to survive: anything may be there
            (run_dir / "journal.sqlite-shm").write_bytes(rng.bytes(32_768))
        try:
            survived = judge(run_dir, acknowledged, reference, folder / "scratch")
        except (AssertionError, BallastError) as e:
            raise AssertionError(f"loss {len(found) + 1} of seed {seed}: {e}") from e
        found.append((acknowledged, survived.head_n, survived.anchor_n))
        if survived.head_n == len(reference.blocks):
            shutil.rmtree(disk)
            disk.mkdir()
            acknowledged = NOTHING
    return found


def assert_all_there(before: Disk, records: list[Record], disk: Path) -> None:
    """Check that the log, carried out in full, gives the folder as it is: nothing the process did went unseen."""
    after = before.copy()
    after.play(records)
    said = {path: content for path, content in after.everything().items() if not path.endswith("/")}
    found = {f"/{p.relative_to(disk).as_posix()}": p.read_bytes() for p in disk.rglob("*") if p.is_file()}
    assert said == found, "a write escaped the log"


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_the_writer_does_escapes_the_log(writers: Writers, reference: Reference, tmp_path: Path, seed: int) -> None:
    """From creation to the sealed file, across a kill and the recovery after it."""
    disk, log = tmp_path / "disk", tmp_path / "log"
    disk.mkdir()
    order = Order(str(disk / "runs" / "one"), seed, str(disk), str(log))
    writers.start(order)
    writers.wait_for(5)
    writers.kill()
    log.unlink()
    before = Disk(disk)
    writers.start(order)
    writers.wait_for(10_000)
    writers.kill()
    records = read_log(log)
    assert_all_there(before, records, disk)
    assert sum(record.op == SYNC for record in records) > 3 * len(writers.acknowledged) - 10  # log, anchor, folder: each append
    before.play(records)
    left = [thing.later for thing in before.things.values()]
    assert judge(disk / "runs" / "one", len(reference.blocks), reference, tmp_path / "scratch").head_n == len(reference.blocks)
    assert any(left), "closing removes the log without a sync: a state the draws must meet"


@pytest.mark.parametrize(
    "losses_n", [5, pytest.param(LOSSES_N, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])]
)
def test_a_power_loss_loses_no_acknowledged_block(
    writers: Writers, reference: Reference, tmp_path: Path, losses_n: int
) -> None:
    found = lose_power(writers, reference, tmp_path, losses_n, SEED)
    assert len(found) == losses_n
    if losses_n >= 100:  # the states drawn were varied enough to have met what can go wrong
        assert sum(head_n > acknowledged for acknowledged, head_n, _ in found) > 5, "between commit and acknowledgement"
        assert sum(anchor_n < head_n for _, head_n, anchor_n in found) > 5, "between commit and anchor"
        assert sum(head_n == NOTHING for _, head_n, _ in found) > 0, "before there was a journal"


def test_a_disk_keeps_what_was_synced_and_may_keep_the_rest(tmp_path: Path) -> None:
    """The model by hand: a file of eight sectors, synced; then overwritten, grown, and another one made."""
    (tmp_path / "kept").write_bytes(b"a" * 8 * SECTOR)
    inode = (tmp_path / "kept").stat().st_ino
    rng = np.random.Generator(np.random.PCG64(1))
    disk = Disk(tmp_path)
    disk.play(
        [Record(WRITE, inode, 0, b"b" * SECTOR), Record(SYNC, inode, 0, b""), Record(WRITE, inode, SECTOR, b"c" * 9 * SECTOR)]
    )
    disk.play([Record(CREATE, 7, 0, b"new"), Record(WRITE, 7, 0, b"n"), Record(SYNC, 7, 0, b"")])
    disk.play([Record(RENAME, 0, 0, b"new\0named")])
    states = [disk.survivors(rng) for _ in range(400)]
    contents = [state["/kept"] for state in states]
    assert all(content[:SECTOR] == b"b" * SECTOR for content in contents), "what was synced is there"
    assert {content[3 * SECTOR] for content in contents} == {ord("a"), ord("c")}, "what was not may be"
    assert any(content[3 * SECTOR] < content[5 * SECTOR] for content in contents), "a later sector without an earlier one"
    assert {len(content) // SECTOR for content in contents} >= {8, 10}
    names = {tuple(sorted(path for path in state if path not in {"/", "/kept"})) for state in states}
    assert names == {(), ("/new",), ("/named",)}, "a rename is one step"
    disk.play([Record(SYNC, tmp_path.stat().st_ino, 0, b"")])
    assert all(state["/named"] == b"n" and "/new" not in state for state in (disk.survivors(rng) for _ in range(50)))
    assert lay_out(disk.everything(), tmp_path) is None
    assert (tmp_path / "kept").read_bytes() == b"b" * SECTOR + b"c" * 9 * SECTOR


@pytest.mark.parametrize(
    ("fault", "syncs", "message"),
    [
        ("no sync", True, "lost: block|its anchor at block"),  # PRAGMA synchronous = OFF
        (
            "",
            False,
            "lost: block|its anchor at block|is damaged|not a SQLite file|is not a head anchor|anchor head.json is missing",
        ),
        ("anchor first", True, "its anchor at block"),
    ],
)
def test_the_power_losses_find_a_journal_that_breaks_its_word(
    writers: Writers, reference: Reference, tmp_path: Path, fault: str, syncs: bool, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        lose_power(writers, reference, tmp_path, 60, SEED, fault=fault, syncs=syncs)
