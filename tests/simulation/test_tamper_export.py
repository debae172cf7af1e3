"""Random changes of an audit export: the stand-alone verifier finds each at its place. Damaged archives: test_export_damage.py.

The places (a flip is a change of one byte):

- in a row: block, record, row and field. But what the strategy wished (instrument, action and reason of a signal) is taken as
  given: the block, and what follows from the wish.
- in a row hash: block, record, row. In a block's digests: block and digest. In its header: block and field; a wrong number of rows
  of one table shows as a wrong sum, so it is the header's `records_n`.
- in an event: the block. In an input: the block that takes the input in, or a fill before it that already used the bar.
- in a text: that member. In the manifest: the manifest, or the member that the changed line speaks of: which of the two was
  changed cannot be known.
"""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from runtime.ops import verify_export as v
from tests.support.exports import Members, block_of, export, random_run, read_members
from tests.support.tampering import DIGESTS, HEADER_FIELDS, flipped

FLIPS_N = int(os.environ.get("BALLAST_TEST_FLIPS", "2000"))
WISHES = {"instrument_id", "action_id", "reason_id"}
EVENT_INPUTS = {"bars": 2, "close_t": 2, "forecasts": 3, "forecast_t": 3, "feature_digests": 3, "clusters": 4, "cluster_t": 4}
"""Member of inputs -> column of the event that names its row."""


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the export of a run of at most 500 blocks with rows of every type."""
    path = export(tmp_path_factory.mktemp("export"), random_run(1, hours=150, symbols=4))
    result = v.verify(path)
    assert result["verified"], result["defect"]
    assert int(str(result["blocks"])) <= 500
    return path


class Places:
    """Where each byte of an archive must be found."""

    def __init__(self, members: Members) -> None:
        self.members = members
        self.events = np.frombuffer(bytes(members["events.bin"]), "<i8").reshape(-1, v.EVENT_BYTES // 8)

    def check(self, name: str, at: int, found: dict) -> None:
        """Compare a defect with the place of a flip: byte `at` of a member."""
        kind, _, stem = name.partition("/")
        stem = stem.removesuffix(".bin")
        place = (found["record"], found["row"], found["field"])
        if kind == "rows":
            row, inside = divmod(at, v.ROW_BYTES[stem])
            field = v.FIELDS[stem][inside // 8]
            assert found["block"] == block_of(self.members, stem, row + 1)
            assert place == (stem, row + 1, field) or (stem == "trade_signal" and field in WISHES)
        elif kind == "hashes":
            row = at // 32 + 1
            assert found["block"] == block_of(self.members, stem, row)
            assert place == (stem, row, "row hash")
        elif kind == "inputs":
            self._check_input(stem, at // v.SIZES[name], found)
        elif name == "blocks.bin":
            block, inside = divmod(at, v.BLOCK_BYTES)
            assert found["block"] == block + 1
            assert place[2] == self._block_field(inside)
        elif name == "events.bin":
            assert found["block"] == at // v.EVENT_BYTES + 1
            assert found["record"] in {"event", "header"}
        else:
            assert found["block"] == 0
            assert found["record"] == name or name == "manifest.json"
            assert found["record"] in v.MEMBERS

    def _block_field(self, inside: int) -> str:
        if inside < 48:
            return HEADER_FIELDS[inside // 8]
        return DIGESTS[(inside - 48) // 32] if inside < 144 else "records_n"

    def _check_input(self, stem: str, row: int, found: dict) -> None:
        taken = int(np.flatnonzero(self.events[:, EVENT_INPUTS[stem]] == row)[0]) + 1
        first = taken
        if stem in {"bars", "close_t"}:
            while first > 1 and self.events[first - 2, 0] == v.EV_FILL:
                first -= 1
        assert first <= found["block"] <= taken


def flip_export(whole: Path, folder: Path, flips_n: int, seed: int) -> Counter[str]:
    """Change one byte of a member at a time; each must be found at its place."""
    members = read_members(whole)
    places = Places(members)
    with zipfile.ZipFile(whole) as z:
        first_at = {info.filename: info.header_offset + 30 + len(info.filename) for info in z.infolist()}
    names = [name for name in first_at if members[name]]
    rng = np.random.Generator(np.random.PCG64(seed))
    content, target, met = whole.read_bytes(), folder / "flipped.zip", Counter[str]()
    for n in range(flips_n):
        name = names[n % len(names)]
        at = int(rng.integers(0, len(members[name])))
        target.write_bytes(flipped(content, first_at[name] + at, rng))
        result = v.verify(target)
        about = f"flip {n} of seed {seed}: byte {at} of {name}: {result['defect']}"
        assert isinstance(result["defect"], dict), about
        try:
            places.check(name, at, result["defect"])
        except AssertionError as e:
            raise AssertionError(about) from e
        assert name == "manifest.json" or result["changed_members"] == [name], about
        met[name] += 1
    return met


@pytest.mark.parametrize(
    "flips_n", [60, pytest.param(FLIPS_N, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])]
)
def test_a_flip_in_an_export_is_found_at_its_place(whole: Path, tmp_path: Path, flips_n: int) -> None:
    met = flip_export(whole, tmp_path, flips_n, seed=17)
    assert set(met) == set(v.MEMBERS)


def test_the_flips_would_notice_a_verifier_that_looks_away(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Teeth: row hashes no longer compared, the manifest believed."""
    monkeypatch.setattr(v.Archive, "check_manifest", lambda self: (self.json("manifest.json"), []))
    monkeypatch.setattr(v.Verifier, "_name_row", lambda *_arguments: None)
    with pytest.raises(AssertionError, match="flip"):
        flip_export(whole, tmp_path, 60, seed=17)
