"""Check a governed notebook: lint, run it under two runtimes, compare the results with each other and with the pins."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UsageError
from runtime.home import HOME_VARIABLE
from runtime.progress import Report, silent
from workbench.notebook.environment import environment
from workbench.notebook.kernel import environment_for_child
from workbench.notebook.lint import require_clean
from workbench.notebook.parameters import Value, effective
from workbench.notebook.pins import Pin, pin_of, pins_path, portable_of, read_pins, write_pins
from workbench.notebook.run import WORKERS_VARIABLE, Executed, execute, notebook_parameters
from workbench.notebook.witness import finish_witness, start_witness


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison: its name, what was expected and what was got."""

    name: str
    expected: str
    got: str

    @property
    def ok(self) -> bool:
        """Return True when both sides are equal."""
        return self.expected == self.got


@dataclass(frozen=True, slots=True)
class Verification:
    """Every comparison of a notebook; `pinned` is False when this platform has no results pin yet."""

    notebook: str
    fingerprint: str
    pinned: bool
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Return True when no comparison failed."""
        return all(check.ok for check in self.checks)


def verify(source: Path, *, workers: int | None = None, report: Report = silent) -> Verification:
    """Compare a notebook with its pin and with its run under marimo's own runtime.

    On a platform without a results pin, source, parameters and the portable entries are still compared.

    Raises:
        UsageError: the notebook has no pin at all.
        DataError: the notebook breaks a lint rule.
        VerificationError: it fails under marimo's runtime.
    """
    require_clean(source)
    pin = read_pins(pins_path(source)).get(source.stem)
    if pin is None:
        raise UsageError(
            f"{source.stem} has no pin", expected=f"an entry in {pins_path(source).name}",
            action=f"run `ballast notebook pin {source.stem}` and commit the file",
        )  # fmt: skip
    executed, witnessed_sha256 = run_both(source, pin.parameters, workers=workers, report=report)
    here = environment().fingerprint
    checks = tuple(_checks(pin, executed, witnessed_sha256, here))
    return Verification(source.stem, here, here in pin.platforms, checks)


def repin(source: Path, parameters: dict[str, Value], *, workers: int | None = None, report: Report = silent) -> Pin:
    """Run a notebook under both runtimes and record its digests for this platform in the pins file.

    Raises:
        UsageError: the two runtimes disagree; nothing is recorded.
    """
    require_clean(source)
    executed, witnessed_sha256 = run_both(source, parameters, workers=workers, report=report)
    if witnessed_sha256 != executed.seal.results_sha256:
        raise UsageError(
            f"papermill gives result {executed.seal.results_sha256}, marimo {witnessed_sha256}",
            expected="one result under both runtimes", action="look for cells that depend on their order",
        )  # fmt: skip
    path = pins_path(source)
    pins = read_pins(path)
    pin = pin_of(executed, parameters, environment(), pins.get(source.stem))
    write_pins(path, {**pins, source.stem: pin})
    return pin


def run_both(source: Path, given: dict[str, Value], *, workers: int | None, report: Report = silent) -> tuple[Executed, str]:
    """Run a notebook under papermill and marimo at the same time, each with a home of its own that is thrown away.

    Returns:
        The sealed notebook, and the results digest of the marimo run.
    """
    values = effective(notebook_parameters(source), given)
    with tempfile.TemporaryDirectory(prefix="ballast-verify-") as folder:
        first, second, scratch = (Path(folder) / name for name in ("papermill", "marimo", "scratch"))
        for path in (first, second, scratch):
            path.mkdir()
        settings = {HOME_VARIABLE: str(second), WORKERS_VARIABLE: str(workers or os.environ.get(WORKERS_VARIABLE) or 1)}
        process = start_witness(source, values, environment_for_child(str(scratch)) | settings)
        try:
            executed = execute(source, given, first, workers=workers, report=report)
            return executed, finish_witness(process)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _checks(pin: Pin, executed: Executed, witnessed_sha256: str, fingerprint: str) -> Iterator[Check]:
    yield Check("source", pin.source_sha256, executed.seal.source_sha256)
    yield Check("parameters", pin.parameters_sha256, executed.seal.parameters_sha256)
    portable = portable_of(executed.result)
    for name in sorted(pin.portable | portable):
        yield Check(name, pin.portable.get(name, ""), portable.get(name, ""))
    yield Check("marimo runtime", executed.seal.results_sha256, witnessed_sha256)
    if fingerprint in pin.platforms:
        yield Check("results", pin.platforms[fingerprint].results_sha256, executed.seal.results_sha256)
        yield Check("rendered", pin.platforms[fingerprint].rendered_sha256, executed.seal.rendered_sha256)
