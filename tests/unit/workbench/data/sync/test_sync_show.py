from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from runtime.console import PLAIN_INTERVAL_S
from workbench.data.sync.board import Board, Pulse, Row
from workbench.data.sync.display import Bars, Lines
from workbench.data.sync.run import SeriesResult, SyncResult
from workbench.data.sync.show import age_text, show_result, show_status
from workbench.data.sync.status import AccountStatus, SeriesStatus, SyncStatus

NOW_T = 1_767_225_600


def result(series: str, verdict: str = "ok", **values: object) -> SeriesResult:
    base = SeriesResult(
        series=series,
        source="kraken-rest",
        verdict=verdict,
        read_n=1_234_567,
        added_n=1_234_567,
        late_n=0,
        changed_n=0,
        rows_n=1_234_567,
        scanned_until_t=NOW_T,
    )
    return base.model_copy(update=values)


def status(symbol: str, **values: object) -> SeriesStatus:
    base = SeriesStatus(
        series=f"kraken-spot/1m/{symbol}",
        source="kraken-rest",
        bars_n=1_234_567,
        first_t=1_400_000_000,
        last_t=NOW_T - 3_600,
        versions_n=12,
        missing_n=123_456,
        scanned_from_t=1_400_000_000,
        scanned_until_t=NOW_T,
        tail_age_s=3_540,
        verdict="ok",
        detail="",
        tried_t=NOW_T,
    )
    return base.model_copy(update=values)


def shown(columns: int, show: object, *values: object) -> str:
    out = io.StringIO()
    show(Console(file=out, width=columns), *values)  # type: ignore[operator]
    return out.getvalue()


@pytest.mark.parametrize("columns", [80, 120])
def test_no_number_of_a_status_is_cut(columns: int) -> None:
    series = (status("SHIBUSD"), status("XBTUSD", verdict="failed", detail="no answer", bars_n=0, first_t=None, last_t=None))
    account = AccountStatus(account="kraken-public", ok_n=12_345, retried_n=67, failed_n=8, left_n=0.5, rate_per_s=1.0)
    out = shown(columns, show_status, SyncStatus(now_t=NOW_T, lake_digest="ab" * 32, series=series, accounts=(account,)))
    for words in ("1,234,567", "123,456", "2014-05-13", "2025-12-31 23:00", "01-01 00:00", "59 m", "12,345", "ab" * 32):
        assert words in out, words
    assert "failed kraken-spot/1m/XBTUSD: no answer" in out
    assert max(len(line) for line in out.splitlines()) <= columns


@pytest.mark.parametrize("columns", [80, 120])
def test_a_result_names_failures_once_and_counts_what_is_news(columns: int) -> None:
    failed = {"detail": "no answer", "action": "try again", "exit_code": 6, "scanned_until_t": None}
    series = (
        result("kraken-spot/1h/ETHUSD", late_n=1, changed_n=2),
        result("kraken-spot/1h/SOLUSD", "failed", **failed),
        result("kraken-spot/1h/XBTUSD", "failed", **failed),
        result("kraken-spot/1h/XRPUSD", withdrawn_n=1, detail="1 bars on record are not in kraken-rest any more"),
    )
    out = " ".join(shown(columns, show_result, "Sync", SyncResult(series=series, calls_n=7, elapsed_s=2.0)).split())
    assert out.count("no answer; try again") == 1
    assert "failed kraken-spot/1h/SOLUSD, kraken-spot/1h/XBTUSD: no answer" in out
    assert "note kraken-spot/1h/XRPUSD: 1 bars on record" in out
    assert "2 of 4 series whole, 4,938,268 bars added, 1 late and 2 restated (new versions with evidence); 7 calls" in out


def test_ages() -> None:
    assert [age_text(s) for s in (-5, 59, 120, 7_200, 400_000)] == ["0 s", "59 s", "2 m", "2 h", "4 d"]


def board(now: list[float]) -> Board:
    rows = [Row("kraken-spot/1h/ETHUSD"), Row("kraken-spot/1h/XBTUSD", "reading", 500, 0, 250, 1_000, now[0])]
    return Board("backfill", rows, lambda: 7, lambda: now[0])


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    now, lines = [100.0], Lines()
    job = board(now)
    for _ in range(19):
        lines.watch(job)
        now[0] += PLAIN_INTERVAL_S / 10
    for row in job.rows:
        row.status = "done"
    lines.watch(job)  # the last batch is still to be written
    job.finished = True
    lines.watch(job)
    lines.watch(job)
    found = capsys.readouterr().err.splitlines()
    assert len(found) == 3
    assert found[1] == "backfill: 0/2 series, 500 bars, 100 bars/s, 7 calls, ETA 0:35"
    assert found[2] == "backfill: 2/2 series, 500 bars, 53 bars/s, 7 calls, in 9.5 s"


def test_a_terminal_shows_the_whole_and_each_series_that_is_read() -> None:
    now, out = [100.0], io.StringIO()
    job = board(now)
    now[0] = 110.0
    fields = (TextColumn("{task.fields[bars]} bars"), TextColumn("{task.fields[rate]}/s"), TextColumn("{task.fields[eta]}"))
    columns = (TextColumn("{task.description}"), BarColumn(), *fields)
    progress = Progress(*columns, console=Console(file=out, width=80, force_terminal=True), auto_refresh=False)
    drawn = Bars(progress)
    drawn.watch(job)
    assert [(t.description, t.completed, t.fields["eta"]) for t in progress.tasks] == [
        ("backfill 0/2, 7 calls", 125, "1:10"), ("  1h/XBTUSD", 250, "0:30"),
    ]  # fmt: skip
    job.rows[1].status = "done"
    drawn.watch(job)
    assert [t.description for t in progress.tasks] == ["backfill 1/2, 7 calls"]


def test_what_a_provider_tells_between_pages_moves_its_own_row() -> None:
    import threading

    pulse, rows = Pulse(), [Row("a", "reading"), Row("b", "reading")]

    def read(row: Row, done: int) -> None:
        pulse.row = row
        pulse.report("trades", done, 4)

    threads = [threading.Thread(target=read, args=(row, n + 1)) for n, row in enumerate(rows)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pulse.report("nobody's", 1, 2)
    assert [row.fraction for row in rows] == [0.25, 0.5]
