"""Turn a marimo source into a Jupyter notebook in memory.

This is the one module that touches marimo's private API (`load_app`, `InternalApp`, `convert_from_ir_to_ipynb`), and the
reason why pyproject.toml pins marimo exactly. `marimo export ipynb` is no substitute: it exits 0 on a cyclic graph.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from nbformat import NotebookNode

PARAMETERS: Final = "parameters"
"""Name of the cell whose literals are the notebook's parameters; papermill finds it by a tag of the same name."""
KERNEL_NAME: Final = "python3"


def read_source(path: Path) -> bytes:
    """Return the bytes of a marimo source; raise `UsageError` when there is no such file."""
    try:
        return path.read_bytes()
    except OSError as e:
        raise UsageError(
            f"cannot read the notebook {path}: {e.strerror or e}",
            expected="a marimo notebook (.py)",
            action="give the name of a file under notebooks/, or a path",
        ) from e


def to_notebook(path: Path) -> NotebookNode:
    """Return the notebook of a marimo source, cells in topological order, the parameters cell tagged for papermill.

    Raises:
        UsageError: the file cannot be read.
        DataError: not a marimo notebook, a cyclic graph, a name defined twice, or not one parameters cell.
    """
    import nbformat
    from marimo._ast.app import InternalApp
    from marimo._ast.errors import CycleError, MultipleDefinitionError, UnparsableError
    from marimo._ast.load import load_app
    from marimo._ast.parse import MarimoFileError, NonMarimoPythonScriptError
    from marimo._convert.ipynb.from_ir import convert_from_ir_to_ipynb

    source = read_source(path)
    try:
        app = load_app(str(path))
        if app is None:
            raise _not_governed(path, "it is empty")
        internal = InternalApp(app)
        _ = internal.graph  # the converter would swallow a broken graph and export top-down
        text = convert_from_ir_to_ipynb(internal, sort_mode="topological")
    except (
        MarimoFileError,
        NonMarimoPythonScriptError,
        SyntaxError,
        CycleError,
        MultipleDefinitionError,
        UnparsableError,
    ) as e:
        raise _not_governed(path, str(e)) from e
    nb: NotebookNode = nbformat.reads(text, as_version=4)
    tagged = [c for c in nb.cells if c.cell_type == "code" and c.metadata.get("marimo", {}).get("name") == PARAMETERS]
    if len(tagged) != 1:
        raise _not_governed(path, f"it has {len(tagged)} cells named {PARAMETERS!r}")
    tagged[0].metadata["tags"] = [*tagged[0].metadata.get("tags", []), PARAMETERS]
    nb.metadata["kernelspec"] = {"name": KERNEL_NAME, "display_name": "Python 3", "language": "python"}
    nb.metadata["marimo"]["source_sha256"] = hashlib.sha256(source).hexdigest()
    nb.metadata["marimo"]["source_name"] = path.name
    return nb


def _not_governed(path: Path, why: str) -> DataError:
    return DataError(
        f"{path.name} cannot be converted: {why}",
        expected=f"a marimo notebook whose graph has no cycle and exactly one cell named {PARAMETERS!r}",
        action=f"open it with `marimo edit {path.name}` or run `ballast notebook check {path.name}`",
    )
