"""What a person sees when a source cannot be read: one message, the right exit code, and a lake as it was."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.cli import main
from runtime.errors import DataError
from tests.support.bars import START_T, some_bars, tree, write_series
from tests.support.binance import LoopbackBinance, serve_binance
from tests.support.coinapi import LoopbackCoinApi, serve_coinapi
from tests.support.loopback import Fault
from workbench.data.bars import Bars

NOW_T = START_T + 47 * 3_600
SECRET = "planted-secret-4711"  # noqa: S105 - opens nothing


@pytest.fixture
def lake(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return every file of a home with a lake, by digest."""
    write_series(tmp_path / "in", "binance-spot/1h/ETHUSDT", some_bars())
    assert main(["data", "import", str(tmp_path / "in")]) == 0
    capsys.readouterr()
    return tree(home)


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one message on stderr."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("expected:") == err.count("do next:") == 1, err
    assert "Traceback" not in err
    assert SECRET not in err
    return err


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=401), "credentials refused"),
        (Fault(status=404), "not found"),
        (Fault(status=400), "request refused"),
        (Fault(status=429, headers={"Retry-After": "7200"}), "it asks for 7200 s of pause"),
        (Fault(status=503), "failed 5 times: server error"),
        (Fault(cut=True), "failed 5 times: answer in an unknown form"),
        (Fault(broken=True), "failed 5 times: connection lost"),
    ],
)
@pytest.mark.parametrize("after_n", [0, 1])
def test_a_provider_that_fails(
    fault: Fault,
    message: str,
    after_n: int,
    home: Path,
    lake: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("BALLAST_COINAPI_KEY", SECRET)
    faults = [*[Fault()] * after_n, *[fault] * 9]
    bars = some_bars()
    with serve_coinapi(LoopbackCoinApi({"BINANCE_SPOT_BTC_USDT": bars}, now_t=NOW_T, key=SECRET, faults=faults[:])) as coinapi:
        monkeypatch.setenv("BALLAST_COINAPI_URL", coinapi.url)
        assert main(["data", "import", "--source", "coinapi", "--symbol", "BTC"]) == 6
        assert message in told(capsys)
    with serve_binance(LoopbackBinance({"BTCUSDT": bars}, now_t=NOW_T, faults=faults[:])) as binance:
        monkeypatch.setenv("BALLAST_CCXT_URL", binance.url)
        assert main(["data", "import", "--source", "ccxt:binance", "--symbol", "BTC"]) == 6
        assert message in told(capsys)
    assert tree(home) == lake


def test_a_key_that_the_service_refuses(
    home: Path, lake: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BALLAST_COINAPI_KEY", SECRET)
    with serve_coinapi(LoopbackCoinApi({}, now_t=NOW_T, key="another")) as server:
        monkeypatch.setenv("BALLAST_COINAPI_URL", server.url)
        assert main(["data", "import", "--source", "coinapi", "--symbol", "BTC"]) == 6
    assert "CoinAPI's symbols: credentials refused" in told(capsys)
    assert tree(home) == lake


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9", "connection refused"),
        ("http://nowhere.invalid", "unknown host name"),
        ("api.kraken.com", "not found (not a web address)"),
    ],
)
@pytest.mark.parametrize("source", ["kraken", "ccxt:binance", "coinapi"])
def test_a_wrong_address(
    source: str,
    url: str,
    message: str,
    home: Path,
    lake: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("BALLAST_COINAPI_KEY", SECRET)
    for variable in ("BALLAST_KRAKEN_URL", "BALLAST_CCXT_URL", "BALLAST_COINAPI_URL"):
        monkeypatch.setenv(variable, url)
    assert main(["data", "import", "--source", source, "--symbol", "BTC"]) == 6
    assert message in told(capsys)
    assert tree(home) == lake


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut, _flip])
def test_a_damaged_archive(
    damage: Callable[[Path], None], home: Path, lake: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "Kraken_OHLCVT.zip"
    with zipfile.ZipFile(path, "w") as z:
        for pair in ("XBTUSD", "ETHUSD"):
            z.writestr(f"{pair}_60.csv", "".join(f"{START_T + 3_600 * n},1,2,1,2,5,7\n" for n in range(48)))
    damage(path)
    assert main(["data", "import", str(path), "--source", "kraken-archive"]) == 3
    assert "Kraken_OHLCVT.zip" in told(capsys)
    assert tree(home) == lake


def test_a_zip_given_as_a_file_of_bars_names_its_provider(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    assert main(["data", "import", str(tmp_path / "a.zip")]) == 3
    assert "use --source kraken-archive" in told(capsys)
    assert tree(home) == {}


def test_a_folder_on_a_read_only_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such a disk refuses to remove even what is not there."""
    write_series(tmp_path / "in", "binance-spot/1h/ETHUSDT", some_bars())
    home, real_mkdir, real_unlink = tmp_path / "disk" / "home", Path.mkdir, Path.unlink
    home.parent.mkdir()

    def mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if path.is_relative_to(home):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        real_mkdir(path, mode, parents, exist_ok)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.is_relative_to(home):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        real_unlink(path, missing_ok)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "unlink", unlink)
    assert main(["data", "import", str(tmp_path / "in"), "--out", str(home)]) == 6
    err = told(capsys)
    assert "cannot write" in err
    assert "Read-only file system" in err
    assert not any(home.parent.iterdir())


def test_what_was_not_imported_is_said_once(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in", "binance-spot/1h/ETHUSDT", some_bars())

    def differing(provider: object, ref: object) -> Bars:
        raise DataError("bars differ", expected="bars that agree", action="import one alone; nothing was imported")

    monkeypatch.setattr("workbench.data.store.ingest.read_series", differing)
    assert main(["data", "import", str(tmp_path / "in")]) == 3
    assert told(capsys).count("nothing was imported") == 1


def test_skipped_series_of_one_file_name_are_told_apart(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("binance-spot/1h/ETHUSDT", "kraken-spot/1h/XBTUSDT", "kraken-spot/1m/XBTUSDT"):
        write_series(tmp_path / "in", key, some_bars())
    assert main(["data", "import", str(tmp_path / "in")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("unknown_symbol")]
    assert [line.split()[1] for line in lines] == ["kraken-spot/1h/XBTUSDT", "kraken-spot/1m/XBTUSDT"]
