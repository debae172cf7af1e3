"""Everything the templates print, put together from the inputs: the templates themselves compute nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Final

import polars as pl
from pydantic import JsonValue

from reports.static import charts_market, charts_models, charts_portfolio, facts, lineage, market, words
from reports.static.charts import Chart
from reports.static.inputs import RUNS, Finding, Gap, Inputs, Replay
from reports.static.integrity import Difference
from reports.static.numbers import count, day, measure, money_text, percent_text, plural, utc
from runtime.inference.panel import Ints
from workbench.data.quality.findings import GATES

SHAP_SHOWN_N: Final = 15
SAMPLE_QUERY: Final = "select * from cash_ledger limit 20"


@dataclass(frozen=True, slots=True)
class Parity:
    """What replaying one run showed."""

    label: str
    replay: Replay | None
    difference: tuple[tuple[str, str], ...]

    @property
    def state(self) -> str:
        """TRUE, FALSE or NOT REPLAYED."""
        return "NOT REPLAYED" if self.replay is None else "TRUE" if self.replay.parity else "FALSE"


@dataclass(frozen=True, slots=True)
class RunPart:
    """The tables of one run."""

    name: str
    label: str
    gates: tuple[tuple[str, str, int, int, int], ...]
    actions: tuple[tuple[str, str, int], ...]
    symbols: tuple[facts.SymbolResult, ...]
    refusals_n: int
    signals_n: int


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One model at one horizon: all folds together, and the spread over folds."""

    model: str
    values: tuple[str, ...]
    auc_spread: str
    skill_spread: str


@dataclass(frozen=True, slots=True)
class Horizon:
    """The forecast quality of one horizon."""

    horizon_h: int
    sentence: str
    some: bool
    skill: Chart | None
    metrics: tuple[MetricRow, ...]
    reliability: Chart | None
    bins: tuple[tuple[int, str, str, str, int], ...]
    shap: tuple[tuple[str, str, str, int], ...]
    shap_rest_n: int


@dataclass(frozen=True, slots=True)
class Page:
    """One report."""

    study_id: str
    simulated: bool
    sealed: bool
    differences: tuple[Difference, ...]
    about: str
    verdict: words.Verdict
    parity: tuple[Parity, ...]
    brief: tuple[tuple[str, str], ...]
    outcomes: tuple[facts.Outcome, ...]
    exposure_note: str
    value: Chart | None
    closer: Chart | None
    tiers: Chart | None
    years: tuple[tuple[int, bool, tuple[facts.YearResult | None, ...]], ...]
    year_labels: tuple[str, ...]
    runs: tuple[RunPart, ...]
    horizons: tuple[Horizon, ...]
    folds: tuple[Mapping[str, int], ...]
    folds_chart: Chart | None
    assets: tuple[market.Asset, ...]
    chosen: str
    findings: tuple[Finding, ...]
    found: tuple[tuple[str, str, int, int, int], ...]
    gaps: tuple[Gap, ...]
    coverage: Chart
    coverage_rows: tuple[tuple[str, int, int, int, str, str], ...]
    dataset: tuple[tuple[str, str], ...]
    data_verdict: str
    hashes: tuple[lineage.Hash, ...]
    models: tuple[lineage.Model, ...]
    files: tuple[lineage.Hash, ...]
    spec: tuple[tuple[str, str], ...]
    profile: tuple[tuple[str, str], ...]
    assumptions: tuple[str, ...]
    on_record: tuple[str, ...]
    not_shown: tuple[str, ...]
    survivorship: str
    gates: Mapping[str, str]
    checks: tuple[facts.Check, ...]
    commands: tuple[str, ...]

    @property
    def parity_state(self) -> str:
        """Return TRUE only when every run was replayed and came out the same."""
        states = {part.state for part in self.parity}
        return "FALSE" if "FALSE" in states else "TRUE" if states == {"TRUE"} else "NOT REPLAYED"


def build(inputs: Inputs) -> Page:
    """Return the report's content."""
    series = facts.equity(inputs)
    results = facts.outcomes(inputs, series)
    assets = market.assets(inputs)
    value, closer, tiers = _portfolio(inputs, series, results)
    symbols, starts_t, cells = facts.coverage(inputs)
    year_labels, years = _years(series)
    return Page(
        study_id=inputs.study_id,
        simulated=inputs.study.simulated,
        sealed=bool(inputs.receipt),
        differences=inputs.differences,
        about=_about(inputs),
        verdict=words.verdict(inputs, results),
        parity=tuple(_parity(inputs, name) for name in RUNS if name in inputs.runs),
        brief=(
            ("Dataset", inputs.study.dataset_hash), ("Features", inputs.study.feature_set_hash), ("Policy", inputs.study.policy_hash),
            *((f"{facts.SERIES[name]} run root", run.summary.run_root) for name, run in inputs.runs.items()),
        ),
        outcomes=tuple(results),
        exposure_note=words.exposure_note(inputs),
        value=value, closer=closer, tiers=tiers,
        years=years, year_labels=year_labels,
        runs=tuple(_run_part(inputs, name) for name in RUNS if name in inputs.runs),
        horizons=tuple(_horizon(inputs, skill) for skill in words.skills(inputs.tables["metrics"])),
        folds=tuple(inputs.tables["folds"].sort("fold_n").to_dicts()),
        folds_chart=_folds(inputs),
        assets=tuple(assets),
        chosen=max(assets, key=lambda a: (a.chart is not None, a.fills_n)).symbol if assets else "",
        findings=inputs.manifest.findings,
        found=_found(inputs.manifest.findings),
        gaps=tuple(sorted(inputs.manifest.gaps, key=lambda g: (-g.bars_n, g.symbol, g.first_t))),
        coverage=_coverage(inputs, symbols, starts_t, cells),
        coverage_rows=tuple(_coverage_row(inputs, symbol, row) for symbol, row in zip(symbols, cells, strict=True)),
        dataset=_dataset(inputs),
        data_verdict=inputs.manifest.verdict,
        hashes=lineage.hashes(inputs), models=lineage.models(inputs), files=lineage.files(inputs),
        spec=tuple((name, shown(value)) for name, value in sorted(inputs.study.spec.items())),
        profile=_profile(inputs),
        assumptions=tuple(dict.fromkeys((*inputs.manifest.assumptions, *inputs.study.assumptions, *words.costs(inputs), *words.STANDING_ASSUMPTIONS))),
        on_record=inputs.study.verdict,
        not_shown=words.NOT_SHOWN,
        survivorship=words.SURVIVORSHIP,
        gates=words.GATE_MEANINGS,
        checks=tuple(facts.checks(inputs, series)),
        commands=(*(f"ballast replay {run.summary.run_id}" for run in inputs.runs.values()), f"ballast report {inputs.study_id}",
                  *(f'ballast sql {run.summary.run_id} "{SAMPLE_QUERY}"' for run in inputs.runs.values())),
    )  # fmt: skip


def shown(value: JsonValue) -> str:
    """Return a JSON value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(part)}" for key, part in sorted(value.items()))
    return ", ".join(shown(part) for part in value) if isinstance(value, list) else str(value)


def _about(inputs: Inputs) -> str:
    first_t, last_t = market.period(inputs)
    m, folds_n = inputs.manifest, len(inputs.tables["folds"])
    return (
        f"A walk-forward study of {plural(len(m.symbols), 'asset')} ({m.venue}, {m.interval} bars), tested from {day(first_t)} to "
        f"{day(last_t)} in {plural(folds_n, 'fold')}: what the forecasts were worth, and what a governed, long-only, integer-exact "
        "backtest did with them."
    )


def _parity(inputs: Inputs, name: str) -> Parity:
    found = inputs.replay.get(name)
    failure = (found.failure or {}) if found else {}
    difference = tuple((key, shown(value)) for key, value in failure.items() if value not in ("", 0))
    return Parity(facts.SERIES[name], found, difference)


def _portfolio(
    inputs: Inputs, series: facts.Series, results: Sequence[facts.Outcome]
) -> tuple[Chart | None, Chart | None, Chart | None]:
    curves = {name: curve for name, curve in charts_portfolio.curves_of(series).items() if len(curve[0]) > 1}
    if not curves:
        return None, None, None
    simulated = inputs.study.simulated
    ends = "; ".join(f"{r.label} ended at {money_text(r.final_pv_e8)} USD ({percent_text(r.net_return_ppm)})" for r in results)
    value = charts_portfolio.value_chart(curves, ends + ".", simulated)
    if not set(curves) & set(RUNS):
        return value, None, None
    falls = "; ".join(
        f"{r.label} at most {percent_text(r.max_drawdown_ppm, sign=False)} below its peak" for r in results if r.name in RUNS
    )
    mine = "; ".join(f"{r.label} ended at {money_text(r.final_pv_e8)} USD" for r in results if r.name in RUNS)
    return (
        value,
        charts_portfolio.closer_chart(curves, mine + ".", simulated),
        charts_portfolio.tiers_chart(curves, falls + ".", simulated),
    )


YearRows = tuple[tuple[int, bool, tuple[facts.YearResult | None, ...]], ...]


def _years(series: facts.Series) -> tuple[tuple[str, ...], YearRows]:
    found = {name: {row.year: row for row in facts.years(*curve)} for name, curve in series.items()}
    rows = []
    for year in sorted({y for rows_of in found.values() for y in rows_of}):
        cells = tuple(rows_of.get(year) for rows_of in found.values())
        rows.append((year, all(cell is not None and cell.whole for cell in cells), cells))
    return tuple(facts.SERIES[name] for name in found), tuple(rows)


def _run_part(inputs: Inputs, name: str) -> RunPart:
    run = inputs.runs[name]
    rows = facts.gates(run)
    most = max([n for _, n, _ in rows] + [1])
    return RunPart(
        name, facts.SERIES[name],
        tuple((gate, words.GATE_MEANINGS.get(gate, ""), n, cut, max(n * 1000 // most, 2 if n else 0)) for gate, n, cut in rows),
        tuple((action, words.REASONS.get(reason, reason), n) for action, reason, n in facts.actions(run)), tuple(facts.by_symbol(run)), sum(run.summary.refusals.values()), run.summary.signals,
    )  # fmt: skip


METRICS: Final = ("auc", "brier", "brier_skill", "log_loss", "ece", "accuracy")


def _spread(values: Sequence[float | None], places_n: int) -> str:
    known = [v for v in values if v is not None and not isnan(v)]
    return f"{measure(min(known), places_n)} \u2026 {measure(max(known), places_n)}" if known else measure(None)


def _metric_rows(at: pl.DataFrame) -> tuple[MetricRow, ...]:
    rows = []
    for model, label in charts_models.MODELS.items():
        mine = at.filter(pl.col("model") == model)
        whole, folds = mine.filter(pl.col("fold_n") < 0), mine.filter(pl.col("fold_n") >= 0)
        if len(whole):
            values = (count(whole["n"][0]), *(measure(whole[name][0]) for name in METRICS))
            rows.append(
                MetricRow(label, values, _spread(folds["auc"].to_list(), 3), _spread(folds["brier_skill"].to_list(), 4))
            )
    return tuple(rows)


def _horizon(inputs: Inputs, skill: words.Skill) -> Horizon:
    h, simulated = skill.horizon_h, inputs.study.simulated
    metrics = inputs.tables["metrics"].filter(pl.col("horizon_h") == h)
    bins = inputs.tables["calibration"].filter((pl.col("horizon_h") == h) & (pl.col("n") > 0)).sort("bin_n")
    shap = inputs.tables["shap"].filter(pl.col("horizon_h") == h).sort(["mean_abs", "feature"], descending=[True, False])
    sentence = words.skill_sentence(skill)
    total = sum(bins["n"].to_list())
    far = max((abs(a - b) for a, b in zip(bins["prob_mean"], bins["observed"], strict=True)), default=0.0)
    said = f"{plural(total, 'forecast')} in {plural(len(bins), 'bin')}; the largest miss of a bin is {measure(far, 3)}."
    most = float(shap["mean_abs"].max() or 0) if len(shap) else 0.0  # type: ignore[arg-type]
    features = tuple(
        (feature, measure(mean_abs, 5), measure(mean, 5, sign=True), int(1000 * mean_abs / most) if most else 0)
        for feature, mean_abs, mean in shap.head(SHAP_SHOWN_N).select("feature", "mean_abs", "mean").iter_rows()
    )
    return Horizon(
        h, sentence, skill.some,
        charts_models.skill_chart(h, metrics, sentence, simulated) if len(metrics) else None,
        _metric_rows(metrics),
        charts_models.reliability_chart(h, bins, said, simulated) if len(bins) else None,
        tuple((b, measure(p), measure(o), measure(o - p, sign=True), n)
              for b, p, o, n in bins.select("bin_n", "prob_mean", "observed", "n").iter_rows()),
        features, max(0, len(shap) - SHAP_SHOWN_N),
    )  # fmt: skip


def _folds(inputs: Inputs) -> Chart | None:
    folds = inputs.tables["folds"]
    if not len(folds):
        return None
    says = f"{plural(len(folds), 'fold')}; tests from {utc(folds['test_first_t'].min())} to {utc(folds['test_last_t'].max())}."  # type: ignore[arg-type]
    return charts_models.folds_chart(folds, says, inputs.study.simulated)


def _coverage(inputs: Inputs, symbols: Sequence[str], starts_t: Ints, cells: Sequence[Sequence[tuple[int, int]]]) -> Chart:
    levels = [[charts_market.level(seen, expected) for seen, expected in row] for row in cells]
    whole = sum(found == "complete" for row in levels for found in row)
    says = f"{count(whole)} of {plural(sum(len(row) for row in levels), 'month')} of {plural(len(symbols), 'asset')} have every bar."
    return charts_market.coverage_chart(symbols, starts_t, levels, says, inputs.study.simulated)


def _coverage_row(inputs: Inputs, symbol: str, row: Sequence[tuple[int, int]]) -> tuple[str, int, int, int, str, str]:
    files = [f for f in inputs.manifest.files if f.symbol == symbol]
    missing = [gap for gap in inputs.manifest.gaps if gap.symbol == symbol]
    first, last = (utc(min(f.first_t for f in files)), utc(max(f.last_t for f in files))) if files else ("", "")
    return symbol, sum(seen for seen, _ in row), len(missing), sum(gap.bars_n for gap in missing), first, last


def _found(findings: Sequence[Finding]) -> tuple[tuple[str, str, int, int, int], ...]:
    """Return (gate, meaning, findings, bars concerned, accepted) per gate, most findings first."""
    rows = []
    for gate in {f.gate for f in findings}:
        mine = [f for f in findings if f.gate == gate]
        meaning = GATES[gate][1] if gate in GATES else ""
        rows.append((gate, meaning, len(mine), sum(f.rows_n for f in mine), sum(f.accepted for f in mine)))
    return tuple(sorted(rows, key=lambda row: (-row[2], row[0])))


def _profile(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    for run in inputs.runs.values():
        profile = run.genesis.get("profile")
        if isinstance(profile, dict):
            return tuple((name, shown(value)) for name, value in sorted(profile.items()))
    return ()


def _dataset(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    m = inputs.manifest
    return (
        ("Source", m.source), ("Venue", m.venue), ("Interval", m.interval), ("Universe", m.universe_version),
        ("Assets", f"{len(m.symbols)}: {' '.join(m.symbols)}"), ("Period", f"{utc(m.first_t)} to {utc(m.last_t)} UTC"),
        ("As of", f"{utc(m.as_of_t)} UTC"), ("Bars", count(sum(f.rows for f in m.files))), ("Verdict of the gates", m.verdict),
    )  # fmt: skip
