"""kill -9 of a writing process at random moments: nothing acknowledged is lost, and the run goes on to the same end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import BallastError
from tests.support.crash_writer import DONE, Order
from tests.support.crashes import NOTHING, Reference, Writers, judge, wait_up_to_20_ms

SEED = 31
KILLS_N = int(os.environ.get("BALLAST_TEST_KILLS", "300"))


def kill_writers(reference: Reference, folder: Path, kills_n: int, seed: int, fault: str = "") -> list[tuple[int, int, int]]:
    """Kill writers that go on with each other's journals; return (acknowledged, head, anchor) of each kill.

    A writer is killed when it has acknowledged a random number of appends, none included, and a random time after: from a few
    microseconds to twenty milliseconds, so that creation, recovery, appends, the anchor and closing are all hit. A run that came
    to its end begins anew.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    found = []
    with Writers(reference, folder) as writers:
        acknowledged, run_n = NOTHING, 0
        while len(found) < kills_n:
            run_dir = folder / f"{run_n}"
            live = rng.random() < 0.6
            writers.start(Order(str(run_dir), seed=0 if live else int(rng.integers(1, 2**31)), fault=fault))
            creating = acknowledged == NOTHING and rng.random() < 0.4
            writers.wait_for(0 if creating else int(rng.integers(0, 40 if live else 6)))
            wait_up_to_20_ms(rng)
            writers.kill()
            acknowledged = max(acknowledged, writers.last)
            try:
                survived = judge(run_dir, acknowledged, reference, folder / "scratch")
            except (AssertionError, BallastError) as e:
                raise AssertionError(f"kill {len(found) + 1} of seed {seed}, run {run_n}: {e}") from e
            found.append((acknowledged, survived.head_n, survived.anchor_n))
            if DONE in writers.acknowledged:
                assert survived.head_n == len(reference.blocks)
                shutil.rmtree(run_dir)
                acknowledged, run_n = NOTHING, run_n + 1
    return found


@pytest.mark.parametrize("kills_n", [5, pytest.param(KILLS_N, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])])
def test_kill_9_loses_no_acknowledged_block(reference: Reference, tmp_path: Path, kills_n: int) -> None:
    found = kill_writers(reference, tmp_path, kills_n, SEED)
    assert len(found) == kills_n
    if kills_n >= 100:  # the moments were varied enough to have met what can go wrong
        assert sum(head_n > acknowledged for acknowledged, head_n, _ in found) > 5, "between commit and acknowledgement"
        assert sum(anchor_n < head_n for _, head_n, anchor_n in found) > 5, "between commit and anchor"
        assert sum(head_n <= 0 for _, head_n, _ in found) > 0, "during creation"


@pytest.mark.parametrize(
    ("fault", "message"),
    [("acknowledge first", "lost: block"), pytest.param("anchor first", "its anchor at block", marks=pytest.mark.slow)],
)
def test_the_kills_find_a_journal_that_breaks_its_word(reference: Reference, tmp_path: Path, fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        kill_writers(reference, tmp_path, 150, SEED, fault)
