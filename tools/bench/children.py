"""Measuring processes: each figure is taken in a process of its own, so that nothing is warm or allocated by accident."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from runtime.core.digest import Block
from runtime.policy import load_profile
from tools.bench import growth, hotspots, latency, ours, verification
from tools.bench.market import standard_inputs
from tools.bench.rule import rule_forecasts, rule_inputs, wants_long

ROOT: Final = Path(__file__).resolve().parents[2]
REPEATS_N: Final = 5
"""The fastest of some runs counts: the others waited for the machine."""
WARM_BARS_N: Final = 240
Figures = dict[str, float]


def run_figures(run: ours.Run) -> Figures:
    """Return a run as numbers by name."""
    return {**run.seconds, "total": run.total_s, "blocks": run.blocks_n, "rows": run.rows_n, "fills": run.fills_n}


def core(bars_n: str, repeats_n: str) -> Figures:
    """Return the stages of the standard run; `load` is the first call here, which loads the compiled code, or compiles it."""
    began_s = time.perf_counter()
    ours.measure_core(WARM_BARS_N)
    load_s = time.perf_counter() - began_s
    inputs = standard_inputs(int(bars_n), load_profile("conservative"))
    return {"load": load_s, **run_figures(ours.fastest(inputs, int(repeats_n)))}


def rule(bars_n: str, folder: str, clusters: str) -> Figures:
    """Return the stages of a run of the rule, and write its round trips to `folder`."""
    ours.measure_core(WARM_BARS_N)
    inputs = rule_inputs(int(bars_n), clusters=clusters == "clusters")
    closes = np.ascontiguousarray(inputs.bars[:, : len(inputs.genesis.symbols)]["close_e8"])
    rule_s = float("inf")
    for _ in range(REPEATS_N):
        began_s = time.perf_counter()
        rule_forecasts(wants_long(closes))
        rule_s = min(rule_s, time.perf_counter() - began_s)
    figures = run_figures(ours.fastest(inputs, REPEATS_N))
    kept: list[Block] = []
    (Path(folder) / "journal").mkdir()
    ours.run_into(inputs, Path(folder) / "journal", kept)
    np.save(Path(folder) / "ours.npy", ours.trades_of(kept))
    return {**figures, "rule": rule_s}


def single(events_n: str) -> dict[str, list[float]]:
    """Return the latency of single events."""
    return latency.measure(int(events_n))


def verify(bars_n: str, books: str) -> Figures:
    """Return the seconds of verifying a run of the rule."""
    return verification.measure(rule_inputs(int(bars_n), clusters=True), books=books == "books")._asdict()


def point(folder: str, symbols_n: str) -> Figures:
    """Return one point of growth."""
    ours.measure_core(WARM_BARS_N)
    return growth.measure(Path(folder), int(symbols_n))._asdict()


def spots(bars_n: str) -> list[list[str | int | float]]:
    """Return where a run of the rule spends its time."""
    ours.measure_core(WARM_BARS_N)
    return [list(spot) for spot in hotspots.measure(rule_inputs(int(bars_n)))]


def imports(source: str) -> Figures:
    """Return the seconds of imports."""
    from tools.bench import data  # what it loads must not weigh on the memory of the other processes

    return data.imports(source)


def hourly(symbols_n: str, minutes_n: str) -> Figures:
    """Return the seconds of hourly bars."""
    from tools.bench import data

    return data.hourly(symbols_n, minutes_n)


def paper(hours_n: str, symbols_n: str) -> Figures:
    """Return what hours of paper trading take."""
    from tools.bench import paper as measured

    return measured.measure(int(hours_n), int(symbols_n))


KINDS: Final[dict[str, Callable[..., object]]] = {
    "core": core, "rule": rule, "single": single, "verify": verify, "point": point, "spots": spots,
    "imports": imports, "hourly": hourly, "paper": paper,
}  # fmt: skip


def ask(kind: str, *words: str | int | Path, cache: Path | None = None) -> str:
    """Return what a measuring process prints: one JSON value. `cache` holds its compiled code instead of the usual place.

    Raises:
        RuntimeError: it failed; the message is its last words.
    """
    extra = {} if cache is None else {"NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench", "child", kind, *map(str, words)],
        cwd=ROOT, env={**os.environ, **extra}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"measuring {kind}: {done.stderr.strip()[-600:]}")
    return done.stdout


def answer(words: list[str]) -> None:
    """Be the measuring process that `ask` started."""
    print(json.dumps(KINDS[words[0]](*words[1:])))
