"""A study that is not what is on record is named, reported in red, and fails; an intact one passes, sealed or not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reports.static.inputs import Inputs
from reports.static.integrity import Difference, check_study
from reports.static.study_report import render, write_report
from runtime.canonical import digest, sha256_file
from runtime.cli import main
from runtime.errors import EXIT_OK, EXIT_VERIFY, VerificationError
from tests.unit.reports.static.html_reader import Reader
from workbench.notebook.environment import environment
from workbench.notebook.receipt import Receipt, write_receipt
from workbench.study.result import load_result


def seal(study: Path) -> None:
    """Put a sealed notebook and its receipt beside a study, as the notebook runner does."""
    result = load_result(study)
    marks = {name: digest(name) for name in ("source_sha256", "parameters_sha256", "rendered_sha256")}
    marks["results_sha256"] = digest([json.loads(result.canonical())])
    notebook = study / "walk_forward.ipynb"
    notebook.write_text(json.dumps({"metadata": {"ballast": marks}}))
    here = environment()
    write_receipt(study, Receipt(
        notebook="walk_forward", dataset_hash=result.dataset_hash, environment_lock_sha256=here.lock_sha256, environment=here,
        notebook_sha256=sha256_file(notebook), git_commit="", **marks,
    ))  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home of a real, sealed study of the simulated market."""
    from workbench.data.datasets.prepare import prepare_dataset
    from workbench.study import StudySpec, run_study
    from workbench.training.executor import InProcessExecutor

    home = tmp_path_factory.mktemp("sealed")
    manifest = prepare_dataset(home, None, "simulated")
    spec = StudySpec(dataset=manifest.dataset_hash, folds_n=2, first_test="2023-07-01")
    seal(home / "studies" / run_study(spec, home, InProcessExecutor(), track=False).study_id)
    return home


@pytest.fixture
def study(original: Path, tmp_path: Path) -> Path:
    """Return the folder of a copy of the study, to be changed."""
    home = tmp_path / "home"
    shutil.copytree(original, home)
    (found,) = (home / "studies").glob("[0-9a-f]*")
    return found


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def forge(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def forged_run(field: str, value: object) -> Callable[[Path], None]:
    return lambda study: forge(study / "study.json", lambda c: c["runs"]["trend"].update({field: value}))  # type: ignore[index]


def projection(study: Path) -> Path:
    run_id = load_result(study).runs["trend"].run_id
    return study.parent.parent / "runs" / run_id / "projections" / "order_fill.parquet"


TAMPERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "final value": (forged_run("final_pv_e8", "99900000000000"), "run trend: final_pv_e8"),
    "net return": (forged_run("net_return_ppm", 987654), "run trend: net_return_ppm"),
    "drawdown": (forged_run("max_drawdown_ppm", 1), "run trend: max_drawdown_ppm"),
    "fills": (forged_run("fills", 3), "run trend: fills"),
    "refusals": (forged_run("refusals", {"COST": 1}), "run trend: refusals"),
    "verdict": (lambda s: forge(s / "study.json", lambda c: c.update(verdict=["It wins."])), "results digest of study.json"),
    "baseline": (
        lambda s: forge(s / "study.json", lambda c: c["baselines"]["flat"].update(net_return_ppm=-9)),  # type: ignore[index]
        "flat: net_return_ppm",
    ),
    "table": (lambda s: flip(s / "tables" / "equity.parquet"), "tables/equity.parquet"),
    "no table": (lambda s: (s / "tables" / "metrics.parquet").unlink(), "tables/metrics.parquet"),
    "model": (lambda s: flip(min((s / "models").iterdir())), "models/"),
    "bundle": (lambda s: flip(s / "bundles" / "ml.json"), "bundles/ml.json"),
    "calibration": (lambda s: flip(min((s / "calibrations").iterdir())), "calibrations/"),
    "projection": (lambda s: flip(projection(s)), "run trend"),
    "receipt": (lambda s: forge(s / "receipt.json", lambda c: c.update(source_sha256="0" * 64)), "receipt: source_sha256"),
    "no receipt": (lambda s: (s / "receipt.json").unlink(), "receipt.json"),
    "notebook": (lambda s: flip(s / "walk_forward.ipynb"), "walk_forward.ipynb"),
    "no study": (lambda s: (s / "study.json").write_bytes(b"{}"), "study.json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TAMPERS)
def test_what_was_changed_is_named_and_fails(name: str, study: Path) -> None:
    change, what = TAMPERS[name]
    home = study.parent.parent
    assert check_study(home, study).differences == ()
    change(study)
    found = check_study(home, study).differences
    assert any(d.what.startswith(what) for d in found), found
    with pytest.raises(VerificationError, match="DOES NOT VERIFY"):
        write_report(home, study, {})
    words = Reader((study / "report.html").read_text("utf-8")).words
    assert "DOES NOT VERIFY" in words
    assert all(d.what in words for d in found)


@pytest.mark.slow
def test_the_command_fails_on_a_forged_study_and_passes_an_unsealed_one(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = study.parent.parent
    command = ["report", study.name, "--home", str(home), "--no-replay", "--json"]
    assert main(command) == EXIT_OK
    assert "not sealed" not in capsys.readouterr().err
    assert "NOT SEALED" not in Reader((study / "report.html").read_text("utf-8")).words
    for name in ("receipt.json", "walk_forward.ipynb"):
        (study / name).unlink()
    assert main(command) == EXIT_OK
    assert "not sealed" in capsys.readouterr().err
    assert "NOT SEALED" in Reader((study / "report.html").read_text("utf-8")).words
    TAMPERS["final value"][0](study)
    assert main(command) == EXIT_VERIFY
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "verification"


def test_differences_stand_at_the_top_as_text(flat_inputs: Inputs, flat_page: str) -> None:
    page = render(replace(flat_inputs, differences=(Difference("run ml: fills", "<b>3</b>", "4"),)))
    assert "DOES NOT VERIFY" not in flat_page
    assert page.index("DOES NOT VERIFY") < page.index('id="verdict"')
    assert "<code>&lt;b&gt;3&lt;/b&gt;</code>" in page


def test_fees_of_a_baseline_are_shown(flat_inputs: Inputs) -> None:
    held = flat_inputs.study.baselines["btc_hold"].model_copy(update={"fees_e8": 9_012_345_678})
    study = flat_inputs.study.model_copy(update={"baselines": {**flat_inputs.study.baselines, "btc_hold": held}})
    rows = Reader(render(replace(flat_inputs, study=study))).table("Outcome of every series")
    (row,) = (row for row in rows if row[0] == "BTC hold")
    assert row[rows[0].index("Fees, USD")] == "90.12345678"
    (row,) = (row for row in rows if row[0] == "Flat")
    assert row[rows[0].index("Fees, USD")] == "\u2013"
