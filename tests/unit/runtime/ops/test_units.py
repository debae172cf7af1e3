"""Service units: parsed by what will read them, hostile paths included."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import UsageError
from runtime.ops.units import FINAL_CODES, LABEL, Place, launchd_plist, systemd_unit

ODD = 'a b & "c" <d> %h $HOME \\e é'


def place(tmp_path: Path, name: str) -> Place:
    home = tmp_path / name
    home.mkdir()
    return Place(Path(sys.executable), home, tmp_path / "cache")


@pytest.mark.parametrize("name", ["plain", ODD])
def test_launchd_reads_it_back(tmp_path: Path, name: str) -> None:
    where = place(tmp_path, name)
    found = plistlib.loads(launchd_plist(where).encode())
    assert found["Label"] == LABEL
    assert tuple(found["ProgramArguments"]) == where.command()
    assert (found["RunAtLoad"], found["KeepAlive"], found["Umask"]) == (True, {"SuccessfulExit": False}, 0o077)
    assert found["StandardErrorPath"] == f"{where.home}/runtime/daemon.err"
    assert found["ExitTimeOut"] > 5


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning", "XDG_RUNTIME_DIR": str(unit.parent)}
    command = ["systemd-analyze", "--user", "verify", "--man=no", str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("name", ["plain", ODD])
def test_systemd_verifies_it(tmp_path: Path, name: str) -> None:
    unit = tmp_path / "ballast.service"
    unit.write_text(systemd_unit(place(tmp_path, name)), "utf-8")
    done = verify(unit)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "ballast.service" in line]) == (0, [])
    unit.write_text(unit.read_text("utf-8").replace("Restart=on-failure", "Restart=sometimes"), "utf-8")
    assert "restart specifier" in verify(unit).stderr, "a planted mistake is found"


def test_a_unit_takes_a_path_as_it_stands(tmp_path: Path) -> None:
    """Nothing in it is a specifier, a variable or a quote of systemd's."""
    where = place(tmp_path, ODD)
    escaped = str(where.home).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    text = systemd_unit(where)
    assert f'"--home" "{escaped}"\n' in text
    assert f'ReadWritePaths="{escaped}" ' in text
    assert "%%h" in text
    assert "$$HOME" in text


def test_what_a_restart_cannot_cure_is_not_restarted(tmp_path: Path) -> None:
    text = systemd_unit(place(tmp_path, "home"))
    assert f"RestartPreventExitStatus={' '.join(map(str, FINAL_CODES))}\n" in text
    assert 6 not in FINAL_CODES, "a venue that cannot be reached now may be reached later"
    assert "TimeoutStopSec=10\n" in text


@pytest.mark.parametrize(
    "setting", ["ProtectSystem=strict", "NoNewPrivileges=yes", "PrivateTmp=yes", "UMask=0077", "RestrictAddressFamilies="]
)
def test_it_is_hardened(tmp_path: Path, setting: str) -> None:
    assert f"\n{setting}" in systemd_unit(place(tmp_path, "home"))


@pytest.mark.parametrize("make", [systemd_unit, launchd_plist])
def test_a_path_with_control_characters_is_refused(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="the path"):
        make(Place(Path("/usr/bin/python"), tmp_path / "a\nExecStartPre=evil", tmp_path))
