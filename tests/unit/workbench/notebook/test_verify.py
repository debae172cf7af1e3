from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.errors import DataError, UsageError, VerificationError
from workbench.notebook import pins
from workbench.notebook.environment import environment, git_commit
from workbench.notebook.kernel import pinned_environment
from workbench.notebook.run import Executed, parameters_from_text
from workbench.notebook.verify import repin, verify
from workbench.notebook.witness import witness


def test_both_runtimes_agree_and_the_pin_holds_until_source_or_result_changes(tiny: Path, executed: Executed) -> None:
    with pytest.raises(UsageError, match="no pin"):
        verify(tiny)
    made = repin(tiny, parameters_from_text(tiny, {"window": "12"}))
    here = environment().fingerprint
    assert made.platforms[here].results_sha256 == executed.seal.results_sha256
    assert made.platforms[here].rendered_sha256 == executed.seal.rendered_sha256
    found = verify(tiny)
    assert found.ok
    assert found.pinned
    assert {c.name for c in found.checks} == {"source", "parameters", "marimo runtime", "results", "rendered"}

    tiny.write_text(tiny.read_text().replace('(prices["close"] > prices', '(prices["close"] >= prices'))
    found = verify(tiny)
    assert not found.ok
    assert {c.name for c in found.checks if not c.ok} == {"source", "results", "rendered"}


def test_the_witness_catches_a_private_name_that_leaks(tiny: Path) -> None:
    text = tiny.read_text().replace("    prices.tail(3)\n", "    _leak = 3\n    prices.tail(_leak)\n")
    tiny.write_text(text.replace('"rows": prices.height,', '"rows": prices.height + _leak,'))
    with pytest.raises(VerificationError, match="_leak"):
        witness(tiny, parameters_from_text(tiny, {"symbol": "BTC", "window": "12", "fee": "0.004"}))


def test_pins_of_other_platforms_are_kept_only_while_the_source_is_the_same(executed: Executed, tmp_path: Path) -> None:
    here = environment()
    other = here.model_copy(update={"processor_features": ("SSE2",)})
    first = pins.pin_of(executed, {"window": 12}, other, None)
    second = pins.pin_of(executed, {"window": 12}, here, first)
    assert set(second.platforms) == {here.fingerprint, other.fingerprint}
    changed = first.model_copy(update={"source_sha256": "0" * 64})
    assert set(pins.pin_of(executed, {"window": 12}, here, changed).platforms) == {here.fingerprint}
    path = tmp_path / "pins.json"
    pins.write_pins(path, {"tiny": second})
    assert pins.read_pins(path) == {"tiny": second}
    path.write_text(json.dumps({"tiny": {"source_sha256": 1}}))
    with pytest.raises(DataError, match="damaged"):
        pins.read_pins(path)


def test_the_kernel_environment_is_pinned_and_settings_pass() -> None:
    outer = {"BALLAST_WORKERS": "2", "PYTHONSTARTUP": "x", "POLARS_FMT_MAX_ROWS": "1", "TZ": "Asia/Tokyo", "PATH": "/bin"}
    made = pinned_environment(outer, "/scratch")
    assert made["BALLAST_WORKERS"] == "2"
    assert made["PATH"] == "/bin"
    assert made["TZ"] == "UTC"
    assert made["PYTHONHASHSEED"] == "0"
    assert made["IPYTHONDIR"] == "/scratch"
    assert not {"PYTHONSTARTUP", "POLARS_FMT_MAX_ROWS"} & set(made)


def test_no_commit_outside_of_git(tmp_path: Path) -> None:
    assert not git_commit(tmp_path)
