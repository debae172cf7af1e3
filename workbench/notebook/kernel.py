"""The Jupyter kernel a governed notebook runs in: this interpreter, a pinned environment, no personal configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

PINNED: Final[Mapping[str, str]] = {
    "PYTHONHASHSEED": "0",
    "PYTHONSAFEPATH": "1",  # the working directory is no source of code
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
    "COLUMNS": "120",
    "MPLBACKEND": "agg",
    "POLARS_MAX_THREADS": "1",
    # one thread per process: parallelism is the Executor's (BALLAST_WORKERS), and it never changes a result
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
GRACE_S: Final = 10.0
"""What an interrupted kernel may take to remove its unfinished files and end, before it is killed."""
ROOT: Final = Path(__file__).parents[2]
"""Where this very code lies: a kernel must not pick up another installed copy of it."""
DROPPED: Final = ("PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONOPTIMIZE")
DROPPED_PREFIXES: Final = ("POLARS_FMT_", "MARIMO_")


def pinned_environment(outer: Mapping[str, str], scratch: str) -> dict[str, str]:
    """Return the environment for a kernel or a witness.

    Args:
        outer: the environment of this process; where and how fast to work (BALLAST_*) passes through.
        scratch: an empty folder that takes the place of the user's IPython folder (startup files, history).
    """
    kept = {k: v for k, v in outer.items() if k not in DROPPED and not k.startswith(DROPPED_PREFIXES)}
    path = os.pathsep.join(p for p in (str(ROOT), outer.get("PYTHONPATH", "")) if p)
    return {**kept, **PINNED, "IPYTHONDIR": scratch, "PYTHONPATH": path}


def own_kernel_manager(scratch: Path) -> AsyncKernelManager:
    """Return a manager whose kernel is this very interpreter, whatever kernel specs the user has installed.

    It talks over sockets in `scratch`, a folder that only this user can enter, and not over TCP ports.
    """
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class OwnInterpreter(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:  # noqa: ARG002  there is only one
            # not ipykernel_launcher: it removes the first folder of the path, which may be ROOT
            argv = [sys.executable, "-m", "ipykernel", "-f", "{connection_file}", "--ignore-cwd", "--log-level=50"]
            return KernelSpec(argv=argv, display_name="Python 3", language="python")

    return AsyncKernelManager(
        shutdown_wait_time=2 * GRACE_S,  # jupyter_client waits half of it before it sends SIGTERM
        kernel_name="python3",
        kernel_spec_manager=OwnInterpreter(),
        transport="ipc",
        ip=str(scratch / "s"),
        connection_file=str(scratch / "kernel.json"),
    )


def environment_for_child(scratch: str) -> dict[str, str]:
    """Return the pinned environment made from this process's own."""
    return pinned_environment(os.environ, scratch)
