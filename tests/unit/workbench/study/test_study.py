"""The whole study on a short SIMULATED market: what is written, that it is the same again, and that it hides nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runtime.canonical import sha256_file, sha256_hex
from runtime.errors import DataError, EnvironmentFailure, InvariantError, UsageError
from workbench.data.datasets.build import build_dataset
from workbench.data.datasets.prepare import DEMO_ACCEPTED
from workbench.data.providers.simulated import VENUE, SimulatedProvider
from workbench.data.store.ingest import import_bars
from workbench.study import (
    StudyParts,
    StudyResult,
    StudySpec,
    load_result,
    resolve_dataset,
    run_study,
    stages,
    study_dir,
    write_study,
)
from workbench.training.executor import InProcessExecutor, ProcessExecutor
from workbench.training.tracking import EXPERIMENT, begin

HOURS = 12_000
SYMBOLS = ("BTC", "ETH", "LTC", "XRP")


def dataset(home: Path) -> str:
    """Build the small dataset and return its hash."""
    import_bars(home, SimulatedProvider(hours=HOURS))
    return build_dataset(home, VENUE, symbols=SYMBOLS, accept_names=DEMO_ACCEPTED).dataset_hash


def spec_of(dataset_hash: str) -> StudySpec:
    return StudySpec(dataset=dataset_hash, folds_n=2, initial_cash_usd=50_000)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def result(home: Path) -> StudyResult:
    return run_study(spec_of(dataset(home)), home, InProcessExecutor(), track=False)


@pytest.fixture(scope="module")
def folder(home: Path, result: StudyResult) -> Path:
    return study_dir(home, result.spec)


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def test_the_result_is_what_stands_in_the_folder(result: StudyResult, folder: Path) -> None:
    assert load_result(folder) == result
    assert result.simulated
    assert result.verdict[0].startswith("SIMULATED")
    assert result.symbols == ("BTC", "ETH", "XRP", "LTC")
    assert result.run_root == result.runs["ml"].run_root != result.runs["trend"].run_root
    assert result.tables == {name: sha256_file(folder / "tables" / f"{name}.parquet") for name in result.tables}
    for name in ("study.json", *(f"tables/{t}.parquet" for t in result.tables)):
        raw = (folder / name).read_bytes()
        assert str(folder.parents[2]).encode() not in raw, "no path of this machine"
    assert "seconds" in json.loads((folder / "study.json").read_bytes())["runs"]["ml"]
    assert result.runs["ml"].seconds == {}


def test_every_model_and_calibration_is_stored_under_its_hash(result: StudyResult, folder: Path) -> None:
    stored = sorted(path.stem for path in (folder / "models").iterdir())
    assert tuple(stored) == result.model_hashes
    for path in (folder / "models").iterdir():
        assert sha256_hex(path.read_bytes()) == path.stem
    models = table(folder, "models")
    assert models["evaluator_equal"].all()
    assert (models["rows_compared"] > 0).all()
    assert set(models["model_hash"]) == set(result.model_hashes)
    bundle = json.loads((folder / "bundles" / "ml.json").read_bytes())
    wanted = {h["calibration_hash"] for part in bundle["parts"] for h in part["horizons"]}
    assert wanted <= {path.stem for path in (folder / "calibrations").iterdir()}
    assert {h["global_hash"] for part in bundle["parts"] for h in part["horizons"]} <= set(result.model_hashes)


def test_no_prediction_lies_inside_its_training_window(folder: Path) -> None:
    found = table(folder, "predictions")
    assert (found["at_t"] > found["train_last_t"] + 72 * 3_600).all()
    assert (found["train_first_t"] < found["train_last_t"]).all()
    assert found.select("at_t", "symbol", "horizon_h").is_unique().all()
    folds = table(folder, "folds")
    for row in folds.iter_rows(named=True):
        part = found.filter(pl.col("fold_n") == row["fold_n"])
        assert part["at_t"].min() >= row["test_first_t"]
        assert part["at_t"].max() <= row["test_last_t"]
        assert len(part) == 3 * row["rows_test"]
        assert row["train_last_t"] + row["purge_t"] + row["embargo_t"] <= row["validation_first_t"]
        assert row["validation_last_t"] + row["purge_t"] + row["embargo_t"] <= row["test_first_t"]


def test_equity_covers_every_series_at_the_same_times_and_ends_where_the_runs_do(result: StudyResult, folder: Path) -> None:
    equity = table(folder, "equity")
    series = {str(name): part for (name,), part in equity.group_by("series", maintain_order=True)}
    assert set(series) == {"ml", "trend", "flat", "btc_hold", "equal_weight"}
    times = series["flat"]["at_t"]
    assert times.is_sorted()
    for name, part in series.items():
        assert part["at_t"].equals(times), name
        final = result.runs[name].final_pv_e8 if name in result.runs else result.baselines[name].final_pv_e8
        assert part["pv_e8"][-1] == final, name
    assert set(series["flat"]["pv_e8"]) == {50_000 * 10**8}


def test_the_forecasters_of_the_report_are_all_there(result: StudyResult, folder: Path) -> None:
    metrics = table(folder, "metrics")
    assert {"blend", "global", "per_coin", "base_rate", "persistence", "single_feature"} <= set(metrics["model"])
    assert set(metrics["fold_n"]) == {-1, 0, 1}
    summary = {(m.model, m.horizon_h): m for m in result.metrics}
    assert summary["blend", 24].n == metrics.filter(model="blend", horizon_h=24, fold_n=-1)["n"][0]
    shap = table(folder, "shap")
    assert set(shap["horizon_h"]) == {4, 24, 72}
    assert len(table(folder, "calibration").filter(horizon_h=24)) > 3


def test_running_again_leaves_equal_folders_and_what_others_put_beside_them_alone(
    home: Path, result: StudyResult, folder: Path
) -> None:
    before = contents(folder)
    (folder / "receipt.json").write_text("{}")
    stamp = (folder / "study.json").stat().st_mtime_ns
    again = run_study(result.spec, home, InProcessExecutor(), track=False)
    assert again == result
    assert (folder / "receipt.json").is_file()
    assert (folder / "study.json").stat().st_mtime_ns == stamp
    (folder / "receipt.json").unlink()
    assert contents(folder) == before
    assert not [p for p in folder.parent.iterdir() if p.name.startswith(".")]


def test_a_folder_of_another_result_is_replaced_as_a_whole(home: Path, result: StudyResult, folder: Path) -> None:
    before = contents(folder)
    (folder / "report.html").write_text("about another result")
    (folder / "study.json").write_text("{}")
    run_study(result.spec, home, InProcessExecutor(), track=False)
    assert contents(folder) == before


@pytest.mark.slow
def test_another_home_and_two_workers_give_the_same_bytes(tmp_path: Path, result: StudyResult, folder: Path) -> None:
    other = tmp_path / "elsewhere"
    spec = spec_of(dataset(other))
    assert spec == result.spec
    assert run_study(spec, other, ProcessExecutor(2), track=False).digest == result.digest
    assert contents(study_dir(other, spec)) == contents(folder)


def test_a_leak_stops_the_study_and_leaves_the_folder_alone(
    home: Path, result: StudyResult, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(folder)
    honest = stages.folding.make_folds

    def leaky(*args: object, **kwargs: object) -> object:
        folds = honest(*args, **kwargs)  # type: ignore[arg-type]
        return [replace(fold, train=(fold.train[0], fold.test[0] + 50)) for fold in folds]

    monkeypatch.setattr(stages.folding, "make_folds", leaky)
    with pytest.raises(InvariantError, match="training window"):
        run_study(result.spec, home, InProcessExecutor(), track=False)
    assert contents(folder) == before


@pytest.fixture(scope="module")
def parts(home: Path, result: StudyResult) -> StudyParts:
    """Return the study stage by stage, as the notebook does."""
    spec, executor = result.spec, InProcessExecutor()
    data = stages.load(spec, home)
    features = stages.make_features(data, spec, executor)
    folds = stages.make_folds(features, spec)
    trained = stages.train(data, features, folds, spec, executor)
    return StudyParts(
        spec=spec,
        data=data,
        features=features,
        trained=trained,
        evaluation=stages.evaluate(data, features, trained, spec),
        shap=stages.explain(trained, spec, executor),
        runs=result.runs,
        baselines=stages.baselines(data, features, folds, spec),
    )


def test_stage_by_stage_gives_the_result_of_the_whole(home: Path, result: StudyResult, parts: StudyParts) -> None:
    assert write_study(home, parts) == result


def test_the_core_gets_the_forecasts_of_the_table(folder: Path, parts: StudyParts) -> None:
    forecasts = stages.forecast_ml(parts.data, parts.features, parts.trained, parts.spec)
    predictions = table(folder, "predictions").with_columns(pl.col("symbol").cast(pl.String))
    for name, horizon_h in (("near", 4), ("main", 24), ("far", 72)):
        part = predictions.filter(horizon_h=horizon_h)
        time_n = np.searchsorted(forecasts.at_t, part["at_t"].to_numpy())
        symbol_n = np.array([forecasts.symbols.index(symbol) for symbol in part["symbol"]])
        np.testing.assert_array_equal(forecasts.rows[f"prob_{name}_ppm"][time_n, symbol_n], part["prob_ppm"].to_numpy())
        np.testing.assert_array_equal(forecasts.rows[f"ret_{name}_ppm"][time_n, symbol_n], part["ret_ppm"].to_numpy())
    assert forecasts.rows["valid_n"].sum() == len(predictions) // 3


def test_the_verdict_names_a_flat_run_and_every_baseline_that_was_not_beaten(home: Path, parts: StudyParts) -> None:
    flat = parts.runs["ml"].model_copy(update={"orders": 0, "refusals": {"COST": 12}})
    poor = parts.runs["trend"].model_copy(update={"orders": 3, "net_return_ppm": -999_999, "run_root": "0" * 64})
    spec = parts.spec.model_copy(update={"seed": 1234})  # its own folder
    verdict = write_study(home, replace(parts, spec=spec, runs={"ml": flat, "trend": poor})).verdict
    assert "The ML run placed no order and stayed flat: no expected return paid for its costs (refusals: COST 12)." in verdict
    assert any("The trend run does NOT beat staying flat or holding BTC or equal weight: net -100.00 %" in s for s in verdict)
    rich = poor.model_copy(update={"net_return_ppm": 9_999_999})
    verdict = write_study(home, replace(parts, spec=spec, runs={"ml": flat, "trend": rich})).verdict
    assert any("The trend run ends above flat, BTC hold and equal weight" in sentence for sentence in verdict)


def test_a_folder_that_cannot_be_written_is_an_environment_failure(tmp_path: Path, parts: StudyParts) -> None:
    (tmp_path / "studies").write_text("in the way")
    with pytest.raises(EnvironmentFailure, match="cannot write"):
        write_study(tmp_path, parts)
    assert [p.name for p in tmp_path.iterdir()] == ["studies"]


@pytest.mark.slow
def test_a_tracked_study_is_in_mlflow_with_its_hashes_and_fold_metrics(
    home: Path, result: StudyResult, parts: StudyParts
) -> None:
    assert write_study(home, parts, begin(home)) == result
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert run.data.tags["ballast.study_digest"] == result.digest
    assert run.data.tags["ballast.dataset_hash"] == result.dataset_hash
    assert run.data.params["folds_n"] == "2"
    blend = next(m for m in result.metrics if (m.model, m.horizon_h) == ("blend", 24))
    assert run.data.metrics["blend.24h.auc.all"] == blend.auc
    assert len(client.get_metric_history(run.info.run_id, "blend.24h.auc")) == 2


def test_what_is_missing_is_refused_with_what_to_do(home: Path, result: StudyResult) -> None:
    with pytest.raises(UsageError, match="datasets match"):
        stages.load(spec_of("f" * 64), home)
    with pytest.raises(DataError, match="fewer folds"):
        run_study(result.spec.model_copy(update={"first_test": "2021-05-01"}), home, InProcessExecutor(), track=False)
    assert resolve_dataset(home, result.dataset_hash[:10]) == result.dataset_hash
