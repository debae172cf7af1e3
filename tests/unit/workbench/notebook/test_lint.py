from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import DataError
from workbench.notebook.lint import BANNED_BUILTINS, BANNED_MARIMO, BANNED_MODULES, lint, require_clean

CELL = "@app.cell\ndef _():\n    {}\n    return\n\n\n"
END = 'if __name__ == "__main__":'


def with_cell(source: Path, line: str) -> Path:
    source.write_text(source.read_text().replace(END, CELL.format(line) + END))
    return source


def with_import(source: Path, line: str) -> Path:
    source.write_text(source.read_text().replace("    import sys\n", f"    import sys\n    {line}\n"))
    return source


def rules(source: Path) -> set[str]:
    return {f.rule for f in lint(source)}


def test_the_tiny_notebook_is_clean(tiny: Path) -> None:
    assert lint(tiny) == []
    require_clean(tiny)


@pytest.fixture
def _no_marimo_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the slow subprocess where the rule under test is one of ours."""
    monkeypatch.setattr("workbench.notebook.lint._marimo_check", lambda _: iter(()))


@pytest.mark.usefixtures("_no_marimo_check")
@pytest.mark.parametrize("name", sorted(BANNED_MARIMO))
def test_each_banned_marimo_call_is_found(tiny: Path, name: str) -> None:
    assert rules(with_cell(tiny, f"mo.{name}()")) == {"marimo"}


@pytest.mark.usefixtures("_no_marimo_check")
@pytest.mark.parametrize("name", sorted(BANNED_MARIMO))
def test_each_banned_marimo_import_is_found(tiny: Path, name: str) -> None:
    assert "marimo" in rules(with_import(tiny, f"from marimo import {name} as fine"))


@pytest.mark.usefixtures("_no_marimo_check")
@pytest.mark.parametrize("name", sorted(BANNED_MODULES))
def test_each_banned_module_is_found(tiny: Path, name: str) -> None:
    assert rules(with_import(tiny, f"import {name}")) == {"module"}


@pytest.mark.usefixtures("_no_marimo_check")
@pytest.mark.parametrize("name", sorted(BANNED_BUILTINS))
def test_each_banned_builtin_is_found(tiny: Path, name: str) -> None:
    assert rules(with_cell(tiny, f"{name}('x')")) == {"builtin"}


@pytest.mark.usefixtures("_no_marimo_check")
@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("np.random.rand(3)", "random"),
        ("np.random.seed(3)", "random"),
        ("np.random.default_rng()", "random"),
        ("import math", "imports"),
    ],
)
def test_hidden_randomness_and_imports_in_cells_are_found(tiny: Path, line: str, rule: str) -> None:
    assert rules(with_cell(tiny, line)) == {rule}


@pytest.mark.usefixtures("_no_marimo_check")
@pytest.mark.parametrize("line", ["import datetime", "from datetime import datetime"])
def test_a_clock_is_found(tiny: Path, line: str) -> None:
    call = "datetime.datetime.now()" if line == "import datetime" else "datetime.now()"
    assert rules(with_cell(with_import(tiny, line), call)) == {"clock"}


@pytest.mark.usefixtures("_no_marimo_check")
def test_setup_holds_imports_only(tiny: Path) -> None:
    assert rules(with_import(tiny, "LIMIT = 3")) == {"setup"}


@pytest.mark.usefixtures("_no_marimo_check")
@pytest.mark.parametrize("name", ["parameters", "given", "controls", "spec", "result"])
def test_each_required_cell_is_missed(tiny: Path, name: str) -> None:
    tiny.write_text(tiny.read_text().replace(f"def {name}(", f"def other_{name}("))
    assert "cells" in rules(tiny)


@pytest.mark.usefixtures("_no_marimo_check")
def test_a_computed_parameter_is_found(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("window: int = 10", "window: int = 5 + 5"))
    assert rules(tiny) == {"convert"}


def test_marimo_check_is_part_of_it(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace('__generated_with = "0.25.2"\n', ""))
    assert "marimo check" in rules(tiny)
    with pytest.raises(DataError, match="marimo check"):
        require_clean(tiny)


def test_broken_python_is_one_finding(tiny: Path) -> None:
    tiny.write_text("def (:\n")
    assert rules(tiny) == {"syntax"}
