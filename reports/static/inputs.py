"""What a report is made of: the files of one study, read and checked once, never written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import polars as pl
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from reports.static.integrity import Difference
from runtime.canonical import sha256_file
from runtime.core.records import RECORD_TYPES
from runtime.errors import DataError
from runtime.inference.panel import BarPanel
from workbench.data.datasets.manifests import load_manifest, load_panel

RUNS: Final = ("ml", "trend")
"""In the order in which the report shows them: what the study is about, then the rule beside it."""
TABLES: Final = {
    "folds": """fold_n train_first_t train_last_t validation_first_t validation_last_t test_first_t test_last_t purge_t
        embargo_t rows_train rows_validation rows_test""",
    "metrics": "model horizon_h fold_n n auc brier brier_skill log_loss ece accuracy",
    "calibration": "horizon_h bin_n prob_mean observed n",
    "shap": "horizon_h feature mean_abs mean",
    "models": "model_hash scope horizon_h fold_n trees_n bytes_n evaluator_equal rows_compared",
    "equity": "at_t series pv_e8",
}


class View(BaseModel):
    """Base of the shapes read here: what the report needs, and nothing said about the rest of the file."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Baseline(View):
    """A naive way to spend the same period."""

    final_pv_e8: int
    net_return_ppm: int
    max_drawdown_ppm: int
    fees_e8: int | None = None


class Summary(Baseline):
    """The figures of one backtest."""

    run_id: str
    run_root: str
    journal_head: str
    blocks: int
    signals: int
    orders: int
    fills: int
    trades: int
    refusals: dict[str, int]
    initial_pv_e8: int
    fees_e8: int
    slippage_e8: int
    turnover_e8: int
    first_t: int
    last_t: int


class Study(View):
    """study.json."""

    source: str
    simulated: bool
    dataset_hash: str
    feature_set_hash: str
    model_hashes: tuple[str, ...]
    policy_hash: str
    bundle_hashes: dict[str, str] = {}
    tables: dict[str, str] = {}
    verdict: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    run_root: str
    spec: dict[str, JsonValue]
    runs: dict[str, Summary]
    baselines: dict[str, Baseline]


class Gap(View):
    """Bars the venue does not have."""

    symbol: str
    first_t: int
    last_t: int
    bars_n: int


class Finding(View):
    """What a quality gate found."""

    gate: str
    severity: str
    symbol: str | None = None
    first_t: int | None = None
    last_t: int | None = None
    rows_n: int = 0
    detail: str = ""
    accepted: bool = False


class DataFile(View):
    """One file of the dataset."""

    symbol: str
    sha256: str
    rows: int
    first_t: int
    last_t: int


class Manifest(View):
    """datasets/<dataset_hash>.json."""

    dataset_hash: str
    source: str
    simulated: bool
    venue: str
    interval: str
    universe_version: str
    as_of_t: int
    first_t: int
    last_t: int
    symbols: tuple[str, ...]
    files: tuple[DataFile, ...]
    gaps: tuple[Gap, ...]
    findings: tuple[Finding, ...]
    verdict: str
    assumptions: tuple[str, ...]


class Replay(View):
    """The result of recomputing one run; `failure` names the first difference."""

    parity: bool
    blocks: int = 0
    failure: dict[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One backtest: its figures, its header, and its projection tables (all columns int64)."""

    name: str
    summary: Summary
    genesis: Mapping[str, JsonValue]
    genesis_sha256: str
    symbols: tuple[str, ...]
    tables: Mapping[str, pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that decides the bytes of a report."""

    study_id: str
    study: Study
    manifest: Manifest
    panel: BarPanel
    tables: Mapping[str, pl.DataFrame]
    runs: Mapping[str, Run]
    replay: Mapping[str, Replay]
    receipt: Mapping[str, JsonValue]
    differences: tuple[Difference, ...] = ()


V = TypeVar("V", bound=View)


def read_json(path: Path) -> dict[str, JsonValue]:
    """Return a JSON object from a file; raise `DataError` when it is missing or not one."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as e:
        raise DataError(f"no {path}", expected="a finished study", action="run `ballast demo` or the study first") from e
    except ValueError as e:
        raise DataError(f"{path} is not JSON: {e}", expected="a whole file", action="run the study again") from e
    if not isinstance(value, dict):
        raise DataError(f"{path} holds a {type(value).__name__}", expected="a JSON object", action="run the study again")
    return value


def read_view(path: Path, shape: type[V]) -> V:
    """Return a JSON file as the given shape; raise `DataError` naming the first field that does not fit."""
    value = read_json(path)
    try:
        return shape.model_validate(value)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {where}: {first['msg']}", expected=f"the fields of {shape.__name__.lower()}",
                        action="run the study again with this version") from e  # fmt: skip


def read_table(path: Path, columns: str) -> pl.DataFrame:
    """Return a Parquet table with at least the named columns; raise `DataError` otherwise."""
    if not path.is_file():
        raise DataError(f"no {path}", expected="the tables of a finished study", action="run the study again")
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as e:
        raise DataError(f"{path} cannot be read: {e}", expected="a whole Parquet file", action="run the study again") from e
    missing = sorted(set(columns.split()) - set(frame.columns))
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}", expected=f"columns {' '.join(columns.split())}",
                        action="run the study again with this version")  # fmt: skip
    return frame


def read_run(home: Path, name: str, summary: Summary) -> Run:
    """Return one backtest of the study from `home/runs/<run_id>`."""
    folder = home / "runs" / summary.run_id
    genesis = read_json(folder / "genesis.json")
    symbols = genesis.get("symbols")
    if not isinstance(symbols, list):
        raise DataError(f"{folder / 'genesis.json'} lists no symbols", expected="the assets by instrument number",
                        action="run the study again with this version")  # fmt: skip
    tables = {
        r.name: read_table(folder / "projections" / f"{r.name}.parquet", " ".join(r.dtype.names or ())) for r in RECORD_TYPES
    }
    return Run(name, summary, genesis, sha256_file(folder / "genesis.json"), tuple(str(s) for s in symbols), tables)


def read_inputs(
    home: Path,
    study_dir: Path,
    replay: Mapping[str, Mapping[str, JsonValue]],
    differences: tuple[Difference, ...] = (),
) -> Inputs:
    """Return everything a report of the study needs.

    Args:
        home: the folder that holds datasets and runs.
        study_dir: the study's own folder.
        replay: result per run name (`ml`, `trend`); a run that is not in it counts as not replayed.
        differences: what was found not to verify; the report shows it at the top.
    """
    study = read_view(study_dir / "study.json", Study)
    manifest = load_manifest(home, study.dataset_hash)
    receipt = study_dir / "receipt.json"
    return Inputs(
        study_id=study_dir.name,
        study=study,
        manifest=Manifest.model_validate(manifest.model_dump()),
        panel=load_panel(home, manifest),
        tables={name: read_table(study_dir / "tables" / f"{name}.parquet", columns) for name, columns in TABLES.items()},
        runs={name: read_run(home, name, study.runs[name]) for name in RUNS if name in study.runs},
        replay={name: Replay.model_validate(value) for name, value in sorted(replay.items())},
        receipt=read_json(receipt) if receipt.is_file() else {},
        differences=differences,
    )
