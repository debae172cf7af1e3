"""Damaged archives: each flipped bit is found, at its place; what is no archive is a defect and no crash."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import VerificationError
from runtime.ops import verify_export as v
from tests.support import exports
from tests.support.exports import block_of, defect, forged, read_members, write_members
from tests.support.venues import venue_run

FLIPPED = tuple(name for name in v.MEMBERS if name.endswith(".bin"))


def flip_and_check(whole: Path, folder: Path, count: int, seed: int) -> None:
    """Flip one bit of one member at a time; each must be found, and those of rows, events and blocks at their place."""
    members = read_members(whole)
    with zipfile.ZipFile(whole) as z:
        places = [(info.filename, info.header_offset + 30 + len(info.filename), info.file_size) for info in z.infolist()]
    rng = np.random.default_rng(seed)
    content = bytearray(whole.read_bytes())
    target = folder / "flipped.zip"
    for _ in range(count):
        name, first, size = places[int(rng.integers(0, len(places)))]
        if size == 0:
            continue
        at, bit = int(rng.integers(0, size)), 1 << int(rng.integers(0, 8))
        content[first + at] ^= bit
        target.write_bytes(content)
        content[first + at] ^= bit
        result = v.verify(target)
        found: Any = result["defect"]
        assert found, (name, at)
        assert name == "manifest.json" or result["changed_members"] == [name], (name, at, found)
        if name.startswith(("rows/", "hashes/")):
            table = name.partition("/")[2].removesuffix(".bin")
            row = at // (32 if name.startswith("hashes/") else v.ROW_BYTES[table]) + 1
            assert found["block"] == block_of(members, table, row), (name, at, found)
        elif name in {"blocks.bin", "events.bin"}:
            assert found["block"] == at // v.SIZES[name] + 1, (name, at, found)
        elif name in FLIPPED:
            assert found["block"] > 0 or name.startswith("inputs/"), (name, at, found)


def test_flipped_bits_are_found(whole: Path, tmp_path: Path) -> None:
    flip_and_check(whole, tmp_path, 200, 1)


@pytest.mark.slow
def test_two_thousand_flipped_bits_are_found(whole: Path, tmp_path: Path) -> None:
    flip_and_check(whole, tmp_path, 2_000, 2)


def test_a_flip_anywhere_is_found_or_changes_no_member(whole: Path, tmp_path: Path) -> None:
    """Between the members lies what a ZIP says about them: times, modes, checksums."""
    members, content = read_members(whole), bytearray(whole.read_bytes())
    with zipfile.ZipFile(whole) as z:
        places = [k for info in z.infolist() for k in range(info.header_offset, info.header_offset + 30 + len(info.filename))]
        places += range(z.start_dir, len(content))
    rng = np.random.default_rng(3)
    for at in rng.choice(places, 150, replace=False).tolist():
        content[at] ^= 1 << int(rng.integers(0, 8))
        (tmp_path / "flipped.zip").write_bytes(content)
        content[:] = whole.read_bytes()
        if v.verify(tmp_path / "flipped.zip")["verified"]:
            found = v.Archive(tmp_path / "flipped.zip")
            assert {name: bytes(view) for name, view in found.members.items()} == {n: bytes(m) for n, m in members.items()}
            found.close()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\3\4" + bytes(200)])
def test_no_archive_is_a_defect(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    assert defect(tmp_path / "x.zip")["record"] == "archive"


def test_other_members_or_another_form_are_defects(whole: Path, tmp_path: Path) -> None:
    members, target = read_members(whole), tmp_path / "forged.zip"
    shutil.copy(whole, target)
    with zipfile.ZipFile(target, "a") as z:
        z.writestr("more.txt", "x")
    assert "other members" in defect(target)["what"]
    assert "other members" in defect(write_members(target, dict(reversed(members.items()))))["what"]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in members.items():
            z.writestr(name, bytes(content))
    assert "not stored" in defect(target)["what"]
    target.write_bytes(whole.read_bytes()[:-5_000])
    assert defect(target)["record"] == "archive"
    target.write_bytes(b"x" + whole.read_bytes())
    assert defect(target)["what"]


def test_members_that_end_inside_a_row_or_have_spare_rows_are_defects(whole: Path, tmp_path: Path) -> None:
    for name in FLIPPED:
        for extra in (3, v.SIZES[name]):
            found = defect(forged(whole, tmp_path / "forged.zip", lambda m: m[name].extend(bytes(extra)), hashes=False))  # noqa: B023
            assert found["what"], name


def test_an_export_refuses_events_that_are_not_the_blocks(tmp_path: Path) -> None:
    inputs, blocks, events = venue_run(3, hours=40)
    events["amount_e8"][0] += 1
    with pytest.raises(VerificationError, match="inputs digest"):
        exports.export_blocks(tmp_path / "x.zip", inputs, blocks, events)
    assert list(tmp_path.iterdir()) == []
