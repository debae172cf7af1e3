"""`ballast promote` on what the main job leaves: both bundles written, and each piece of evidence able to stop them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import keyring.backends.fail
import numpy as np
import pytest

from runtime.canonical import canonical_json
from runtime.cli import main
from runtime.errors import BallastError, DataError, GateError, UsageError, VerificationError
from runtime.home import runs_path
from runtime.inference.forecaster import OPEN_END_T
from runtime.ops.bundles.keys import KEY_FILE_VARIABLE, trusted_keys
from runtime.ops.bundles.package import bundles_path
from runtime.ops.bundles.read import LoadedBundle, read_bundle
from runtime.progress import silent
from tests.unit.pipelines.conftest import Ran
from workbench.notebook.pins import Pin
from workbench.promote import checks, make
from workbench.promote.checks import Check
from workbench.promote.make import Promotion
from workbench.promote.subject import Subject, open_subject
from workbench.study import load_result

Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def home(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the demo's home folder; a test that damages something puts it back."""
    return Path(shutil.copytree(ran.home, tmp_path_factory.mktemp("promote") / "home"))


@pytest.fixture(autouse=True)
def key_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = home.parent / "signing-key"
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(path))
    return path


@pytest.fixture(scope="module")
def subjects(home: Path) -> dict[str, Subject]:
    return {name: open_subject(home, name, None) for name in ("ml", "trend")}


@contextmanager
def changed(path: Path, content: bytes | None) -> Iterator[None]:
    """Replace a file, or take it away, for a while."""
    before = path.read_bytes()
    try:
        path.unlink() if content is None else path.write_bytes(content)
        yield
    finally:
        path.write_bytes(before)


def bundles_of(home: Path) -> list[str]:
    folder = bundles_path(home)
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(scope="module")
def promoted(home: Path) -> dict[str, LoadedBundle]:
    """Promote both runs through the command, and read what was written."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_FILE_VARIABLE, str(home.parent / "signing-key"))
        for name in ("ml", "trend"):
            assert main(["promote", name, "--home", str(home), "--json"]) == 0
            (path,) = bundles_path(home).glob(f"{name}-*")
            found[name] = read_bundle(path, trusted_keys(home))
    return found


@pytest.mark.parametrize("name", ["ml", "trend"])
def test_a_run_becomes_a_bundle_that_names_all_it_comes_from(
    home: Path, promoted: dict[str, LoadedBundle], subjects: dict[str, Subject], name: str
) -> None:
    manifest, subject = promoted[name].manifest, subjects[name]
    study = load_result(subject.study_dir)
    run = study.runs[name]
    assert manifest.lineage.run_id == run.run_id
    assert manifest.lineage.run_root == run.run_root
    assert manifest.lineage.study_digest == study.digest
    assert (manifest.lineage.dataset_hash, manifest.lineage.simulated) == (study.dataset_hash, study.simulated)
    assert manifest.symbols == study.symbols
    assert manifest.pairs == subject.genesis.pairs
    assert manifest.policy.policy_digest == run.policy_hash
    assert manifest.grid_h == study.spec.grid_h
    assert manifest.seed_until_t == subject.dataset.as_of_t
    assert manifest.signer_store == "file"
    asked = {evidence.name: evidence.asked for evidence in manifest.evidence}
    assert asked == {
        "replay": True, "gates": True, "data": True, "notebook": True, "evaluator": True, "forecasts": True, "seed": False,
        "performance": False,
    }  # fmt: skip
    performance = json.loads((promoted[name].path / "evidence" / "performance.json").read_bytes())
    assert performance["run"]["final_pv_e8"] == str(run.final_pv_e8)
    assert performance["verdict"] == list(study.verdict)


def test_the_models_of_the_last_fold_are_in_force_without_an_end(
    promoted: dict[str, LoadedBundle], subjects: dict[str, Subject]
) -> None:
    (part,) = promoted["ml"].description.parts
    last = subjects["ml"].made.parts[-1]
    assert (part.fold_n, part.from_t, part.to_t) == (last.fold_n, last.from_t, OPEN_END_T)
    assert part.horizons == last.horizons
    assert promoted["ml"].manifest.lineage.run_bundle_hash == subjects["ml"].made.digest != promoted["ml"].manifest.bundle_hash
    assert promoted["trend"].manifest.bundle_hash == subjects["trend"].made.digest


def test_the_same_run_gives_the_same_bundle(home: Path, promoted: dict[str, LoadedBundle], capsys: Out) -> None:
    before = bundles_of(home)
    assert main(["promote", "trend", "--home", str(home)]) == 0
    said = capsys.readouterr().out
    assert bundles_of(home) == before
    for words in ("REPLAY PARITY: TRUE", "holds", "shown", promoted["trend"].manifest.digest, "next: ballast bundle activate"):
        assert words in said


def test_a_seed_may_end_in_the_past_with_the_models_then_in_force(home: Path, subjects: dict[str, Subject]) -> None:
    first, second = subjects["ml"].made.parts[:2]
    for until_t, part in ((first.from_t, first), (second.from_t - 3_600, first), (second.from_t + 86_400, second)):
        subject = open_subject(home, "ml", until_t)
        assert subject.seed_until_t == until_t
        assert subject.forecaster.description.parts[0].from_t == part.from_t
        assert set(subject.forecaster.description.model_hashes) == {
            h for horizon in part.horizons for h in (horizon.global_hash, *(coin.model_hash for coin in horizon.coins))
        }
        assert checks.check_forecasts(subject).ok
    with pytest.raises(GateError, match="no model was in force"):
        open_subject(home, "ml", first.from_t - 3_600)
    for outside in (0, 4_000_000_000):
        with pytest.raises(UsageError, match="--tail-until"):
            open_subject(home, "trend", outside)


def test_the_command_takes_a_time(
    home: Path, promoted: dict[str, LoadedBundle], subjects: dict[str, Subject], capsys: Out
) -> None:
    at_t = subjects["trend"].dataset.as_of_t - 40 * 86_400
    day = np.datetime64(at_t, "s").astype(str)
    assert main(["promote", "trend", "--home", str(home), "--tail-until", day, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seed_until_t"] == at_t
    shutil.rmtree(found["bundle"])


# ---- each piece of evidence, planted once ----------------------------------------------------------------------


def failing(check: Check, *words: str) -> None:
    assert check.asked
    assert not check.ok
    assert check.expected
    assert check.action
    for word in words:
        assert word in check.found


def test_a_run_that_is_not_recomputed_is_not_promoted(home: Path, subjects: dict[str, Subject], capsys: Out) -> None:
    run_dir = subjects["trend"].run_dir
    raw = json.loads((run_dir / "run.json").read_bytes())
    raw["final_pv_e8"] = str(int(raw["final_pv_e8"]) + 1)
    before = bundles_of(home)
    with changed(run_dir / "run.json", canonical_json(raw)):
        assert main(["promote", "trend", "--home", str(home)]) == 4
    said = capsys.readouterr()
    assert "REPLAY PARITY: FALSE" in said.out
    assert "FAILS" in said.out
    assert "is not promoted: replay" in said.err
    assert bundles_of(home) == before
    with changed(run_dir / "run.json", canonical_json(raw)):
        assert main(["promote", "trend", "--home", str(home), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "gate"


def test_gates_that_were_skipped_or_broken_fail(subjects: dict[str, Subject]) -> None:
    predictions = subjects["ml"].study_dir / "tables" / "predictions.parquet"
    with changed(predictions, None):
        failing(checks.check_gates(subjects["ml"], silent), "skipped")
    with changed(predictions, b"damaged"):
        failing(checks.check_gates(subjects["ml"], silent), "predictions")


def test_a_run_of_other_data_fails(subjects: dict[str, Subject]) -> None:
    other = replace(
        subjects["ml"], genesis=subjects["ml"].genesis.model_copy(update={"simulated": not subjects["ml"].dataset.simulated})
    )
    failing(checks.check_data(other), "other data")


def receipt_with(subject: Subject, **changes: str) -> bytes:
    raw = json.loads((subject.study_dir / "receipt.json").read_bytes())
    return canonical_json(raw | changes)


RECEIPTS = {
    "the notebook's result": {"results_sha256": "0" * 64},
    "the notebook's parameters": {"parameters_sha256": "0" * 64},
    "the dataset": {"dataset_hash": "0" * 64},
    "not the notebook of its receipt": {"notebook_sha256": "0" * 64},
    "is missing beside its receipt": {"notebook": "other"},
}


@pytest.mark.parametrize("said", RECEIPTS)
def test_a_receipt_that_contradicts_what_it_is_about_fails(subjects: dict[str, Subject], said: str) -> None:
    subject = subjects["trend"]
    assert checks.check_notebook(subject).ok
    with changed(subject.study_dir / "receipt.json", receipt_with(subject, **RECEIPTS[said])):
        failing(checks.check_notebook(subject), said)


def test_a_study_without_a_receipt_or_notebook_fails(subjects: dict[str, Subject]) -> None:
    subject = subjects["trend"]
    with changed(subject.study_dir / "receipt.json", None):
        failing(checks.check_notebook(subject), "no receipt")
    with changed(subject.study_dir / "walk_forward.ipynb", b"{}"):
        failing(checks.check_notebook(subject), "not the notebook of its receipt")
    raw = json.loads((subject.study_dir / "study.json").read_bytes())
    raw["verdict"] = ["It always wins."]
    with changed(subject.study_dir / "study.json", canonical_json(raw)):
        failing(checks.check_notebook(subject), "the study's result")


def test_a_pin_that_says_otherwise_fails(subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subjects["trend"]
    receipt = checks.read_receipt(subject.study_dir / "receipt.json")
    result = json.loads((subject.study_dir / "study.json").read_bytes())
    here = {
        "environment": receipt.environment,
        "results_sha256": receipt.results_sha256,
        "rendered_sha256": receipt.rendered_sha256,
    }
    good = {
        "source_sha256": receipt.source_sha256, "parameters": {}, "parameters_sha256": receipt.parameters_sha256,
        "portable": checks.portable_of(result), "platforms": {receipt.environment.fingerprint: here},
    }  # fmt: skip
    other = {receipt.environment.fingerprint: {**here, "results_sha256": "0" * 64}}
    cases: list[tuple[dict[str, object], str]] = [
        ({}, ""),
        ({"source_sha256": "0" * 64}, "not the governed one"),
        ({"portable": {"dataset_hash": "0" * 64}}, "equal on every platform"),
        ({"platforms": other}, "not the pinned one"),
        ({"platforms": other, "parameters_sha256": "0" * 64}, ""),
        ({"platforms": {}}, ""),
    ]
    for change, said in cases:
        pin = Pin.model_validate({**good, **change})
        monkeypatch.setattr(checks, "read_pins", lambda path, pin=pin: {"walk_forward": pin})
        check = checks.check_notebook(subject)
        assert check.ok == (not said)
        assert said in check.found
    monkeypatch.setattr(checks, "read_pins", lambda path: {})
    assert checks.check_notebook(subject).ok


def test_an_evaluator_that_differs_in_one_bit_fails(subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_evaluator(subjects["ml"]).ok
    real = checks.raw_scores
    monkeypatch.setattr(checks, "raw_scores", lambda model, features: np.nextafter(real(model, features), np.inf))
    failing(checks.check_evaluator(subjects["ml"]), "score differently")
    assert "no models" in checks.check_evaluator(subjects["trend"]).found


@pytest.mark.parametrize("name", ["ml", "trend"])
def test_forecasts_that_are_not_those_of_the_run_fail(subjects: dict[str, Subject], name: str) -> None:
    assert checks.check_forecasts(subjects[name]).ok
    panel = subjects[name].panel
    other = replace(subjects[name], panel=replace(panel, close=panel.close * 1.5, high=panel.high * 1.5, low=panel.low * 1.4))
    failing(checks.check_forecasts(other), "differ")


@pytest.mark.parametrize("kind", ["models", "calibrations", "bundles"])
def test_an_altered_or_missing_part_of_the_study_is_refused(home: Path, subjects: dict[str, Subject], kind: str) -> None:
    named = {
        "models": f"{subjects['ml'].forecaster.description.model_hashes[0]}.txt",
        "calibrations": f"{next(iter(subjects['ml'].forecaster.calibrations))}.json",
        "bundles": "ml.json",
    }
    path = subjects["ml"].study_dir / kind / named[kind]
    with changed(path, path.read_bytes() + b"\n"), pytest.raises(VerificationError, match="is not the"):
        open_subject(home, "ml", None)
    with changed(path, None), pytest.raises(DataError, match="cannot be read"):
        open_subject(home, "ml", None)


def test_a_run_that_no_study_made_is_refused(home: Path, subjects: dict[str, Subject]) -> None:
    for content in (None, b"damaged"):
        with changed(subjects["ml"].study_dir / "study.json", content), pytest.raises(GateError, match="no readable study"):
            open_subject(home, "ml", None)


def test_only_a_backtest_is_promoted(home: Path, subjects: dict[str, Subject]) -> None:
    mark = runs_path(home) / subjects["ml"].run_dir.name / "genesis.json"
    with changed(mark, b"{}"), pytest.raises(DataError, match="genesis"):
        open_subject(home, "ml", None)
    paper = subjects["ml"].genesis.model_copy(update={"mode_id": 2})
    with changed(mark, paper.canonical()), pytest.raises(UsageError, match="no backtest"):
        open_subject(home, "ml", None)
    with pytest.raises(UsageError, match="no run"):
        open_subject(home, "nothing", None)


# ---- the key, and the write ------------------------------------------------------------------------------------


def fast(monkeypatch: pytest.MonkeyPatch, *, ok: bool = True) -> None:
    """Leave the checks to the tests above."""
    check = Check("replay", True, ok, "as a test says", "x", "y", b"{}")
    monkeypatch.setattr(make, "run_checks", lambda subject, report, lineage: iter([check]))


def test_without_a_keyring_nothing_is_written(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    fast(monkeypatch)
    monkeypatch.delenv(KEY_FILE_VARIABLE)
    before, backend = bundles_of(home), keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    try:
        assert main(["promote", "trend", "--home", str(home), "--tail-until", "2021-12-01"]) == 6
    finally:
        keyring.set_keyring(backend)
    assert "--key-file" in capsys.readouterr().err
    assert bundles_of(home) == before


def test_a_new_key_is_announced_and_trusted_a_failed_check_makes_none(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh"
    arguments = ["promote", "trend", "--home", str(home), "--key-file", str(fresh)]
    fast(monkeypatch, ok=False)
    assert main(arguments) == 4
    assert not fresh.exists()
    fast(monkeypatch)
    assert main(arguments) == 0
    said = capsys.readouterr().err
    (written,) = [b for b in bundles_path(home).iterdir() if json.loads((b / "manifest.json").read_bytes())["signer"] in said]
    assert json.loads((written / "manifest.json").read_bytes())["signer"] in trusted_keys(home)
    shutil.rmtree(written)


def test_a_bundle_that_cannot_be_read_back_is_not_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, promoted: dict[str, LoadedBundle], tmp_path: Path
) -> None:
    fast(monkeypatch)

    def refuse(path: Path, trusted: object) -> None:
        raise VerificationError("no", expected="yes", action="none")

    monkeypatch.setattr(make, "read_bundle", refuse)
    before = bundles_of(home)
    with pytest.raises(BallastError):
        make.promote(home, "trend", key_file=tmp_path / "another")
    assert bundles_of(home) == before


def test_every_failed_check_is_named() -> None:
    def check(name: str, *, asked: bool = True, ok: bool = False) -> Check:
        return Check(name, asked, ok, "found", "expected", "action", b"{}")

    shown: Callable[[tuple[Check, ...]], Promotion] = lambda found: Promotion("run", found, None, None, False, 0)  # noqa: E731  a short name
    shown((check("a", ok=True), check("b", asked=False))).require_bundle()
    with pytest.raises(GateError, match=r"run is not promoted: a: found \(2 checks failed: a, c\)"):
        shown((check("a"), check("b", ok=True), check("c"))).require_bundle()
