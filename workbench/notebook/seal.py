"""Make an executed notebook byte-reproducible, and compute its digests.

Removed: papermill's timings and paths, the injected cell's random id, widget state, UUIDs, memory addresses, stderr
(warnings name paths). Kept: `execution_count`, without which nbval cannot re-run the notebook.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from runtime.canonical import digest
from runtime.errors import DataError
from workbench.notebook.convert import PARAMETERS
from workbench.notebook.display import GOVERNED_MIMES, RESULT_MIME, SPEC_MIME, Json

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from workbench.notebook.parameters import Value

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ADDRESS: Final = re.compile(r"0x[0-9a-f]{6,}")
INJECTED: Final = "injected-parameters"
METADATA_KEY: Final = "ballast"


@dataclass(frozen=True, slots=True)
class Seal:
    """Digests of a sealed notebook.

    Attributes:
        source_sha256: of the marimo source.
        parameters_sha256: of the validated spec (not of the raw input: 7 and 7.0 differ in JSON).
        results_sha256: of the result outputs only; equal under papermill and under marimo's own runtime.
        rendered_sha256: of every cell's source and outputs; equal within one environment.
    """

    source_sha256: str
    parameters_sha256: str
    results_sha256: str
    rendered_sha256: str


def seal(nb: NotebookNode, parameters: Mapping[str, Value], private: Sequence[str] = ()) -> Seal:
    """Seal an executed notebook in place and return its digests.

    Args:
        nb: the executed notebook.
        parameters: every declared parameter with its effective raw value.
        private: texts that no output may contain (folders of this machine).

    Raises:
        DataError: not exactly one spec and one result output, or an output names a folder of this machine.
    """
    from nbformat import from_dict

    for cell in nb.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if INJECTED in cell.metadata.get("tags", []):
            cell["id"] = INJECTED
            cell["source"] = injected_source(nb.metadata.papermill.get("parameters") or {}, parameters)
        if cell.cell_type == "code":
            cell["outputs"] = [from_dict(output) for output in _sealed_outputs(cell.get("outputs", []))]
            _refuse_private(cell, private)
    nb.metadata.pop("widgets", None)
    _refuse_invalid(nb)
    nb.metadata["papermill"] = from_dict({"parameters": dict(parameters)})
    sealed = Seal(
        source_sha256=nb.metadata["marimo"]["source_sha256"],
        parameters_sha256=digest(spec_of(nb)),
        results_sha256=digest(results_of(nb)),
        rendered_sha256=digest([[c.get("id"), c.source, c.get("outputs", [])] for c in nb.cells]),
    )
    nb.metadata[METADATA_KEY] = from_dict(asdict(sealed))
    return sealed


def injected_source(given: Mapping[str, object], parameters: Mapping[str, Value]) -> str:
    """Return the canonical text of papermill's injected cell: given names only, in declared order, fitted values."""
    lines = [f"{name} = {value!r}" for name, value in parameters.items() if name in given]
    return "\n".join(["# Parameters", *lines])


def spec_of(nb: NotebookNode) -> dict[str, Json]:
    """Return the one spec a notebook shows."""
    return _one(nb, SPEC_MIME, "show_spec(spec)")


def results_of(nb: NotebookNode) -> list[dict[str, Json]]:
    """Return the results a notebook shows: exactly one, as a list for the digest."""
    return [_one(nb, RESULT_MIME, "Result(...)")]


def _one(nb: NotebookNode, mime: str, how: str) -> dict[str, Json]:
    found = [o.data[mime] for c in nb.cells for o in c.get("outputs", []) if mime in o.get("data", {})]
    if len(found) != 1:
        raise DataError(
            f"the executed notebook shows {len(found)} outputs of type {mime}",
            expected="exactly one",
            action=f"end one cell, and only one, with `{how}`",
        )
    content: dict[str, Json] = found[0]
    return content


def _sealed_outputs(outputs: Sequence[NotebookNode]) -> list[dict[str, object]]:
    kept: list[dict[str, object]] = []
    stdout = ""
    for output in outputs:
        if output.output_type == "stream":
            stdout += output.text if output.name == "stdout" else ""
            continue
        data = {mime: content if _exact(mime) else _scrub(content) for mime, content in output.get("data", {}).items()}
        item: dict[str, object] = {"output_type": output.output_type, "data": data, "metadata": {}}
        if output.output_type == "execute_result":
            item["execution_count"] = output.execution_count
        kept.append(item)
    if stdout:
        # one stream first: how the kernel split and interleaved it is a matter of timing
        kept.insert(0, {"output_type": "stream", "name": "stdout", "text": _scrub(stdout)})
    return kept


def _exact(mime: str) -> bool:
    return mime in GOVERNED_MIMES or mime.startswith("image/")


def _scrub(value: object) -> object:
    if isinstance(value, str):
        return ADDRESS.sub("0x0", UUID.sub("0", value))
    if isinstance(value, list):
        return [_scrub(item) for item in value]
    if isinstance(value, dict):
        return {key: _scrub(item) for key, item in value.items()}
    return value


def _refuse_private(cell: NotebookNode, private: Sequence[str]) -> None:
    text = repr(cell.outputs)
    for folder in private:
        if folder in text:
            name = cell.metadata.get("marimo", {}).get("name", cell.get("id"))
            raise DataError(
                f"the output of cell {name!r} contains the folder {folder}",
                expected="outputs that are the same on every machine",
                action="print names and digests, not paths",
            )


def _refuse_invalid(nb: NotebookNode) -> None:
    from nbformat import ValidationError, validate

    for cell in nb.cells:
        for output in cell.get("outputs", []):
            try:
                validate(output, ref="output", version=4)
            except ValidationError as e:
                name = cell.metadata.get("marimo", {}).get("name", cell.get("id"))
                where = "/".join(str(part) for part in e.absolute_path)
                raise DataError(
                    f"the output of cell {name!r} is not valid in a notebook: {where}",
                    expected="JSON only under a MIME type that ends in json",
                    action="show it in another form",
                ) from e


def parameters_cell(nb: NotebookNode) -> str:
    """Return the source of the parameters cell."""
    return next(c.source for c in nb.cells if PARAMETERS in c.metadata.get("tags", []))
