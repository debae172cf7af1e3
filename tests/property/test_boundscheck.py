"""The core reads and writes inside its records: runs over wild markets with every index checked give the same bytes.

Without the check an index out of range is garbage or a crash, and one below zero wraps in silence.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.engine import iterate_blocks
from tests.support.exports import random_profile
from tests.support.markets import random_inputs

MARKETS = int(os.environ.get("BALLAST_BOUNDSCHECK_MARKETS", "150"))
"""How many markets the slow test runs; each has its own profile."""


def digests(first: int, count: int) -> list[str]:
    """Return the digest of all blocks of each market: few to all instruments, calm to wild, small lots to large."""
    made = []
    for seed in range(first, first + count):
        symbols, wildness = (1, 3, 8, 32)[seed % 4], (0.3, 1.0, 4.0)[seed % 3]
        inputs = random_inputs(seed, hours=160, symbols=symbols, profile=random_profile(seed), wildness=wildness)
        payload = hashlib.sha256()
        for blocks in iterate_blocks(inputs):
            for block in blocks:
                payload.update(block.block_hash)
        made.append(payload.hexdigest())
    return made


def elsewhere(repository: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process with its own settings and return what it printed."""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=repository,
        env={k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1_200,
    )


SCRIPT = """
from runtime.jit import BOUNDSCHECK
from tests.property.test_boundscheck import digests
assert BOUNDSCHECK, "the switch did not arrive"
print("\\n".join(digests(FIRST, COUNT)))
"""
PLANTED = """
import sys
from pathlib import Path
folder = Path(r"{folder}")
(folder / "planted_index.py").write_text(
    "from runtime.jit import core\\n@core\\ndef beyond(a, i):\\n    return a[i]\\n"
)
sys.path.insert(0, str(folder))
import numpy as np
from planted_index import beyond
beyond(np.zeros(3, np.int64), 3)
"""


@pytest.mark.slow
@pytest.mark.timeout(1_500)
def test_checked_indices_change_no_byte(repository: Path, tmp_path: Path) -> None:
    script = SCRIPT.replace("FIRST", "7000").replace("COUNT", str(MARKETS))
    done = elsewhere(repository, script, BALLAST_BOUNDSCHECK="1", BALLAST_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.split() == digests(7_000, MARKETS)


@pytest.mark.slow
def test_the_check_finds_a_planted_index(repository: Path, tmp_path: Path) -> None:
    """The switch is read, and does what this file relies on."""
    checked = elsewhere(repository, PLANTED.format(folder=tmp_path), BALLAST_BOUNDSCHECK="1", BALLAST_CACHE_DIR=str(tmp_path))
    assert checked.returncode != 0
    assert "IndexError" in checked.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_plain_python_raises_on_nothing_numpy_could_warn_about(repository: Path) -> None:
    """With the JIT off a wrapped sum, a division by zero or an invalid value is an exception instead of a number."""
    count = min(MARKETS, 12)
    script = f"import numpy as np\nnp.seterr(all='raise')\nfrom tests.property.test_boundscheck import digests\nprint('\\n'.join(digests(7000, {count})))"
    done = elsewhere(repository, script, NUMBA_DISABLE_JIT="1")
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.split() == digests(7_000, count)
