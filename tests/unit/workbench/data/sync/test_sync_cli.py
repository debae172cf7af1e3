from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.cli import main
from runtime.errors import EnvironmentFailure
from tests.support.bar_sources import hourly
from tests.support.bars import some_bars, write_series
from tests.support.faulty_venue import HOUR, FaultyVenue, make_venue, serve
from workbench.data.commands import sync as commands_sync
from workbench.data.store.lake import Lake
from workbench.data.sync.run import SyncResult, only_one
from workbench.data.sync.state import STATE_NAME

START_T = 1_700_006_400
HOURS = 80
ASSETS = ("--symbol", "BTC", "--symbol", "ETH", "--symbol", "SOL")


@pytest.fixture(scope="module")
def shared_venue() -> Iterator[FaultyVenue]:
    with serve(make_venue(7, start_t=START_T, hours=HOURS, per_hour=4), stall_s=lambda: 0.0) as venue:
        yield venue


@pytest.fixture
def venue(shared_venue: FaultyVenue, monkeypatch: pytest.MonkeyPatch) -> FaultyVenue:
    """Return an honest venue; calls wait for no budget, because the clock of the tests never waits."""
    shared_venue.fault_share, shared_venue.now_t = 0.0, START_T + HOURS * HOUR
    monkeypatch.setattr("workbench.data.sync.state.SyncState.acquire", lambda self, account, cost_n: 0.0)
    return shared_venue


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, object]:
    capsys.readouterr()
    assert main(["data", *arguments, "--json"]) == code
    result = json.loads(capsys.readouterr().out)
    assert isinstance(result, dict)
    return result


def tree(home: Path) -> dict[str, bytes]:
    """Return every file but the state, which counts the calls that failed."""
    files = (p for p in sorted(home.rglob("*")) if p.is_file() and not p.name.startswith(STATE_NAME))
    return {str(p.relative_to(home)): p.read_bytes() for p in files}


def begin(venue: FaultyVenue, *more: str) -> tuple[str, ...]:
    return ("backfill", "--provider", "kraken", "--url", venue.url, *ASSETS, *more)


def test_backfill_sync_status(venue: FaultyVenue, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    venue.now_t = START_T + 60 * HOUR
    found = run(capsys, *begin(venue))
    assert [s["verdict"] for s in found["series"]] == ["ok"] * 3  # type: ignore[attr-defined]
    assert found["calls_n"] == 5, "system status, list of pairs, and three series"
    digest = Lake(home).digest()
    venue.now_t = START_T + HOURS * HOUR
    found = run(capsys, "sync")
    assert sum(s["added_n"] for s in found["series"]) > 30  # type: ignore[attr-defined]
    assert Lake(home).digest() != digest
    status = run(capsys, "status")
    assert status["lake_digest"] == Lake(home).digest()
    first = status["series"][0]  # type: ignore[index]
    closed = [c for c in venue.markets["ETHUSD"].candles.values() if c.open_t + HOUR <= venue.now_t]
    assert (first["series"], first["source"], first["bars_n"]) == ("kraken-spot/1h/ETHUSD", "kraken-rest", len(closed))
    assert (first["last_t"], first["scanned_until_t"]) == (closed[-1].open_t, venue.now_t)
    assert first["missing_n"] == (closed[-1].open_t - closed[0].open_t) // HOUR + 1 - len(closed)
    assert [(a["account"], a["failed_n"]) for a in status["accounts"]] == [("kraken-public", 0)]  # type: ignore[attr-defined]
    assert main(["data", "status"]) == 0
    out = capsys.readouterr().out
    assert "kraken-spot/1h from kraken-rest" in out
    assert f"lake digest {Lake(home).digest()}" in out
    assert sum(s["added_n"] for s in run(capsys, "sync", "--provider", "kraken", "--symbol", "BTC")["series"]) == 0  # type: ignore[attr-defined]


def test_a_sync_of_a_series_that_is_listed_no_more_is_no_failure(
    venue: FaultyVenue, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, *begin(venue))
    kept = venue.markets.pop("SOLUSD")
    try:
        found = run(capsys, "sync")
    finally:
        venue.markets["SOLUSD"] = kept
    assert [s["verdict"] for s in found["series"]] == ["ok", "ok", "absent"]  # type: ignore[attr-defined]


def test_a_symbol_outside_the_universe_is_skipped_by_name(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for symbol in ("BTCUSDT", "DOGEUSDT"):
        write_series(tmp_path / "in", f"binance-spot/1h/{symbol}", some_bars())
    found = run(capsys, "backfill", "--provider", "files", "--path", str(tmp_path / "in"))
    assert [(s["series"], s["verdict"]) for s in found["series"]] == [  # type: ignore[attr-defined]
        ("binance-spot/1h/BTCUSDT", "ok"), ("binance-spot/1h/DOGEUSDT", "skipped"),
    ]  # fmt: skip
    assert [e.key for e in Lake(home).catalog().entries] == ["binance-spot/1h/BTCUSDT"]


def test_an_asset_asked_for_by_name_and_not_listed_is_named(
    venue: FaultyVenue, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, *begin(venue, "--symbol", "KAS"))
    last = found["series"][-1]  # type: ignore[index]
    assert (last["series"], last["verdict"]) == ("kraken-spot/1h/KAS", "absent")


def test_a_sync_removes_the_files_that_growth_replaced(
    venue: FaultyVenue, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def files() -> set[Path]:
        return set((filled / "lake").rglob("*.parquet"))

    before = files()
    assert run(capsys, "sync")["pruned_n"] == 0, "a reader may still want them"
    assert before < files()
    for path in before:
        os.utime(path, (0, 0))
    assert run(capsys, "sync")["pruned_n"] == len(before)
    assert not before & files()
    assert Lake(filled).digest() == run(capsys, "status")["lake_digest"]


def test_nothing_to_sync_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = run(capsys, "sync", code=2)["error"]
    assert "nothing to sync" in error["got"]  # type: ignore[index]
    assert run(capsys, "status")["series"] == []
    main(["data", "status"])
    assert "The lake is empty" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("backfill", "--provider", "nobody"), "--provider nobody"),
        (("backfill", "--provider", "kraken", "--interval", "7m"), "interval '7m'"),
        (("backfill", "--provider", "kraken", "--since", "2024-01-02", "--until", "2024-01-01"), "--since 2024-01-02"),
        (("sync", "--url", "http://127.0.0.1:1"), "without --provider"),
        (("sync", "--rounds", "2"), "--rounds without --every"),
        (("sync", "--every", "60"), "--every with --json"),
    ],
)
def test_wrong_options_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    error = run(capsys, *arguments, code=2)["error"]
    assert words in error["got"]  # type: ignore[index]
    assert tree(home) == {} or set(tree(home)) == {".sync-lock"}


# ---- what must not leave anything half-written ------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str, code: int) -> str:
    """Run a command that must fail with one message and leave lake and everything else as it was; return the message."""
    before, digest = tree(home), Lake(home).digest() if (home / "lake").exists() else ""
    capsys.readouterr()
    assert main(["data", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("do next:") == 1, err
    assert tree(home) == before
    assert not digest or Lake(home).digest() == digest
    return err


@pytest.fixture
def filled(venue: FaultyVenue, home: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return a home with bars, which a further sync would add to."""
    venue.now_t = START_T + 40 * HOUR
    run(capsys, *begin(venue))
    venue.now_t = START_T + HOURS * HOUR
    return home


def test_a_locked_lake(venue: FaultyVenue, filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Lake(filled).locked():
        assert "another process writes to" in refused(capsys, filled, "sync", code=6)
    assert run(capsys, "sync")["exit_code"] == 0


def test_another_sync(venue: FaultyVenue, filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with only_one(filled):
        assert "another backfill or sync works in" in refused(capsys, filled, "sync", code=6)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid", "not a url", "{venue}/elsewhere"])
def test_a_wrong_url(
    venue: FaultyVenue, filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr("workbench.data.sync.reader.Stop.sleep", lambda self, seconds: None)
    monkeypatch.setenv("NO_PROXY", "*")
    url = url.format(venue=venue.url)
    if url.endswith("elsewhere"):
        monkeypatch.setattr(venue, "answer", lambda path: ("whole", b"no such page", 404))
    message = refused(capsys, filled, "sync", "--provider", "kraken", "--symbol", "BTC", "--url", url, code=6)
    assert "Kraken's SystemStatus" in message


@pytest.mark.parametrize("address", ["http://user:{secret}@{host}", "http://{secret}@{host}", "http://{host}/?apikey={secret}"])
def test_no_secret_in_an_address_is_put_on_record(
    venue: FaultyVenue,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
) -> None:
    url = address.format(secret="PLANTED4711", host=venue.url.removeprefix("http://"))  # noqa: S106 - opens nothing
    called_n = venue.calls_n
    for kind in ("kraken", "ccxt:binance", "coinapi"):
        for command in ("backfill", "sync"):
            message = refused(capsys, home, command, "--provider", kind, "--symbol", "BTC", "--url", url, code=2)
            assert "--url with a" in message
            assert "PLANTED4711" not in message
    monkeypatch.setenv("BALLAST_COINAPI_KEY", "none")
    for kind, variable in (("kraken", "KRAKEN"), ("ccxt:binance", "CCXT"), ("coinapi", "COINAPI")):
        monkeypatch.setenv(f"BALLAST_{variable}_URL", url)
        assert main(["data", "backfill", "--provider", kind, "--symbol", "BTC"]) == 2
        assert main(["data", "import", "--source", kind, "--symbol", "BTC"]) == 2
        message = capsys.readouterr().err
        assert message.count(f"BALLAST_{variable}_URL with a") == 2
        assert "PLANTED4711" not in message
    assert venue.calls_n == called_n
    assert not [p for p in home.rglob("*") if p.is_file() and b"PLANTED4711" in p.read_bytes()]


def test_the_summary_counts_the_calls_that_status_counts(
    venue: FaultyVenue, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before_n = venue.calls_n
    made_n = run(capsys, *begin(venue))["calls_n"]
    (account,) = run(capsys, "status")["accounts"]  # type: ignore[misc, attr-defined]
    assert made_n == account["ok_n"] + account["retried_n"] + account["failed_n"] == venue.calls_n - before_n


def test_bad_credentials(
    venue: FaultyVenue, filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALLAST_COINAPI_KEY", "wrong")
    monkeypatch.setenv("COINAPI_KEY", "wrong")
    monkeypatch.setattr(venue, "answer", lambda path: ("whole", b'{"error": "Invalid API key"}', 401))
    message = refused(capsys, filled, "backfill", "--provider", "coinapi", "--url", venue.url, "--symbol", "BTC", code=6)
    assert "credentials refused" in message
    assert "wrong" not in message


def test_a_foreign_state_file(venue: FaultyVenue, filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect(filled / STATE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (filled / STATE_NAME).read_bytes()
    assert "schema version 99" in refused(capsys, filled, "sync", code=3)
    assert "schema version 99" in refused(capsys, filled, "status", code=3)
    assert (filled / STATE_NAME).read_bytes() == before


def test_a_foreign_lake(venue: FaultyVenue, filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Lake(filled).catalog_path
    catalog = json.loads(path.read_bytes())
    path.write_text(json.dumps(catalog | {"format": 99}))
    capsys.readouterr()
    before, calls_n = tree(filled), venue.calls_n
    assert main(["data", "sync"]) == 3
    assert "lake format 99" in capsys.readouterr().err
    assert tree(filled) == before
    assert venue.calls_n == calls_n, "it is found before anybody is called"


def test_a_lake_that_cannot_be_written(
    venue: FaultyVenue, filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polars.DataFrame.write_parquet", full)
    message = refused(capsys, filled, "sync", code=6)
    assert "No space left on device" in message
    monkeypatch.undo()


@pytest.mark.parametrize("limit_bytes", [4_096, 40_000, 44_000])
def test_a_full_disk(venue: FaultyVenue, home: Path, limit_bytes: int) -> None:
    """No file may grow beyond a few bytes: the state's log, the state or a file of the lake is the first to hit the limit."""
    code = (
        "import resource, sys; from runtime.cli import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes})); sys.exit(main(sys.argv[1:]))"
    )
    arguments = ("data", *begin(venue), "--out", str(home))
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=Path.cwd()
    )
    assert done.returncode == 6, done.stderr
    assert done.stderr.count("do next:") == 1, done.stderr
    assert "cannot" in done.stderr
    assert not list(home.rglob(".partial-*"))
    assert main(list(arguments)) == 0, "with room again it goes on"
    assert len(Lake(home).catalog().entries) == 3


@pytest.mark.parametrize("command", ["import", "backfill"])
def test_a_disk_that_is_full_under_the_lake(home: Path, tmp_path: Path, command: str) -> None:
    """The Parquet writer itself meets the limit, and speaks of it in its own way."""
    write_series(tmp_path / "in", "binance-spot/1h/BTCUSDT", hourly(6_000))
    chosen = (str(tmp_path / "in"),) if command == "import" else ("--provider", "files", "--path", str(tmp_path / "in"))
    code = (
        "import resource, sys; from runtime.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536)); sys.exit(main(sys.argv[1:]))"
    )
    arguments = ("data", command, *chosen, "--out", str(home))
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=Path.cwd()
    )
    assert done.returncode == 6, done.stderr
    assert "cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert not list(home.rglob("*.parquet"))
    assert main(list(arguments)) == 0


def test_ctrl_c_ends_in_130_and_the_next_goes_on(venue: FaultyVenue, home: Path) -> None:
    venue.fault_share = 1.0
    venue.kinds, kinds = ("5xx",), venue.kinds
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("ballast")), "data", *begin(venue), "--out", str(home)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        called_n, deadline = venue.calls_n, time.monotonic() + 60
        while venue.calls_n == called_n and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        venue.kinds = kinds
    assert process.returncode == 130, err
    assert "interrupted" in err
    venue.fault_share = 0.0
    assert main(["data", *begin(venue), "--out", str(home)]) == 0


# ---- the loop ---------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now_s, self.slept = 1_000.0, list[float]()

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def test_a_loop_keeps_its_times_and_outlives_failures(capsys: pytest.CaptureFixture[str]) -> None:
    clock, began = Clock(), list[float]()
    took_s = iter((10.0, 130.0, 0.0, 5.0))

    def one_round() -> SyncResult:
        began.append(clock.now_s)
        clock.now_s += next(took_s)
        if len(began) == 2:
            raise EnvironmentFailure("no answer", expected="an answer", action="try again")
        return SyncResult(series=(), calls_n=1, elapsed_s=1.0)

    done = commands_sync.loop(one_round, 60.0, 4, clock=clock, sleep=clock.sleep)
    assert began == [1_000.0, 1_060.0, 1_190.0, 1_250.0], "a late round is followed at once, never by two"
    assert [type(d).__name__ for d in done] == ["SyncResult", "EnvironmentFailure", "SyncResult", "SyncResult"]
    assert max(clock.slept) <= commands_sync.NAP_S
    assert "no answer; try again" in capsys.readouterr().err


def test_a_loop_of_rounds_prints_one_object(
    venue: FaultyVenue, filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_sync, "NAP_S", 0.01)
    found = run(capsys, "sync", "--every", "1", "--rounds", "2")
    first, second = found["rounds"]  # type: ignore[misc]
    assert sum(s["added_n"] for s in first["series"]) > 0
    assert sum(s["added_n"] for s in second["series"]) == 0
