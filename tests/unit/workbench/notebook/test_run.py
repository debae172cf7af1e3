from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.canonical import sha256_file
from runtime.errors import BallastError, DataError, UsageError
from runtime.progress import FileReport
from workbench.notebook.receipt import read_receipt
from workbench.notebook.run import Executed, _following, default_folder, execute, find_source, store

BALLAST = [sys.executable, "-m", "runtime.cli"]


def files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


def insert(source: Path, cell: str) -> Path:
    """Add a cell in front of the end of a notebook."""
    text = source.read_text()
    source.write_text(text.replace('if __name__ == "__main__":', cell + '\n\nif __name__ == "__main__":'))
    return source


def test_a_run_has_spec_result_and_seconds(executed: Executed) -> None:
    assert executed.name == "tiny"
    assert executed.spec == {"symbol": "BTC", "window": 12, "fee": 0.004}
    assert executed.result["rows"] == 200
    assert {"setup", "prices", "result"} <= set(executed.seconds)
    assert executed.seconds["setup"] > 0


def test_the_receipt_names_what_was_run(executed: Executed, tmp_path: Path) -> None:
    stored = store(executed, default_folder(tmp_path, executed))
    assert stored.notebook == tmp_path / "notebooks" / f"tiny-{executed.seal.parameters_sha256[:12]}" / "tiny.ipynb"
    receipt = read_receipt(stored.receipt_path)
    assert receipt == stored.receipt
    assert receipt.notebook_sha256 == sha256_file(stored.notebook)
    assert receipt.results_sha256 == executed.seal.results_sha256
    assert receipt.environment_lock_sha256 == sha256_file(Path(__file__).parents[4] / "requirements.lock")
    stored.receipt_path.write_text("{}")
    with pytest.raises(DataError):
        read_receipt(stored.receipt_path)


@pytest.mark.parametrize("given", [{"widow": 1}, {"window": "ten"}, {"window": 2.5}, {"window": 51}, {"symbol": "btc"}])
def test_bad_parameters_are_refused_and_nothing_is_written(tiny: Path, given: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(UsageError) as caught:
        execute(tiny, given, home)
    assert next(iter(given)) in caught.value.got
    assert files(tmp_path) == [tiny]


def test_an_error_of_ours_in_a_cell_keeps_its_class_and_words(tiny: Path, tmp_path: Path) -> None:
    source = insert(
        tiny, "@app.cell\ndef _():\n    raise DataError('bad bar', expected='a good one', action='look')\n    return\n"
    )
    source.write_text(
        source.read_text().replace("    import sys\n", "    import sys\n\n    from runtime.errors import DataError\n")
    )
    with pytest.raises(DataError) as caught:
        execute(source, {}, tmp_path / "home")
    assert (caught.value.got, caught.value.expected, caught.value.action) == ("bad bar", "a good one", "look")


def test_any_other_error_names_cell_and_line_and_leaves_no_output(tiny: Path, tmp_path: Path) -> None:
    source = insert(tiny, "@app.cell\ndef broken(prices):\n    prices['no such column']\n    return\n")
    with pytest.raises(BallastError) as caught:
        execute(source, {}, tmp_path / "home")
    assert "cell 'broken' failed: ColumnNotFoundError" in caught.value.got
    assert "prices['no such column']" in caught.value.got
    assert files(tmp_path) == [tiny]


def test_a_kernel_that_dies_is_an_environment_failure(tiny: Path, tmp_path: Path) -> None:
    source = insert(tiny, "@app.cell\ndef die():\n    import ctypes\n\n    ctypes.string_at(0)\n    return\n")
    with pytest.raises(BallastError) as caught:
        execute(source, {}, tmp_path / "home")
    assert "the kernel process ended" in caught.value.got


def test_settings_travel_by_environment_and_are_restored(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALLAST_WORKERS", "7")
    body = (
        "@app.cell\ndef _():\n    from pathlib import Path\n    import os\n    os.environ['BALLAST_WORKERS'] == '2' or 1 / 0\n"
    )
    check = "    Path(os.environ['BALLAST_HOME']).name == 'home' or 1 / 0\n    os.environ['PYTHONHASHSEED'] == '0' or 1 / 0\n    return\n"
    execute(insert(tiny, body + check), {}, tmp_path / "home", workers=2)
    assert os.environ["BALLAST_WORKERS"] == "7"
    assert "BALLAST_HOME" not in os.environ
    assert "BALLAST_PROGRESS_FILE" not in os.environ


def test_every_progress_line_reaches_the_report(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    path = tmp_path / "progress.jsonl"
    with _following(path, lambda stage, done, total: seen.append((stage, done, total))):
        writer = FileReport(path)
        for i in range(50):
            writer("train", i, 50)
    assert seen == [("train", i, 50) for i in range(50)]


def test_a_run_that_ended_before_its_receipt_is_completed_by_the_next(executed: Executed, tmp_path: Path) -> None:
    folder = default_folder(tmp_path, executed)
    whole = store(executed, folder)
    receipt = whole.receipt_path.read_bytes()
    whole.receipt_path.unlink()
    whole.notebook.unlink()
    (folder / "study.json").write_text("{}")
    store(executed, folder)
    assert whole.receipt_path.read_bytes() == receipt
    assert whole.notebook.read_bytes() == executed.content
    assert (folder / "study.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("given", "got", "expected"),
    [
        (("folds_n", "99"), "folds_n = 99", "folds_n: less than or equal to 24"),
        (("grid_h", "5"), "grid_h = 5", "grid_h: 1, 2, 4, 8, 12 or 24"),
        (
            ("profile", "wild"),
            "parameters that do not fit",
            "profile must be one of aggressive, balanced, conservative, got 'wild'",
        ),
    ],
)
def test_a_study_out_of_bounds_is_refused_before_its_home_exists(
    given: tuple[str, str], got: str, expected: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    done = subprocess.run(
        [*BALLAST, "notebook", "run", "walk_forward", "-p", *given, "--out", str(home)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert got in done.stderr
    assert expected in done.stderr
    assert "pydantic" not in done.stderr
    assert not home.exists()


def test_an_unknown_notebook_is_refused() -> None:
    with pytest.raises(UsageError, match="no notebook 'nothing'"):
        find_source("nothing")


def test_ctrl_c_ends_the_kernel_and_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    mark = tmp_path / "kernel.pid"
    cleaned = tmp_path / "cleaned"
    code = f"from pathlib import Path\n    import os, time\n    Path({str(mark)!r}).write_text(str(os.getpid()))\n    time.sleep(60)"
    code = code.replace(
        "    time.sleep(60)", f"    try:\n        time.sleep(60)\n    finally:\n        Path({str(cleaned)!r}).touch()"
    )
    source = insert(tiny, f"@app.cell\ndef _():\n    {code}\n    return\n")
    home = tmp_path / "home"
    process = subprocess.Popen(
        [*BALLAST, "notebook", "run", str(source), "--out", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert not stdout
    assert cleaned.exists(), "the kernel was killed before its finally blocks ran"
    assert not home.exists() or not files(home)
    time.sleep(0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_the_command_prints_one_json_object(tiny: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*BALLAST, "notebook", "run", str(tiny), "-p", "window", "12", "-p", "fee", "0", "--out", str(tmp_path / "home"), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["spec"] == {"symbol": "BTC", "window": 12, "fee": 0}
    assert Path(answer["notebook"]).is_file()
