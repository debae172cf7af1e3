"""papermill IO plugin (entry point group `papermill.io`): reads a marimo `.py` as a notebook in memory.

papermill loads this module while its own modules are half imported: nothing of papermill may be imported at module
level here, or `import papermill` fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from papermill.iorw import LocalHandler

SCHEME: Final = "marimo:"
LOCAL_PREFIXES: Final = ("/", "./", "../")
"""papermill chooses a handler by how a path begins; the engine adds these to the entry points `notebooks/` and `marimo:`."""


def strip_scheme(path: str) -> str:
    """Return the path without the optional `marimo:` in front, which makes the plugin read any `.py` anywhere."""
    return path.removeprefix(SCHEME)


class MarimoIO:
    """Handler for local and `marimo:...` paths; everything that is not a `.py` goes to papermill's own."""

    @classmethod
    def read(cls, path: str) -> str:
        """Return the notebook JSON of a marimo source."""
        path = strip_scheme(path)
        if not path.endswith(".py"):
            return _local().read(path)
        import nbformat

        from workbench.notebook.convert import to_notebook

        return nbformat.writes(to_notebook(Path(path)))

    @classmethod
    def write(cls, buf: str, path: str) -> None:
        """Write a notebook; a source is never overwritten."""
        path = strip_scheme(path)
        if path.endswith(".py"):
            raise OSError(f"refusing to overwrite the marimo source {path}; give an output path that ends in .ipynb")
        _local().write(buf, path)

    @classmethod
    def listdir(cls, path: str) -> list[str]:
        """Return the entries of a local folder."""
        return _local().listdir(strip_scheme(path))

    @classmethod
    def pretty_path(cls, path: str) -> str:
        """Return the path for log lines."""
        return path


def _local() -> LocalHandler:
    from papermill.iorw import papermill_io

    return papermill_io.get_handler("local", extensions=None)
