"""papermill engine plugin (entry point group `papermill.engine`): fails closed, runs our kernel, seals.

papermill only logs an unknown parameter and would inject a value of any type: `execute_notebook` refuses both before any
file is written. The engine also stands in for papermill's default one, so that plain
`papermill notebooks/x.py out.ipynb` is governed too; notebooks that do not come from a marimo source pass through it
to papermill's own engine unchanged.

Import papermill, never this module: papermill loads it as its last step, and the other way round is a circle.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillException
from papermill.iorw import papermill_io
from papermill.log import logger

from runtime.errors import BallastError
from workbench.notebook.bounds import require_bounds
from workbench.notebook.io import LOCAL_PREFIXES, MarimoIO
from workbench.notebook.kernel import environment_for_child, own_kernel_manager
from workbench.notebook.parameters import declared, effective
from workbench.notebook.seal import parameters_cell, seal

if TYPE_CHECKING:
    from nbformat import NotebookNode

SHORTEST_PRIVATE_PATH_N: Final = 5
"""A working directory such as `/` or `/tmp` proves nothing when it appears in an output."""


OnCell = Callable[[str, float, int, int], None]
"""`(cell name, seconds, cells done, cells)`; the name is empty when a cell begins."""


def is_governed(nb: NotebookNode) -> bool:
    """Return True for a notebook that our IO plugin made from a marimo source."""
    return "source_sha256" in nb.metadata.get("marimo", {})


def private_folders() -> list[str]:
    """Return the folders of this machine that no sealed output may name."""
    home = os.environ.get("BALLAST_HOME")
    folders = [Path.cwd(), Path.home(), Path(__file__).parents[2], *([Path(home).absolute()] if home else [])]
    return sorted({str(f) for f in folders if len(str(f)) >= SHORTEST_PRIVATE_PATH_N})


class MarimoEngine(Engine):
    """Executes governed notebooks; passes any other to papermill's own engine."""

    @classmethod
    def execute_notebook(
        cls, nb: NotebookNode, kernel_name: str, output_path: str | None = None, **options: Any
    ) -> NotebookNode:
        """Check the parameters, execute, and seal when no cell failed."""
        if not is_governed(nb):
            return NBClientEngine.execute_notebook(nb, kernel_name, output_path=output_path, **options)
        try:
            values = effective(declared(parameters_cell(nb)), nb.metadata.papermill.get("parameters") or {})
            require_bounds(str(nb.metadata.marimo.get("source_name", "")), values)
        except BallastError as e:
            raise PapermillException(str(e)) from e
        nb = super().execute_notebook(nb, kernel_name, output_path=output_path, **options)
        if not nb.metadata.papermill.exception:
            seal(nb, values, private_folders())
        return nb

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: IO[str] | None = None,
        stderr_file: IO[str] | None = None,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        on_cell: OnCell | None = None,
        **_options: Any,
    ) -> None:
        """Run every cell in a fresh kernel of this interpreter with a pinned environment."""
        hooks = _Hooks(on_cell or _ignore, len(nb_man.nb.cells))
        with tempfile.TemporaryDirectory(prefix="ballast-kernel-", ignore_cleanup_errors=True) as scratch:
            client = _Client(
                nb_man,
                km=own_kernel_manager(Path(scratch)),
                kernel_name=kernel_name,
                timeout=execution_timeout,
                startup_timeout=start_timeout,
                log=logger,
                log_output=log_output,
                stdout_file=stdout_file,
                stderr_file=stderr_file,
                record_timing=False,
                shutdown_kernel="immediate",
                on_cell_start=hooks.start,
                on_cell_executed=hooks.executed,
            )
            # a manager that we hand in is ours to end: nbclient only cleans up its own unless told so
            client.execute(env=environment_for_child(scratch), cleanup_kc=True)


class _Client(PapermillNotebookClient):
    """Ends the kernel at once, except after Ctrl-C: then it is interrupted and may run its own `finally` blocks first."""

    def papermill_execute_cells(self) -> None:
        """Run the cells."""
        try:
            super().papermill_execute_cells()
        except KeyboardInterrupt:
            self.shutdown_kernel = "graceful"
            # the tasks that waited for the kernel die with the loop, and asyncio would report each with a traceback
            logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
            self.on_cell_start = self.on_cell_executed = None  # the cell that ends now is nobody's progress
            raise


class _Hooks:
    """Times cells for the caller: papermill's own timings are removed by the seal."""

    def __init__(self, on_cell: OnCell, total: int) -> None:
        self._on_cell = on_cell
        self._total = total
        self._began_s = 0.0

    def start(self, cell: NotebookNode, cell_index: int) -> None:  # noqa: ARG002  nbclient passes it by name
        self._began_s = time.perf_counter()
        self._on_cell("", 0.0, cell_index, self._total)

    def executed(self, cell: NotebookNode, cell_index: int, execute_reply: Mapping[str, object]) -> None:  # noqa: ARG002  nbclient passes it by name
        if cell.cell_type != "code":
            return
        name = str(cell.metadata.get("marimo", {}).get("name") or cell.get("id"))
        self._on_cell(name, time.perf_counter() - self._began_s, cell_index + 1, self._total)


def _ignore(name: str, seconds: float, done: int, total: int) -> None:
    """Tell nobody."""


papermill_engines.register(None, MarimoEngine)
for _prefix in LOCAL_PREFIXES:
    papermill_io.register(_prefix, MarimoIO)
