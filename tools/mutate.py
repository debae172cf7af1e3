"""Mutation testing of the arithmetic, the books and the risk engine: `make mutate`.

Plants every mutant of `tools.mutants` in a copy of the sources, one at a time, with the JIT off, and asks whether the tests of the
core notice. Ends with 0 when at least 90 % of the mutants of every file are killed, every survivor is explained in
`tools/mutate_survivors.toml`, and nothing is explained that is killed or gone.

    python -m tools.mutate [--file risk.py] [--function within_caps] [--report DIR] [--workers 2]

Why not a library: mutmut 3 leaves decorated functions alone and every function of the core is decorated; cosmic-ray changes files in
place and starts a new process with a new pytest for each mutant (three seconds where this takes a tenth of one) and would bring
thirteen packages into the lock.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tools.mutants import Mutant, mutants

REPOSITORY: Final = Path(__file__).resolve().parent.parent
FILES: Final = ("fixed.py", "ledger.py", "lots.py", "risk.py")
TESTS: Final = tuple(f"tests/unit/runtime/core/test_{Path(name).stem}.py" for name in FILES)
COPIED: Final = ("runtime", "tests/support", "tests/unit/runtime/core", "tests/conftest.py", "tools", "pyproject.toml")
SURVIVORS: Final = REPOSITORY / "tools" / "mutate_survivors.toml"
SHARE_MIN: Final = 0.9
SECONDS_MAX: Final = 30.0
CAUGHT: Final = {"killed", "timeout"}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant: `killed` by a test, `timeout`, `survived`, or `broken` (the tool failed)."""

    mutant: Mutant
    outcome: str
    by: str
    seconds: float


def all_mutants(root: Path = REPOSITORY) -> list[Mutant]:
    """Return the mutants of every file under test, in the order of the text."""
    return [m for name in FILES for m in mutants(name, (root / "runtime" / "core" / name).read_text("utf-8"))]


def read_survivors(path: Path = SURVIVORS) -> dict[str, str]:
    """Return identity -> reason of the survivors that a person has explained."""
    return {entry["mutant"]: entry["reason"] for entry in tomllib.loads(path.read_text("utf-8")).get("survivor", [])}


def copy_sources(target: Path) -> None:
    """Copy what the tests need: the tree may change while this runs."""
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)


def run(
    chosen: list[Mutant], folder: Path, workers: int, tests: tuple[str, ...] = TESTS, seconds_max: float = SECONDS_MAX
) -> Iterator[Result]:
    """Yield the result of each mutant as it comes; the first answer, of the unchanged sources, is checked here.

    Args:
        seconds_max: a mutant that takes longer is stopped; it must allow for the whole tests on a busy machine.

    Raises:
        SystemExit: the tests fail on unchanged sources, or the server ended early.
    """
    listed = folder / "mutants.json"
    listed.write_text(json.dumps([m.to_json() for m in chosen]), encoding="utf-8")
    read, write = os.pipe()
    environment = {
        **os.environ, "NUMBA_DISABLE_JIT": "1", "CI": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(folder),
        "BALLAST_MUTANTS": str(listed), "BALLAST_MUTATE_FD": str(write), "BALLAST_MUTATE_WORKERS": str(workers),
        "BALLAST_MUTATE_SECONDS": str(seconds_max),
    }  # fmt: skip
    options = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:timeout", "-o", "addopts=--import-mode=importlib",
               "-o", "timeout=0", "-m", "not slow and not nightly", "--tb=no", "-s"]  # fmt: skip
    log = folder / "pytest.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "tools.mutate_server", *options, *tests],
            cwd=folder, env=environment, pass_fds=[write], stdout=output, stderr=output,
        )  # fmt: skip
    os.close(write)
    answered = 0
    try:
        with os.fdopen(read, encoding="utf-8") as answers:
            for line in answers:
                answer = json.loads(line)
                if answer["number"] < 0:
                    if answer["outcome"] != "survived":
                        raise SystemExit(f"the tests fail without any mutant: {answer['by'] or answer['outcome']}")
                    continue
                answered += 1
                yield Result(chosen[answer["number"]], answer["outcome"], answer["by"], answer["seconds"])
    finally:
        server.kill()
        server.wait()
    if answered != len(chosen):
        raise SystemExit(f"{answered} of {len(chosen)} mutants answered:\n{log.read_text('utf-8', 'replace')[-2_000:]}")


def findings(results: list[Result], explained: dict[str, str], *, whole: bool) -> list[str]:
    """Return why the run is not good enough; `whole` says that every mutant was tried."""
    found = [f"the tool failed on {r.mutant.identity}" for r in results if r.outcome == "broken"]
    outcome = {r.mutant.identity: r.outcome for r in results}
    found += [
        f"survived without an explanation: {name}"
        for name, what in outcome.items()
        if what == "survived" and name not in explained
    ]
    found += [f"explained, but killed: {name}" for name in explained if outcome.get(name) in CAUGHT]
    if whole:
        found += [f"explained, but gone: {name}" for name in explained if name not in outcome]
    for file in sorted({r.mutant.file for r in results}) if whole else ():
        killed, total = count(results, file)
        if killed < SHARE_MIN * total:
            found.append(f"{file}: {killed} of {total} killed, fewer than {SHARE_MIN:.0%}")
    return found


def count(results: list[Result], file: str) -> tuple[int, int]:
    """Return (killed, all) mutants of a file; survivors that cannot be told from the original count as alive."""
    own = [r for r in results if r.mutant.file == file]
    return sum(r.outcome in CAUGHT for r in own), len(own)


def write_report(folder: Path, results: list[Result], explained: dict[str, str], seconds: float) -> None:
    """Write mutation.json (every mutant) and mutation.md (the ratios and the survivors)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"mutant": r.mutant.identity, "operator": r.mutant.operator, "outcome": r.outcome, "by": r.by} for r in results]
    (folder / "mutation.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    lines = ["| file | mutants | killed | share |", "| --- | --- | --- | --- |"]
    for file in sorted({r.mutant.file for r in results}):
        killed, total = count(results, file)
        lines.append(f"| {file} | {total} | {killed} | {killed / total:.1%} |")
    lines += ["", f"{len(results)} mutants in {seconds:.0f} s.", "", "| survivor | why |", "| --- | --- |"]
    for r in results:
        if r.outcome not in CAUGHT:
            name = r.mutant.identity.replace("|", "\\|")
            lines.append(f"| `{name}` | {explained.get(r.mutant.identity, 'NOT EXPLAINED')} |")
    (folder / "mutation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", choices=FILES, help="only the mutants of one file")
    parser.add_argument("--function", help="only the mutants of one function")
    parser.add_argument("--report", type=Path, default=REPOSITORY / "out" / "mutation", help="folder of the report")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    given = parser.parse_args(arguments)
    console = Console(stderr=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ballast-mutate-") as name:
        folder = Path(name)
        copy_sources(folder)
        chosen = [m for m in all_mutants(folder) if given.file in (None, m.file) and given.function in (None, m.function)]
        whole = given.file is None and given.function is None
        results: list[Result] = []
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("mutants", total=len(chosen))
            for result in run(chosen, folder, given.workers):
                results.append(result)
                alive = sum(r.outcome not in CAUGHT for r in results)
                progress.update(task, advance=1, description=f"mutants, {alive} alive")
    order = {m.identity: i for i, m in enumerate(chosen)}
    results.sort(key=lambda r: order[r.mutant.identity])
    explained = read_survivors()
    write_report(given.report, results, explained, time.monotonic() - started)
    for file in sorted({r.mutant.file for r in results}):
        killed, total = count(results, file)
        console.print(f"{file}: {killed} of {total} killed ({killed / total:.1%})")
    problems = findings(results, explained, whole=whole)
    for problem in problems:
        console.print(problem, markup=False, highlight=False)
    console.print(f"report: {given.report / 'mutation.md'}", markup=False)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
