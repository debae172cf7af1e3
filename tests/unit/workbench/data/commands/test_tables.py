"""Tables for people: every value is there at every width, and nothing from outside reaches the terminal as a command."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from runtime.cli import main
from runtime.console import printable
from tests.support.bars import changed, some_bars, without, write_series
from workbench.data.checks.check import check_lake
from workbench.data.checks.reconcile import reconcile_venues
from workbench.data.commands.check import run_check
from workbench.data.commands.tables import DIGEST_HEX, plain_table
from workbench.data.commands.tables_compare import number
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake
from workbench.data.universe.store import find_universe
from workbench.data.universe.versions import iso

WIDTHS = (80, 120)
FRAME = re.compile(r"[│┃]")


def shown(out: str, width: int) -> set[str]:
    """Return the words of what was printed, no line of it wider than the terminal."""
    assert max(map(len, out.splitlines())) <= width
    return set(FRAME.sub(" ", out).split())


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    bars = some_bars(96)
    write_series(folder / "in", "binance-spot/1h/BTCUSDT", without(changed(bars, 70, low=40.0), 9, 10))
    write_series(
        folder / "in", "binance-spot-b/1h/BTCUSDT", changed(bars, 90, close=float(bars.close[90]) * 1.0009, volume=3.0)
    )
    import_bars(folder / "home", FileProvider(folder / "in"))
    return folder / "home"


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, lake: Path) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.setenv("BALLAST_HOME", str(lake))
    return int(request.param)


def test_data_list_has_every_value(width: int, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    words = shown(capsys.readouterr().out, width)
    for e in Lake(lake).catalog().entries:
        v = e.current
        assert {e.key, str(v.rows), iso(v.first_t), iso(v.last_t), str(len(e.versions)), v.sha256[:DIGEST_HEX]} <= words


def test_data_reconcile_has_every_value(width: int, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "reconcile", "binance-spot", "binance-spot-b"]) == 0
    words = shown(capsys.readouterr().out, width)
    (p,) = reconcile_venues(lake, "binance-spot", "binance-spot-b", "1h", [], worst_n=5).pairs
    assert {str(p.both_n), str(p.equal_n), str(p.only_a_n), str(p.only_b_n), number(p.correlation, 5)} <= words
    assert {number(p.median_bp, 2), number(p.p95_bp, 2), number(p.max_bp, 1), number(p.bias_bp, 2, sign=True)} <= words
    assert p.worst
    for w in p.worst:
        assert {iso(w.open_t), f"{w.close_a:.12g}", f"{w.close_b:.12g}", f"{w.volume_a:.12g}", f"{w.volume_b:.12g}"} <= words


def test_data_check_has_every_value_and_whole_words(width: int, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gates = sorted({r.gate for r in check_lake(lake).summary()})
    assert main(["data", "check", *(word for gate in gates for word in ("--rows", gate))]) == 4
    words = shown(capsys.readouterr().out, width)
    summary = check_lake(lake).summary()
    _, rows = run_check(lake, None, None, None, (), (), gates)
    assert rows
    for b in rows:
        values = (b.open, b.high, b.low, b.close, b.volume, b.trades)
        assert {b.finding, *b.role.split(), b.series, iso(b.open_t), *(f"{v:.12g}" for v in values if v is not None)} <= words
    assert summary
    for r in summary:
        told = {r.gate, r.symbol, str(r.findings_n), str(r.accepted_n), str(r.certified_n), str(r.rows_n)}
        assert told | set(r.example.split()) <= words


def test_universe_list_has_every_value(width: int, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["universe", "list"]) == 0
    words = shown(capsys.readouterr().out, width)
    _, record = find_universe(lake, "v1")
    told = {record.version, record.digest[:12], record.decided_on.isoformat(), *record.author.split()}
    assert told | set(record.reason.split()) <= words


@pytest.mark.parametrize("cells_n", [40, 80, 120, 200])
def test_no_value_is_cut_at_any_width(cells_n: int) -> None:
    columns = [f"column{i}" for i in range(9)]
    rows = [[f"{r}-{i}-" + "7" * (3 * i) for i in range(9)] for r in range(3)]
    rows[1][8] = "several words of " + "x" * 30
    console = Console(file=io.StringIO(), width=cells_n)
    console.print(plain_table("what", columns, rows, flexible="column8"))
    assert isinstance(console.file, io.StringIO)
    words = shown(console.file.getvalue(), cells_n)
    assert all(set(cell.split()) <= words for row in rows for cell in row)


def test_control_characters_are_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printable("a\x1b[2J\x9b\x07\u202e\udcff\nb") == "a\\x1b[2J\\x9b\\x07\\u202e\\udcff\nb"
    write_series(tmp_path / "in", "kraken-spot/1h/XBT\x1b[31mUSD", some_bars(30))
    monkeypatch.setenv("BALLAST_HOME", str(tmp_path / "home"))
    main(["data", "import", str(tmp_path / "in")])
    main(["data", "check", str(tmp_path / "in")])
    main(["dataset", "show", "EGeneral:\x1b[2J"])
    told = "".join(capsys.readouterr())
    assert "\\x1b[31m" in told
    assert "EGeneral:\\x1b[2J" in told
    assert "\x1b" not in told
