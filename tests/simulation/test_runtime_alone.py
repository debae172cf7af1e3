"""The extra `runtime` installs and runs alone: from the lock, by hash, without a research package, and it trades."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.cli import main
from runtime.ops.lock import holder
from tests.support.daemon_runs import HOUR_T, Operator, stepped_venue
from tests.support.paper_home import make_paper_home
from tools import runtime_alone

HOURS_N = 6


def test_what_the_extra_needs_of_the_lock(repository: Path) -> None:
    lock = (repository / "requirements.lock").read_text("utf-8")
    chosen = runtime_alone.subset(lock, runtime_alone.declared(["runtime"]))
    assert {"ccxt", "uvicorn", "starlette", "numba", "llvmlite"} <= set(chosen), "what it names, and what that needs"
    assert not set(chosen) & runtime_alone.RESEARCH
    assert all("--hash=sha256:" in lines for lines in chosen.values())
    with pytest.raises(KeyError, match="no-such-package"):
        runtime_alone.subset(lock, ["no-such-package>=1"])
    everything = runtime_alone.subset(lock, runtime_alone.declared(["runtime", "research"]))
    assert {"polars", "scikit-learn"} <= set(everything), "the planted intruders are seen"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_runtime_extra_alone_trades(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        python = runtime_alone.install(tmp_path / "alone")
    except subprocess.CalledProcessError:
        assert not os.environ.get("CI"), "CI has the packages"
        pytest.skip("the locked packages cannot be had here")
    paper = make_paper_home(tmp_path, hours_n=HOURS_N + 4)
    with stepped_venue(paper) as venue:
        operator = Operator(paper, venue, python)
        try:
            operator.start()
            operator.step(HOURS_N)
            assert operator.status()["state"] == "running"
            operator.type("stop")
        finally:
            found = holder(paper.home)
            if found is not None:
                with suppress(ProcessLookupError):
                    os.kill(found.pid, signal.SIGKILL)
    opened = operator.opened()
    assert opened == list(range(opened[0], opened[-1] + HOUR_T, HOUR_T))
    assert opened[-1] == paper.begin_t + (HOURS_N - 1) * HOUR_T
    assert main(["replay", "paper", "--home", str(paper.home)]) == 0, "the full environment computes the same blocks"
    assert "REPLAY PARITY: TRUE" in capsys.readouterr().out
