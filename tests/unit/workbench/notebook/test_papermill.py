"""Plain papermill, as a person without our command would use it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.notebook.run import Executed, execute

PAPERMILL = [sys.executable, "-m", "papermill"]


def papermill(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PAPERMILL, *arguments], capture_output=True, text=True, check=False, cwd=folder)


def test_plain_papermill_gives_the_same_sealed_file(tiny: Path, executed: Executed) -> None:
    folder = tiny.parent.parent
    done = papermill(folder, "notebooks/tiny.py", "out.ipynb", "-p", "window", "12")
    assert done.returncode == 0, done.stderr
    assert (folder / "out.ipynb").read_bytes() == executed.content


@pytest.mark.parametrize("parameter", [("widow", "12"), ("window", "ten")])
def test_plain_papermill_refuses_bad_parameters_before_any_file_is_written(tiny: Path, parameter: tuple[str, str]) -> None:
    folder = tiny.parent.parent
    done = papermill(folder, "notebooks/tiny.py", "out.ipynb", "-p", *parameter)
    assert done.returncode != 0
    assert parameter[0] in done.stderr
    assert not (folder / "out.ipynb").exists()


@pytest.mark.parametrize("form", ["absolute", "./", "../"])
def test_plain_papermill_reads_a_source_by_any_local_path(tiny: Path, form: str) -> None:
    folder = tiny.parent.parent
    path = str(tiny) if form == "absolute" else f"{form}notebooks/tiny.py"
    working = folder / "elsewhere" if form == "../" else folder
    working.mkdir(exist_ok=True)
    done = papermill(working, path, str(working / "out.ipynb"), "--prepare-only")
    assert done.returncode == 0, done.stderr
    assert "source_sha256" in json.loads((working / "out.ipynb").read_text())["metadata"]["marimo"]


def test_plain_papermill_refuses_a_study_out_of_bounds_before_a_kernel_starts(tmp_path: Path) -> None:
    source = Path(__file__).parents[4] / "notebooks" / "walk_forward.py"
    done = papermill(tmp_path, str(source), "out.ipynb", "-p", "folds_n", "99")
    assert done.returncode != 0
    assert "folds_n = 99 (expected: folds_n: less than or equal to 24" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_source_is_never_overwritten(tiny: Path) -> None:
    before = tiny.read_bytes()
    done = papermill(tiny.parent.parent, "notebooks/tiny.py", "notebooks/tiny.py")
    assert done.returncode != 0
    assert "refusing to overwrite" in done.stderr
    assert tiny.read_bytes() == before


def test_an_ordinary_notebook_still_runs_under_papermill(tmp_path: Path) -> None:
    cell = {"cell_type": "code", "source": "print(6 * 7)", "metadata": {}, "outputs": [], "execution_count": None, "id": "a"}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    (tmp_path / "in.ipynb").write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": [cell]}))
    done = papermill(tmp_path, "in.ipynb", "out.ipynb")
    assert done.returncode == 0, done.stderr
    assert "42" in (tmp_path / "out.ipynb").read_text()
    assert "ballast" not in json.loads((tmp_path / "out.ipynb").read_text())["metadata"]


def test_nbval_confirms_the_sealed_notebook(tiny: Path, tmp_path: Path) -> None:
    # the seal drops stderr, and nbval counts what it has not seen before as a difference
    tiny.write_text(
        tiny.read_text().replace('    print("a line for people", file=sys.stderr)\n', "").replace("    import sys\n\n", "")
    )
    executed = execute(tiny, {"window": 12}, tmp_path / "home")
    path = tmp_path / "tiny.ipynb"
    path.write_bytes(executed.content)
    rules = Path(__file__).parent / "data" / "sanitize.cfg"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        "/dev/null",
        "--rootdir",
        str(tmp_path),
        "--nbval",
        "--nbval-current-env",
    ]
    done = subprocess.run(
        [*command, "-p", "nbval", "-p", "no:randomly", "--nbval-sanitize-with", str(rules), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    changed = executed.content.decode().replace('"above": 94', '"above": 95')
    assert changed.encode() != executed.content
    path.write_text(changed)
    done = subprocess.run(
        [*command, "-p", "nbval", "-p", "no:randomly", "--nbval-sanitize-with", str(rules), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
