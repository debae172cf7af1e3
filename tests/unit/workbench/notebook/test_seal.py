from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from runtime.errors import DataError
from workbench.notebook.display import RESULT_MIME, SPEC_MIME
from workbench.notebook.run import Executed, execute
from workbench.notebook.seal import seal


def test_nothing_volatile_is_left(executed: Executed) -> None:
    text = executed.content.decode()
    nb = nbformat.reads(text, as_version=4)
    nbformat.validate(nb)
    assert "start_time" not in text
    assert '"name": "stderr"' not in text
    assert "object <object object at 0x0>" in text
    assert nb.metadata.papermill == {"parameters": {"symbol": "BTC", "window": 12, "fee": 0.004}}
    injected = [c for c in nb.cells if c.id == "injected-parameters"]
    assert [c.source for c in injected] == ["# Parameters\nwindow = 12"]
    assert all(c.execution_count for c in nb.cells if c.cell_type == "code")


def test_two_runs_in_different_folders_and_hash_seeds_give_the_same_file(executed: Executed, tiny: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from workbench.notebook.run import execute;"
        "e = execute(Path(sys.argv[1]), {'window': 12}, Path(sys.argv[2]), workers=2); print(e.content.decode())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123", "TZ": "Asia/Tokyo", "POLARS_FMT_MAX_ROWS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny), str(tiny.parent / "home")],
        capture_output=True, text=True, check=True, env=environment, cwd=tiny.parent,
    )  # fmt: skip
    assert done.stdout.encode() == executed.content + b"\n"


def test_another_parameter_gives_other_digests(executed: Executed, tiny: Path) -> None:
    other = execute(tiny, {"window": 13}, tiny.parent)
    assert other.seal.source_sha256 == executed.seal.source_sha256
    assert other.seal.parameters_sha256 != executed.seal.parameters_sha256
    assert other.seal.results_sha256 != executed.seal.results_sha256
    assert other.seal.rendered_sha256 != executed.seal.rendered_sha256


def notebook(*outputs: dict[str, object]) -> nbformat.NotebookNode:
    nb = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.from_dict(o) for o in outputs])
    nb.cells = [cell]
    nb.metadata = nbformat.from_dict({"papermill": {"parameters": {}}, "marimo": {"source_sha256": "0" * 64}})
    return nb


def shown(mime: str) -> dict[str, object]:
    return {"output_type": "display_data", "data": {mime: {"a": 1}}, "metadata": {}}


@pytest.mark.parametrize("mimes", [(), (SPEC_MIME,), (RESULT_MIME,), (SPEC_MIME, RESULT_MIME, RESULT_MIME)])
def test_a_notebook_without_exactly_one_spec_and_one_result_is_not_sealed(mimes: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="exactly one"):
        seal(notebook(*(shown(mime) for mime in mimes)), {})


def test_an_output_that_names_a_folder_of_this_machine_is_refused(tmp_path: Path) -> None:
    stream = {"output_type": "stream", "name": "stdout", "text": f"wrote {tmp_path}/x\n"}
    with pytest.raises(DataError, match="contains the folder"):
        seal(notebook(stream, shown(SPEC_MIME), shown(RESULT_MIME)), {}, [str(tmp_path)])


def test_stdout_is_one_stream_however_the_kernel_split_it() -> None:
    parts = [{"output_type": "stream", "name": "stdout", "text": t} for t in ("a\n", "b\n")]
    whole = {"output_type": "stream", "name": "stdout", "text": "a\nb\n"}
    results = (shown(SPEC_MIME), shown(RESULT_MIME))
    first = seal(notebook(parts[0], results[0], parts[1], results[1]), {})
    second = seal(notebook(whole, *results), {})
    assert json.dumps(first.results_sha256) == json.dumps(second.results_sha256)
