"""The checks of a promotion. Each says what it found, and keeps a document of it; none of them repairs anything.

Integrity is asked for: replay parity, the SQL gates, the data's verdict, the notebook's receipt, evaluators and forecasts that agree.
Performance is shown as information: it will be asked for where real money trades.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from runtime.adapters.inputs import load_forecasts
from runtime.canonical import canonical_json, digest, sha256_file
from runtime.core.records import E8, PPM
from runtime.errors import BallastError, DataError
from runtime.inference.features import compute, usable
from runtime.inference.forecaster import bars_between
from runtime.inference.trees import raw_scores
from runtime.inference.trend import TrendSpec
from runtime.ops.check import check_run
from runtime.progress import Report
from runtime.replay import Level, replay
from workbench.data.universe.versions import iso
from workbench.notebook.pins import pins_path, portable_of, read_pins
from workbench.notebook.receipt import RECEIPT_NAME, Receipt, read_receipt
from workbench.notebook.run import NOTEBOOKS
from workbench.notebook.seal import results_of, spec_of
from workbench.promote.subject import Subject
from workbench.study.result import RESULT_NAME
from workbench.training.labels import decision_rows

if TYPE_CHECKING:
    from nbformat import NotebookNode

SAMPLED_TIMES: Final = 64
"""Decision times, spread evenly over a test window, at which evaluators and forecasts are compared again."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: short name, also of its document.
        asked: a promotion to paper needs it.
        ok: it holds.
        found: in words.
        expected: what would have been right.
        action: what to do when it does not hold.
        document: canonical JSON; what a reader of the bundle can look up.
    """

    name: str
    asked: bool
    ok: bool
    found: str
    expected: str
    action: str
    document: bytes


def run_checks(subject: Subject, report: Report, *, lineage: bool) -> Iterator[Check]:
    """Yield the checks of a run, one after the other; every one runs, whatever the others found."""
    yield check_replay(subject, report, lineage=lineage)
    yield check_gates(subject, report)
    yield check_data(subject)
    yield check_notebook(subject)
    yield check_evaluator(subject)
    yield check_forecasts(subject)
    yield show_seed(subject)
    yield show_performance(subject)


def check_replay(subject: Subject, report: Report, *, lineage: bool) -> Check:
    """Recompute the run, from the lake and the models on when `lineage` is asked for."""
    level = Level.LINEAGE if lineage else Level.DECISIONS
    found = replay(subject.run_dir, subject.home, report, level=level)
    code = "" if found.same_code else "; by another source than the one that made it"
    words = f"REPLAY PARITY: {'TRUE' if found.parity else 'FALSE'}, level {level.value}, {found.blocks:,} blocks{code}"
    return Check(
        "replay", True, found.parity, words if found.parity else f"{words}: {found.failure}",
        "every block recomputed to the same bytes", f"`ballast replay {found.run_id}`; keep the folder as evidence",
        _document(found.model_dump(mode="json", exclude={"seconds"})),
    )  # fmt: skip


def check_gates(subject: Subject, report: Report) -> Check:
    """Hold the run against the SQL gates, the one on training windows among them."""
    predictions = subject.study_dir / "tables" / "predictions.parquet"
    try:
        found = check_run(subject.run_dir, subject.home, predictions if predictions.is_file() else None, report)
    except BallastError as e:
        return _failed("gates", e)
    broken = [gate.name for gate in found.gates if gate.violations > 0]
    said = f"broken: {', '.join(broken)}" if broken else f"skipped: {', '.join(found.skipped)}" if found.skipped else "all hold"
    return Check(
        "gates", True, found.valid and not found.skipped, f"{len(found.gates)} SQL gates, {said}", "every gate to hold",
        f"`ballast check {found.run_id}`; keep the folder as evidence", _document(dict(found.as_counts())),
    )  # fmt: skip


def check_data(subject: Subject) -> Check:
    """Look at the verdict of the dataset; its bars were verified when they were loaded."""
    d = subject.dataset
    label = "SIMULATED" if d.simulated else d.venue
    accepted = sum(finding.rows_n for finding in d.findings)
    same = (d.dataset_hash, d.symbols, d.simulated) == (
        subject.genesis.dataset_hash, subject.genesis.symbols, subject.genesis.simulated,
    )  # fmt: skip
    words = f"{d.verdict}: {label} {d.interval}, {len(d.symbols)} assets, {d.bars_n:,} bars verified"
    details = f", {len(d.gaps)} gaps, {len(d.findings)} findings on {accepted:,} rows accepted by name"
    return Check(
        "data", True, same, words + details if same else "the run names other data than its dataset's manifest",
        "a dataset whose findings are all resolved or accepted by name", f"`ballast data check`, dataset {d.dataset_hash[:12]}",
        _document({
            **d.model_dump(mode="json", exclude={"files"}),
            "series": [f.model_dump(mode="json", include={"symbol", "series", "sha256", "rows"}) for f in d.files],
        }),
    )  # fmt: skip


# ---- the notebook ----------------------------------------------------------------------------------------------


def check_notebook(subject: Subject) -> Check:
    """Hold the study against the receipt and the seal of the governed notebook that made it, and these against the pins."""
    path = subject.study_dir / RECEIPT_NAME
    expected = "receipt, sealed notebook, study and pin to agree"
    action = "run the notebook again: `ballast demo`, or `ballast notebook run walk_forward`"
    try:
        receipt = read_receipt(path)
        problem = _seal_problem(subject, receipt) or _pin_problem(receipt, subject)
    except BallastError as e:
        return _failed("notebook", e)
    words = f"{receipt.notebook}, results {receipt.results_sha256[:12]}, commit {receipt.git_commit[:12] or 'unknown'}"
    return Check(
        "notebook", True, not problem, problem or f"{words}; sealed, and the study is its result", expected, action,
        _document(receipt.model_dump(mode="json")),
    )  # fmt: skip


def _seal_problem(subject: Subject, receipt: Receipt) -> str:
    sealed = subject.study_dir / f"{receipt.notebook}.ipynb"
    if not sealed.is_file():
        return f"{sealed.name} is missing beside its receipt"
    if sha256_file(sealed) != receipt.notebook_sha256:
        return f"{sealed.name} is not the notebook of its receipt"
    nb = _notebook(sealed)
    shown = results_of(nb)
    checks = {
        "the notebook's result": digest(shown) == receipt.results_sha256,
        "the notebook's parameters": digest(spec_of(nb)) == receipt.parameters_sha256,
        "the study's result": digest([json.loads((subject.study_dir / RESULT_NAME).read_bytes())]) == receipt.results_sha256,
        "the study's parameters": digest(subject.study.spec.model_dump(mode="json")) == receipt.parameters_sha256,
        "the dataset": receipt.dataset_hash == subject.genesis.dataset_hash,
    }
    return next((f"{name} is not that of the receipt" for name, holds in checks.items() if not holds), "")


def _notebook(path: Path) -> NotebookNode:
    import nbformat

    try:
        return nbformat.reads(path.read_text(), as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as e:
        raise DataError(f"{path.name} is no notebook", expected="a sealed notebook", action="run it again") from e


def _pin_problem(receipt: Receipt, subject: Subject) -> str:
    """Return where the receipt contradicts the pin of its notebook: other parameters or platforms have no pin to contradict."""
    pin = read_pins(pins_path(NOTEBOOKS / f"{receipt.notebook}.py")).get(receipt.notebook)
    if pin is None:
        return ""
    if receipt.source_sha256 != pin.source_sha256:
        return f"the source of {receipt.notebook} is not the governed one that is pinned"
    if receipt.parameters_sha256 != pin.parameters_sha256:
        return ""
    result = json.loads((subject.study_dir / RESULT_NAME).read_bytes())
    if portable_of(result) != pin.portable:
        return "the result differs from the pin in what is equal on every platform"
    platform = pin.platforms.get(receipt.environment.fingerprint)
    return "the result is not the pinned one" if platform and platform.results_sha256 != receipt.results_sha256 else ""


# ---- models and forecasts --------------------------------------------------------------------------------------


def check_evaluator(subject: Subject) -> Check:
    """Score sampled rows of the dataset with LightGBM and with the runtime's evaluator, model by model, bit by bit."""
    expected, action = "the same bits from both", "keep the study and report it; the model cannot be used"
    forecaster = subject.forecaster
    if isinstance(forecaster.rule, TrendSpec):
        return Check(
            "evaluator", True, True, "a rule with stated constants: no models to evaluate", expected, action,
            _document({"models": 0, "rows": 0}),
        )  # fmt: skip
    import lightgbm

    rows = _sampled_rows(subject)
    values = compute(subject.panel, rows, forecaster.rule)
    asked = usable(values, forecaster.rule)
    everywhere = np.ascontiguousarray(values[asked])
    owners = {coin.model_hash: coin.symbol for h in forecaster.description.parts[0].horizons for coin in h.coins}
    compared, differing = 0, []
    for name, model in forecaster.models.items():
        s = forecaster.symbols.index(owners[name]) if name in owners else None
        features = everywhere if s is None else np.ascontiguousarray(values[:, s][asked[:, s]])
        theirs = lightgbm.Booster(model_str=forecaster.texts[name]).predict(features, raw_score=True, num_threads=1)
        compared += len(features)
        if raw_scores(model, features).tobytes() != np.asarray(theirs, np.float64).tobytes():
            differing.append(name)
    words = f"{len(forecaster.models)} models, {compared:,} scores equal to LightGBM's, bit for bit"
    return Check(
        "evaluator", True, not differing and compared > 0,
        words if not differing else f"{len(differing)} models score differently, first {differing[0][:12]}", expected, action,
        _document({"models": len(forecaster.models), "rows": compared, "differing": differing, "lightgbm": lightgbm.__version__}),
    )  # fmt: skip


def check_forecasts(subject: Subject) -> Check:
    """Ask the bundle's forecaster about bars of the run, tail by tail, and compare with the forecasts that the run was fed with."""
    stored = load_forecasts(subject.home, subject.genesis.forecasts_digest)
    at = {int(at_t): n for n, at_t in enumerate(stored.at_t)}
    forecaster, panel = subject.forecaster, subject.panel
    own_end_t = {part.from_t: part.to_t for part in subject.made.parts}
    compared, differing = 0, []
    for row in _sampled_rows(subject).tolist():
        at_t = int(panel.open_t[row]) + panel.interval_t
        part = forecaster.part_at(at_t)
        if at_t not in at or (part is not None and at_t >= own_end_t[part.from_t]):
            continue
        first = max(row + 1 - forecaster.window_n, 0)
        made = forecaster.forecast(bars_between(panel, first, row + 1))
        compared += 1
        n = at[at_t]
        if made is None or made[0].tobytes() != stored.rows[n].tobytes() or made[1] != stored.feature_digests[n]:
            differing.append(at_t)
    words = f"{compared} forecasts of the run made again from a tail of {forecaster.window_n} bars, bit for bit"
    return Check(
        "forecasts", True, compared > 0 and not differing,
        f"{len(differing)} of {compared} forecasts differ, first at {differing[0]}" if differing else words,
        "the forecasts that the run was fed with", "keep the home folder and report it",
        _document({"compared": compared, "differing": differing, "window_n": forecaster.window_n}),
    )  # fmt: skip


def _sampled_rows(subject: Subject) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return rows of the panel on the decision grid, spread over the time in which the bundle's models were tested."""
    rows = decision_rows(subject.panel, subject.forecaster.grid_h)
    at_t = subject.panel.open_t[rows] + subject.panel.interval_t
    parts = subject.forecaster.description.parts
    first_t = parts[0].from_t if parts else subject.study.folds[0].test_first_t
    end_t = next((part.to_t for part in subject.made.parts if part.from_t == first_t), int(at_t[-1]) + 1)
    rows = rows[(at_t >= first_t) & (at_t < end_t)]
    return np.asarray(rows[np.unique(np.linspace(0, max(len(rows) - 1, 0), SAMPLED_TIMES).round().astype(np.int64))], np.int64)


def show_seed(subject: Subject) -> Check:
    """Show which assets have bars in the seed: one without any is not forecast before its venue has given a window of them."""
    seed = subject.seed
    bars = {symbol: int(n) for symbol, n in zip(seed.symbols, np.isfinite(seed.close).sum(axis=0), strict=True)}
    without = [symbol for symbol, n in bars.items() if n == 0]
    words = (
        f"{len(seed.open_t)} bars until {iso(subject.seed_until_t)}, {len(bars) - len(without)} of {len(bars)} assets have some"
    )
    return Check(
        "seed", False, True, words + (f"; none: {', '.join(without)}" if without else ""), "", "",
        _document({"until_t": subject.seed_until_t, "rows": len(seed.open_t), "bars": bars}),
    )  # fmt: skip


def show_performance(subject: Subject) -> Check:
    """Show what the run earned and what the study says of it. It decides nothing here."""
    study, name = subject.study, subject.genesis.bundle.name
    run = study.runs[name]
    words = (
        f"net {100 * run.net_return_ppm / PPM:+.2f} %, drawdown {100 * run.max_drawdown_ppm / PPM:.2f} %, {run.fills:,} fills, "
        f"fees {int(run.fees_e8) / E8:,.2f} USD"
    )
    return Check(
        "performance", False, True, words, "", "",
        _document({
            "verdict": list(study.verdict), "run": json.loads(run.model_dump_json(exclude={"seconds"})) | {
                key: str(value) for key, value in run.model_dump().items() if key.endswith("_e8")
            },
            "baselines": {
                key: {field: str(value) if field.endswith("_e8") else value for field, value in found.model_dump().items()}
                for key, found in study.baselines.items()
            },
            "metrics": [metric.model_dump(mode="json") for metric in study.metrics],
            "folds": [fold.model_dump(mode="json") for fold in study.folds],
            "assumptions": list(study.assumptions),
        }),
    )  # fmt: skip


def _failed(name: str, error: BallastError) -> Check:
    return Check(name, True, False, error.got, error.expected, error.action, _document({"error": error.got}))


def _document(value: object) -> bytes:
    return canonical_json(value)
