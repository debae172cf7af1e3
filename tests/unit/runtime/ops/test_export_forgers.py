"""Forgers who change what ties the parts of an export together: manifest, layout, anchor, counts, parents, grid."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.ops import verify_export as v
from tests.support.exports import Members, bump, defect, forged, mend_manifest, read_members, rehash, write_members

COUNTS_AT = 144
"""Where a block's numbers of rows begin."""


def edit_json(members: Members, name: str, /, **fields: Any) -> None:
    members[name][:] = v.canonical(json.loads(members[name]) | fields)


def test_a_manifest_of_another_format_is_a_defect(whole: Path, tmp_path: Path) -> None:
    for fields in ({"format": "another"}, {"members": 7}):
        members = read_members(whole)
        edit_json(members, "manifest.json", **fields)
        assert defect(write_members(tmp_path / "x.zip", members))["what"] == "the manifest has another format"


def test_another_layout_is_a_defect_even_with_its_digest(whole: Path, tmp_path: Path) -> None:
    found = defect(forged(whole, tmp_path / "x.zip", lambda m: edit_json(m, "layout.json", more=1), hashes=False))
    assert (found["what"], found["record"]) == ("the layout differs from the one this verifier knows", "layout.json")


@pytest.mark.parametrize("field", ["genesis_hash", "block_hash"])
def test_an_anchor_of_another_chain_is_a_defect(whole: Path, tmp_path: Path, field: str) -> None:
    found = defect(forged(whole, tmp_path / "x.zip", lambda m: edit_json(m, "head.json", **{field: "0" * 64}), hashes=False))
    assert (found["what"], found["record"], found["field"]) == ("the anchor names another chain", "head.json", field)


@pytest.mark.parametrize("seq_n", [10**6, -1, "one"])
def test_an_anchor_ahead_of_the_chain_is_a_defect(whole: Path, tmp_path: Path, seq_n: object) -> None:
    found = defect(forged(whole, tmp_path / "x.zip", lambda m: edit_json(m, "head.json", seq_n=seq_n), hashes=False))
    assert found["what"].startswith("blocks were cut off")


def test_a_manifest_of_another_run_is_a_defect(whole: Path, tmp_path: Path) -> None:
    members = read_members(whole)
    mend_manifest(members, run_root="0" * 64)
    found = defect(write_members(tmp_path / "x.zip", members))
    assert (found["what"], found["field"]) == ("the manifest names another run", "run_root")


def set_count(members: Members, block: int, table: str, value: int) -> None:
    at = (block - 1) * v.BLOCK_BYTES + COUNTS_AT + 8 * v.NAMES.index(table)
    struct.pack_into("<q", members["blocks.bin"], at, value)


def balanced(first: int, second: int) -> Callable[[Members], None]:
    """Return a change of two counts of block 5 that keeps their sum, which the header names."""

    def change(members: Members) -> None:
        at = 4 * v.BLOCK_BYTES + COUNTS_AT
        total = sum(struct.unpack_from(f"<{len(v.NAMES)}q", members["blocks.bin"], at))
        for name in v.NAMES:
            set_count(members, 5, name, 0)
        set_count(members, 5, v.NAMES[0], first)
        set_count(members, 5, v.NAMES[1], total - first + second)

    return change


def test_a_negative_number_of_rows_is_a_defect(whole: Path, tmp_path: Path) -> None:
    found = defect(forged(whole, tmp_path / "x.zip", balanced(-3, 0), hashes=False))
    assert (found["what"], found["block"]) == ("a negative number of rows", 5)


def test_more_rows_than_the_table_has_is_a_defect(whole: Path, tmp_path: Path) -> None:
    def change(members: Members) -> None:
        total = len(members["rows/trade_signal.bin"]) // v.ROW_BYTES["trade_signal"] + 1
        for name in v.NAMES:
            set_count(members, 5, name, 0)
        set_count(members, 5, "trade_signal", total)
        struct.pack_into("<q", members["blocks.bin"], 4 * v.BLOCK_BYTES + 40, total)

    found = defect(forged(whole, tmp_path / "x.zip", change, hashes=False))
    assert (found["what"], found["block"], found["record"]) == (
        "a block with more rows than its table has left",
        5,
        "trade_signal",
    )


@pytest.mark.parametrize(
    ("table", "column"), [("risk_event", "signal_id"), ("order_fill", "order_row_id"), ("position_lot", "fill_id")]
)
def test_a_parent_that_does_not_precede_is_a_defect(whole: Path, tmp_path: Path, table: str, column: str) -> None:
    found = defect(forged(whole, tmp_path / "x.zip", bump(table, 1, column, 10**6), hashes=False), chain_only=True)
    assert (found["record"], found["row"]) == (table, 1)
    assert "parent" in found["what"] or found["field"] == "row hash"


def test_a_signal_of_a_forecast_that_is_not_there_is_a_defect(whole: Path, tmp_path: Path) -> None:
    members = read_members(whole)
    bump("trade_signal", 1, "forecast_t", 1)(members)
    rehash(members)
    found = defect(write_members(tmp_path / "x.zip", members))
    assert (found["record"], found["row"], found["field"]) == ("trade_signal", 1, "forecast_t")


def test_a_hole_in_the_grid_of_bars_is_a_defect(whole: Path, tmp_path: Path) -> None:
    def change(members: Members) -> None:
        (last,) = struct.unpack_from("<q", members["inputs/close_t.bin"], len(members["inputs/close_t.bin"]) - 8)
        struct.pack_into("<q", members["inputs/close_t.bin"], len(members["inputs/close_t.bin"]) - 8, last + 3_600)

    found = defect(forged(whole, tmp_path / "x.zip", change, hashes=True))
    assert found["what"]
    assert found["record"] in {"inputs/close_t.bin", "genesis.json", "event"}
