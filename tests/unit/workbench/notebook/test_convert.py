from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from runtime.errors import DataError, UsageError
from workbench.notebook.convert import to_notebook

HEAD = 'import marimo\n\n__generated_with = "0.25.2"\napp = marimo.App()\n\n\n'
PARAMETERS = "@app.cell\ndef parameters():\n    n: int = 1\n    return (n,)\n\n\n"


def write(folder: Path, body: str) -> Path:
    path = folder / "x.py"
    path.write_text(HEAD + body)
    return path


def test_the_parameters_cell_is_tagged_and_the_source_is_named(tiny: Path) -> None:
    nb = to_notebook(tiny)
    tagged = [c for c in nb.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert 'symbol: str = "BTC"' in tagged[0].source
    assert nb.metadata.marimo.source_sha256 == hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert [c.cell_type for c in nb.cells].count("markdown") == 1


def test_cells_are_in_topological_order_not_in_file_order(tmp_path: Path) -> None:
    use = "@app.cell\ndef use(m):\n    m\n    return\n\n\n"
    make = "@app.cell\ndef make(n):\n    m = n + 1\n    return (m,)\n\n\n"
    nb = to_notebook(write(tmp_path, use + make + PARAMETERS))
    assert [c.metadata.get("marimo", {}).get("name") for c in nb.cells] == ["parameters", "make", "use"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            PARAMETERS
            + "@app.cell\ndef a(c):\n    b = c\n    return (b,)\n\n\n@app.cell\ndef z(b):\n    c = b\n    return (c,)\n",
            "cycle",
        ),
        (
            PARAMETERS
            + "@app.cell\ndef a():\n    b = 1\n    return (b,)\n\n\n@app.cell\ndef z():\n    b = 2\n    return (b,)\n",
            "multiple",
        ),
        ("@app.cell\ndef a():\n    b = 1\n    return (b,)\n", "0 cells named"),
        (PARAMETERS + PARAMETERS.replace("n", "k").replace("def parkmeters", "def parameters"), ""),
    ],
)
def test_a_broken_graph_or_a_missing_parameters_cell_is_refused(tmp_path: Path, body: str, why: str) -> None:
    with pytest.raises(DataError) as caught:
        to_notebook(write(tmp_path, body))
    assert why in caught.value.got


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("print('hello')\n")
    with pytest.raises(DataError):
        to_notebook(path)
    path.write_text("")
    with pytest.raises(DataError):
        to_notebook(path)
    with pytest.raises(UsageError):
        to_notebook(tmp_path / "missing.py")
