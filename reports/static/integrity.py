"""Whether a study is what it says: its files against the digests on record, its figures against the journal's records.

What this finds is damage, and any edit that was not repeated in everything that names it. It is no signature: who replaces
journal, study, notebook and receipt together leaves nothing to compare with. The replay recomputes the journal itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
from pydantic import ValidationError

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.projections import PROJECTIONS_NAME, ensure_projections
from runtime.canonical import digest, sha256_file
from runtime.core import codes as c
from runtime.core.digest import genesis_hash, run_root
from runtime.core.records import PPM
from runtime.errors import BallastError, VerificationError
from workbench.backtest import RunSummary
from workbench.notebook.receipt import RECEIPT_NAME, Receipt, read_receipt
from workbench.study.baselines import Baseline
from workbench.study.result import RESULT_NAME, StudyResult, load_result

ABSENT: Final = "no such file"
SHOWN_N: Final = 3
SEAL_KEYS: Final = ("source_sha256", "parameters_sha256", "results_sha256", "rendered_sha256")
RUN_FILE: Final = "genesis.json"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not what the record says."""

    what: str
    got: str
    expected: str


@dataclass(frozen=True, slots=True)
class Integrity:
    """What checking a study against its own records showed.

    Attributes:
        sealed: whether a notebook's receipt vouches for the result.
        differences: everything that does not verify; empty when all does.
    """

    sealed: bool
    differences: tuple[Difference, ...]

    def error(self, report: Path) -> VerificationError:
        """Return the failure that names the first differences and where all of them are listed."""
        shown = "; ".join(f"{d.what} is {d.got}, on record {d.expected}" for d in self.differences[:SHOWN_N])
        more = len(self.differences) - SHOWN_N
        return VerificationError(
            f"the study DOES NOT VERIFY: {shown}" + (f"; and {more} more" if more > 0 else ""),
            expected="files and figures that are those on record",
            action=f"keep the folder as evidence, see {report}, then run the study again",
        )


def check_study(home: Path, study_dir: Path) -> Integrity:
    """Compare a study with its receipt, its files with its digests and its figures with the records of its runs."""
    sealed = (study_dir / RECEIPT_NAME).is_file()
    return Integrity(sealed, tuple(_differences(home, study_dir, sealed=sealed)))


def _differences(home: Path, study_dir: Path, *, sealed: bool) -> Iterator[Difference]:
    try:
        study = load_result(study_dir)
    except (OSError, ValidationError) as e:
        yield Difference(RESULT_NAME, f"unreadable ({type(e).__name__})", "a whole study.json of this version")
        return
    yield from _content(study_dir, study)
    yield from _receipt(study_dir, study) if sealed else _unsealed(study_dir)
    yield from _files(study_dir, study)
    for name, summary in study.runs.items():
        yield from _run(home, name, summary)
    if study.runs:
        yield from _same(
            "run root of the study", study.run_root, study.runs.get("ml", next(iter(study.runs.values()))).run_root
        )
        yield from _equity(study_dir, study)


def _same(what: str, got: object, expected: object) -> Iterator[Difference]:
    if got != expected:
        yield Difference(what, str(got), str(expected))


def _sha256(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ABSENT


def _content(study_dir: Path, study: StudyResult) -> Iterator[Difference]:
    """Yield what in study.json contradicts itself."""
    yield from _same(RESULT_NAME, _sha256(study_dir / RESULT_NAME), study.digest)
    yield from _same("study id", study.study_id, study.spec.study_id)
    yield from _same("dataset hash", study.dataset_hash, study.spec.dataset)


def _unsealed(study_dir: Path) -> Iterator[Difference]:
    """Yield a sealed notebook without a receipt: a study that was never sealed has neither."""
    for path in sorted(study_dir.glob("*.ipynb")):
        yield Difference(RECEIPT_NAME, ABSENT, f"the receipt of {path.name}")


def _receipt(study_dir: Path, study: StudyResult) -> Iterator[Difference]:
    """Yield where receipt, sealed notebook and study.json disagree."""
    try:
        receipt = read_receipt(study_dir / RECEIPT_NAME)
    except BallastError:
        yield Difference(RECEIPT_NAME, "unreadable", "the receipt of a run")
        return
    # The notebook shows study.json as its one result; the receipt's digest is of the list of results.
    content = json.loads(study.canonical())
    yield from _same("results digest of study.json", digest([content]), receipt.results_sha256)
    yield from _same("dataset of the receipt", receipt.dataset_hash, study.dataset_hash)
    yield from _same("environment lock of the receipt", receipt.environment_lock_sha256, receipt.environment.lock_sha256)
    yield from _notebook(study_dir, receipt)


def _notebook(study_dir: Path, receipt: Receipt) -> Iterator[Difference]:
    path = study_dir / f"{receipt.notebook}.ipynb"
    found = _sha256(path)
    yield from _same(path.name, found, receipt.notebook_sha256)
    if found == ABSENT:
        return
    try:
        seal = json.loads(path.read_bytes())["metadata"]["ballast"]
        inside = {key: str(seal[key]) for key in SEAL_KEYS}
    except (ValueError, KeyError, TypeError):
        yield Difference(f"seal inside {path.name}", "unreadable", "four digests")
        return
    for key, value in inside.items():
        yield from _same(f"receipt: {key}", getattr(receipt, key), value)


def _files(study_dir: Path, study: StudyResult) -> Iterator[Difference]:
    for name, sha256 in sorted(study.tables.items()):
        yield from _same(f"tables/{name}.parquet", _sha256(study_dir / "tables" / f"{name}.parquet"), sha256)
    for sha256 in sorted(study.model_hashes):
        yield from _same(f"models/{sha256[:12]}\u2026.txt", _sha256(study_dir / "models" / f"{sha256}.txt"), sha256)
    for name, sha256 in sorted(study.bundle_hashes.items()):
        yield from _same(f"bundles/{name}.json", _sha256(study_dir / "bundles" / f"{name}.json"), sha256)
    for path in sorted((study_dir / "calibrations").glob("*.json")):
        yield from _same(f"calibrations/{path.stem[:12]}\u2026.json", _sha256(path), path.stem)


def _run(home: Path, name: str, summary: RunSummary) -> Iterator[Difference]:
    """Yield where a run's summary, header, projections and journal disagree."""
    folder = home / "runs" / summary.run_id
    try:
        journal = SqliteJournal.open(folder / JOURNAL_NAME)
        try:
            head, genesis = journal.head(), journal.genesis()
        finally:
            journal.close()
        manifest = ensure_projections(folder, home)
    except BallastError as e:
        yield Difference(f"run {name}", e.got, e.expected)
        return
    started = genesis_hash(genesis)
    facts = {
        "run_root": run_root(started, head.block_hash, head.seq_n), "genesis_hash": started.hex(),
        "journal_head": head.block_hash.hex(), "blocks": head.seq_n,
    }  # fmt: skip
    header = folder / RUN_FILE
    if not header.is_file() or header.read_bytes() != genesis:
        yield Difference(f"run {name}: {RUN_FILE}", "another header", "the header in the journal")
    yield from _same(f"run {name}: projections' genesis", manifest.genesis_hash, started.hex())
    there = sorted(path.stem for path in (folder / PROJECTIONS_NAME).glob("*.parquet"))
    yield from _same(f"run {name}: projections", there, sorted(manifest.tables))
    facts |= _recomputed(folder / PROJECTIONS_NAME, json.loads(genesis))
    stated = summary.model_dump()
    for field, value in facts.items():
        yield from _same(f"run {name}: {field}", stated[field], value)


def _recomputed(folder: Path, genesis: dict[str, object]) -> dict[str, object]:
    """Return the figures of a run's summary, found again from the records as the backtest finds them."""

    def table(name: str) -> pl.DataFrame:
        return pl.read_parquet(folder / f"{name}.parquet")

    deposits = genesis["deposits"]
    initial = sum(int(deposit["amount_e8"]) for deposit in deposits) if isinstance(deposits, list) else 0
    states, fills, events = table("portfolio_hourly_state"), table("order_fill"), table("risk_event")
    found: dict[str, object] = {
        "policy_hash": genesis["policy_digest"],
        "signals": len(table("trade_signal")),
        "orders": len(table("order_request").filter(pl.col("status_id") == c.O_NEW)),
        "fills": len(fills),
        "trades": len(table("executed_trade")),
        "refusals": _refusals(events),
        "initial_pv_e8": initial,
        "turnover_e8": sum(fills["notional_e8"].to_list()),
        "first_t": genesis["first_t"],
        "last_t": genesis["last_t"],
    }
    if len(states):
        last = states.row(-1, named=True)
        found |= {
            "final_pv_e8": last["pv_e8"],
            "net_return_ppm": (last["pv_e8"] - initial) * PPM // initial,
            "max_drawdown_ppm": states["drawdown_ppm"].max(),
            "realised_e8": last["realised_e8"],
            "fees_e8": last["fees_e8"],
            "slippage_e8": last["slippage_e8"],
            "open_positions": last["open_n"],
        }
    return found


def _refusals(events: pl.DataFrame) -> dict[str, int]:
    counted = events.filter(pl.col("kind_id") == c.RISK_REFUSED).group_by("gate_id").len()
    return {c.GATE_NAMES.get(gate, str(gate)): n for gate, n in sorted(counted.iter_rows())}


def _equity(study_dir: Path, study: StudyResult) -> Iterator[Difference]:
    """Yield where the ends of the curves are not the final values; a damaged table is told by its digest."""
    path = study_dir / "tables" / "equity.parquet"
    if _sha256(path) != study.tables.get("equity"):
        return
    equity = pl.read_parquet(path).with_columns(pl.col("series").cast(pl.String)).sort("at_t")
    both: dict[str, RunSummary | Baseline] = {**study.runs, **study.baselines}
    for name, stated in both.items():
        curve = equity.filter(pl.col("series") == name)["pv_e8"]
        if len(curve):
            yield from _same(f"{name}: final_pv_e8", stated.final_pv_e8, curve[-1])
        wanted = (stated.final_pv_e8 - stated.initial_pv_e8) * PPM // stated.initial_pv_e8
        if name in study.baselines:
            yield from _same(f"{name}: net_return_ppm", stated.net_return_ppm, wanted)
