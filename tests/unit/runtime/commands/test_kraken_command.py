"""`ballast kraken serve`: what it prints, how it ends, one clear message per mistake."""

from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from runtime.cli import main
from runtime.commands import kraken as command
from tests.support.local_kraken import hourly, write_bars

Out = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bars(tmp_path / "market/1h/XBTUSD.parquet", hourly(30))
    return tmp_path / "market"


def stop_when_ready(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Send this process a signal when the venue is ready; the list takes what its Time said."""
    told: list[str] = []
    announce = command._announce

    def after(url: str, venue: object, json: bool) -> None:
        announce(url, venue, json)  # type: ignore[arg-type]

        def ask() -> None:
            with urllib.request.urlopen(url + "/0/public/Time", timeout=10) as answer:  # noqa: S310  loopback
                told.append(answer.read().decode())
            os.kill(os.getpid(), number)

        threading.Thread(target=ask).start()

    monkeypatch.setattr(command, "_announce", after)
    return told


def test_serve_until_sigterm(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    told = stop_when_ready(monkeypatch, signal.SIGTERM)
    arguments = [
        "--stepped",
        "--start",
        "2023-11-15T12:00",
        "--fault",
        "http-503@OHLC:every=2",
        "--rate",
        "15/0.5",
        "--seed",
        "4",
    ]
    assert main(["kraken", "serve", "--data", str(folder), *arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["now"], shown["pairs"], shown["speed"]) == ("2023-11-15T12:00:00Z", ["XBTUSD"], 0)
    assert shown["websocket_url"] == shown["url"].replace("http", "ws") + "/v2"
    assert json.loads(told[0])["result"]["unixtime"] == 1_700_049_600


def test_serve_until_ctrl_c(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    stop_when_ready(monkeypatch, signal.SIGINT)
    assert main(["kraken", "serve", "--data", str(folder), "--pair", "XBTUSD", "--quote", "CAD"]) == 130
    shown = capsys.readouterr().err
    for words in (
        "1 pairs",
        "at 1 times real time",
        "/0/public/Time",
        "/v2",
        "BALLAST_KRAKEN_URL=http://127.0.0.1:",
        "exchange.urls",
    ):
        assert words in shown


def test_the_words_for_stepped_time(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    stop_when_ready(monkeypatch, signal.SIGTERM)
    assert main(["kraken", "serve", "--data", str(folder), "--stepped", "--unconstrained"]) == 0
    assert "until POST /control/advance" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--stepped", "--speed", "2"], 2, "--stepped and --speed"),
        (["--speed", "-1"], 2, "a speed of -1.0"),
        (["--start", "soon"], 2, "--start 'soon'"),
        (["--start", "1999-01-01"], 2, "expected: a time from 2023-11-1"),
        (["--start", "2031-01-01"], 2, "--start 2031-01-01: there is no data at that time"),
        (["--fault", "nope:every=1"], 2, "the fault 'nope:every=1'"),
        (["--rate", "15"], 2, "the rate '15'"),
        (["--rate", "0/1"], 2, "the rate '0/1'"),
        (["--pair", "ETHUSD"], 2, "no file of ETHUSD"),
        (["--data", "empty"], 3, "nothing in empty can be replayed"),
    ],
)
def test_mistakes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(folder)
    Path("empty").mkdir()
    assert main(["kraken", "serve", "--data", str(folder), *arguments]) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_without_aiohttp_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "aiohttp":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["kraken", "serve", "--data", str(folder)]) == 6
    assert "pip install 'ballast[venue]'" in " ".join(capsys.readouterr().err.split())


def test_a_process_that_gets_ctrl_c_ends_with_130(folder: Path) -> None:
    words = [sys.executable, "-m", "runtime.cli", "kraken", "serve", "--data", str(folder), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "{\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "stopped"
    assert "Traceback" not in errors
    assert "interrupted" not in errors
