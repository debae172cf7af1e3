"""The one-screen summary of the main job, for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.demo import RUNS, Demo
from runtime.core.records import E8, PPM
from workbench.training.evaluate import PRODUCT

SERIES: Final = {"ml": "ML", "trend": "trend rule", "flat": "flat", "btc_hold": "BTC hold", "equal_weight": "equal weight"}
STAGES: Final = ("data", "notebook", "replay", "report", "total")
COLUMNS: Final = 110


def summary(demo: Demo) -> RenderableType:
    """Return everything a person needs to judge the run, on one screen of 110 columns."""
    label = "SIMULATED" if demo.study.simulated else demo.study.venue
    style = "yellow" if demo.study.simulated else "cyan"
    parts = (_dataset(demo), _quality(demo), _portfolio(demo), _refusals(demo), _verdict(demo), _proof(demo))
    return Panel(Group(*parts), title=f"ballast demo, {label} market data", border_style=style, width=COLUMNS)


def _dataset(demo: Demo) -> Text:
    m, study = demo.manifest, demo.study
    found = sum(f.rows_n for f in m.findings)
    source = "SIMULATED by a seeded generator, no real market" if m.simulated else f"{m.source} ({m.venue})"
    first, last = study.folds[0], study.folds[-1]
    return Text.assemble(
        ("data    ", "bold"), f"{source}: {len(m.symbols)} assets, {m.bars_n:,} bars of {m.interval}, ",
        f"{_day(m.first_t)} to {_day(m.last_t)}; {len(m.gaps)} gaps, {len(m.findings)} findings on {found:,} rows accepted\n",
        ("folds   ", "bold"), f"{len(study.folds)} walk-forward, {study.spec.train_rule} training from {_day(first.train_first_t)}, ",
        f"tests {_day(first.test_first_t)} to {_day(last.test_last_t)}; {len(study.model_hashes)} models\n",
    )  # fmt: skip


def _quality(demo: Demo) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title="models, all test windows", title_justify="left")
    for name in ("horizon", "forecaster", "forecasts", "AUC", "Brier skill", "log loss", "calibration error"):
        table.add_column(name, justify="left" if name == "forecaster" else "right")
    shown = (PRODUCT, "persistence", "single_feature")
    for metric in demo.study.metrics:
        if metric.model not in shown:
            continue
        ours = metric.model == PRODUCT
        skill = "" if metric.brier_skill is None else f"{100 * metric.brier_skill:+.2f} %"
        table.add_row(
            f"{metric.horizon_h} h" if ours else "",
            "models (blend)" if ours else metric.model.replace("_", " "),
            f"{metric.n:,}",
            *("" if value is None else f"{value:.3f}" for value in (metric.auc,)),
            skill,
            "" if metric.log_loss is None else f"{metric.log_loss:.4f}",
            "" if metric.ece is None else f"{metric.ece:.4f}",
            style="" if ours else "dim",
        )
    return table


def _portfolio(demo: Demo) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title="portfolio, net of costs", title_justify="left")
    for name in ("", "final value", "net return", "drawdown", "orders", "fills", "trades", "fees"):
        table.add_column(name, justify="right" if name else "left")
    for name, words in SERIES.items():
        run = demo.runs.get(name)
        found = run or demo.study.baselines[name]
        counted = (f"{run.orders:,}", f"{run.fills:,}", f"{run.trades:,}") if run else ("", "", "")
        table.add_row(
            words,
            f"{found.final_pv_e8 / E8:,.2f} USD",
            f"{100 * found.net_return_ppm / PPM:+.2f} %",
            f"{100 * found.max_drawdown_ppm / PPM:.2f} %",
            *counted,
            f"{found.fees_e8 / E8:,.2f}",
            style="" if run else "dim",
        )
    return table


def _refusals(demo: Demo) -> Text:
    text = Text("\n")
    for name in RUNS:
        found = sorted(demo.runs[name].refusals.items(), key=lambda item: (-item[1], item[0]))
        words = ", ".join(f"{gate} {n:,}" for gate, n in found) or "none"
        text.append_text(Text.assemble((f"refusals, {SERIES[name]:11}", "bold"), f"{words}\n"))
    return text


def _verdict(demo: Demo) -> Text:
    return Text.assemble(("verdict\n", "bold"), *(f"  {sentence}\n" for sentence in demo.study.verdict))


def _proof(demo: Demo) -> Text:
    """Return parity, hashes, paths and seconds."""
    parity = "TRUE" if demo.replay_parity else "FALSE"
    blocks = sum(found.blocks for found in demo.replays.values())
    text = Text.assemble(
        (f"REPLAY PARITY: {parity}", "bold green" if demo.replay_parity else "bold red"), f"  {blocks:,} blocks\n"
    )
    for name, value in _hashes(demo):
        text.append_text(Text.assemble((f"{name:13}", "bold"), f"{value}\n"))
    taken = ", ".join(f"{stage} {demo.seconds[stage]:.1f}" for stage in STAGES)
    text.append_text(
        Text.assemble((f"{'seconds':13}", "bold"), f"{taken}\n", (f"{'report':13}", "bold"), str(_near(demo.report)))
    )
    return text


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
