"""Who may import whom: the contracts in pyproject.toml, the runtime alone, and nothing heavy before a command runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RESEARCH = (
    "altair", "bokeh", "lightgbm", "marimo", "mlflow", "nbclient", "nbformat", "pandas", "panel", "papermill", "polars",
    "pipelines", "reports", "scipy", "shap", "sklearn", "vectorbt", "workbench",
)  # fmt: skip
DAEMON = ("ccxt", "cryptography", "fastapi", "httpx", "prometheus_client", "starlette", "structlog", "uvicorn")
"""What the extra `runtime` brings."""
NEEDING_IT = ("runtime.adapters.kraken.", "runtime.control.", "runtime.daemon", "runtime.ops.logs")
"""Modules that may need the extra when they are imported; everything else works for an auditor without it."""
HEAVY = (*RESEARCH, *DAEMON, "duckdb", "ibis", "llvmlite", "numba", "numpy", "pyarrow", "pydantic", "keyring")
ALLOWED_AT_HELP = {"workbench", "pipelines", "reports"}

IMPORT_ALL = """
import importlib, pkgutil, sys
banned = set(sys.argv[1].split(","))
left_out = set(sys.argv[2].split(",")) if len(sys.argv) > 2 else set()
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in banned:
            raise ImportError(f"the runtime must not need {name}")
sys.meta_path.insert(0, Refuse())
import runtime
for module in pkgutil.walk_packages(runtime.__path__, "runtime."):
    if not module.name.startswith(tuple(left_out or {" "})):
        importlib.import_module(module.name)
"""
LOADED = """
import sys
import runtime.daemon
print(",".join(sorted({name.split(".")[0] for name in sys.modules})))
"""
HELP = """
import sys
from runtime.cli import main
assert main(["--help"]) == 0
print(",".join(sorted({name.split(".")[0] for name in sys.modules})))
"""


def python(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, check=False)


def test_import_contracts(repository: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=repository,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_the_runtime_imports_with_every_research_package_missing(repository: Path) -> None:
    done = python(IMPORT_ALL, ",".join(RESEARCH), cwd=repository)
    assert done.returncode == 0, done.stderr[-2000:]


def test_only_the_daemon_s_parts_need_its_extra(repository: Path) -> None:
    needing = [f"runtime.adapters.local_kraken.{name}" for name in ("control", "server", "socket")]
    done = python(IMPORT_ALL, ",".join((*RESEARCH, *DAEMON, "aiohttp")), ",".join((*needing, *NEEDING_IT)), cwd=repository)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_daemon_loads_no_research_package_although_they_are_installed(repository: Path) -> None:
    done = python(LOADED, cwd=repository)
    assert done.returncode == 0, done.stderr[-2000:]
    packages = set(done.stdout.splitlines()[-1].split(","))
    assert {"runtime", "ccxt", "structlog", "numba"} <= packages, "the daemon was loaded"
    assert not packages & set(RESEARCH)


def test_the_refusal_used_above_refuses(repository: Path) -> None:
    done = python(IMPORT_ALL + "\nimport polars\n", ",".join(RESEARCH), cwd=repository)
    assert "the runtime must not need polars" in done.stderr


def test_help_imports_nothing_heavy(repository: Path) -> None:
    done = python(HELP, cwd=repository)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split(","))
    assert not loaded & (set(HEAVY) - ALLOWED_AT_HELP)


@pytest.mark.parametrize("package", ["runtime", "workbench", "pipelines", "reports"])
def test_every_folder_of_a_package_is_a_package(package: str, repository: Path) -> None:
    folders = {path.parent for path in (repository / package).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]
