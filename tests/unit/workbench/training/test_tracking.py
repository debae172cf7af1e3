"""MLflow: a study lands in the local store; a store it cannot use is an environment failure with MLflow's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import EnvironmentFailure
from workbench.training.tracking import EXPERIMENT, FoldMetric, TrackedStudy, begin, cancel, finish


def study(folder: Path) -> TrackedStudy:
    (folder / "bundles").mkdir(parents=True)
    (folder / "bundles" / "ml.json").write_text("{}")
    (folder / "study.json").write_text('{"a": 1}')
    metrics = [FoldMetric(name="blend.24h.auc", value=0.5 + n / 100, fold_n=n) for n in (-1, 0, 1)]
    artefacts = (folder / "study.json", folder / "bundles")
    tags = {"ballast.dataset_hash": "d" * 64}
    return TrackedStudy(name="abc", params={"folds_n": "2"}, tags=tags, metrics=metrics, artefacts=artefacts)


@pytest.mark.slow
def test_a_study_is_logged_with_params_fold_metrics_tags_and_artefacts(home: Path, tmp_path: Path) -> None:
    run_id = finish(begin(home), study(tmp_path / "study"))
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    run = client.get_run(run_id)
    assert client.get_experiment(run.info.experiment_id).name == EXPERIMENT
    assert run.info.run_name == "abc"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"folds_n": "2"}
    assert run.data.tags["ballast.dataset_hash"] == "d" * 64
    assert run.data.metrics == {"blend.24h.auc": 0.51, "blend.24h.auc.all": 0.49}
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "blend.24h.auc")] == [(0, 0.5), (1, 0.51)]
    assert (home / "mlflow-artifacts" / run_id / "artifacts" / "bundles" / "ml.json").read_text() == "{}"


@pytest.mark.slow
def test_a_store_that_is_no_database_fails_with_its_reason(home: Path, tmp_path: Path) -> None:
    (home / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(EnvironmentFailure, match=r"mlflow\.db: .*not a database"):
        finish(begin(home), study(tmp_path / "study"))


def test_cancelling_leaves_no_process(home: Path) -> None:
    tracking = begin(home)
    cancel(tracking)
    assert tracking.process.poll() is not None
    cancel(tracking)


def test_a_home_that_cannot_be_made_is_an_environment_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match="cannot make"):
        begin(tmp_path / "file" / "home")
