"""The check as people use it: schema and times of files, rows of findings, second sources, live series against clocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runtime.cli import main
from runtime.errors import GateError, UsageError
from tests.support.bars import HOUR_T, START_T, changed, some_bars, tree, without, write_frame, write_ohlcvt, write_series
from tests.support.venue_bars import serve_bars, venue_bars
from workbench.data.bars import Bars, to_frame
from workbench.data.checks.check import CheckResult, Live, check_files, check_lake
from workbench.data.commands import check as commands_check
from workbench.data.commands.check import live_inputs, run_check
from workbench.data.datasets.build import build_dataset
from workbench.data.providers.files import FileProvider
from workbench.data.providers.kraken import URL_VARIABLE
from workbench.data.quality.live import Clock, ask_clocks, clock_findings
from workbench.data.store.ingest import import_bars
from workbench.data.sync.state import SyncState, Watermark
from workbench.data.universe.versions import iso

KEY = "kraken-spot/1h/XBTUSD"
END_T = START_T + 48 * HOUR_T


def gates(result: CheckResult) -> list[tuple[str, str, int]]:
    return [(f.gate, f.symbol, f.rows_n) for f in result.findings]


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, object]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]  # an object, as the console promises


# ---- schema and times of files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1_000, 1_000_000, 1_000_000_000])
def test_times_in_another_unit_are_named(tmp_path: Path, factor: int) -> None:
    """Milliseconds, microseconds or nanoseconds where a Kraken file has seconds: fatal, never a date of another era."""
    bars = some_bars()
    path = write_ohlcvt(tmp_path / "XBTUSD_60.csv", Bars(bars.t * factor, *(v for _, v in bars.columns())))
    found = check_files(FileProvider(path)).findings
    assert {f.severity for f in found} == {"fatal"}
    assert {f.gate for f in found} <= {"schema", "timestamp"}
    assert any("milliseconds" in f.detail or "nanoseconds" in f.detail for f in found), found[0].detail


def test_times_in_another_unit_in_a_parquet_file(tmp_path: Path) -> None:
    stamps = pl.Series("ts_utc", some_bars().t * 1_000 * 1_000_000).cast(pl.Datetime("us", "UTC"))
    write_frame(tmp_path, KEY, to_frame(some_bars()).with_columns(stamps))
    found = check_files(FileProvider(tmp_path)).findings
    assert [(f.gate, f.rows_n) for f in found] == [("timestamp", 48)]
    assert found[0].name.endswith("s"), "no calendar reaches it: the number itself is the name"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (to_frame(some_bars()).drop("close"), "missing close"),
        (to_frame(some_bars()).with_columns(pl.col("high").cast(pl.String)), "high is String"),
        (to_frame(some_bars()).with_columns(pl.col("ts_utc").dt.replace_time_zone(None)), "naive timestamps"),
        (to_frame(some_bars()).clear(), "no rows"),
        (to_frame(some_bars()).with_columns(pl.lit(None).cast(pl.Float64).alias("low")), "low has 48 empty values"),
    ],
)
def test_a_broken_schema_is_one_fatal_finding(tmp_path: Path, frame: pl.DataFrame, words: str) -> None:
    write_frame(tmp_path, KEY, frame)
    found = check_files(FileProvider(tmp_path)).findings
    assert [(f.gate, f.severity) for f in found] == [("schema", "fatal")]
    assert words in found[0].detail


def test_daily_bars_in_a_file_named_1h(tmp_path: Path) -> None:
    write_series(tmp_path, KEY, some_bars(40, step_t=86_400))
    assert gates(check_files(FileProvider(tmp_path))) == [("interval", "XBTUSD", 40)]
    write_series(tmp_path, KEY, some_bars(23, step_t=86_400))
    assert {g for g, _, _ in gates(check_files(FileProvider(tmp_path)))} == {"gap", "interval_mix", "partial_tail"}, (
        "too few to be sure: not fatal"
    )


def test_a_bar_of_the_future_is_fatal_before_an_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, KEY, some_bars())
    assert gates(check_files(FileProvider(tmp_path), now_t=END_T)) == []
    assert gates(check_files(FileProvider(tmp_path), now_t=END_T - HOUR_T - 1)) == [("future", "XBTUSD", 1)]
    write_series(tmp_path, KEY, some_bars(start_t=START_T + 10 * 365 * 86_400))
    assert [f["gate"] for f in run(capsys, "data", "check", str(tmp_path), code=4)["findings"]] == ["future"]  # type: ignore[attr-defined]
    assert "future in kraken-spot/1h/XBTUSD" in str(run(capsys, "data", "import", str(tmp_path), code=4)["error"])


# ---- rows ------------------------------------------------------------------------------------------------------


def test_rows_are_the_very_bars_with_what_made_them_a_finding(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = without(changed(some_bars(trades=True), 20, low=40.0), 9, 10)
    write_series(tmp_path, KEY, bars)
    write_series(tmp_path, KEY.replace("kraken-spot", "kraken-spot-b"), changed(some_bars(), 20, low=98.0))
    import_bars(home, FileProvider(tmp_path))
    before = tree(home)
    shown = run(
        capsys, "data", "check", "--venue", "kraken-spot", "--rows", "wick_contradicted:XBTUSD", "--rows", "gap", code=4
    )
    told = [(r["finding"].split(":")[0], r["role"], r["open_t"] - START_T, r["low"]) for r in shown["rows"]]  # type: ignore[attr-defined]
    row = {int(t): i for i, t in enumerate(bars.t)}
    other = changed(some_bars(), 20, low=98.0)
    expected = [
        ("gap", "before", 8, float(bars.low[row[START_T + 8 * HOUR_T]])),
        ("gap", "second source", 9, float(other.low[9])),
        ("gap", "second source", 10, float(other.low[10])),
        ("gap", "after", 11, float(bars.low[row[START_T + 11 * HOUR_T]])),
        ("wick_contradicted", "before", 19, float(bars.low[row[START_T + 19 * HOUR_T]])),
        ("wick_contradicted", "found", 20, 40.0),
        ("wick_contradicted", "second source", 20, 98.0),
    ]
    assert told == [(gate, role, h * HOUR_T, low) for gate, role, h, low in expected]
    assert shown["rows"][1]["trades"] is None  # type: ignore[index]
    assert tree(home) == before
    main(["data", "check", "--rows", "gap:XBTUSD"])
    assert "second source" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no finding 'jump'"):
        run_check(home, None, None, None, [], [], ["jump"])


@pytest.mark.parametrize(
    ("bars", "gate", "roles"),
    [
        (changed(some_bars(), 9, close=float("nan")), "not_finite", ["before", "found"]),
        (some_bars().take(np.array([0, 1, 1, 2])), "duplicate", ["before", "found", "found"]),
        (changed(some_bars(), 0, low=0.0), "non_positive", ["found"]),
        (some_bars(47), "partial_tail", ["before", "found"]),
    ],
)
def test_rows_of_files_not_yet_imported(tmp_path: Path, bars: Bars, gate: str, roles: list[str]) -> None:
    write_series(tmp_path, KEY, bars)
    result, rows = run_check(tmp_path / "home", tmp_path, None, None, [], [], [gate])
    assert {f.gate for f in result.findings} == {gate}
    assert [r.role for r in rows] == roles
    assert {r.series for r in rows} == {KEY}
    if gate == "not_finite":
        assert (rows[1].close, rows[1].open) == (None, float(bars.open[9]))


def test_rows_of_a_stale_series_and_of_what_only_the_second_source_has(tmp_path: Path) -> None:
    write_series(tmp_path, KEY, without(some_bars(), 5))
    write_series(tmp_path, "kraken-spot/1h/ETHUSD", some_bars(120))
    write_series(tmp_path, KEY.replace("kraken-spot", "kraken-spot-b"), some_bars())
    _, rows = run_check(tmp_path / "home", tmp_path, None, None, [], [], ["stale_tail:XBTUSD", "second_source:XBTUSD"])
    assert [(r.role, r.open_t) for r in rows] == [("found", END_T - HOUR_T), ("second source", START_T + 5 * HOUR_T)] or [
        (r.role, r.open_t) for r in rows
    ] == [("second source", START_T + 5 * HOUR_T), ("found", END_T - HOUR_T)]


def test_findings_list_at_most_a_hundred_rows(tmp_path: Path) -> None:
    bars = some_bars(200)
    write_series(tmp_path, KEY, Bars(bars.t, bars.open, bars.high, bars.low, bars.close, bars.volume * 0.0))
    found = [f for f in check_files(FileProvider(tmp_path)).findings if f.gate == "zero_volume"]
    assert [(f.rows_n, len(f.rows), f.rows[0]) for f in found] == [(200, 100, START_T)]


def test_a_choice_of_series_keeps_its_second_source(home: Path, tmp_path: Path) -> None:
    write_series(tmp_path, KEY, changed(some_bars(), 20, low=40.0))
    write_series(tmp_path, KEY.replace("kraken-spot", "kraken-spot-b"), some_bars())
    import_bars(home, FileProvider(tmp_path))
    for venue, symbols in ((None, []), ("kraken-spot", []), (None, ["XBTUSD"])):
        found = check_lake(home, venue=venue, symbols=symbols).findings
        assert [f.gate for f in found if "-b/" not in f.series] == ["wick_contradicted", "second_source"]


# ---- live ------------------------------------------------------------------------------------------------------


def lake_of(home: Path, folder: Path) -> None:
    write_series(folder, KEY, some_bars())
    write_series(folder, "kraken-spot-b/1h/XBTUSD", some_bars(24))
    write_series(folder, "simulated/1h/BTCUSD", some_bars(24))
    import_bars(home, FileProvider(folder))


@pytest.mark.parametrize(
    ("after_t", "skew_s", "watermark_h", "expected"),
    [
        (0, 0, 48, []),
        (2 * HOUR_T - 1, 0, 48, []),
        (2 * HOUR_T, 0, 49, [("stale_live", "XBTUSD")]),
        (2 * HOUR_T, 0, 48, [("stale_live", "XBTUSD"), ("watermark_lag", "XBTUSD")]),
        (-1, 0, 48, [("future", "XBTUSD")]),
        (0, 9, 48, [("clock_skew", "kraken-spot")]),
        (0, -9, 48, [("clock_skew", "kraken-spot")]),
        (0, 2, 48, []),
    ],
)
def test_live_gates_against_a_venue_and_a_synchronisation(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    after_t: int,
    skew_s: int,
    watermark_h: int,
    expected: list[tuple[str, str]],
) -> None:
    """The command against a loopback venue: its clock, this machine's, and the state of the synchronisation."""
    lake_of(home, tmp_path / "in")
    now_t = END_T + after_t
    monkeypatch.setattr(commands_check, "now_s", lambda: float(now_t))
    with SyncState(home, clock=lambda: 0.0) as state:
        state.advance(
            [
                Watermark(
                    "kraken-rest",
                    KEY,
                    whole=True,
                    scanned_from_t=START_T,
                    scanned_until_t=START_T + watermark_h * HOUR_T,
                    bars_n=48,
                )
            ]
        )
    with serve_bars(tmp_path / "venue", {"XBTUSD": venue_bars(3)}, now_t=now_t + skew_s) as kraken:
        monkeypatch.setenv(URL_VARIABLE, kraken.url)
        shown = run(capsys, "data", "check", "--live", code=4 if expected else 0)
    assert [(f["gate"], f["symbol"]) for f in shown["findings"]] == expected  # type: ignore[attr-defined]
    assert shown["verdict"] == ("blocked" if expected else "clean")


def test_live_needs_the_lake_and_a_venue_that_answers(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lake_of(home, tmp_path / "in")
    assert "error" in run(capsys, "data", "check", str(tmp_path / "in"), "--live", code=2)
    assert "error" in run(capsys, "data", "check", str(tmp_path / "in"), "--symbol", "BTC", code=2)
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setattr(commands_check, "sleep", lambda _s: None)
    assert "error" in run(capsys, "data", "check", "--live", code=6)
    assert live_inputs(home, "simulated") == Live(clocks={}, watermarks={})


def test_live_findings_can_be_accepted_by_name_but_the_future_cannot(home: Path, tmp_path: Path) -> None:
    lake_of(home, tmp_path / "in")
    late = Live(clocks={"kraken-spot": Clock(END_T + 9 * HOUR_T)}, watermarks={})
    assert check_lake(home, live=late).verdict == "blocked"
    assert check_lake(home, live=late, accepted=["stale_live"]).verdict == "accepted"
    early = Live(clocks={"kraken-spot": Clock(START_T)}, watermarks={})
    assert [f.severity for f in check_lake(home, live=early).findings] == ["fatal"]


def test_a_bar_that_may_be_forming_is_not_of_the_future(home: Path, tmp_path: Path) -> None:
    """A download that was cut inside a day says so itself (`unclosed_t`)."""
    write_series(tmp_path, KEY, some_bars(47))
    import_bars(home, FileProvider(tmp_path))
    live = Live(clocks={"kraken-spot": Clock(END_T - HOUR_T - 10)}, watermarks={})
    assert [f.gate for f in check_lake(home, live=live).findings] == ["partial_tail"]


@pytest.mark.parametrize(
    ("began_s", "told_s", "ended_s", "skew_s", "uncertain_s", "found"),
    [
        (1_000.0, 1_000, 1_000.0, 0.5, 0.5, False),
        (1_000.0, 1_002, 1_001.0, 2.0, 1.0, False),
        (1_000.0, 1_003, 1_000.0, 3.5, 0.5, True),
        (1_000.0, 1_005, 1_010.0, 0.5, 5.5, False),
        (1_000.0, 990, 1_000.0, -9.5, 0.5, True),
    ],
)
def test_a_clock_is_off_only_when_that_is_certain(
    began_s: float, told_s: int, ended_s: float, skew_s: float, uncertain_s: float, found: bool
) -> None:
    """A slow answer makes the measurement uncertain by half its time; a clock is not blamed for that."""
    times = iter([began_s, ended_s])
    clock = ask_clocks(lambda: next(times), lambda: told_s)
    assert (clock.now_t, clock.skew_s, clock.uncertainty_s) == (int(ended_s), skew_s, uncertain_s)
    named = clock_findings("kraken-spot", clock)
    assert bool(named) == found
    if named:
        assert ("behind" in named[0].detail) == (skew_s > 0)
        assert named[0].name == f"clock_skew:kraken-spot:{iso(clock.now_t)}"


def test_without_a_venue_to_ask_nothing_is_said_about_the_clock() -> None:
    clock = ask_clocks(lambda: 5.5, None)
    assert clock == Clock(5)
    assert clock_findings("binance-spot", clock) == []


def test_a_second_source_that_agrees_leaves_no_trace_in_a_dataset_and_one_that_does_not_blocks_it(tmp_path: Path) -> None:
    """A real wick, confirmed or not at hand: the same hash. Contradicted: accepting `wick` does not accept it."""
    bars, second = changed(some_bars(), 20, low=40.0), KEY.replace("kraken-spot", "kraken-spot-b")
    hashes = []
    for name, other in (("alone", None), ("agrees", bars), ("elsewhere", bars.take(slice(0, 9)))):
        write_series(tmp_path / name / "in", KEY, bars)
        if other is not None:
            write_series(tmp_path / name / "in", second, other)
        import_bars(tmp_path / name / "home", FileProvider(tmp_path / name / "in"))
        hashes.append(build_dataset(tmp_path / name / "home", "kraken-spot", accept_names=["wick"]).dataset_hash)
    assert len(set(hashes)) == 1
    write_series(tmp_path / "no" / "in", KEY, bars)
    write_series(tmp_path / "no" / "in", second, some_bars())
    import_bars(tmp_path / "no" / "home", FileProvider(tmp_path / "no" / "in"))
    with pytest.raises(GateError, match="wick_contradicted BTC"):
        build_dataset(tmp_path / "no" / "home", "kraken-spot", accept_names=["wick", "second_source"])
    accepted = build_dataset(tmp_path / "no" / "home", "kraken-spot", accept_names=["wick_contradicted", "second_source"])
    assert [(f.gate, f.rows) for f in accepted.findings] == [
        ("second_source", (START_T + 20 * HOUR_T,)),
        ("wick_contradicted", (START_T + 20 * HOUR_T,)),
    ]
