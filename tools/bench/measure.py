"""The steps of a benchmark: what each measures, which targets it is held to, and how it is shown.

It is over 400 lines because every step stands beside its targets and its table, so that the page can be read from here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from tools.bench import frameworks, growth, latency, paper
from tools.bench.children import Figures, ask
from tools.bench.market import BARS_N, SYMBOLS_N, VIEW_LASTS_N, write_market
from tools.bench.ours import STAGES
from tools.bench.result import Cell, Result, Table, Target

RATE_MIN: Final = 500_000
HELP_S_MAX: Final = 0.5
RECORDS_MIN: Final = 500_000
P50_MS_MAX: Final = 3.0
P99_MS_MAX: Final = 15.0
SLOWER_MIN: Final = 50.0
VECTORBT_MAX: Final = 5.0
MEMORY_MAX: Final = 1.5
RUNNING: Final = "of it while running, MiB"
PARQUET_MIN: Final = 2_000_000
CSV_MIN: Final = 500_000
HOURLY_S_MAX: Final = 1.5
MINUTES_N: Final = 525_600
DATA_VARIABLE: Final = "BALLAST_BENCH_DATA"
SHORT_BARS_N: Final = growth.YEAR_N
SHORT_EVENTS_N: Final = 5_000
HELP_RUNS_N: Final = 5
Step = Callable[[Result], None]


def figures(kind: str, *words: str | int | Path, cache: Path | None = None) -> Figures:
    """Return the numbers of a measuring process."""
    found: Figures = json.loads(ask(kind, *words, cache=cache))
    return found


def steps(*, whole: bool, frameworks: bool) -> Iterator[tuple[str, Step]]:
    """Yield the steps of the short or the whole benchmark, each with what it measures."""
    yield "the help page", start_up
    yield from [("compilation and the standard run", standard_whole)] if whole else [("the standard run", standard)]
    if frameworks:
        yield from (
            [("the rule everywhere, five years", rule_whole)] if whole else [("the rule everywhere, one year", rule_short)]
        )
    yield "single events", single_events
    yield "paper trading", paper_whole if whole else paper_short
    yield "verification", verification_whole if whole else verification_short
    yield "import of bars", imports
    yield "hourly bars of a year of minutes", hourly
    if whole:
        yield "growth with years", growth_of_years
        yield "growth with symbols", growth_of_symbols
        yield "growth with fills", growth_of_fills
        yield "where the time goes", profile


# ---- our own run -----------------------------------------------------------------------------------------------


def start_up(result: Result) -> None:
    """Measure the help page."""
    help_s = fastest_s([str(Path(sys.executable).with_name("ballast")), "--help"])
    bare_s = fastest_s([sys.executable, "-c", "pass"])
    result.targets.append(Target("`ballast --help`", help_s, "s", HELP_S_MAX))
    result.tables.append(Table("Start-up", ["what", "seconds"], [["`ballast --help`", help_s], ["a bare interpreter", bare_s]]))


def fastest_s(command: list[str]) -> float:
    """Return the seconds of the fastest of some runs of a command."""
    found = []
    for _ in range(HELP_RUNS_N):
        began_s = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        found.append(time.perf_counter() - began_s)
    return min(found)


def standard(result: Result) -> None:
    """Measure the standard run."""
    _standard(result, [])


def standard_whole(result: Result) -> None:
    """Measure compilation and the standard run."""
    with tempfile.TemporaryDirectory() as folder:
        cold = figures("core", 24, 1, cache=Path(folder))
        warm = figures("core", 24, 1, cache=Path(folder))
    _standard(result, [["compile, first call ever", cold["load"]], ["load compiled code from the cache", warm["load"]]])


def _standard(result: Result, rows: list[list[Cell]]) -> None:
    found = figures("core", BARS_N, 3)
    rate = SYMBOLS_N * BARS_N / found["total"]
    rows += [[stage.replace("_", " "), found[stage]] for stage in STAGES]
    rows += [["all stages", found["total"]]]
    result.targets.append(
        Target("standard run: core, ledger, hashes and journal", rate, "symbol-hours/s", RATE_MIN, at_least=True)
    )
    note = (
        f"{SYMBOLS_N} instruments, {BARS_N:,} hours, a forecast every fourth hour, the conservative profile: {found['fills']:,.0f} fills, "
        f"{found['blocks']:,.0f} blocks, {found['rows']:,.0f} records."
    )
    result.tables.append(Table("Standard run by stage", ["stage", "seconds"], rows, note))


def single_events(result: Result) -> None:
    """Measure single events."""
    found: dict[str, list[float]] = json.loads(ask("single", SHORT_EVENTS_N))
    (events_n,) = found.pop("events")
    whole = dict(zip(latency.QUANTILES, found["whole"], strict=True))
    result.targets.append(Target("single event to durable block, median", whole[0.5], "ms", P50_MS_MAX))
    result.targets.append(Target("single event to durable block, 99 %", whole[0.99], "ms", P99_MS_MAX))
    rows: list[list[Cell]] = [[name, *values] for name, values in found.items()]
    note = (
        f"Milliseconds of {events_n:,.0f} events of the standard market, one block and one transaction each: SQLite in WAL mode with "
        "`synchronous=FULL`, and the head anchor as the product writes it. The lower part is the whole by kind of event."
    )
    columns = ["stage", *("maximum" if q == 1 else f"{100 * q:g} %" for q in latency.QUANTILES)]
    result.tables.append(Table("Latency of single events", columns, rows, note))


# ---- paper trading ---------------------------------------------------------------------------------------------


def paper_short(result: Result) -> None:
    """Measure four days of paper trading."""
    paper.show(result, figures("paper", paper.SHORT_HOURS_N, SYMBOLS_N))


def paper_whole(result: Result) -> None:
    """Measure thirty days of paper trading."""
    paper.show(result, figures("paper", paper.MONTH_HOURS_N, SYMBOLS_N))


# ---- the same rule elsewhere -----------------------------------------------------------------------------------


def rule_short(result: Result) -> None:
    """Measure the rule in every framework, one year."""
    _rule(result, SHORT_BARS_N)


def rule_whole(result: Result) -> None:
    """Measure the rule in every framework, five years."""
    _rule(result, BARS_N)
    with tempfile.TemporaryDirectory() as folder:
        found = figures("rule", BARS_N, folder, "clusters")
    rows: list[list[Cell]] = [[stage.replace("_", " "), found[stage]] for stage in (*STAGES, "total", "rows")]
    note = "The same trades with ten clusters of three, whose exposure is recorded every hour: what the records cost."
    result.tables.append(Table("The rule with hourly cluster records", ["stage", "seconds, records"], rows, note))


def _rule(result: Result, bars_n: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frameworks.write_market(folder, bars_n)
        found = figures("rule", bars_n, folder, "plain")
        trades = np.load(folder / "ours.npy")
        own_s, given_s, core_s = found["total"] + found["rule"], found["total"], found["core"]
        speed: list[list[Cell]] = [
            ["this project", "", own_s, 1.0, given_s, 1.0, given_s / core_s, "", f"{found['fills']:,.0f}"]
        ]
        agreement: list[list[Cell]] = []
        missing = []
        for framework in frameworks.FRAMEWORKS:
            try:
                measured = frameworks.measure(framework, folder)
            except frameworks.Unavailable as e:
                missing.append(f"{framework.name} was not measured: {e}.")
                continue
            theirs = {way: float(measured.figures[f"{way}_s"]) for way in ("own", "given")}
            process = " / ".join(f"{s:.1f}" for s in measured.process_s.values())
            speed.append([
                framework.name, measured.figures["version"], theirs["own"], theirs["own"] / own_s, theirs["given"],
                theirs["given"] / given_s, theirs["given"] / core_s, process, f"{measured.figures['fills']:,.0f}",
            ])  # fmt: skip
            a = frameworks.compare(trades, measured.trades)
            agreement.append(
                [framework.name, a.ours_n, a.theirs_n, a.same_n, f"{a.symbols_n} of {SYMBOLS_N}", a.price, a.quantity]
            )
            _ratio(result, framework.name, theirs["own"], own_s)
            if a.same_n != a.ours_n or a.same_n != a.theirs_n:
                missing.append(f"{framework.name} made other trades: its ratio means nothing.")
    _show_rule(result, bars_n, found, (speed, agreement, missing))


def _ratio(result: Result, name: str, theirs_s: float, own_s: float) -> None:
    if name == "vectorbt":
        result.targets.append(
            Target("the rule: this project against warm vectorbt", own_s / theirs_s, "times its time", VECTORBT_MAX)
        )
    else:
        result.targets.append(
            Target(f"the rule: {name} against this project", theirs_s / own_s, "times our time", SLOWER_MIN, at_least=True)
        )


def _show_rule(
    result: Result, bars_n: int, found: Figures, shown: tuple[list[list[Cell]], list[list[Cell]], list[str]]
) -> None:
    speed, agreement, missing = shown
    note = (
        f"SMA(24) above SMA(168) at the close, else flat; filled at the next open; {SYMBOLS_N} symbols x {bars_n:,} hours, one fee, the same "
        "cash per entry. Ours carries the risk gates, lots, ledger, hourly states, row hashes, block chain and a durable journal; the others "
        "have no hashes and no journal. backtrader and NautilusTrader keep orders, positions and cash in memory; NautilusTrader's risk engine "
        "and logging are off, in its favour. `own rule`: each framework computes the two means in its usual way, and that counts. `given "
        "rule`: the answers "
        "are looked up, so that the engine alone counts. Seconds of the engine, loading excluded, vectorbt warm (fastest of seven in one "
        "process); `process`: everything from start to exit, per way. Ours is the fastest of five. `times our core`: the given rule against our "
        "core stage alone, which decides, asks the gates and keeps lots, ledger and hourly states in memory, without hashes and journal: "
        "what a framework without an audit trail is comparable to. " + " ".join(missing)
    ).strip()
    columns = [
        "framework",
        "version",
        "own rule, s",
        "times ours",
        "given rule, s",
        "times ours",
        "times our core",
        "process, s",
        "fills",
    ]
    result.tables.append(Table("The same rule in other frameworks", columns, speed, note))
    stages: list[list[Cell]] = [["rule and forecasts", found["rule"], found["rule"] / (found["total"] + found["rule"])]]
    stages += [[stage.replace("_", " "), found[stage], found[stage] / (found["total"] + found["rule"])] for stage in STAGES]
    stages.append(["all", found["total"] + found["rule"], 1.0])
    note = f"{found['blocks']:,.0f} blocks, {found['rows']:,.0f} records."
    result.tables.append(Table("Our run of the rule by stage", ["stage", "seconds", "share"], stages, note))
    note = (
        "Round trips that are closed, by symbol, time of entry and time of exit. What differs is small: ours spends 10 ppm of the portfolio's "
        "value instead of a fixed amount, rounds quantities down to 1e-8 in integers, and the others compute prices in floating point."
    )
    columns = [
        "framework",
        "ours",
        "theirs",
        "the same",
        "symbols with equal counts",
        "largest price difference",
        "largest quantity difference",
    ]
    result.tables.append(Table("Are they the same trades", columns, agreement, note))


# ---- verification ----------------------------------------------------------------------------------------------


def verification_short(result: Result) -> None:
    """Measure verification, one year."""
    _verification(result, SHORT_BARS_N, "hashes")


def verification_whole(result: Result) -> None:
    """Measure verification, five years."""
    _verification(result, BARS_N, "books")


def _verification(result: Result, bars_n: int, books: str) -> None:
    found = figures("verify", bars_n, books)
    records_n = found["records_n"]
    ways = {
        "reading the journal": "read_s", "chain in process": "chain_s", "export written (chain verified on the way)": "export_s",
        "stand-alone verifier, hashes only": "export_chain_s", "stand-alone verifier, hashes and books": "export_books_s",
    }  # fmt: skip
    rows: list[list[Cell]] = [[name, found[key], records_n / found[key]] for name, key in ways.items() if found[key] > 0]
    together = found["read_s"] + found["chain_s"]
    result.targets.append(
        Target("chain verification, reading included", records_n / together, "records/s", RECORDS_MIN, at_least=True)
    )
    note = f"{records_n:,.0f} records of {SYMBOLS_N} symbols x {bars_n:,} hours of the rule with ten clusters."
    result.tables.append(Table("Verification", ["what", "seconds", "records/s"], rows, note))


# ---- market data -------------------------------------------------------------------------------------------------


def imports(result: Result) -> None:
    """Measure the import of Parquet and CSV: of the folder that BALLAST_BENCH_DATA names, else of the simulated market."""
    source = os.environ.get(DATA_VARIABLE, "")
    found = figures("imports", source)
    rows: list[list[Cell]] = []
    for kind, name, rate_min in (("parquet", "Parquet", PARQUET_MIN), ("csv", "CSV", CSV_MIN)):
        bars_n, ours_s, plain_s = found[f"{kind}_bars"], found[f"{kind}_s"], found[f"{kind}_plain_s"]
        result.targets.append(Target(f"import of {name}", bars_n / ours_s, "bars/s", rate_min, at_least=True))
        rows.append([name, int(bars_n), ours_s, bars_n / ours_s, plain_s, bars_n / plain_s, ours_s / plain_s])
    note = (
        f"{'Local files' if source else 'The simulated market under four venues'}, into an empty lake: read, gates, digests, calendar segments, "
        "files and folders synced, catalog. `plain`: polars reads every file and writes it again with the same compression, and nothing "
        "else. The fastest of three."
    )
    columns = ["source", "bars", "seconds", "bars/s", "plain, s", "plain, bars/s", "times plain"]
    result.tables.append(Table("Import of bars", columns, rows, note))


def hourly(result: Result) -> None:
    """Measure hourly bars of one-minute bars through the researcher's view."""
    found = figures("hourly", SYMBOLS_N, MINUTES_N)
    plain_s = found["plain_s"]
    result.targets.append(Target("hourly bars of a year of one-minute bars, 30 symbols", found["view_s"], "s", HOURLY_S_MAX))
    ways = {
        "the view, opened, aggregated, as a frame": "view_s",
        "the same, every file verified first": "verified_s",
        "a plain query": "plain_s",
    }
    rows: list[list[Cell]] = [
        [name, found[key], found["rows"] / found[key], found[key] / plain_s] for name, key in ways.items()
    ]
    note = (
        f"{found['rows']:,.0f} seeded one-minute bars, written by the lake's own import in {found['import_s']:.1f} s ({found['mib']:,.0f} MiB), "
        f"{found['hours']:,.0f} hours. `a plain query`: DuckDB over the same files without names, sums, exact volumes, as-of time or order. "
        "Both make the same opens, highs, lows and closes. The fastest of three."
    )
    result.tables.append(
        Table("Hourly bars of a year of minutes", ["way", "seconds", "bars/s", "times the plain query"], rows, note)
    )


# ---- growth ----------------------------------------------------------------------------------------------------

GROWTH: Final = [
    "seconds",
    "core, s",
    "hashes, s",
    "journal, s",
    "blocks",
    "records",
    "fills",
    "us per symbol-hour",
    "own memory, MiB",
    RUNNING,
    "peak with mapped files, MiB",
]


def _point(bars_n: int, symbols_n: int, view_n: int = VIEW_LASTS_N) -> list[Cell]:
    with tempfile.TemporaryDirectory() as name:
        write_market(Path(name), bars_n, symbols_n, view_n)
        p = figures("point", name, symbols_n)
    counts: list[Cell] = [int(p[name]) for name in ("blocks_n", "rows_n", "fills_n")]
    per = p["seconds"] / bars_n / symbols_n * 1e6
    own = [p["anonymous_mib"], p["anonymous_mib"] - p["begun_mib"], p["peak_mib"]]
    return [p["seconds"], p["core_s"], p["hashes_s"], p["journal_s"], *counts, per, *own]


def growth_of_years(result: Result) -> None:
    """Measure growth with years."""
    rows: list[list[Cell]] = [[years, *_point(years * growth.YEAR_N, SYMBOLS_N)] for years in growth.YEARS]
    running = [float(row[GROWTH.index(RUNNING) + 1]) for row in rows]
    if running[0] > 0:
        name = f"memory of a run, {growth.YEARS[-1]} years against {growth.YEARS[0]}"
        result.targets.append(Target(name, running[-1] / running[0], "times", MEMORY_MAX))
    note = (
        f"{SYMBOLS_N} symbols, the standard market, one process per line with its inputs mapped from files. Own memory is anonymous memory at its "
        "highest; a part of a mapped file is in memory only as long as nothing else needs the room."
    )
    result.tables.append(Table("Growth with years", ["years", *GROWTH], rows, note))


def growth_of_symbols(result: Result) -> None:
    """Measure growth with symbols."""
    rows: list[list[Cell]] = [[n, *_point(growth.SYMBOL_YEARS * growth.YEAR_N, n)] for n in growth.SYMBOLS]
    note = f"{growth.SYMBOL_YEARS} years. The core's arrays have 32 slots whatever the number of symbols."
    result.tables.append(Table("Growth with symbols", ["symbols", *GROWTH], rows, note))


def growth_of_fills(result: Result) -> None:
    """Measure growth with fills."""
    rows: list[list[Cell]] = [
        [f"{view * 4} h", *_point(growth.SYMBOL_YEARS * growth.YEAR_N, SYMBOLS_N, view)] for view in growth.VIEWS
    ]
    note = f"{growth.SYMBOL_YEARS} years, {SYMBOLS_N} symbols; the shorter a view stands, the more is traded."
    result.tables.append(Table("Growth with fills", ["a view stands", *GROWTH], rows, note))


def profile(result: Result) -> None:
    """Measure where the time goes."""
    rows: list[list[Cell]] = json.loads(ask("spots", BARS_N))
    note = (
        "The rule, five years, under the interpreter's profiler: functions by their own time. The profiler burdens every call, so shares of "
        "small functions are too high; the stages above are measured without it."
    )
    result.tables.append(Table("Where the time goes", ["function", "calls", "own seconds", "share"], rows, note))
