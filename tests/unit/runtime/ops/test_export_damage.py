"""Damaged archives: what is no archive is a defect and no crash. Flips in the members: tests/simulation/test_tamper_export.py."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import VerificationError
from runtime.ops import verify_export as v
from tests.support import exports
from tests.support.exports import Members, block_of, bump, defect, forged, read_members, write_members
from tests.support.venues import venue_run

FLIPPED = tuple(name for name in v.MEMBERS if name.endswith(".bin"))


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


def move_blocks(order: Callable[[list[int]], list[int]]) -> Callable[[Members], None]:
    """Return a change that puts blocks, and their events, into another order, drops or repeats them."""

    def change(members: Members) -> None:
        for name in ("blocks.bin", "events.bin"):
            size, content = v.SIZES[name], bytes(members[name])
            numbers = order(list(range(len(content) // size)))
            members[name][:] = b"".join(content[n * size : (n + 1) * size] for n in numbers)

    return change


@pytest.mark.parametrize(
    ("order", "block"),
    [
        pytest.param(lambda n: [*n[:40], n[41], n[40], *n[42:]], 41, id="swapped"),
        pytest.param(lambda n: [*n[:40], *n[41:]], 41, id="deleted"),
        pytest.param(lambda n: [*n[:40], *n[39:]], 41, id="duplicated"),
        pytest.param(lambda n: [*n[:40], n[90], *n[40:]], 41, id="inserted"),
        pytest.param(lambda n: [*n, n[-1]], -2, id="duplicated at the end"),
        pytest.param(lambda n: n[:-1], -1, id="cut off"),
    ],
)
def test_blocks_moved_about_are_found_where_they_are(
    whole: Path, tmp_path: Path, order: Callable[[list[int]], list[int]], block: int
) -> None:
    """The forger mends the manifest."""
    blocks_n = len(read_members(whole)["blocks.bin"]) // v.BLOCK_BYTES
    found = defect(forged(whole, tmp_path / "forged.zip", move_blocks(order), hashes=False))
    assert found["block"] == {-2: blocks_n + 1, -1: 0}.get(block, block)
    if block == -1:  # rows of the last block are left over
        assert "no block names" in found["what"]


def test_a_forged_amount_with_every_hash_computed_again_is_named_by_the_books(whole: Path, tmp_path: Path) -> None:
    target = forged(whole, tmp_path / "forged.zip", bump("portfolio_hourly_state", 30, "pv_e8"), hashes=True)
    found = defect(target)
    assert found["block"] == block_of(read_members(whole), "portfolio_hourly_state", 30)
    assert (found["record"], found["row"], found["field"]) == ("portfolio_hourly_state", 30, "pv_e8")
    root = v.verify(whole)["run_root"]
    assert defect(target, chain_only=True, run_root=root)["record"] == "run root"
    assert v.verify(target, chain_only=True)["verified"] is True, "hashes alone do not know what the amount should have been"
