"""The one-screen summary of the main job, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.outcome import RUNS, Demo
from runtime.core.records import E8, PPM
from workbench.training.evaluate import PRODUCT

SERIES: Final = {"ml": "ML", "trend": "trend rule", "flat": "flat", "btc_hold": "BTC hold", "equal_weight": "equal weight"}
RIVALS: Final = ("persistence", "single_feature")
"""Baseline forecasts whose skill stands beside the models'; skill is measured against the base rate."""
STAGES: Final = ("data", "notebook", "replay", "check", "report", "total")
CELLS_SHOWN: Final = 6
COLUMNS: Final = 110


def summary(demo: Demo) -> RenderableType:
    """Return everything a person needs to judge the run, on one screen of 110 columns."""
    label = "SIMULATED" if demo.study.simulated else demo.study.venue
    style = "yellow" if demo.study.simulated else "cyan"
    parts = (
        _lines(_dataset(demo)), _quality(demo), _portfolio(demo), _lines(_refusals(demo)), _lines(_verdict(demo)),
        _lines(_proof(demo)),
    )  # fmt: skip
    return Panel(Group(*parts), title=f"ballast demo, {label} market data", border_style=style, width=COLUMNS)


def _lines(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Return labels and texts in two columns; a long text wraps within its own."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style="bold", width=9, no_wrap=True)
    grid.add_column(overflow="fold")  # a hash cut short would be no hash
    for row in rows:
        grid.add_row(*row)
    return grid


def _dataset(demo: Demo) -> Iterator[tuple[str, str]]:
    m, study = demo.manifest, demo.study
    found = sum(f.rows_n for f in m.findings)
    source = "SIMULATED by a seeded generator, no real market" if m.simulated else f"{m.source} ({m.venue})"
    first, last = study.folds[0], study.folds[-1]
    span = f"{_day(m.first_t)} to {_day(m.last_t)}"
    yield (
        "data",
        (
            f"{source}: {len(m.symbols)} asset{'' if len(m.symbols) == 1 else 's'}, {m.bars_n:,} bars of {m.interval}, {span}; "
            f"{len(m.gaps)} gaps, {len(m.findings)} findings on {found:,} rows accepted"
        ),
    )
    yield (
        "folds",
        (
            f"{len(study.folds)} walk-forward, {study.spec.train_rule} training from {_day(first.train_first_t)}, "
            f"tests {_day(first.test_first_t)} to {_day(last.test_last_t)}; {len(study.model_hashes)} models"
        ),
    )


def _quality(demo: Demo) -> Table:
    """Return one row per horizon: the models' scores, and the skill of the baselines they must beat."""
    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
        header_style="bold",
        title="[bold]models on all test windows (skill: Brier, against the base rate)",
        title_justify="left",
    )
    names = ("horizon", "forecasts", "AUC", "cal. error", "skill", *(name.replace("_", " ") for name in RIVALS))
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    found = {(metric.model, metric.horizon_h): metric for metric in demo.study.metrics}
    for horizon_h in demo.study.spec.horizons_h:
        ours = found[PRODUCT, horizon_h]
        skills = (found[name, horizon_h].brier_skill for name in (PRODUCT, *RIVALS))
        table.add_row(
            f"{horizon_h} h", f"{ours.n:,}", _shown(ours.auc, 3), _shown(ours.ece, 4), *(_percent(skill) for skill in skills)
        )
    return table


def _shown(value: float | None, decimals: int) -> str:
    return "none" if value is None else f"{value:.{decimals}f}"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:+.2f} %"


def _portfolio(demo: Demo) -> Table:
    table = Table(
        box=None, padding=(0, 1, 0, 0), header_style="bold", title="[bold]portfolio, net of costs", title_justify="left"
    )
    for name in ("", "final USD", "net return", "drawdown", "orders", "fills", "trades", "fees USD"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, words in SERIES.items():
        run = demo.runs.get(name)
        found = run or demo.study.baselines[name]
        counted = (f"{run.orders:,}", f"{run.fills:,}", f"{run.trades:,}") if run else ("", "", "")
        table.add_row(
            words,
            f"{found.final_pv_e8 / E8:,.2f}",
            f"{100 * found.net_return_ppm / PPM:+.2f} %",
            f"{100 * found.max_drawdown_ppm / PPM:.2f} %",
            *counted,
            f"{found.fees_e8 / E8:,.2f}",
            style="" if run else "dim",
        )
    return table


def _refusals(demo: Demo) -> Iterator[tuple[str, str]]:
    for name in RUNS:
        found = sorted(demo.runs[name].refusals.items(), key=lambda item: (-item[1], item[0]))
        words = ", ".join(f"{gate} {n:,}" for gate, n in found) or "none"
        yield "refusals" if name == RUNS[0] else "", f"{SERIES[name]}: {words}"


def _verdict(demo: Demo) -> Iterator[tuple[str, str]]:
    for n, sentence in enumerate(demo.study.verdict):
        yield "" if n else "verdict", sentence


def _proof(demo: Demo) -> Iterator[tuple[str, RenderableType]]:
    """Yield parity and validity, hashes, seconds and the report's path."""
    blocks = sum(found.blocks for found in demo.replays.values())
    gates = len(demo.checks[RUNS[0]].gates)
    yield "", Text.assemble(
        _answer("REPLAY PARITY", demo.replay_parity), f"  {blocks:,} blocks recomputed    ",
        _answer("RUNS VALID", demo.runs_valid), f"  {gates} SQL gates on each",
    )  # fmt: skip
    yield from _hashes(demo)
    yield "seconds", ", ".join(_stage(demo, stage) for stage in STAGES)
    yield "report", Text(str(_near(demo.report)), overflow="fold")


def _answer(question: str, holds: bool) -> tuple[str, str]:
    return (f"{question}: {'TRUE' if holds else 'FALSE'}", "bold green" if holds else "bold red")


def _stage(demo: Demo, stage: str) -> str:
    """Return a stage's seconds, for the notebook with its longest cells in the order in which they ran."""
    text = f"{stage} {demo.seconds[stage]:.1f}"
    cells = {k.removeprefix("notebook."): v for k, v in demo.seconds.items() if k.startswith(f"{stage}.")}
    longest = sorted(cells.values(), reverse=True)[:CELLS_SHOWN][-1:]
    inner = ", ".join(f"{name} {taken:.1f}" for name, taken in cells.items() if longest and taken >= longest[0])
    return f"{text} ({inner})" if inner else text


def _hashes(demo: Demo) -> Iterator[tuple[str, str]]:
    study = demo.study
    yield "dataset", study.dataset_hash
    yield "features", study.feature_set_hash
    yield "policy", study.policy_hash
    for name in RUNS:
        yield f"run {name}", f"{demo.runs[name].run_root}  {demo.runs[name].run_id}"
    yield "notebook", f"{demo.notebook_sha256}  study {study.study_id}"


def _near(path: Path) -> Path:
    """Return the path relative to the working directory when it lies below it."""
    cwd = Path.cwd()
    absolute = path.absolute()
    return absolute.relative_to(cwd) if absolute.is_relative_to(cwd) else absolute


def _day(at_t: int) -> str:
    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%d")
