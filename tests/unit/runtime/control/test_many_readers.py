"""Two hundred readers do not delay the desk: its blocks are durable within the bound while they all ask."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.support.control import TOKEN, served

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


def test_blocks_are_durable_in_time_while_two_hundred_read(tmp_path: Path) -> None:
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(0.001)  # as the daemon does
    try:
        with served(tmp_path, hours=900) as api:
            command = [sys.executable, "-m", "tests.support.readers", str(api.port), TOKEN, str(READERS_N), "0.5", *PATHS]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as readers:
                assert readers.stdout is not None
                assert readers.stdin is not None
                assert readers.stdout.readline() == "ready\n"
                fed = api.desk.events[:BLOCKS_N]
                for event in fed:
                    api.desk.feed([event])
                    time.sleep(0.01)
                last_t = fed[-1].at_t
                while api.desk.view is None or api.desk.view.now_t < last_t:
                    time.sleep(0.01)
                assert readers.poll() is None
                readers.stdin.close()
                told = json.loads(readers.stdout.readline())
    finally:
        sys.setswitchinterval(interval_s)
    p99_ms = float(np.percentile(api.desk.append_ms, 99))
    print(f"{told['answers']:.0f} answers, append p99 {p99_ms:.1f} ms, worst answer {told['worst_ms']:.0f} ms")
    assert len(api.desk.append_ms) >= BLOCKS_N
    assert told["failed"] == 0
    assert told["answers"] >= 2 * READERS_N
    assert p99_ms < P99_MS_MAX
