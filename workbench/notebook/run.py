"""Execute a governed notebook under papermill and keep its sealed form and receipt; all of it, or nothing."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.canonical import sha256_hex
from runtime.errors import DataError, UsageError
from runtime.files import write_bytes
from runtime.home import HOME_VARIABLE, sweep_partial
from runtime.progress import PROGRESS_FILE_VARIABLE, Report, silent
from workbench.notebook import failures
from workbench.notebook.display import Json
from workbench.notebook.environment import ROOT, environment, git_commit
from workbench.notebook.io import SCHEME
from workbench.notebook.parameters import Parameter, Value, declared, from_text
from workbench.notebook.receipt import Receipt, write_receipt
from workbench.notebook.seal import METADATA_KEY, Seal, parameters_cell, results_of, spec_of

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOKS: Final = ROOT / "notebooks"
WORKERS_VARIABLE: Final = "BALLAST_WORKERS"
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Executed:
    """A notebook that ran and was sealed, not yet written anywhere.

    Attributes:
        name: name of the source without its suffix.
        content: bytes of the sealed notebook.
        spec: the validated spec it showed.
        result: the result it showed.
        seal: its digests.
        seconds: wall time per cell name; not part of anything sealed.
    """

    name: str
    content: bytes
    spec: dict[str, Json]
    result: dict[str, Json]
    seal: Seal
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an executed notebook was written, and its receipt."""

    notebook: Path
    receipt_path: Path
    receipt: Receipt


@dataclass(slots=True)
class CellClock:
    """Wall time per cell, as the engine reports it."""

    report: Report
    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, name: str, seconds: float, done: int, total: int) -> None:
        """Add the time of one cell and pass the count of cells on."""
        if name:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)
        self.report("notebook cells", done, total)


def find_source(name: str) -> Path:
    """Return the source of a notebook by name (under notebooks/) or by path; raise `UsageError` when there is none."""
    path = Path(name) if name.endswith(".py") or os.sep in name else NOTEBOOKS / f"{name}.py"
    if path.is_file():
        return path.absolute()
    known = ", ".join(sorted(p.stem for p in NOTEBOOKS.glob("*.py"))) or "none"
    raise UsageError(f"no notebook {name!r}", expected=f"one of: {known}, or a path", action="correct the name")


def notebook_parameters(source: Path) -> list[Parameter]:
    """Return what a source declares; raise `DataError` when it is not a governed notebook."""
    from workbench.notebook.convert import to_notebook

    return declared(parameters_cell(to_notebook(source)))


def parameters_from_text(source: Path, given: Mapping[str, str]) -> dict[str, Value]:
    """Return the values of `-p key value` pairs as the notebook's declared types say."""
    return from_text(notebook_parameters(source), given)


def execute(
    source: Path, given: Mapping[str, Value], home: Path, *, workers: int | None = None, report: Report = silent
) -> Executed:
    """Run a governed notebook in a fresh kernel and return it sealed.

    Args:
        source: the marimo source.
        given: raw parameters; the rest take their defaults.
        home: where its stages read and write.
        workers: processes its stages may use; None leaves the choice to them.
        report: receives the stages' progress and one tick per cell.

    Raises:
        UsageError: an unknown parameter, a wrong type or a value out of bounds; nothing was written.
        BallastError: whatever a stage raised, rebuilt from the kernel's message.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillException, PapermillExecutionError

    clock = CellClock(report)
    with _settings(home, workers, report), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The specified file", module="papermill")
        try:
            nb = papermill.execute_notebook(
                f"{SCHEME}{source}", None, dict(given), engine_name="marimo", progress_bar=False, autosave_cell_every=0,
                on_cell=clock,
            )  # fmt: skip
        except PapermillExecutionError as e:
            raise failures.cell_failure(_cell_name(e.source, source), e.ename, e.evalue, e.traceback) from e
        except PapermillException as e:
            raise failures.refusal(str(e)) from e
        except DeadKernelError as e:
            raise failures.dead_kernel(str(e)) from e
        finally:
            sweep_partial(home)  # the kernel is gone; had it to be killed, it could not tidy up
    return _executed(source.stem, nb, clock.seconds)


def store(executed: Executed, folder: Path) -> Stored:
    """Write the sealed notebook and its receipt into a folder, each atomically, the receipt last."""
    path = folder / f"{executed.name}.ipynb"
    dataset = executed.spec.get("dataset", "")
    receipt = Receipt(
        notebook=executed.name,
        source_sha256=executed.seal.source_sha256,
        parameters_sha256=executed.seal.parameters_sha256,
        dataset_hash=dataset if isinstance(dataset, str) else "",
        environment_lock_sha256=environment().lock_sha256,
        environment=environment(),
        results_sha256=executed.seal.results_sha256,
        rendered_sha256=executed.seal.rendered_sha256,
        notebook_sha256=sha256_hex(executed.content),
        git_commit=git_commit(ROOT),
    )
    write_bytes(path, executed.content)
    return Stored(path, write_receipt(folder, receipt), receipt)


def default_folder(home: Path, executed: Executed) -> Path:
    """Return where a run belongs: beside its study when it made one, else under notebooks/ by name and parameters."""
    study = executed.result.get("study_id")
    if isinstance(study, str):
        return home / "studies" / study
    return home / "notebooks" / f"{executed.name}-{executed.seal.parameters_sha256[:12]}"


def _executed(name: str, nb: NotebookNode, seconds: dict[str, float]) -> Executed:
    import nbformat

    if METADATA_KEY not in nb.metadata:
        raise DataError("the notebook was not sealed", expected="the marimo engine", action="check the papermill plugins")
    content = nbformat.writes(nb).encode()
    seal = Seal(**nb.metadata[METADATA_KEY])
    return Executed(name, content, spec_of(nb), results_of(nb)[0], seal, seconds)


def _cell_name(code: str, source: Path) -> str:
    """Return the name of the cell with this code: papermill's own message counts cells, which helps nobody."""
    from workbench.notebook.convert import to_notebook

    for cell in to_notebook(source).cells:
        if cell.source == code:
            return str(cell.metadata.get("marimo", {}).get("name") or cell.id)
    return "parameters"


@contextmanager
def _settings(home: Path, workers: int | None, report: Report) -> Iterator[None]:
    """Hand settings that change where and how fast, but never what, to the kernel through its environment."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="ballast-progress-") as folder:
        progress = Path(folder) / "progress.jsonl"
        os.environ[HOME_VARIABLE] = str(home.absolute())
        os.environ[PROGRESS_FILE_VARIABLE] = str(progress)
        if workers is not None:
            os.environ[WORKERS_VARIABLE] = str(workers)
        try:
            with _following(progress, report):
                yield
        finally:
            for name in (HOME_VARIABLE, PROGRESS_FILE_VARIABLE, WORKERS_VARIABLE):
                os.environ.pop(name, None)
                if name in before:
                    os.environ[name] = before[name]


@contextmanager
def _following(path: Path, report: Report) -> Iterator[None]:
    """Pass the lines that another process appends to a file on to a report, until the block ends."""
    ended = threading.Event()
    reader = threading.Thread(target=_follow, args=(path, report, ended.wait), name="progress", daemon=True)
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join()


def _follow(path: Path, report: Report, wait: Callable[[float], bool]) -> None:
    at = 0
    last = False
    while True:
        if path.exists():
            with path.open("rb") as f:
                f.seek(at)
                read = f.read()
            whole = read[: read.rfind(b"\n") + 1]
            at += len(whole)
            for line in whole.splitlines():
                stage, done, total = json.loads(line)
                report(stage, done, total)
        if last:
            return
        last = wait(POLL_S)  # once more after the end, for the lines written in between
