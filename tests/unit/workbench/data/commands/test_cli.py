from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.cli import main
from runtime.errors import DataError, GateError, UsageError
from runtime.progress import silent
from tests.support.bars import START_T, changed, some_bars, tree, without, write_frame, write_series
from tests.support.venue_bars import serve_bars, venue_bars
from workbench.data.bars import to_frame
from workbench.data.datasets.build import build_dataset
from workbench.data.datasets.manifests import load_manifest, load_panel
from workbench.data.datasets.prepare import DEMO_ACCEPTED, prepare_dataset
from workbench.data.providers import Page, SeriesRef
from workbench.data.providers.files import FileProvider
from workbench.data.providers.kraken import URL_VARIABLE
from workbench.data.providers.simulated import SimulatedProvider
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, object]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    result = json.loads(capsys.readouterr().out)
    assert isinstance(result, dict)
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_series(tmp_path / "in", "binance-spot/1h/BTCUSDT", without(some_bars(), 9, 10))
    write_series(tmp_path / "in", "binance-spot/1h/ETHUSDT", changed(some_bars(), 7, low=40.0))
    write_series(tmp_path / "in", "binance-spot/1h/DOGEUSDT", some_bars())
    return tmp_path / "in"


def test_from_files_to_a_dataset(folder: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imported = run(capsys, "data", "import", str(folder))
    assert (imported["series_n"], imported["changed_n"]) == (2, 2)
    assert [f["gate"] for f in imported["findings"]] == ["unknown_symbol"]  # type: ignore[union-attr, attr-defined]
    assert run(capsys, "data", "import", str(folder))["changed_n"] == 0
    listed = run(capsys, "data", "list")["series"]
    assert [e["series"] for e in listed] == ["binance-spot/1h/BTCUSDT", "binance-spot/1h/ETHUSDT"]  # type: ignore[attr-defined]
    checked = run(capsys, "data", "check", code=4)
    assert checked["verdict"] == "blocked"
    names = [f["name"] for f in checked["findings"]]  # type: ignore[attr-defined]
    assert names == ["gap:BTCUSDT:2024-01-01T09:00Z", "wick:ETHUSDT:2024-01-01T07:00Z"]
    assert run(capsys, "data", "check", "--accept", names[0], "--accept", names[1])["verdict"] == "accepted"
    assert "error" in run(capsys, "dataset", "build", code=4)
    built = run(capsys, "dataset", "build", "--accept", "gap", "--accept", "wick")
    assert built["symbols"] == ["BTC", "ETH"]
    shown = run(capsys, "dataset", "show", str(built["dataset_hash"])[:10], "--verify")
    assert shown == built == json.loads(load_manifest(home).model_dump_json())


def test_people_get_tables_with_whole_numbers(folder: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["data", "import", str(folder)], ["binance-spot/1h/BTCUSDT", "46", "is not in universe v1"]),
        (["data", "check"], ["BLOCKED", "low 40"]),
        (["data", "list"], ["2024-01-02T23:00Z"]),
        (
            ["dataset", "build", "--accept", "gap", "--accept", "wick"],
            ["dataset_hash", "verdict accepted", "stands 1:1 for USD"],
        ),
        (["dataset", "show"], ["dataset_hash"]),
    ):
        main(arguments)
        out = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert all(w in out for w in words), (arguments, out)


@pytest.mark.parametrize("name", ["BTC", "btc", "BTCUSDT"])
def test_check_takes_an_asset_or_a_symbol(folder: Path, home: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    run(capsys, "data", "import", str(folder))
    checked = run(capsys, "data", "check", "--symbol", name, code=4)
    assert [s["series"] for s in checked["series"]] == ["binance-spot/1h/BTCUSDT"]  # type: ignore[attr-defined]
    refused = run(capsys, "data", "check", "--symbol", name, "--symbol", "NOPE", code=2)["error"]
    assert refused["got"] == "the lake has no series of NOPE"  # type: ignore[index]


def test_files_can_be_checked_before_they_are_imported(folder: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(folder, "binance-spot/1h/ADAUSDT", changed(some_bars(), 3, high=1.0))
    write_frame(folder, "binance-spot/1h/XRPUSDT", to_frame(some_bars()).drop("close"))
    checked = run(capsys, "data", "check", str(folder), code=4)
    assert [(f["gate"], f["symbol"]) for f in checked["findings"]] == [  # type: ignore[attr-defined]
        ("unknown_symbol", "DOGEUSDT"), ("schema", "XRPUSDT"), ("ohlc", "ADAUSDT"), ("gap", "BTCUSDT"), ("wick", "ETHUSDT"),
    ]  # fmt: skip
    assert not (home / "lake").exists()
    gentle = write_series(folder.parent / "gentle", "binance-spot/1h/BTCUSDT", some_bars())
    assert run(capsys, "data", "check", str(gentle))["verdict"] == "clean"


def test_several_venues_need_a_choice(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, "binance-spot/1h/BTCUSDT", some_bars())
    write_series(tmp_path, "kraken-spot/1h/XBTUSD", some_bars())
    run(capsys, "data", "import", str(tmp_path))
    error = run(capsys, "dataset", "build", code=2)["error"]
    assert "binance-spot, kraken-spot" in str(error)
    built = run(capsys, "dataset", "build", "--venue", "kraken-spot", "--as-of", "2024-01-01T12:00Z")
    assert (built["symbols"], built["bars_n"], built["as_of_t"]) == (["BTC"], 12, START_T + 12 * 3_600)


def test_kraken_through_the_command(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = venue_bars(60)
    with serve_bars(tmp_path / "venue", {"XBTUSD": bars, "ETHUSD": bars}, now_t=START_T + 59 * 3_600 + 9) as kraken:
        monkeypatch.setenv(URL_VARIABLE, kraken.url)
        monkeypatch.setattr("time.sleep", lambda _: None)  # calls to the venue keep a second apart
        imported = run(capsys, "data", "import", "--source", "kraken", "--symbol", "BTC")
        assert imported["series_n"] == 1
        manifest = prepare_dataset(home, None, "kraken", silent)
    assert (manifest.source, manifest.symbols, manifest.simulated) == ("kraken-rest", ("BTC", "ETH"), False)
    assert manifest.last_t == START_T + 58 * 3_600


def test_the_simulated_market_says_so_everywhere(home: Path) -> None:
    manifest = prepare_dataset(home, None, "auto", silent)
    assert (manifest.source, manifest.simulated, manifest.venue, manifest.label) == (
        "simulated",
        True,
        "simulated",
        "SIMULATED",
    )
    assert all(a.startswith("SIMULATED") for a in manifest.assumptions)
    assert manifest == prepare_dataset(home, None, "simulated", silent)
    assert {f.gate for f in manifest.findings} <= set(DEMO_ACCEPTED)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, workbench.data.commands.data; from runtime.cli import main; main(['data', 'import', '--help']); "
        "print(sorted({'polars', 'numpy', 'ccxt', 'rich.table', 'workbench.data.store.lake'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("data", "source", "words"),
    [
        (None, "nasdaq", "source 'nasdaq'"),
        (Path("x"), "simulated", "both --data and --source simulated"),
        (Path("x"), "kraken", "both"),
    ],
)
def test_the_demo_refuses_sources_that_contradict(home: Path, data: Path | None, source: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        prepare_dataset(home, data, source)


def test_the_demo_refuses_data_without_hourly_bars_of_the_universe(home: Path, tmp_path: Path) -> None:
    write_series(tmp_path, "binance-spot/1h/DOGEUSDT", some_bars())
    with pytest.raises(DataError, match="no known symbol among DOGEUSDT.parquet"):
        prepare_dataset(home, tmp_path)
    write_series(tmp_path, "binance-spot/1h/BTCUSDT", some_bars())
    with pytest.raises(DataError, match="no asset of binance-spot/1h has 2 years of bars"):
        prepare_dataset(home, tmp_path)
    assert not (home / "datasets").exists()


def test_the_demo_takes_only_the_assets_of_the_folder(home: Path, tmp_path: Path) -> None:
    """What an earlier import left in the lake takes no part, so the hash is that of the folder."""
    write_series(tmp_path / "a", "binance-spot/1h/BTCUSDT", some_bars(17_544))
    write_series(tmp_path / "b", "binance-spot/1h/ETHUSDT", some_bars(17_544))
    alone = prepare_dataset(tmp_path / "fresh", tmp_path / "b")
    prepare_dataset(home, tmp_path / "a")
    assert prepare_dataset(home, tmp_path / "b").dataset_hash == alone.dataset_hash


@pytest.mark.parametrize("more", ["longer", "second source", "end of a forming bar"])
def test_the_demo_uses_exactly_the_bars_it_is_given(home: Path, tmp_path: Path, more: str) -> None:
    """The home holds more bars of the series; the dataset, its hash and its panel are those of a fresh home."""
    own = changed(some_bars(17_534), 17_533, volume=0.5) if more == "end of a forming bar" else some_bars(17_544)
    write_series(tmp_path / "own", "binance-spot/1h/BTCUSDT", own)
    fresh = prepare_dataset(tmp_path / "fresh", tmp_path / "own")
    if more == "second source":
        write_series(tmp_path / "more", "binance-spot-b/1h/BTCUSDT", changed(some_bars(48), 20, close=101.9, high=102.5))
    else:
        write_series(tmp_path / "more", "binance-spot/1h/BTCUSDT", some_bars(17_592))
    import_bars(home, FileProvider(tmp_path / "more"))
    before = Lake(home).catalog()
    used = prepare_dataset(home, tmp_path / "own")
    assert used == fresh
    assert np.array_equal(load_panel(home, used).close, load_panel(tmp_path / "fresh", fresh).close)
    if more != "second source":
        assert Lake(home).catalog() == before
        assert build_dataset(home, "binance-spot").bars_n == 17_592, "dataset build still takes all bars of the lake"


class ShortSimulation(SimulatedProvider):
    """A simulation whose last day is missing."""

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        for page in super().pages(ref, since_t, until_t):
            yield page._replace(bars=page.bars.take(slice(0, -24)))


def test_the_simulated_dataset_does_not_depend_on_the_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that holds a day more of the same simulation gives the dataset of a fresh one."""
    monkeypatch.setattr(
        "workbench.data.datasets.prepare.SimulatedProvider", lambda report: ShortSimulation(hours=17_600, report=report)
    )
    fresh = prepare_dataset(home / "fresh", None)
    import_bars(home / "used", SimulatedProvider(hours=17_600))
    assert prepare_dataset(home / "used", None) == fresh


def test_data_the_demo_refuses_leaves_the_home_as_it_was(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "short", "binance-spot/1h/BTCUSDT", some_bars())
    write_series(tmp_path / "differs", "binance-spot/1h/BTCUSDT", some_bars(17_544))
    write_series(tmp_path / "differs", "binance-spot-b/1h/BTCUSDT", changed(some_bars(48), 20, close=101.9, high=102.5))
    with pytest.raises(DataError) as short:
        prepare_dataset(home, tmp_path / "short")
    assert short.value.expected == "at least 17520 1h bars of one asset"
    assert "only `ballast dataset build --min-years`" in short.value.action
    with pytest.raises(GateError) as differs:
        prepare_dataset(home, tmp_path / "differs")
    assert "`ballast dataset build --accept second_source`" in differs.value.action
    assert tree(home) == {}
    write_series(tmp_path / "before", "binance-spot/1h/BTCUSDT", changed(some_bars(), 7, close=100.05))
    import_bars(home, FileProvider(tmp_path / "before"))
    before = tree(home)
    (tmp_path / "differs/binance-spot-b/1h/BTCUSDT.parquet").unlink()
    with pytest.raises(GateError) as conflict:
        prepare_dataset(home, tmp_path / "differs")
    assert "--out" in conflict.value.action
    assert "`ballast data import --correction REASON`" in conflict.value.action
    assert tree(home) == before


def test_a_damaged_file_of_the_demo_is_written_anew(home: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "own", "binance-spot/1h/BTCUSDT", some_bars(17_544))
    write_series(tmp_path / "more", "binance-spot/1h/BTCUSDT", some_bars(17_592))
    import_bars(home, FileProvider(tmp_path / "more"))
    manifest = prepare_dataset(home, tmp_path / "own")
    before = tree(home / "lake")
    (home / "lake" / manifest.files[0].paths()[0]).unlink()
    assert prepare_dataset(home, tmp_path / "own") == manifest
    assert tree(home / "lake") == before


def test_the_demo_stops_at_a_second_source_that_differs(home: Path, tmp_path: Path) -> None:
    write_series(tmp_path, "binance-spot/1h/BTCUSDT", some_bars(17_544))
    write_series(tmp_path, "binance-spot-b/1h/BTCUSDT", changed(some_bars(48), 20, close=101.9, high=102.5))
    with pytest.raises(GateError, match=r"second_source BTC \(1\)"):
        prepare_dataset(home, tmp_path)
