"""The quality page: its figures are those of the check, it loads nothing, escapes what it is given, and is the same every time."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from reports.static.quality.facts import Inputs, read_inputs
from reports.static.quality.page import GAPS_SHOWN_N, build
from reports.static.quality.report import render
from reports.static.quality.words import share_text
from runtime.cli import main
from tests.support.bars import HOUR_T, START_T, changed, some_bars, without, write_series
from tests.unit.reports.static.html_reader import Reader
from workbench.data.checks.certify import certify_gap
from workbench.data.checks.check import check_lake
from workbench.data.providers.files import FileProvider
from workbench.data.providers.simulated import SimulatedProvider
from workbench.data.quality.findings import GATES
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake

PARTS = ("verdict", "coverage", "findings", "gaps", "sources", "series", "versions", "verify")
SHARED_BYTES_MAX = 1_500_000


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose lake has a bit of everything, a correction and a certified gap among it."""
    folder = tmp_path_factory.mktemp("quality")
    home, bars = folder / "home", some_bars(24 * 120)
    first = folder / "first"
    holes = without(changed(changed(bars, 70, low=40.0), 500, volume=0.0), 9, 10, 800)
    write_series(first, "binance-spot/1h/BTCUSDT", holes)
    write_series(first, "binance-spot/1h/ETHUSDT", bars)
    write_series(first, "binance-spot/1h/AVAXUSDT", without(bars, *range(300), *range(600, 1_400)))
    write_series(first, "binance-spot-b/1h/BTCUSDT", changed(bars, 90, close=float(bars.close[90]) * 1.0009, volume=3.0))
    write_series(first, "kraken-spot/1h/XBTUSD", changed(bars, 40, close=float(bars.close[40]) * 1.0005))
    write_series(first, "kraken-spot/1d/XBTUSD", some_bars(90, step_t=86_400))
    import_bars(home, FileProvider(first))
    late = some_bars(6, step_t=4 * HOUR_T)
    write_series(folder / "late", "kraken-spot/4h/ETHUSD", without(late, 2, 3))
    import_bars(home, FileProvider(folder / "late"))
    write_series(folder / "later", "kraken-spot/4h/ETHUSD", late)
    import_bars(home, FileProvider(folder / "later"))
    write_series(folder / "second", "binance-spot/1h/ETHUSDT", changed(bars, 33, close=float(bars.close[33]) * 1.0002))
    import_bars(home, FileProvider(folder / "second"), correction="the venue restated <one> bar")
    certify_gap(
        home, "binance-spot/1h/AVAXUSDT", START_T + 600 * HOUR_T, None, author="A. Nalyst", reason="the venue was down",
        now_t=START_T + 400 * 86_400, evidence=["outage:status page of the venue"],
    )  # fmt: skip
    return home


@pytest.fixture(scope="module")
def inputs(lake: Path) -> Inputs:
    return read_inputs(lake)


@pytest.fixture(scope="module")
def page(inputs: Inputs) -> Reader:
    return Reader(render(build(inputs)))


def figure(text: str) -> int:
    return int(text.replace(",", ""))


def test_every_part_is_there_and_every_reference_leads_somewhere(page: Reader) -> None:
    assert [part for part in PARTS if part not in page.ids] == []
    assert len(page.ids) == len(set(page.ids)), "an id repeats"
    assert [name for name in page.refers if name not in page.ids] == []


def test_nothing_is_loaded(inputs: Inputs, page: Reader) -> None:
    source = render(build(inputs))
    assert page.loads == []
    assert "@import" not in source
    assert re.findall(r"url\(([^)]+)\)|https?://", source) == []
    policy = next(str(attrs["content"]) for tag, attrs in page.tags if tag == "meta" and attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")


def test_the_first_screen_counts_what_the_check_counts(inputs: Inputs, page: Reader, lake: Path) -> None:
    check = check_lake(lake)
    bars = sum(s.rows for s in check.series)
    missing = sum(f.rows_n for f in check.findings if f.gate == "gap")
    holes = sum(f.gate == "gap" for f in check.findings)
    stand = [f for f in check.findings if f.severity != "note" and not f.accepted]
    words = page.words
    assert f"Bars {bars:,} Missing inside {missing:,} in {holes} gaps" in words
    assert f"Not yet: {len(stand)} findings of {len({f.gate for f in stand})} gates must be accepted" in words
    assert "BLOCKED" in words
    assert Lake(lake).digest() in words
    assert "2024-04-30 00:00 UTC" in words, "the newest bar closed then"
    assert f"{bars:,} of {bars + missing:,} bars" in words


def test_series_rows_are_exact(page: Reader, lake: Path) -> None:
    check = check_lake(lake)
    rows = {row[0]: row for row in page.table("Every series")[1:]}
    assert sorted(rows) == sorted(s.series for s in check.series)
    for s in check.series:
        found = [f for f in check.findings if f.series == s.series]
        holes = [f for f in found if f.gate == "gap"]
        row = rows[s.series]
        assert figure(row[4]) == s.rows
        assert [figure(x) for x in row[6:8]] == [len(holes), sum(f.rows_n for f in holes)]
        assert figure(row[8]) == sum(f.rows_n for f in found if f.gate == "zero_volume")
        assert [figure(x) for x in row[9:11]] == [len(found), sum(f.severity == "blocking" and not f.accepted for f in found)]
    assert rows["binance-spot/1h/ETHUSDT"][11:] == ["2", "0", "1"]
    assert rows["kraken-spot/4h/ETHUSD"][11:] == ["2", "2", "0"]


def test_the_map_tells_every_missing_bar(inputs: Inputs, page: Reader) -> None:
    lines = [attrs for tag, attrs in page.tags if tag == "div" and "data-name" in attrs]
    assert len(lines) == len(inputs.series)
    titles = [str(attrs["title"]) for tag, attrs in page.tags if tag == "i" and str(attrs.get("class", "")).startswith("k-")]
    missing = 0
    for title in titles:
        if found := re.search(r": ([\d,]+) of ([\d,]+) bars", title):
            missing += figure(found[2]) - figure(found[1])
    assert missing == sum(s.missing_n for s in inputs.series) == 803


def test_a_certified_hole_is_calm_in_the_map(page: Reader) -> None:
    holes = [str(attrs["title"]) for tag, attrs in page.tags if tag == "i" and "calm" in str(attrs.get("class"))]
    assert sum(figure(t.split(" of ")[1].split()[0]) - figure(t.split(": ")[1].split()[0]) for t in holes) == 800


def test_findings_by_gate_are_the_summary_of_the_check(page: Reader, lake: Path) -> None:
    check = check_lake(lake)
    for gate in {f.gate for f in check.findings}:
        group = [f for f in check.findings if f.gate == gate]
        n, stand = len(group), sum(f.severity == "fatal" or (f.severity == "blocking" and not f.accepted) for f in group)
        said = re.search(
            rf"{gate} {group[0].severity} (\d+) findings? in (\d+) series, (\d+) bars?(.*?){re.escape(GATES[gate][1])}",
            page.words,
        )
        assert said, gate
        assert [int(x) for x in said.groups()[:3]] == [n, len({f.series for f in group}), sum(f.rows_n for f in group)]
        assert (f"{stand} stand" in said[4]) == (stand > 0)
        assert len(page.table(f"{n} finding")) > 1


def test_the_worst_wick_is_the_widest(tmp_path: Path) -> None:
    bars = some_bars(48)
    for row, low in ((5, 50.0), (9, 20.0), (17, 40.0)):
        bars = changed(bars, row, low=low)
    write_series(tmp_path / "in", "binance-spot/1h/BTCUSDT", bars)
    import_bars(tmp_path / "home", FileProvider(tmp_path / "in"))
    read = Reader(render(build(read_inputs(tmp_path / "home"))))
    assert [row[1] for row in read.table("3 findings of wick")[1:]] == [f"2024-01-01 {h}:00" for h in ("09", "17", "05")]


def test_gaps_longest_first_with_their_certificates(page: Reader) -> None:
    rows = page.table("3 gaps")[1:]
    assert [(r[0], r[1], figure(r[3]), r[4]) for r in rows] == [
        ("binance-spot/1h/AVAXUSDT", "2024-01-26 00:00", 800, "✓ certified"),
        ("binance-spot/1h/BTCUSDT", "2024-01-01 09:00", 2, "▲ blocks"),
        ("binance-spot/1h/BTCUSDT", "2024-02-03 08:00", 1, "▲ blocks"),
    ]
    assert rows[0][5].startswith("the venue was down (A. Nalyst; venue outage: status page of the venue; certificate ")
    assert len(rows[1][5]) == 1, "a dash"


def test_sources_stand_beside_each_other(page: Reader) -> None:
    (btc,) = page.table("binance-spot (A) and binance-spot-b (B)")[1:]
    assert (btc[0], [figure(x) for x in btc[3:7]], btc[10]) == ("BTC", [2_877, 2_875, 0, 3], "9.0")
    assert (
        "1 of 6 series have a second, independent source: 2 of 2,877 common bars differ in a price, 3 bars only one"
        in page.words
    )
    (xbt,) = page.table("binance-spot (A) and kraken-spot (B)")[1:]
    assert xbt[10] == "5.0"
    worst = page.table("Worst bars of binance-spot (A) and kraken-spot (B)")
    assert [row[:2] for row in worst[1:]] == [["BTC", "2024-01-02 16:00"]]


def test_a_correction_keeps_its_evidence(page: Reader) -> None:
    (row,) = page.table("What changed")[1:]
    assert row[:2] == ["2024-01-02 09:00", "close"]
    assert (row[3] != row[2], row[4]) == (True, "+2.0")
    assert "the venue restated <one> bar" in page.words
    assert "binance-spot/1h/ETHUSDT version 2 current" in page.words


def test_late_bars_keep_their_evidence(page: Reader) -> None:
    assert "kraken-spot/4h/ETHUSD version 2 current 6 bars, 2 late, 0 changed" in page.words
    assert "Arrived late: 2024-01-01 08:00 to 2024-01-01 12:00 (2)" in page.words


def test_a_second_source_is_no_news(inputs: Inputs, tmp_path: Path) -> None:
    write_series(tmp_path / "in", "binance-spot/1h/BTCUSDT", some_bars(48))
    write_series(tmp_path / "in", "binance-spot-b/1h/BTCUSDT", some_bars(96))
    import_bars(tmp_path / "home", FileProvider(tmp_path / "in"))
    assert build(read_inputs(tmp_path / "home")).as_of_t == START_T + 48 * HOUR_T
    assert build(read_inputs(tmp_path / "home", venue="binance-spot-b")).as_of_t == START_T + 96 * HOUR_T


def test_every_venue_says_how_far_its_data_go(tmp_path: Path) -> None:
    """Venues end at different times: one date for the whole lake would say of the older one what is not so."""
    write_series(tmp_path / "in", "binance-spot/1h/BTCUSDT", some_bars(48))
    write_series(tmp_path / "in", "kraken-spot/1h/XBTUSD", some_bars(96))
    write_series(tmp_path / "in", "kraken-spot/1h/ETHUSD", some_bars(72))
    import_bars(tmp_path / "home", FileProvider(tmp_path / "in"))
    made = build(read_inputs(tmp_path / "home"))
    assert [(g.venue, g.first_until_t, g.until_t) for g in made.groups] == [
        ("binance-spot", START_T + 48 * HOUR_T, START_T + 48 * HOUR_T),
        ("kraken-spot", START_T + 72 * HOUR_T, START_T + 96 * HOUR_T),
    ]
    words = Reader(render(made)).words
    assert "Newest bar of any venue closed 2024-01-05 00:00" in words
    assert "binance-spot 1h1482024-01-03 00:00100 %" in words
    assert "kraken-spot 1h21682024-01-05 00:00first series ends 2024-01-04 00:00100 %" in words


def test_acceptance_by_name_changes_the_verdict(lake: Path) -> None:
    gates = sorted({f.gate for f in check_lake(lake).findings})
    accepted = read_inputs(lake, accepted=gates)
    assert "Yes, with what was accepted by name." in Reader(render(build(accepted))).words


def test_a_part_of_the_lake(lake: Path) -> None:
    part = read_inputs(lake, venue="kraken-spot", interval="1d")
    assert [s.entry.key for s in part.series] == ["kraken-spot/1d/XBTUSD"]
    read = Reader(render(build(part)))
    assert "Series 1 of 7 in the lake" in read.words
    assert "ballast quality --venue kraken-spot --interval 1d" in read.words
    assert "No bar is missing" in read.words


def test_hostile_names_are_text(inputs: Inputs) -> None:
    evil = '<script>alert("1")</script>\'"&--><img src=x onerror=alert(1)>'
    first = inputs.series[0]
    entry = first.entry.model_copy(update={"symbol": evil})
    found = tuple(f.model_copy(update={"series": entry.key, "symbol": evil, "detail": evil}) for f in first.findings)
    check = inputs.check.model_copy(update={"findings": (*inputs.check.findings, *found)})
    version = entry.versions[0].model_copy(update={"sources": (evil,), "reason": evil, "changed_n": 1})
    entry = entry.model_copy(update={"versions": (*entry.versions, version)})
    hostile = replace(inputs, check=check, series=(replace(first, entry=entry, findings=found), *inputs.series[1:]))
    source = render(build(hostile))
    assert "<script>alert" not in source
    assert "<img" not in source
    read = Reader(source)
    assert evil in read.text
    assert [tag for tag, _ in read.tags].count("script") == 1
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on")]


def test_simulated_data_says_so(tmp_path: Path) -> None:
    import_bars(tmp_path, SimulatedProvider())
    inputs = read_inputs(tmp_path)
    source = render(build(inputs))
    read = Reader(source)
    assert "<title>SIMULATED" in source
    assert "SIMULATED. Every bar was invented by a seeded generator" in read.words
    assert source.count('<body class="simulated">') == 1
    captions = [t["caption"][0][0] for t in read.tables if t["caption"]]
    assert captions
    assert all(c.endswith("SIMULATED") for c in captions)
    assert inputs.reconciled == ()
    assert len(source) < SHARED_BYTES_MAX


def test_real_data_does_not_say_simulated(page: Reader) -> None:
    assert "SIMULATED" not in page.words


def test_the_same_lake_gives_the_same_bytes(inputs: Inputs, lake: Path) -> None:
    assert render(build(inputs)) == render(build(read_inputs(lake)))


def test_shares_are_never_rounded_up() -> None:
    assert [share_text(*pair) for pair in ((10, 10), (99_999_999, 100_000_000), (1, 3), (0, 5))] == [
        "100 %", "99.99 %", "33.33 %", "0.00 %",
    ]  # fmt: skip


def test_command(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "deep" / "q.html"
    assert main(["quality", "--home", str(lake), "--file", str(target), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["file"] == str(target)
    assert (shown["bytes"], shown["verdict"], shown["missing_n"]) == (len(target.read_bytes()), "blocked", 803)
    assert shown["lake_digest"] == Lake(lake).digest()
    before = {p.name for p in lake.iterdir()}
    assert main(["quality", "--home", str(lake), "--venue", "kraken-spot"]) == 0
    assert capsys.readouterr().out.strip() == str(lake / "quality.html")
    assert {p.name for p in lake.iterdir()} - before == {"quality.html"}
    assert main(["quality", "--home", str(lake), "--venue", "nowhere"]) == 3


def test_the_page_of_the_shared_data(real_data: Path, tmp_path: Path) -> None:
    import_bars(tmp_path, FileProvider(real_data))
    inputs = read_inputs(tmp_path)
    source = render(build(inputs))
    read = Reader(source)
    assert len(source.encode()) < SHARED_BYTES_MAX
    assert len(read.table(f"{GAPS_SHOWN_N} gaps of ")) == GAPS_SHOWN_N + 1
    eth = next(s for s in inputs.series if s.entry.key == "binance-spot/1h/ETHUSDT")
    assert max(eth.gaps, key=lambda g: g[2])[2] == 8_812, "the hole of 2024 that the data's own description names"
    missing = sum(s.missing_n for s in inputs.series)
    assert f"Missing inside {missing:,} in" in read.words
