"""Each check finds what is wrong and says how to mend it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import keyring
import pytest
from keyring.backends.fail import Keyring as FailKeyring

from runtime.cli import main
from runtime.commands import doctor


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_every_row_has_a_fix_unless_it_is_ok(home: Path) -> None:
    rows = doctor.examine(home)
    assert [row.check for row in rows] == ["python", "disk", "clock", "keyring", "home", "data", "lock", "compiled", "cpu"]
    assert all(row.found for row in rows)
    assert all(bool(row.fix) == (row.status != doctor.OK) for row in rows)


def test_json_and_exit_code(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json", "--home", str(home)])
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"] is (code == 0)
    assert {"check", "status", "found", "fix"} == set(shown["checks"][0])


def test_a_failing_check_ends_with_6(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 1))
    assert main(["doctor", "--home", str(home)]) == 6
    assert "fail" in capsys.readouterr().out


@pytest.mark.parametrize(("free_gib", "status"), [(0.5, "fail"), (3, "warn"), (50, "ok")])
def test_disk(free_gib: float, status: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, int(free_gib * doctor.GIB)))
    assert doctor.check_disk(home / "not" / "there").status == status


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_python().status == "ok"
    monkeypatch.setattr(platform, "python_implementation", lambda: "PyPy")
    assert doctor.check_python().status == "fail"


def test_clock_with_an_implausible_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 86_400.0)
    assert doctor.check_clock().status == "fail"


def test_clock_that_is_stepped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = iter([1.8e9, 1.8e9 + 3])
    monkeypatch.setattr(time, "time", lambda: next(shown))
    assert doctor.check_clock().status == "warn"


def test_keyring_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "get_keyring", FailKeyring)
    assert doctor.check_keyring().status == "warn"
    keychain = type("Keyring", (), {"__module__": "keyring.backends.macOS"})
    monkeypatch.setattr(keyring, "get_keyring", keychain)
    assert doctor.check_keyring().status == "ok"
    plain_file = type("PlaintextKeyring", (), {"__module__": "keyrings.alt.file"})
    monkeypatch.setattr(keyring, "get_keyring", plain_file)
    assert doctor.check_keyring().status == "warn"


def test_home_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_home(home).status == "ok"
    assert doctor.check_home(home / "new").status == "ok"
    occupied = home / "file"
    occupied.touch()
    assert doctor.check_home(occupied / "below").status == "fail"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert doctor.check_home(home).status == "fail"


def test_data_counts_the_lake(home: Path) -> None:
    assert "no lake yet" in doctor.check_data(home).found
    bars = home / "lake" / "bars" / "simulated" / "1h" / "BTC"
    bars.mkdir(parents=True)
    (bars / "0123456789abcdef.parquet").touch()
    assert doctor.check_data(home).found == "1 bar files, 0 datasets"


def test_lock_drift_and_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.version

    def other(name: str) -> str:
        return "0.0.1" if name == "numpy" else installed(name)

    monkeypatch.setattr(metadata, "version", other)
    row = doctor.check_lock()
    assert row.status == "fail"
    assert "numpy 0.0.1 (locked " in row.found

    def absent(name: str) -> str:
        if name == "shap":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", absent)
    row = doctor.check_lock()
    assert row.status == "warn"
    assert row.found.endswith("missing: shap")


def test_compiled_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    assert doctor.check_compiled().found.startswith("empty")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert doctor.check_compiled().status == "warn"


def test_keyring_that_fails_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise RuntimeError("no bus")

    monkeypatch.setattr(keyring, "get_keyring", broken)
    row = doctor.check_keyring()
    assert (row.status, row.found) == ("warn", "RuntimeError: no bus")


def test_data_that_cannot_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "lake").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert doctor.check_data(home).status == "fail"


def test_no_lock_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "runtime" / "commands" / "doctor.py"))
    assert doctor.check_lock().status == "warn"


def test_compiled_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert doctor.check_compiled().status == "warn"
