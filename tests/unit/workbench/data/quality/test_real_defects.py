"""Every defect that the README of the real data lists is found and named by a gate: line by line, and numbers from its own table.

A clause of the README that no case here quotes fails, so a README that lists more defects asks for more cases.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from runtime.errors import GateError
from tests.support.bars import tree
from workbench.data.bars import Bars, read_parquet
from workbench.data.checks.certify import certify_gap
from workbench.data.checks.check import CheckResult, check_files, check_lake
from workbench.data.datasets.build import draft_dataset
from workbench.data.datasets.manifests import DatasetManifest
from workbench.data.datasets.prepare import DEMO_ACCEPTED
from workbench.data.providers.files import FileProvider
from workbench.data.quality.findings import Finding
from workbench.data.quality.gates import Series, second_source_findings
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake
from workbench.data.universe.versions import load_universe
from workbench.data.view.membership import membership

HEAD = "Real defects to expect"
TABLE = re.compile(r"^\| ([\w-]+/\w+/\w+)\.parquet \|.*?\| (\d+) \((\d+), (\d+)\) \| (\d+) \|")
HOLE_N = 4_000
"""Missing bars from which a gap is the source's hole and no outage."""


def t(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


class Seen(NamedTuple):
    """What was made of the real files: once, for all cases.

    Attributes:
        folder: the real data.
        home: a home with all of it in the lake.
        checked: the check of the files.
        manifest: the dataset of Binance's hours, every asset.
        table: gaps, missing bars, longest gap and zero-volume bars by series, from the README.
    """

    folder: Path
    home: Path
    checked: CheckResult
    manifest: DatasetManifest
    table: dict[str, tuple[int, int, int, int]]

    def found(self, gate: str, series: str) -> list[Finding]:
        return [f for f in self.checked.findings if (f.gate, f.series) == (gate, series)]


@pytest.fixture(scope="module")
def seen(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    home = tmp_path_factory.mktemp("home")
    import_bars(home, FileProvider(real_data))
    lines = (TABLE.match(line) for line in (real_data / "README.md").read_text().splitlines())
    table = {m[1]: (int(m[2]), int(m[3]), int(m[4]), int(m[5])) for m in lines if m}
    manifest = draft_dataset(Lake(home), "binance-spot", "1h", None, DEMO_ACCEPTED)
    return Seen(real_data, home, check_files(FileProvider(real_data)), manifest, table)


# ---- one function per clause: returns the findings that name the defect, and asserts what they say ----------------


def hole(assets: str, first_day: str) -> Callable[[Seen], list[Finding]]:
    """Return a case of the source's hole: one gap per asset, from a day to the end of 2024."""

    def case(seen: Seen) -> list[Finding]:
        found = []
        for asset in assets.split():
            gaps = [f for f in seen.found("gap", f"binance-spot/1h/{asset}USDT") if f.rows_n > HOLE_N]
            assert [f.last_t for f in gaps] == [t("2024-12-31T23:00")], asset
            assert abs(gaps[0].first_t - t(first_day)) < 86_400, asset
            assert gaps[0].rows_n == (gaps[0].last_t - gaps[0].first_t) // 3_600 + 1
            found += gaps
        return found

    return case


def outages(seen: Seen) -> list[Finding]:
    found = []
    for series, (_, _, longest, _) in seen.table.items():
        if series.startswith("binance-spot/1h/") and longest < HOLE_N and longest:
            gaps = seen.found("gap", series)
            assert max(f.rows_n for f in gaps) == longest, series
            found += [f for f in gaps if f.rows_n == longest]
    assert max(f.rows_n for f in found) == 33
    return found


def silent_bar(seen: Seen) -> list[Finding]:
    """The bar of 2023-03-24 12:00: in every file that has it without volume, and only there; as a copy of the close before too."""
    at_t, found, some = t("2023-03-24T12:00"), [], 0
    for path in sorted((seen.folder / "binance-spot" / "1h").glob("*.parquet")):
        bars, series = read_parquet(path, path.name), f"binance-spot/1h/{path.stem}"
        row = np.flatnonzero(bars.t == at_t)
        silent = len(row) == 1 and float(bars.volume[row[0]]) == 0.0
        for gate in ("zero_volume", "fill_forward"):
            named = [f for f in seen.found(gate, series) if at_t in f.rows]
            assert len(named) == int(silent), (gate, series)
            found += named
        some += silent
    assert some >= 20
    return found


def missing_bar(seen: Seen) -> list[Finding]:
    at_t, found = t("2023-03-24T13:00"), []
    for path in sorted((seen.folder / "binance-spot" / "1h").glob("*.parquet")):
        times = read_parquet(path, path.name).t
        if times[0] < at_t < times[-1]:
            named = [f for f in seen.found("gap", f"binance-spot/1h/{path.stem}") if f.first_t <= at_t <= f.last_t]
            assert len(named) == int(at_t not in times), path.stem
            found += named
    return found


def renamed(seen: Seen) -> list[Finding]:
    """MATIC's file ends, POL's begins months later: a rename on record, a stale tail of the file, a gap in the one asset."""
    tail = seen.found("stale_tail", "binance-spot/1h/MATICUSDT")
    assert [f.first_t for f in tail] == [t("2024-09-10T01:00")]
    note = [f for f in seen.manifest.findings if f.gate == "rename"]
    assert [(f.symbol, f.severity) for f in note] == [("POL", "note")]
    gap = [f for f in seen.manifest.findings if (f.gate, f.symbol) == ("gap", "POL") and f.last_t == t("2024-12-31T23:00")]
    assert [f.first_t for f in gap] == [t("2024-09-10T01:00")], (
        "MATIC's last bar was cut: it is left out, so the gap begins with it"
    )
    at = {d: next(m for m in membership(load_universe(), Lake(seen.home), "binance-spot", "1h", t(d)) if m.asset == "POL")
          for d in ("2024-09-01", "2024-09-12", "2024-10-01", "2025-01-01")}  # fmt: skip
    assert [(m.member, m.reason, m.series.rsplit("/", 1)[-1]) for m in at.values()] == [
        (True, "listed", "MATICUSDT"), (False, "between tickers", "MATICUSDT"),
        (False, "before its first bar", "MATICUSDT"), (True, "listed", "POLUSDT"),
    ]  # fmt: skip
    other = ("TAO", "TON")
    for day, listed in (("2024-12-31T23:59", False), ("2025-01-01T00:00", True)):
        then = membership(load_universe(), Lake(seen.home), "binance-spot", "1h", t(day))
        assert [m.member for m in then if m.asset in other] == [listed, listed]
    return [*tail, *note, *gap]


def delisted(seen: Seen) -> list[Finding]:
    tail = seen.found("stale_tail", "binance-spot/1h/XMRUSDT")
    assert [f.first_t for f in tail] == [t("2024-02-20T01:00")]
    after = membership(load_universe(), Lake(seen.home), "binance-spot", "1h", t("2024-02-20T02:00"))
    assert [(m.member, m.reason) for m in after if m.asset == "XMR"] == [(False, "after its last bar")]
    return tail


def never_listed(seen: Seen) -> list[Finding]:
    for day in ("2018-01-01", "2022-01-01", "2025-03-01"):
        then = membership(load_universe(), Lake(seen.home), "binance-spot", "1h", t(day))
        assert [(m.member, m.reason) for m in then if m.asset == "KAS"] == [(False, "never listed")]
    return [f for f in seen.manifest.findings if (f.gate, f.symbol) == ("absent", "KAS")]


def wick(series: str, at: str, words: str) -> Callable[[Seen], list[Finding]]:
    def case(seen: Seen) -> list[Finding]:
        found = [f for f in seen.found("wick", series) if f.rows == (t(at),)]
        assert len(found) == 1
        assert words in found[0].detail
        return found

    return case


def confirmed_wick(seen: Seen) -> list[Finding]:
    """Kraken's own daily bar of that day shows the print as well, and its second download confirms it."""
    assert "confirmed by the second source" in wick("kraken-spot/1d/ETHUSD", "2021-02-22T00:00", "low 700")(seen)[0].detail
    return wick("kraken-spot/1h/ETHUSD", "2021-02-22T14:00", "low 700")(seen)


def hours_without_trades(seen: Seen) -> list[Finding]:
    """Every hour without a row is in a gap, and no hour with a row is: before 2017 thousands."""
    found = []
    for symbol in ("XBTUSD", "ETHUSD"):
        gaps = seen.found("gap", f"kraken-spot/1h/{symbol}")
        times = read_parquet(seen.folder / "kraken-spot" / "1h" / f"{symbol}.parquet", symbol).t
        missing = np.setdiff1d(np.arange(times[0], times[-1] + 1, 3_600), times)
        told = np.concatenate([np.arange(f.first_t, f.last_t + 1, 3_600) for f in gaps])
        assert np.array_equal(told, missing)
        found += [f for f in gaps if f.first_t < t("2017-01-01")]
    assert sum(f.rows_n for f in found) > 10_000
    assert seen.found("fill_forward", "kraken-spot/1h/XBTUSD") != [], "three bars equal the one before in every value"
    return found


def partial_bar(seen: Seen) -> list[Finding]:
    """The file that was cut inside a day; the other one ends with a quarter's last hour, which is complete."""
    assert seen.found("partial_tail", "kraken-spot/1h/ETHUSD") == []
    found = seen.found("partial_tail", "kraken-spot/1h/XBTUSD")
    assert [f.rows for f in found] == [(t("2023-01-07T09:00"),)]
    return found


def second_downloads(seen: Seen) -> list[Finding]:
    """They agree in every price; a price changed in a copy is found, and where only one has a bar it is named."""
    assert [f for f in seen.checked.findings if f.gate == "second_source" and "differs" in f.detail] == []
    found = []
    for path in sorted(seen.folder.glob("*-b/*/*.parquet")):
        venue, interval, symbol = path.relative_to(seen.folder).with_suffix("").parts
        first = read_parquet(seen.folder / venue.removesuffix("-b") / interval / path.name, symbol)
        second = read_parquet(path, symbol)
        both = np.intersect1d(first.t, second.t)
        changed_t = int(both[len(both) // 2])
        high = second.high.copy()
        high[second.t == changed_t] *= 1.002
        other = Bars(second.t, second.open, high, second.low, second.close, second.volume, second.trades)
        names = Series(symbol, f"{venue}/{interval}/{symbol}", 86_400 if interval == "1d" else 3_600)
        named = second_source_findings(first, other, names)
        assert [f.rows for f in named if "differs" in f.detail] == [(changed_t,)]
        found += named
    assert len(found) == 5
    return found


CASES: dict[str, tuple[set[str], Callable[[Seen], list[Finding]]]] = {
    "BTC, AAVE, NEAR, ALGO: no bars 2024-06-15 to 2024-12-31": ({"gap"}, hole("BTC AAVE NEAR ALGO", "2024-06-15T12:00")),
    "ETH, HBAR, ZEC, FIL, ICP, APT, SUI: none 2023-12-31 to 2024-12-31 (source hole)": (
        {"gap"}, hole("ETH HBAR ZEC FIL ICP APT SUI", "2023-12-30T23:59")),
    "Binance outages up to 33 hours": ({"gap"}, outages),
    "the 2023-03-24 12:00 bar has zero volume on some pairs": ({"zero_volume", "fill_forward"}, silent_bar),
    "13:00 is missing": ({"gap"}, missing_bar),
    "MATIC ends 2024-09-10 and POL begins 2025-01-01: one asset renamed": ({"rename", "gap", "stale_tail"}, renamed),
    "XMR ends 2024-02-20 (delisted there)": ({"stale_tail"}, delisted),
    "KAS has no spot file": ({"absent"}, never_listed),
    "LINK low 0.0001 on 2020-03-12": ({"wick"}, wick("binance-spot/1h/LINKUSDT", "2020-03-12T10:00", "low 0.0001")),
    "ETH low 700 on 2021-02-22 (Kraken)": ({"wick"}, confirmed_wick),
    "DOT low 0.633 on 2025-10-10": ({"wick"}, wick("binance-spot/1h/DOTUSDT", "2025-10-10T21:00", "low 0.633")),
    "listing-hour bars (APT high 100": (
        {"wick"}, wick("binance-spot/1h/APTUSDT", "2022-10-19T01:00", "in the first bar of the series")),
    "ICP high 2831)": ({"wick"}, wick("binance-spot/1h/ICPUSDT", "2021-05-11T01:00", "high 2831.02 around")),
    "Kraken hourly has no row for an hour without trades (thousands before 2017)": ({"gap"}, hours_without_trades),
    "the last hourly bar of the Kraken files is partial": ({"partial_tail"}, partial_bar),
    "`*-b` folders are second, independent downloads of the same series": ({"second_source"}, second_downloads),
}  # fmt: skip
"""By clause of the README: the gates that name the defect, and what finds it."""
GLUE = ("Wicks that are real prints: ", ", for reconciliation", "; the ", "; ", ", ", ". ", ".", " ")
"""What joins clauses in the README and is no defect."""


def test_every_clause_of_the_readme_has_a_case(real_data: Path) -> None:
    lines = (real_data / "README.md").read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(HEAD)) + 1
    bullets = [line.removeprefix("- ") for line in lines[begin : lines.index("", begin)]]
    assert len(bullets) >= 6
    left = bullets
    for clause in sorted(CASES, key=len, reverse=True):
        assert sum(clause in b for b in bullets) == 1, clause
        left = [b.replace(clause, "") for b in left]
    for glue in GLUE:
        left = [b.replace(glue, "") for b in left]
    assert left == [""] * len(bullets), "a clause of the README that no case quotes"


@pytest.mark.parametrize("clause", list(CASES))
def test_each_listed_defect_is_found_and_named(seen: Seen, clause: str) -> None:
    gates, find = CASES[clause]
    found = find(seen)
    assert found
    assert {f.gate for f in found} == gates


def test_the_readmes_table_counts_what_the_gates_count(seen: Seen) -> None:
    assert len(seen.table) == 53
    compared = 0
    for s in seen.checked.series:
        gaps = [f.rows_n for f in seen.found("gap", s.series)]
        quiet = sum(f.rows_n for f in seen.found("zero_volume", s.series))
        assert (len(gaps), sum(gaps), max(gaps, default=0), quiet) == seen.table[s.series], s.series
        compared += 1
    assert compared == 51


def test_checking_changes_nothing_and_the_lake_holds_every_bar_and_no_other(seen: Seen) -> None:
    """No gate alters, adds or drops a bar: files untouched, and what the lake holds is what the files hold."""
    before = tree(seen.home)
    again = check_lake(seen.home)
    assert tree(seen.home) == before
    files = {f for f in seen.checked.findings if f.gate != "unknown_symbol"}
    assert set(again.findings) == files, "the lake has the defects of the files, and no other"
    lake = Lake(seen.home)
    for e in lake.catalog().entries:
        frame = pl.read_parquet(seen.folder / f"{e.key}.parquet")
        bars = lake.read(e.key, e.current.segments)
        assert np.array_equal(bars.t, frame["ts_utc"].dt.epoch("s").to_numpy()), e.key
        for name in ("open", "high", "low", "close", "volume"):
            assert np.array_equal(getattr(bars, name), frame[name].to_numpy()), (e.key, name)


def test_rows_of_findings_are_bars_of_the_files(seen: Seen) -> None:
    """Every row a finding lists is an opening time of its file, inside its range, and as many as it counts (up to the bound)."""
    times = {s.series: set(read_parquet(seen.folder / f"{s.series}.parquet", s.series).t.tolist()) for s in seen.checked.series}
    checked = 0
    for f in seen.checked.findings:
        if f.gate in {"gap", "stale_tail", "unknown_symbol"}:
            assert f.rows == ()
            continue
        assert len(f.rows) == min(f.rows_n, 100), f.name
        own = times[f.series] if "only the second source" not in f.detail else times[f.series.replace("/", "-b/", 1)]
        assert set(f.rows) <= own, f.name
        assert (min(f.rows), max(f.rows)) == (f.first_t, f.last_t if f.rows_n <= 100 else max(f.rows)), f.name
        checked += 1
    assert checked > 200


def test_an_outage_can_be_certified_and_the_sources_hole_cannot(real_data: Path, tmp_path: Path) -> None:
    """The missing hour of 2023-03-24 is missing in the second download too; Binance's four-hour bars disprove BTC's hole."""
    provider = FileProvider(real_data)
    wanted = {f"binance-spot{s}" for s in ("/1h/SHIBUSDT", "-b/1h/SHIBUSDT", "/1h/BTCUSDT", "/4h/BTCUSDT")}
    import_bars(tmp_path, provider, series=[r for r in provider.series() if r.key in wanted])
    who = {"author": "a.b", "reason": "spot trading was halted"}
    made = certify_gap(tmp_path, "binance-spot/1h/SHIBUSDT", t("2023-03-24T13:00"), None, **who, now_t=t("2026-01-01"))
    assert [e.kind for e in made.evidence] == ["both sources lack it"]
    marked = [f for f in check_lake(tmp_path, symbols=["SHIBUSDT"]).findings if f.certificate]
    assert [(f.first_t, f.accepted, f.certificate) for f in marked] == [(t("2023-03-24T13:00"), True, made.digest)]
    hole = next(f for f in check_lake(tmp_path, symbols=["BTCUSDT"]).findings if f.gate == "gap" and f.rows_n > HOLE_N)
    with pytest.raises(GateError, match=r"binance-spot/4h/BTCUSDT \(other interval\) has 11\d\d bars there"):
        certify_gap(
            tmp_path, "binance-spot/1h/BTCUSDT", hole.first_t, hole.last_t, **who, now_t=0, evidence=["outage: nobody traded"]
        )
