"""The daemon as an operator has it: a process started, watched, steered, stopped, killed and started again, on a local Kraken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.cli import main
from runtime.ops.endpoint import endpoint_path, read_endpoint
from runtime.ops.lock import holder
from runtime.ops.logs import log_path
from runtime.ops.process import STOP_S_MAX
from tests.support.daemon_runs import HOUR_T, Operator, stepped_venue
from tests.support.paper_home import PaperHome, make_paper_home


@pytest.fixture
def paper(tmp_path: Path) -> PaperHome:
    return make_paper_home(tmp_path, hours_n=30)


@pytest.fixture
def operator(paper: PaperHome) -> Iterator[Operator]:
    """Yield an operator with a venue; whatever daemon is left is killed."""
    with stepped_venue(paper) as venue:
        yield Operator(paper, venue)
        found = holder(paper.home)
        if found is not None:
            with suppress(ProcessLookupError):
                os.kill(found.pid, signal.SIGKILL)


def test_a_day_of_an_operator(operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    home = operator.home
    pid = operator.start()
    operator.step(3)
    status = operator.status()
    assert (status["pid"], status["state"], status["simulated"], status["clock"]) == (pid, "running", True, "venue")
    assert main(["runtime", "status", "--home", str(home)]) == 0
    assert "running" in (shown := capsys.readouterr().out)
    assert "BTC ETH SOL XRP" in shown
    endpoint = read_endpoint(home)
    assert endpoint is not None
    receipt = operator.type("kill", "--reason", "a drill")
    assert receipt["accepted"]
    assert operator.status()["switches"] == {"kill_on": True, "kill_id": 1, "kill": "operator", "halt_on": False}
    stopped = operator.type("stop")
    assert isinstance(stopped["seconds"], float)
    assert stopped["seconds"] < STOP_S_MAX
    assert (holder(home), endpoint_path(home).exists()) == (None, False)

    operator.start()
    assert operator.status()["switches"] == {"kill_on": True, "kill_id": 1, "kill": "operator", "halt_on": False}, (
        "it stays thrown"
    )
    assert operator.type("kill", "--release", "--reason", "over")["accepted"]
    operator.step(2)
    killed = holder(home)
    assert killed is not None
    os.kill(killed.pid, signal.SIGKILL)
    assert operator.type("status")["running"] in (True, False)
    operator.start()
    operator.step()
    operator.type("stop")

    assert operator.sessions() == ["start", "stop", "start", "crash-recovery", "stop"]
    opened = operator.opened()
    assert opened == list(range(opened[0], opened[-1] + HOUR_T, HOUR_T)), "no hour is lost, none comes twice"
    assert operator.type("status")["running"] is False
    blocks_n = len(operator.events())
    for venue, code, words in (
        ("http://127.0.0.1:9", 6, "no local Kraken"),
        ("https://api.kraken.com", 4, "was begun on a simulated"),
    ):
        error = operator.type("run", "--venue", venue, code=code)["error"]
        assert words in str(error), "neither the time nor the venue is guessed"
    assert len(operator.events()) == blocks_n
    assert main(["replay", "paper", "--home", str(home)]) == 0
    assert "REPLAY PARITY: TRUE" in capsys.readouterr().out
    written = b"".join(
        path.read_bytes() for path in (*log_path(home).parent.glob("daemon.*"), *operator.run().glob("*.sqlite*"))
    )
    assert endpoint.launch_token.encode() not in written


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_in_the_foreground_until_a_signal(operator: Operator, number: int, code: int) -> None:
    command = [*operator.command("run", "--venue", operator.venue.url), "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    ready = json.loads("".join(iter(child.stdout.readline, "}\n")) + "}")
    assert (ready["pid"], ready["simulated"], ready["account_id"]) == (child.pid, True, 1)
    child.send_signal(number)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == code, errors
    assert holder(operator.home) is None
    assert operator.sessions()[-1:] in ([], ["stop"])
