"""The composition root in this process: a whole run with a bundle change, and every way not to begin."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog

from runtime import daemon
from runtime.adapters.clock import SystemClock
from runtime.cli import main
from runtime.daemon import Ready, run
from runtime.errors import BallastError, EnvironmentFailure, InvariantError, UsageError, VerificationError
from runtime.ops import projector
from runtime.ops.api_client import ControlClient
from runtime.ops.bundles.store import point, read_pointer, store_path
from runtime.ops.endpoint import Endpoint, endpoint_path, read_endpoint, write_endpoint
from runtime.ops.lock import AlreadyRunning, DaemonLock, holder
from runtime.ops.logs import log_path
from runtime.settings import RuntimeSettings
from tests.support.bundles import make_bundle
from tests.support.daemon_runs import Operator, stepped_venue
from tests.support.panels import make_panel
from tests.support.paper_home import PaperHome, make_paper_home


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, switch_s = list(root.handlers), root.level, sys.getswitchinterval()
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    sys.setswitchinterval(switch_s)


@pytest.fixture
def paper(tmp_path: Path) -> PaperHome:
    return make_paper_home(tmp_path, hours_n=8)


def logged(home: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log_path(home).read_text("utf-8").splitlines()]


def never(_: Ready) -> None:
    raise AssertionError("it was announced")


def steered(home: Path, work: Callable[[ControlClient], None], failed: list[BaseException]) -> Callable[[Ready], None]:
    """Return what, told that the daemon is ready, steers it from another thread and ends it."""

    def body() -> None:
        try:
            endpoint = read_endpoint(home)
            assert endpoint is not None
            client = ControlClient(endpoint, timeout_s=60)
            deadline_s = time.monotonic() + 60
            while client.get("/runtime/status")["state"] == "starting" and time.monotonic() < deadline_s:
                time.sleep(0.02)
            work(client)
        except BaseException as e:  # noqa: BLE001  the main thread tells
            failed.append(e)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    return lambda _: threading.Thread(target=body, daemon=True).start()


def test_a_whole_run_with_another_bundle(paper: PaperHome) -> None:
    home = paper.home
    write_endpoint(home, Endpoint(url="http://127.0.0.1:9", launch_token="x" * 40, pid=1))  # of a daemon that was killed
    first = read_pointer(home)
    other = make_bundle(home, make_panel(1_000, 4, holes=False), grid_h=4)
    foreign = make_bundle(home, make_panel(1_000, 3, holes=False))
    digests = {path: json.loads((path / "manifest.json").read_bytes()) for path in (other, foreign)}
    assert digests[other]["symbols"] != digests[foreign]["symbols"]
    failed: list[BaseException] = []
    seen: list[object] = []

    def work(client: ControlClient) -> None:
        assert endpoint_path(home).stat().st_mode & 0o077 == 0
        with pytest.raises(AlreadyRunning):
            DaemonLock.take(home, 1)
        from runtime.canonical import canonical_json, sha256_hex

        refused = sha256_hex(canonical_json(digests[foreign]))
        with pytest.raises(BallastError, match="incompatible"):
            client.post("/bundle/activate", {"bundle_hash": refused}, "activate-foreign")
        wanted = sha256_hex(canonical_json(digests[other]))
        seen.append(client.post("/bundle/activate", {"bundle_hash": wanted, "reason": "a test"}, "activate-other")["accepted"])
        seen.append(client.get("/runtime/status")["bundle"])

    with stepped_venue(paper) as venue:
        number = run(home, RuntimeSettings(venue=venue.url), steered(home, work, failed))
        operator = Operator(paper, venue)
    assert failed == []
    assert (number, seen[0]) == (signal.SIGTERM, True)
    pointer = read_pointer(home)
    assert first is not None
    assert pointer is not None
    assert (pointer.active, pointer.previous, pointer.pending) == (other.name, first.active, False)
    assert (store_path(home) / other.name).is_dir()
    assert operator.sessions() == ["start", "stop"]
    point(home, first.active, pending=False)  # as if a crash had come before the pointer was moved
    with stepped_venue(paper) as venue:
        assert run(home, RuntimeSettings(venue=venue.url), steered(home, lambda _: None, failed)) == signal.SIGTERM
    healed = read_pointer(home)
    assert healed is not None
    assert healed.active == other.name, "the chain is the truth"
    assert (holder(home), endpoint_path(home).exists()) == (None, False)
    assert [line["event"] for line in logged(home)][-1] == "ended"


def test_without_a_bundle_it_says_what_to_do(tmp_path: Path, paper: PaperHome) -> None:
    home = tmp_path / "another"
    home.mkdir()
    with stepped_venue(paper) as venue, pytest.raises(UsageError, match="no bundle is active"):
        run(home, RuntimeSettings(venue=venue.url), never)
    last = logged(home)[-1]
    assert (last["event"], last["level"], last["exit_code"]) == ("ended", "critical", 2)
    assert holder(home) is None


def test_an_altered_bundle_is_refused(paper: PaperHome) -> None:
    pointer = read_pointer(paper.home)
    assert pointer is not None
    (store_path(paper.home) / pointer.active / "tail.bin").write_bytes(b"other bars")
    with stepped_venue(paper) as venue, pytest.raises(VerificationError):
        run(paper.home, RuntimeSettings(venue=venue.url), never)
    assert not (paper.home / "runs").exists()


def test_without_its_venue_nothing_begins(paper: PaperHome) -> None:
    with pytest.raises(EnvironmentFailure, match="no local Kraken"):
        run(paper.home, RuntimeSettings(venue="http://127.0.0.1:9"), never)
    assert holder(paper.home) is None


@pytest.mark.parametrize(
    ("raised", "said"),
    [(KeyboardInterrupt(), "ended before it traded"), (RuntimeError("token=abcdefghij"), "ended by a defect")],
)
def test_every_end_is_on_record(paper: PaperHome, monkeypatch: pytest.MonkeyPatch, raised: BaseException, said: str) -> None:
    def fails(*_: object, simulated: bool) -> None:
        raise raised

    monkeypatch.setattr(daemon, "find_account", fails)
    with stepped_venue(paper) as venue, pytest.raises(type(raised)):
        run(paper.home, RuntimeSettings(venue=venue.url), never)
    assert logged(paper.home)[-1]["event"] == said
    assert "abcdefghij" not in log_path(paper.home).read_text("utf-8")
    assert holder(paper.home) is None


def test_a_pointer_that_cannot_be_moved_stops_nobody(paper: PaperHome, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, pending: bool) -> None:
        raise EnvironmentFailure("a full disk", expected="room", action="make some")

    monkeypatch.setattr(daemon, "point", full)
    failed: list[BaseException] = []
    with stepped_venue(paper) as venue:
        run(paper.home, RuntimeSettings(venue=venue.url), steered(paper.home, lambda _: None, failed))
    assert failed == []
    assert "the pointer to the active bundle stays behind" in {line["event"] for line in logged(paper.home)}


def test_tables_that_stand_still_are_a_reason_that_everybody_sees(paper: PaperHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "LAG_S", 0.0)
    monkeypatch.setattr(projector, "AGAIN_S", 0.01)
    monkeypatch.setattr(projector.Projector, "_follow", lambda self: 1 // 0)
    failed: list[BaseException] = []
    seen: list[object] = []

    def work(client: ControlClient) -> None:
        deadline_s = time.monotonic() + 20
        while not client.get("/runtime/status")["reasons"] and time.monotonic() < deadline_s:
            time.sleep(0.02)
        seen.append(client.get("/runtime/status"))

    with stepped_venue(paper) as venue:
        run(paper.home, RuntimeSettings(venue=venue.url), steered(paper.home, work, failed))
    assert failed == []
    (status,) = seen
    assert isinstance(status, dict)
    assert any("the live tables stand still: ZeroDivisionError" in reason for reason in status["reasons"])
    assert status["state"] == "running", "trading goes on"


def test_an_endpoint_that_cannot_be_written_ends_it_whole(paper: PaperHome, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise EnvironmentFailure("a full disk", expected="room", action="make some")

    monkeypatch.setattr(daemon, "write_endpoint", full)
    before = set(threading.enumerate())  # other tests' servers may live as long as the session
    with stepped_venue(paper) as venue, pytest.raises(EnvironmentFailure, match="a full disk"):
        run(paper.home, RuntimeSettings(venue=venue.url), never)
    left = set(threading.enumerate()) - before
    assert not [t.name for t in left if t.name in ("control-api", "projector", "venue-clock")]


def test_a_halt_keeps_the_evidence_and_ends_with_its_code(paper: PaperHome, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.desk import Desk

    real = Desk.apply

    def breaks(desk: Desk, event: object) -> object:
        if desk.head.seq_n >= 170:
            raise InvariantError("a broken invariant", expected="none", action="halt")
        return real(desk, event)  # type: ignore[arg-type]

    monkeypatch.setattr(Desk, "apply", breaks)
    with stepped_venue(paper) as venue, pytest.raises(InvariantError):
        run(paper.home, RuntimeSettings(venue=venue.url), lambda _: None)
    assert logged(paper.home)[-1]["exit_code"] == 70
    (run_dir,) = (paper.home / "runs").iterdir()
    assert [path.name for path in (run_dir / "evidence").iterdir()]


@pytest.mark.parametrize(("number", "code", "json_option"), [(signal.SIGTERM, 0, True), (signal.SIGINT, 130, False)])
def test_the_command_says_where_it_is_until_a_signal(
    paper: PaperHome, number: int, code: int, json_option: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        deadline_s = time.monotonic() + 60
        while read_endpoint(paper.home) is None and time.monotonic() < deadline_s:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    with stepped_venue(paper) as venue:
        options = ["--json"] if json_option else []
        assert main(["runtime", "run", "--venue", venue.url, "--home", str(paper.home), *options]) == code
    shown = capsys.readouterr()
    if json_option:
        assert json.loads(shown.out)["pid"] == os.getpid()
    else:
        assert "control API  http://127.0.0.1:" in shown.err
        assert shown.err.splitlines()[-1] == "stopped"
        assert "interrupted" not in shown.err


def test_the_time_of_a_real_venue_is_the_system_s() -> None:
    with ExitStack() as held:
        assert isinstance(daemon._open_clock(RuntimeSettings(), None, held), SystemClock)
