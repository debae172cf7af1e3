"""Two hundred readers do not delay the desk: its blocks are durable within the bound while they all ask."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.support.control import TOKEN, PaperDesk, served

READERS_N = 200
PATHS = (
    "/runtime/status",
    "/portfolio/summary",
    "/portfolio/assets",
    "/decisions/timeline?limit=20",
    "/predictions/latest",
    "/decisions/3",
)
P99_MS_MAX = 25.0
BLOCKS_N = 200
ROUNDS_N = 3


def test_blocks_are_durable_in_time_while_two_hundred_read(tmp_path: Path) -> None:
    """The machine may be busy with something else: the best of three rounds counts, each long enough for a 99th percentile."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(0.001)  # as the daemon does
    p99_ms: list[float] = []
    try:
        with served(tmp_path, hours=2_500) as api:
            command = [sys.executable, "-m", "tests.support.readers", str(api.port), TOKEN, str(READERS_N), "0.5", *PATHS]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as readers:
                assert readers.stdout is not None
                assert readers.stdin is not None
                assert readers.stdout.readline() == "ready\n"
                while len(p99_ms) < ROUNDS_N and (not p99_ms or p99_ms[-1] >= P99_MS_MAX):
                    p99_ms.append(one_round(api.desk))
                assert readers.poll() is None
                readers.stdin.close()
                told = json.loads(readers.stdout.readline())
    finally:
        sys.setswitchinterval(interval_s)
    print(f"{told['answers']:.0f} answers, append p99 {p99_ms} ms, worst answer {told['worst_ms']:.0f} ms")
    assert told["failed"] == 0
    assert told["answers"] >= 2 * READERS_N
    assert min(p99_ms) < P99_MS_MAX


def one_round(desk: PaperDesk) -> float:
    """Feed blocks as a market would, and return the 99th percentile of the time until each was durable, milliseconds."""
    fed, before_n = desk.events[:BLOCKS_N], len(desk.append_ms)
    del desk.events[:BLOCKS_N]
    assert len(fed) == BLOCKS_N
    for event in fed:
        desk.feed([event])
        time.sleep(0.008)
    while len(desk.append_ms) < before_n + BLOCKS_N:
        time.sleep(0.01)
    return float(np.percentile(desk.append_ms[before_n:], 99))
