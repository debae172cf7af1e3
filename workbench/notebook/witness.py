"""The second witness: the same notebook under marimo's own runtime, whose result must equal papermill's.

It catches what papermill cannot see: a name that leaks between cells, an order of cells that only happens to work.
Run as `python -m workbench.notebook.witness SOURCE`, parameters as JSON on stdin, one JSON object on stdout.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.canonical import digest
from runtime.errors import DataError, VerificationError

if TYPE_CHECKING:
    from workbench.notebook.parameters import Value

ERROR_LINES_N: Final = 12


def start_witness(source: Path, parameters: Mapping[str, Value], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a marimo run of a notebook in a process of its own.

    Args:
        source: the marimo source.
        parameters: a value for every declared parameter: marimo replaces the parameters cell as a whole.
        environment: the pinned environment.
    """
    process = subprocess.Popen(  # noqa: S603  our own interpreter and a path
        [sys.executable, "-P", "-m", "workbench.notebook.witness", str(source.resolve())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(environment),
    )  # fmt: skip
    if process.stdin is not None:
        process.stdin.write(json.dumps(dict(parameters)))
        process.stdin.close()
        process.stdin = None
    return process


def finish_witness(process: subprocess.Popen[str]) -> str:
    """Wait for a witness and return its results digest; raise `VerificationError` when it failed."""
    stdout, stderr = process.communicate()
    if process.returncode != 0:
        raise VerificationError(
            "the notebook fails under marimo's own runtime: " + " | ".join(stderr.strip().splitlines()[-ERROR_LINES_N:]),
            expected="the same result as under papermill",
            action="run `ballast notebook check`; look for a _private name used in another cell",
        )
    answer: dict[str, str] = json.loads(stdout)
    return answer["results_sha256"]


def run_under_marimo(source: Path, parameters: Mapping[str, Value]) -> str:
    """Return the results digest of a notebook run in this process by marimo's runtime."""
    import marimo

    from workbench.notebook.display import Result

    module_spec = importlib.util.spec_from_file_location("witnessed_notebook", source)
    if module_spec is None or module_spec.loader is None:
        raise DataError(f"{source.name} is not Python", expected="a marimo notebook (.py)", action="check the path")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # marimo looks its classes and functions up by module name
    module_spec.loader.exec_module(module)
    app: marimo.App = module.app
    _, names = app.run(defs=dict(parameters))
    results = [value.content for value in names.values() if isinstance(value, Result)]
    if len(results) != 1:
        raise DataError(
            f"{source.name} defines {len(results)} results",
            expected="exactly one Result",
            action="define it in the cell named `result`",
        )
    return digest(results)


def witness(source: Path, parameters: Mapping[str, Value]) -> str:
    """Return the results digest of a notebook under marimo's runtime, in a process of its own with a pinned environment."""
    from workbench.notebook.kernel import environment_for_child

    with tempfile.TemporaryDirectory(prefix="ballast-witness-") as scratch:
        return finish_witness(start_witness(source, parameters, environment_for_child(scratch)))


def main() -> None:
    """Run the notebook named on the command line and print the digest of its result."""
    parameters = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        results_sha256 = run_under_marimo(Path(sys.argv[1]), parameters)
    print(json.dumps({"results_sha256": results_sha256}))


if __name__ == "__main__":
    main()
