"""Full lineage: a real study's runs follow from the lake and its models; whatever is damaged on the way is named, with its class."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from runtime.adapters.inputs import load_bars, load_clusters, load_forecasts, store_bars, store_forecasts
from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.canonical import canonical_json
from runtime.cli import main
from runtime.core.digest import run_root
from runtime.difference import Failure, FailureClass
from runtime.engine import RunInputs, iterate_blocks
from runtime.genesis import Genesis
from runtime.inference.bundle import Forecasts
from runtime.lineage import installed_tracer
from runtime.machine import PLATFORM_NAME
from runtime.replay import Level, ReplayResult, replay
from tests.support.replays import failed
from workbench import lineage
from workbench.backtest import load_summary
from workbench.data.datasets.build import build_dataset
from workbench.data.datasets.manifests import load_manifest
from workbench.data.datasets.prepare import DEMO_ACCEPTED
from workbench.data.providers.simulated import VENUE, SimulatedProvider
from workbench.data.store.ingest import import_bars
from workbench.study import StudyResult, StudySpec, load_result, run_study
from workbench.study.stages import ML, TREND
from workbench.training.executor import InProcessExecutor

HOURS = 9_000
GRID_H = 1
"""Hourly decisions: so short a history then has rows enough for models of single assets."""
SYMBOLS = ("BTC", "ETH", "LTC")
Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with one study and its two runs; never change it."""
    home = tmp_path_factory.mktemp("lineage")
    import_bars(home, SimulatedProvider(hours=HOURS))
    dataset = build_dataset(home, VENUE, symbols=SYMBOLS, accept_names=DEMO_ACCEPTED).dataset_hash
    run_study(StudySpec(dataset=dataset, folds_n=2, grid_h=GRID_H), home, InProcessExecutor(), track=False)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "home"))


def study_of(home: Path) -> tuple[StudyResult, Path]:
    (folder,) = (home / "studies").iterdir()
    return load_result(folder), folder


def run_dir(home: Path, name: str = ML) -> Path:
    return home / "runs" / study_of(home)[0].runs[name].run_id


def traced(home: Path, name: str = ML) -> ReplayResult:
    return replay(run_dir(home, name), home, level=Level.LINEAGE)


def genesis_of(folder: Path) -> Genesis:
    return Genesis.model_validate_json((folder / "genesis.json").read_bytes())


# ---- an untouched study ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ML, TREND])
def test_every_forecast_follows_from_the_lake_and_the_models(made: Path, name: str) -> None:
    seen: dict[str, tuple[int, int]] = {}
    result = replay(
        run_dir(made, name), made, lambda stage, done, total: seen.update({stage: (done, total)}), level=Level.LINEAGE
    )
    assert result.failure is None
    assert result.parity
    assert result.level == "lineage"
    assert result.platform == ()
    assert result.blocks == load_summary(run_dir(made, name)).blocks, "decisions are compared too"
    forecasts = load_forecasts(made, genesis_of(run_dir(made, name)).forecasts_digest)
    assert seen["forecasts"] == (len(forecasts.at_t), len(forecasts.at_t))
    assert seen["bar files"] == (len(SYMBOLS), len(SYMBOLS))
    assert result.seconds["lineage"] > 0


def test_the_study_has_models_of_single_assets(made: Path) -> None:
    bundle = json.loads((study_of(made)[1] / "bundles" / "ml.json").read_text())
    assert all(len(horizon["coins"]) == len(SYMBOLS) for horizon in bundle["parts"][-1]["horizons"])


def test_nothing_is_trained_and_no_file_changes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightgbm.train", lambda *_a, **_k: pytest.fail("a replay trains nothing"))
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in home.rglob("*") if p.is_file()}
    assert traced(home).parity
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in home.rglob("*") if p.is_file()} == before


def test_the_installed_tracer_is_ours() -> None:
    assert installed_tracer() is lineage.trace


# ---- sources that are missing or damaged ----------------------------------------------------------------------------


def bar_file(home: Path) -> Path:
    """Return the bar file of the second asset."""
    study, _ = study_of(home)
    (file,) = (f for f in load_manifest(home, study.dataset_hash).files if f.symbol == SYMBOLS[1])
    return home / "lake" / file.paths()[0]


def model_file(home: Path) -> Path:
    """Return a per-coin model of the last fold: the last that is read."""
    _, folder = study_of(home)
    bundle = json.loads((folder / "bundles" / "ml.json").read_text())
    return folder / "models" / f"{bundle['parts'][-1]['horizons'][-1]['global_hash']}.txt"


def calibration_file(home: Path) -> Path:
    _, folder = study_of(home)
    bundle = json.loads((folder / "bundles" / "ml.json").read_text())
    return folder / "calibrations" / f"{bundle['parts'][0]['horizons'][0]['calibration_hash']}.json"


def bundle_file(home: Path) -> Path:
    return study_of(home)[1] / "bundles" / "ml.json"


def manifest_file(home: Path) -> Path:
    return home / "datasets" / f"{study_of(home)[0].dataset_hash}.json"


def study_file(home: Path) -> Path:
    return study_of(home)[1] / "study.json"


SOURCES: list[tuple[str, Callable[[Path], Path], FailureClass]] = [
    ("bar file", bar_file, FailureClass.INPUT_CHANGED),
    ("model", model_file, FailureClass.MODEL_CHANGED),
    ("calibration", calibration_file, FailureClass.MODEL_CHANGED),
    ("bundle", bundle_file, FailureClass.MODEL_CHANGED),
    ("manifest", manifest_file, FailureClass.INPUT_CHANGED),
    ("study", study_file, FailureClass.INPUT_CHANGED),
]


@pytest.mark.parametrize(("record", "find", "kind"), SOURCES, ids=[record for record, *_ in SOURCES])
def test_a_source_that_is_missing_or_damaged_is_named(
    home: Path, record: str, find: Callable[[Path], Path], kind: FailureClass
) -> None:
    folder, path = run_dir(home), find(home)
    content = path.read_bytes()
    at = content.find(b"leaf_value=") + 12 if record == "model" else len(content) // 2
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    changed = failed(replay(folder, home, level=Level.LINEAGE), kind)
    path.unlink()
    gone = failed(replay(folder, home, level=Level.LINEAGE), FailureClass.INPUT_MISSING)
    for failure in (changed, gone):
        assert failure.record == record
        assert failure.path == (path.relative_to(home).as_posix() if (failure, record) != (gone, "study") else "studies")
    assert changed.symbol == gone.symbol == (SYMBOLS[1] if record == "bar file" else "")


def test_one_changed_bar_in_a_well_formed_file_is_found(home: Path) -> None:
    path = bar_file(home)
    frame = pl.read_parquet(path)
    frame.with_columns(pl.when(pl.int_range(pl.len()) == 8_000).then(pl.col("close") * 1.0001).otherwise("close").alias("close")
    ).write_parquet(path)  # fmt: skip
    failure = failed(traced(home), FailureClass.INPUT_CHANGED)
    assert (failure.record, failure.symbol, failure.path) == ("bar file", "ETH", path.relative_to(home).as_posix())


# ---- a forged run: sound in itself, and not what its sources give ---------------------------------------------------


def forge(home: Path, name: str, change: Callable[[RunInputs], RunInputs]) -> Path:
    """Make the run again from other inputs, with every digest and hash in order, and let the study name it."""
    study, folder = study_of(home)
    run = run_dir(home, name)
    genesis = genesis_of(run)
    bars, close_t = load_bars(home, genesis.bars_digest)
    inputs = change(
        RunInputs(
            genesis, bars, close_t, load_forecasts(home, genesis.forecasts_digest), load_clusters(home, genesis.clusters_digest)
        )
    )
    named = {"bars_digest": store_bars(home, inputs.bars, close_t), "forecasts_digest": store_forecasts(home, inputs.forecasts)}
    inputs = RunInputs(inputs.genesis.model_copy(update=named), inputs.bars, close_t, inputs.forecasts, inputs.clusters)
    for entry in ("journal.sqlite", "head.json"):
        (run / entry).unlink()
    journal = SqliteJournal.create(run / "journal.sqlite", inputs.genesis.canonical(), account_id=1, mode_id=1)
    for blocks in iterate_blocks(inputs):
        journal.append(blocks)
    head = journal.head()
    journal.close()
    (run / "genesis.json").write_bytes(inputs.genesis.canonical())
    hashed = {"genesis_hash": inputs.genesis.hash.hex(), "journal_head": head.block_hash.hex(), "blocks": head.seq_n}
    hashed["run_root"] = run_root(inputs.genesis.hash, head.block_hash, head.seq_n)
    summary = json.loads((run / "run.json").read_text()) | hashed
    summary["final_pv_e8"] = str(_final_pv(run, home, inputs))
    (run / "run.json").write_bytes(canonical_json(summary))
    runs = study.runs | {name: study.runs[name].model_copy(update=hashed)}
    (folder / "study.json").write_bytes(study.model_copy(update={"runs": runs}).canonical())
    return run


def _final_pv(run: Path, home: Path, inputs: RunInputs) -> int:
    from runtime.adapters.projections import project

    project(run, home)
    return int(pq.read_table(run / "projections" / "portfolio_hourly_state.parquet", columns=["pv_e8"])["pv_e8"][-1].as_py())


def better_forecast(inputs: RunInputs) -> RunInputs:
    rows = inputs.forecasts.rows.copy()
    rows["prob_main_ppm"][700, 1] += 1
    f = inputs.forecasts
    return RunInputs(
        inputs.genesis, inputs.bars, inputs.close_t, Forecasts(f.symbols, f.at_t, rows, f.feature_digests), inputs.clusters
    )


def other_features(inputs: RunInputs) -> RunInputs:
    f = inputs.forecasts
    digests = [*f.feature_digests[:600], bytes(32), *f.feature_digests[601:]]
    return RunInputs(
        inputs.genesis, inputs.bars, inputs.close_t, Forecasts(f.symbols, f.at_t, f.rows, digests), inputs.clusters
    )


def better_bar(inputs: RunInputs) -> RunInputs:
    bars = inputs.bars.copy()
    bars["volume_e4"][400, 2] += 1
    return RunInputs(inputs.genesis, bars, inputs.close_t, inputs.forecasts, inputs.clusters)


def fewer_forecasts(inputs: RunInputs) -> RunInputs:
    f, kept = inputs.forecasts, np.arange(len(inputs.forecasts.at_t)) != 500
    digests = [digest for digest, keep in zip(f.feature_digests, kept, strict=True) if keep]
    return RunInputs(
        inputs.genesis, inputs.bars, inputs.close_t, Forecasts(f.symbols, f.at_t[kept], f.rows[kept], digests), inputs.clusters
    )


def forged(home: Path, name: str, change: Callable[[RunInputs], RunInputs]) -> tuple[Failure, RunInputs]:
    """Forge a run, see that decisions alone do not give it away, and return what the lineage says."""
    genesis = genesis_of(run_dir(home, name))
    bars, close_t = load_bars(home, genesis.bars_digest)
    before = RunInputs(
        genesis, bars, close_t, load_forecasts(home, genesis.forecasts_digest), load_clusters(home, genesis.clusters_digest)
    )
    run = forge(home, name, change)
    assert replay(run, home).parity, "the forged run is sound in itself"
    return failed(replay(run, home, level=Level.LINEAGE), FailureClass.INPUT_CHANGED), before


@pytest.mark.parametrize("name", [ML, TREND])
def test_a_forecast_that_its_source_did_not_make(home: Path, name: str) -> None:
    failure, before = forged(home, name, better_forecast)
    true = int(before.forecasts.rows["prob_main_ppm"][700, 1])
    assert (failure.record, failure.symbol, failure.field) == ("forecast", "ETH", "prob_main_ppm")
    assert failure.at_t == before.forecasts.at_t[700]
    assert (int(failure.stored), int(failure.recomputed)) == (true + 1, true)
    assert ("the models of fold" if name == ML else "the trend rule") in failure.detail


@pytest.mark.parametrize("name", [ML, TREND])
def test_a_feature_row_that_the_bars_do_not_give(home: Path, name: str) -> None:
    failure, before = forged(home, name, other_features)
    assert (failure.record, failure.field, failure.at_t) == ("feature row", "digest", before.forecasts.at_t[600])
    assert failure.stored == "0" * 64
    assert failure.recomputed == before.forecasts.feature_digests[600].hex()


def test_a_core_bar_that_the_lake_does_not_give(home: Path) -> None:
    failure, before = forged(home, ML, better_bar)
    assert (failure.record, failure.symbol, failure.field) == ("core bar", "LTC", "volume_e4")
    assert failure.at_t == before.close_t[400]
    assert int(failure.stored) == int(failure.recomputed) + 1


def test_a_forecast_that_was_left_out(home: Path) -> None:
    failure, _before = forged(home, ML, fewer_forecasts)
    assert (failure.record, failure.field) == ("forecast", "at_t")
    assert failure.detail == "forecast number 501 is of another time"


# ---- code and platform ----------------------------------------------------------------------------------------------


def test_features_that_this_code_defines_otherwise(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.inference.feature_spec import DEFAULT_SPEC, FeatureSpec

    monkeypatch.setattr(lineage, "DEFAULT_SPEC", FeatureSpec(DEFAULT_SPEC.features[:-1]))
    failure = failed(traced(made), FailureClass.CODE_DRIFT)
    assert (failure.record, failure.stored) == ("feature set", DEFAULT_SPEC.digest)


def test_a_difference_on_another_platform_is_platform_drift(home: Path) -> None:
    run = forge(home, ML, better_forecast)
    path = run / PLATFORM_NAME
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"numpy": "1.0.0", "processor": "abacus"}))
    failure = failed(replay(run, home, level=Level.LINEAGE), FailureClass.PLATFORM_DRIFT)
    assert (failure.record, failure.symbol) == ("forecast", "ETH")
    assert f"numpy 1.0.0 then, {stored['numpy']} now" in failure.detail
    assert f"processor abacus then, {stored['processor']} now" in failure.detail
    path.unlink()  # not on record: nothing to lay it to
    failed(replay(run, home, level=Level.LINEAGE), FailureClass.INPUT_CHANGED)


def test_a_difference_under_other_code_is_code_drift(home: Path) -> None:
    def other_code(inputs: RunInputs) -> RunInputs:
        changed = better_forecast(inputs)
        genesis = changed.genesis.model_copy(update={"core_digest": "0" * 64})
        return RunInputs(genesis, changed.bars, changed.close_t, changed.forecasts, changed.clusters)

    run = forge(home, ML, other_code)
    failure = failed(replay(run, home, level=Level.LINEAGE), FailureClass.CODE_DRIFT)
    assert (failure.record, failure.symbol, failure.field) == ("forecast", "ETH", "prob_main_ppm")


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command(home: Path, capsys: Out) -> None:
    for name in (ML, TREND):
        assert main(["replay", name, "--home", str(home), "--level", "lineage"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("REPLAY PARITY: TRUE\n")
        assert "follow from the lake and the models" in out
    path = bar_file(home)
    path.unlink()
    assert main(["replay", ML, "--home", str(home), "--level", "lineage"]) == 5
    out = capsys.readouterr().out
    assert out.startswith("REPLAY PARITY: FALSE\n")
    for words in ("input missing", f"file            {path.relative_to(home).as_posix()}", "symbol          ETH"):
        assert words in out
    assert main(["replay", ML, "--home", str(home), "--level", "lineage", "--json"]) == 5
    result = json.loads(capsys.readouterr().out)
    assert (result["level"], result["parity"], result["failure"]["record"]) == ("lineage", False, "bar file")
