"""Streams, progress and the error boundary."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import typer

from runtime import console
from runtime.errors import DataError, EnvironmentFailure, GateError, InvariantError, UsageError, VerificationError


def raiser(error: BaseException) -> object:
    raise error


@pytest.mark.parametrize(
    ("kind", "code"),
    [(UsageError, 2), (DataError, 3), (GateError, 4), (VerificationError, 5), (EnvironmentFailure, 6), (InvariantError, 70)],
)
def test_every_error_has_its_exit_code_and_says_three_things(kind: type, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run(lambda: raiser(kind("got this", expected="that", action="do it"))) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "got this" in err
    assert "expected: that" in err
    assert "do next:  do it" in err


def test_an_error_under_json_is_one_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ballast", "x", "--json"])
    code = console.run(lambda: raiser(DataError("[T] rows", expected="b", action="c")))
    out, err = capsys.readouterr()
    want = {"kind": "data", "got": "[T] rows", "expected": "b", "action": "c", "exit_code": code}
    assert json.loads(out) == {"error": want}
    assert "[T] rows" in err


def test_a_command_that_printed_its_object_prints_no_second_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ballast", "x", "--json"])

    def command() -> None:
        console.print_json({"parity": False})
        raise VerificationError("a", expected="b", action="c")

    assert console.run(command) == 5
    assert json.loads(capsys.readouterr().out) == {"parity": False}


def test_a_server_that_was_asked_to_stop_was_not_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run(lambda: raiser(console.Stopped())) == 130
    assert capsys.readouterr() == ("", "stopped\n")
    assert console.run(lambda: raiser(SystemExit(130))) == 130
    assert console.run(lambda: raiser(SystemExit("no"))) == 1
    assert console.run(lambda: raiser(SystemExit())) == 0
    assert capsys.readouterr() == ("", ""), "whoever raised it has said its last word"


def test_an_error_stream_on_a_full_disk_changes_no_exit_code() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    code = (
        "import sys; from runtime import console; from runtime.errors import EnvironmentFailure\n"
        "def fails(): raise EnvironmentFailure('a', expected='b', action='c')\n"
        "sys.exit(console.run(fails))"
    )
    with full.open("w") as errors:
        assert subprocess.run([sys.executable, "-c", code], stderr=errors, check=False).returncode == 6


def test_results_become_exit_codes() -> None:
    assert console.run(lambda: None) == 0
    assert console.run(lambda: 5) == 5
    assert console.run(lambda: True) == 0
    assert console.run(lambda: raiser(typer.Exit(4))) == 4
    assert console.run(lambda: raiser(KeyboardInterrupt())) == 130
    assert console.run(lambda: 130) == 130


def test_a_bug_leaves_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert console.run(lambda: raiser(ZeroDivisionError("oh"))) == 1
    err = capsys.readouterr().err
    (crash,) = tmp_path.glob("ballast-crash-*.txt")
    assert str(crash) in err
    assert "Traceback" not in err
    assert "ZeroDivisionError: oh" in crash.read_text("utf-8")


def test_a_bug_with_an_endless_message_is_told_in_short(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert console.run(lambda: raiser(ZeroDivisionError("oh" * 100_000))) == 1
    assert len(capsys.readouterr().err) < 1_000
    (crash,) = tmp_path.glob("ballast-crash-*.txt")
    assert len(crash.read_text("utf-8")) > 200_000


def test_debug_prints_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(console.DEBUG_VARIABLE, "1")
    assert console.run(lambda: raiser(ZeroDivisionError("oh"))) == 1
    assert "Traceback" in capsys.readouterr().err


def test_json_refuses_what_json_cannot_carry() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        console.print_json({"x": float("nan")})


def test_plain_progress_says_when_a_stage_begins_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress() as report:
        for done in range(4):
            report("features", done, 3)
        report("features", 3, 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "features: 0/3"
    assert err.splitlines()[1].startswith("features: 3/3 in ")
    assert len(err.splitlines()) == 2


WAITER = """
import sys, time
from runtime.console import run
def wait():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned", flush=True)
sys.exit(run(wait))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_with_130_and_runs_finally(number: signal.Signals, repository: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=repository,
        env=dict(os.environ),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "cleaned\n")
    assert "interrupted" in err
    assert "Traceback" not in err


LOSER = """
import sys, time
from runtime.console import progress, run

class Lossy:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(30)  # the interrupt arrives here, where Python cannot raise it

def work():
    with progress() as report:
        report("recompute", 0, 2)
        Lossy()
        if "--report" in sys.argv:
            report("recompute", 1, 2)
            print("went on", flush=True)

sys.exit(run(work))
"""


@pytest.mark.parametrize("arguments", [["--report"], []])
def test_an_interrupt_that_python_loses_still_ends_the_command(arguments: list[str], repository: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LOSER, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=repository,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in err
    assert "ignored" not in err


def test_the_callers_signal_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook
    console.run(lambda: None)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


def test_an_ignored_interrupt_stays_ignored() -> None:
    """`nohup` and shells without job control start a command that way."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    found: list[object] = []
    try:
        console.run(lambda: found.extend([signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]))
        assert found == [signal.SIG_IGN, console._stop]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_python_loses_without_an_interrupt_is_reported_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy:
        def __del__(self) -> None:
            raise ValueError("lost")

    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: seen.append(lost.exc_type))
    assert console.run(lambda: Lossy() and None) == 0
    assert seen == [ValueError]


def test_a_table_in_a_pipe_is_not_squeezed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console.stdout_console().width == console.PIPE_COLUMNS
    assert console.stderr_console().width == console.PIPE_COLUMNS
    monkeypatch.setenv("COLUMNS", "200")
    assert console.stdout_console().width == 200


def test_a_crash_file_that_cannot_be_written_is_no_second_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    assert console.run(lambda: raiser(ZeroDivisionError("oh"))) == 1
    assert "BALLAST_DEBUG=1" in capsys.readouterr().err


def test_an_abort_of_a_prompt_is_an_interruption() -> None:
    assert console.run(lambda: raiser(typer.Abort())) == 130


def test_outside_the_main_thread_signals_belong_to_the_embedder() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(console.run(lambda: None)))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_terminal_gets_one_bar_per_stage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.progress() as report:
        report("features", 1, 2)
        report("features", 2, 2)
        report("train", 5, 0)
    shown = capsys.readouterr().err
    assert "features" in shown
    assert "2/2" in shown
    assert "train" in shown


def test_a_typer_exit_outside_typer_keeps_its_code() -> None:
    assert console.run(lambda: raiser(typer.Exit(5))) == 5
