"""Bad input, one row per kind: its exit code, one clear message, and a lake that is byte for byte what it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runtime.cli import main
from tests.support.bars import START_T, changed, some_bars, tree, write_frame, write_ohlcvt, write_series
from workbench.data.bars import to_frame
from workbench.data.store.lake import WRITERS_N

KEY = "binance-spot/1h/ETHUSDT"


def parquet(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], object]:
    return lambda folder: write_frame(folder, KEY, change(to_frame(some_bars())))


def rows(*positions: int) -> Callable[[Path], object]:
    return lambda folder: write_series(folder, KEY, some_bars().take(np.array(positions)))


def value(row: int, **values: float) -> Callable[[Path], object]:
    return lambda folder: write_series(folder, KEY, changed(some_bars(), row, **values))


def raw(content: bytes) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        write_series(folder, KEY, some_bars()).write_bytes(content)

    return write


def truncated(folder: Path) -> None:
    path = write_series(folder, KEY, some_bars())
    path.write_bytes(path.read_bytes()[:-200])


def csv(text: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        (folder / "ETHUSD_60.csv").write_text(text)

    return write


def nothing(folder: Path) -> None:
    """Leave the folder as it is."""


BAD: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "empty folder": (nothing, 3, "no bars found"),
    "wrong columns": (parquet(lambda f: f.rename({"close": "last"})), 3, "missing close"),
    "no volume": (parquet(lambda f: f.drop("volume")), 3, "missing volume"),
    "text for numbers": (parquet(lambda f: f.with_columns(pl.col("open").cast(pl.String))), 3, "open is String"),
    "empty values": (
        parquet(lambda f: f.with_columns(pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("close")).alias("close"))),
        3, "close has 1 empty values (first in row 4)",
    ),
    "naive timestamps": (parquet(lambda f: f.with_columns(pl.col("ts_utc").dt.replace_time_zone(None))), 3, "naive timestamps"),
    "integer times": (parquet(lambda f: f.with_columns(pl.col("ts_utc").dt.epoch("s"))), 3, "ts_utc is Int64"),
    "fractions of a second": (parquet(lambda f: f.with_columns(pl.col("ts_utc") + pl.duration(milliseconds=1))), 3, "fractions of a second"),
    "no rows": (parquet(lambda f: f.head(0)), 3, "no rows"),
    "empty file": (raw(b""), 3, "empty file"),
    "not Parquet": (raw(b"hello, world" * 20), 3, "not readable as Parquet"),
    "truncated Parquet": (truncated, 3, "not readable as Parquet"),
    "duplicate times": (rows(0, 1, 1, 2), 4, "with another bar: 2024-01-01T01:00Z (2 times)"),
    "times out of order": (rows(0, 2, 1, 3), 4, "ordering in binance-spot/1h/ETHUSDT"),
    "off-grid times": (value(9, t=START_T + 9 * 3_600 + 60), 4, "off_grid in binance-spot/1h/ETHUSDT"),
    "negative price": (value(9, low=-1.0), 4, "non_positive in binance-spot/1h/ETHUSDT"),
    "zero price": (value(9, low=0.0), 4, "non_positive in binance-spot/1h/ETHUSDT"),
    "negative volume": (value(9, volume=-1.0), 4, "non_positive in binance-spot/1h/ETHUSDT"),
    "NaN": (value(9, close=float("nan")), 4, "not_finite in binance-spot/1h/ETHUSDT"),
    "infinity": (value(9, high=float("inf")), 4, "not_finite in binance-spot/1h/ETHUSDT"),
    "a price no integer holds": (value(9, high=1e30), 4, "out_of_range in binance-spot/1h/ETHUSDT: 1 bars: price outside 0.00000001"),
    "a price that rounds to zero": (value(9, low=1e-12), 4, "out_of_range in binance-spot/1h/ETHUSDT"),
    "a volume no integer holds": (value(9, volume=1e30), 4, "out_of_range in binance-spot/1h/ETHUSDT"),
    "a folder named like a file": (
        lambda f: (f / "binance-spot" / "1h" / "ETHUSDT.parquet").mkdir(parents=True), 3, "ETHUSDT.parquet is a folder",
    ),
    "high below low": (value(9, high=90.0, low=110.0), 4, "ohlc in binance-spot/1h/ETHUSDT"),
    "unknown symbol": (lambda f: write_series(f, "binance-spot/1h/DOGEUSDT", some_bars()), 3, "no known symbol among DOGEUSDT.parquet"),
    "unknown venue": (lambda f: write_series(f, "mtgox/1h/BTCUSD", some_bars()), 3, "venue 'mtgox' is not in universe v1"),
    "CSV, empty": (csv(""), 3, "empty file"),
    "CSV, too few columns": (csv("1704067200,1,2\n"), 3, "3 columns without a header"),
    "CSV, ragged": (csv("1704067200,1,2,1,1,5,3\n1704070800,1,2,1,1,5,3,9,9\n"), 3, "9 columns without a header"),
    "CSV, a line cut short": (csv("1704067200,1,2,1,1,5,3\n1704070800,1\n"), 3, "empty values"),
    "CSV, binary": (csv("1704067200,\x00\x01\n\x02"), 3, "ETHUSD_60.csv"),
    "CSV, a word for a price": (csv("1704067200,1,2,1,1,5,3\n1704070800,1,two,1,1,5,3\n"), 3, "high is String (row 2: 'two')"),
    "CSV, a word for a time": (csv("1704067200,1,2,1,1,5,3\nnoon,1,2,1,1,5,3\n"), 3, "timestamp is String (row 2: 'noon')"),
    "CSV, fractional times": (csv("1704067200.5,1,2,1,1,5,3\n"), 3, "timestamp is Float64"),
    "CSV, wrong header": (csv("when,open,high,low,close,volume\n1704067200,1,2,1,1,5\n"), 3, "missing ts_utc"),
    "CSV, naive times": (csv("ts_utc,open,high,low,close,volume\n2024-01-01T00:00:00,1,2,1,1,5\n"), 3, "naive timestamps"),
    "CSV, no times": (csv("ts_utc,open,high,low,close,volume\nyesterdayZ,1,2,1,1,5\n"), 3, "row 1: 'yesterdayZ' is no time"),
    "CSV, one bad time": (
        csv("ts_utc,open,high,low,close,volume\n2024-01-01T00:00:00Z,1,2,1,1,5\n2024-13-01T01:00:00Z,1,2,1,1,5\n"),
        3, "row 2: '2024-13-01T01:00:00Z' is no time",
    ),
    "CSV, one naive time": (
        csv("ts_utc,open,high,low,close,volume\n2024-01-01T00:00:00Z,1,2,1,1,5\n2024-01-01T01:00:00,1,2,1,1,5\n"),
        3, "first in row 2: '2024-01-01T01:00:00'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("with_lake", [False, True], ids=["fresh", "with lake"])
@pytest.mark.parametrize("kind", BAD)
def test_bad_files(kind: str, with_lake: bool, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, exit_code, message = BAD[kind]
    if with_lake:
        assert main(["data", "import", str(write_series(tmp_path / "good", "binance-spot/1h/BTCUSDT", some_bars()))]) == 0
    before = tree(home)
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder)
    capsys.readouterr()
    assert main(["data", "import", str(folder)]) == exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("expected:") == err.count("do next:") == 1, "one message"
    assert "Traceback" not in err
    assert tree(home) == before
    assert main(["data", "import", str(folder), "--json"]) == exit_code
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["exit_code"], message in error["got"]) == (exit_code, True)


def test_a_good_file_beside_a_bad_one_is_not_imported(home: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "in", "binance-spot/1h/BTCUSDT", some_bars())
    truncated(tmp_path / "in")
    assert main(["data", "import", str(tmp_path / "in")]) == 3
    assert tree(home) == {}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["data", "import", "{tmp}/absent"], 3, "does not exist"),
        (["data", "import"], 2, "--source files without PATH"),
        (["data", "import", "--source", "carrier-pigeon"], 2, "--source carrier-pigeon"),
        (["data", "import", "{tmp}", "--source", "kraken"], 2, "--source kraken with PATH"),
        (["data", "import", "--source", "simulated", "--symbol", "BTC"], 2, "--source simulated with --symbol"),
        (["data", "import", "--source", "kraken", "--since", "yesterday"], 2, "--since 'yesterday'"),
        (["data", "check"], 3, "the lake has no such series"),
        (["data", "check", "{tmp}/absent"], 3, "does not exist"),
        (["dataset", "build"], 3, "the lake has no 1h bars"),
        (["dataset", "build", "--interval", "3h"], 3, "the lake has no 3h bars"),
        (["dataset", "build", "--venue", "binance-spot", "--interval", "3h"], 2, "interval '3h'"),
        (["dataset", "show"], 2, "0 datasets match 'latest'"),
        (["dataset", "show", "beef"], 2, "0 datasets match 'beef'"),
        (["dataset", "build", "--min-years", "-1"], 2, "min-years"),
    ],
)
def test_bad_commands(
    arguments: list[str], exit_code: int, message: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([a.replace("{tmp}", str(tmp_path)) for a in arguments]) == exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert tree(home) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_series(tmp_path / "in", "binance-spot/1h/BTCUSDT", some_bars())
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    assert main(["data", "import", str(good), "--out", str(locked / "home")]) == 6
    assert "cannot write" in capsys.readouterr().err
    assert tree(locked) == {}


def test_an_output_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_series(tmp_path / "in", "binance-spot/1h/BTCUSDT", some_bars())
    (tmp_path / "home").write_text("in the way")
    assert main(["data", "import", str(good), "--out", str(tmp_path / "home")]) == 6
    assert "cannot write" in capsys.readouterr().err
    assert (tmp_path / "home").read_text() == "in the way"


def test_an_unreadable_input(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read anything")
    write_ohlcvt(tmp_path / "in" / "XBTUSD_60.csv", some_bars()).chmod(0)
    assert main(["data", "import", str(tmp_path / "in")]) == 3
    assert "Permission denied" in capsys.readouterr().err
    assert tree(home) == {}


SLOW_IMPORT = """
import sys, time
import workbench.data.store.lake as lake
real = lake.to_frame
def slow(bars):
    frame = real(bars)
    sys.stdout.write("writing\\n")
    sys.stdout.flush()
    time.sleep(0.5)
    return frame
lake.to_frame = slow
from runtime.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_the_lake_is_written(number: signal.Signals, home: Path, tmp_path: Path) -> None:
    """A real process, stopped between the first and the last of its files."""
    good = write_series(tmp_path / "first", "binance-spot/1h/BTCUSDT", some_bars())
    assert main(["data", "import", str(good)]) == 0
    before = tree(home)
    for asset in ["ADA", "BNB", "DOT", "ETC", "ETH", "LTC", "SOL", "TRX", "UNI", "XRP"]:
        write_series(tmp_path / "in", f"binance-spot/1h/{asset}USDT", some_bars())
    command = [sys.executable, "-c", SLOW_IMPORT, "data", "import", str(tmp_path / "in")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert [process.stdout.readline() for _ in range(WRITERS_N + 1)] == ["writing\n"] * (WRITERS_N + 1)
        time.sleep(0.1)
        assert any(p.name != "BTCUSDT" for p in (home / "lake" / "bars" / "binance-spot" / "1h").iterdir()), (
            "a file is there already"
        )
        process.send_signal(number)
        err = process.stderr.read()
        assert process.wait(30) == 130
    assert "stopped by Ctrl-C" in err
    assert "Traceback" not in err
    assert tree(home) == before
