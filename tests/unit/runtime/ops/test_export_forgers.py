"""Forgers who change what ties the parts of an export together: manifest, layout, anchor, counts, parents, grid."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.ops import verify_export as v
from tests.support.exports import (
    Members,
    block_of,
    bump,
    defect,
    field_at,
    forged,
    mend_manifest,
    read_members,
    rehash,
    write_members,
)

COUNTS_AT = 144
"""Where a block's numbers of rows begin."""


def edit_json(members: Members, name: str, /, **fields: Any) -> None:
    members[name][:] = v.canonical(json.loads(members[name]) | fields)


def test_a_manifest_of_another_format_is_a_defect(whole: Path, tmp_path: Path) -> None:
    for fields in ({"format": "another"}, {"members": 7}):
        members = read_members(whole)
        edit_json(members, "manifest.json", **fields)
        assert defect(write_members(tmp_path / "x.zip", members))["what"] == "the manifest has another format"


@pytest.mark.parametrize("content", [b"{", b"[" * 200_000, b"\xff"])
def test_a_manifest_that_is_not_json_is_a_defect(whole: Path, tmp_path: Path, content: bytes) -> None:
    members = read_members(whole) | {"manifest.json": bytearray(content)}
    found = defect(write_members(tmp_path / "x.zip", members))
    assert found["record"] == "manifest.json"
    assert found["what"].startswith("manifest.json is not JSON: ")


@pytest.mark.parametrize("change", [list.pop, list.reverse, lambda listed: listed.append(7)])
def test_a_manifest_of_other_members_is_a_defect(whole: Path, tmp_path: Path, change: Callable[[list[object]], object]) -> None:
    members = read_members(whole)
    listed = json.loads(members["manifest.json"])["members"]
    change(listed)
    edit_json(members, "manifest.json", members=listed)
    found = defect(write_members(tmp_path / "x.zip", members))
    assert (found["what"], found["record"]) == ("the manifest lists other members", "manifest.json")


def test_a_wrong_digest_in_the_manifest_is_a_defect_although_all_else_holds(whole: Path, tmp_path: Path) -> None:
    members = read_members(whole)
    listed = json.loads(members["manifest.json"])["members"]
    entry = next(entry for entry in listed if entry["name"] == "events.bin")
    true, entry["sha256"] = entry["sha256"], "0" * 64
    edit_json(members, "manifest.json", members=listed)
    result = v.verify(write_members(tmp_path / "x.zip", members))
    found = result["defect"]
    assert isinstance(found, dict)
    assert (found["record"], found["field"], found["stored"], found["recomputed"]) == ("events.bin", "sha256", "0" * 64, true)
    assert result["changed_members"] == ["events.bin"]


def test_another_layout_is_a_defect_even_with_its_digest(whole: Path, tmp_path: Path) -> None:
    found = defect(forged(whole, tmp_path / "x.zip", lambda m: edit_json(m, "layout.json", more=1), hashes=False))
    assert (found["what"], found["record"]) == ("the layout differs from the one this verifier knows", "layout.json")


@pytest.mark.parametrize("field", ["genesis_hash", "block_hash"])
def test_an_anchor_of_another_chain_is_a_defect(whole: Path, tmp_path: Path, field: str) -> None:
    found = defect(forged(whole, tmp_path / "x.zip", lambda m: edit_json(m, "head.json", **{field: "0" * 64}), hashes=False))
    assert (found["what"], found["record"], found["field"]) == ("the anchor names another chain", "head.json", field)


def test_an_anchor_of_no_block_names_the_genesis(whole: Path, tmp_path: Path) -> None:
    """It may lag as far as it likes."""
    genesis_hash = json.loads(read_members(whole)["head.json"])["genesis_hash"]
    for block_hash, verified in ((genesis_hash, True), ("0" * 64, False)):

        def change(members: Members, block_hash: str = block_hash) -> None:
            edit_json(members, "head.json", seq_n=0, block_hash=block_hash)

        result = v.verify(forged(whole, tmp_path / "x.zip", change, hashes=False))
        assert result["verified"] is verified
    found = result["defect"]
    assert isinstance(found, dict)
    assert (found["record"], found["field"], found["recomputed"]) == ("head.json", "block_hash", genesis_hash)


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
    target = forged(whole, tmp_path / "x.zip", bump("trade_signal", 1, "forecast_t", 1), hashes=True)
    for chain_only in (False, True):
        found = defect(target, chain_only=chain_only)
        assert (found["record"], found["row"], found["field"]) == ("trade_signal", 1, "forecast_t")
    assert found["what"] == "a signal of a forecast that is not there"


def test_a_signal_of_no_forecast_has_a_hash_but_no_place_in_the_books(whole: Path, tmp_path: Path) -> None:
    """The hash of none is 32 zero bytes: the chain alone takes it."""
    (at_t,) = struct.unpack_from("<q", read_members(whole)["rows/trade_signal.bin"], field_at("trade_signal", 1, "forecast_t"))
    target = forged(whole, tmp_path / "x.zip", bump("trade_signal", 1, "forecast_t", -at_t), hashes=True)
    assert v.verify(target, chain_only=True)["verified"]
    found = defect(target)
    assert (found["record"], found["row"], found["field"]) == ("trade_signal", 1, "forecast_t")
    assert (found["stored"], found["recomputed"]) == ("0", str(at_t))


def stretch_the_grid(members: Members) -> None:
    """Move the last closing time by an hour."""
    at = len(members["inputs/close_t.bin"]) - 8
    (last,) = struct.unpack_from("<q", members["inputs/close_t.bin"], at)
    struct.pack_into("<q", members["inputs/close_t.bin"], at, last + 3_600)


def test_a_hole_in_the_grid_of_bars_is_a_defect(whole: Path, tmp_path: Path) -> None:
    target = forged(whole, tmp_path / "x.zip", stretch_the_grid, hashes=True)
    found = defect(target, chain_only=True)
    times = [t for (t,) in struct.iter_unpack("<q", read_members(whole)["inputs/close_t.bin"])]
    assert found["what"].startswith("an hour without a state")
    assert (found["record"], found["row"]) == ("inputs/close_t.bin", len(times))
    assert (found["stored"], found["recomputed"]) == (str(times[-1] + 3_600), str(times[-1]))
    found = defect(target)
    assert (found["what"], found["record"], found["field"]) == ("bars at another time", "event", "at_t")


# ---- rows ---------------------------------------------------------------------------------------------------------

LAST = "cluster_exposure_hourly_state"
"""No row names one of these as its parent, and none follows it in a block."""


def change_last_rows(members: Members, by: int) -> tuple[int, int, int]:
    """Repeat (1) or take away (-1) the last row; return its block, its number and how many rows its block had."""
    rows, size = members[f"rows/{LAST}.bin"], v.ROW_BYTES[LAST]
    row = len(rows) // size
    block = block_of(members, LAST, row)
    at = (block - 1) * v.BLOCK_BYTES + COUNTS_AT + 8 * v.NAMES.index(LAST)
    (count,) = struct.unpack_from("<q", members["blocks.bin"], at)
    struct.pack_into("<q", members["blocks.bin"], at, count + by)
    if by > 0:
        rows += rows[-size:]
    else:
        del rows[-size:]
    return block, row, count


@pytest.mark.parametrize("by", [1, -1])
def test_a_row_too_many_or_too_few_is_a_defect(whole: Path, tmp_path: Path, by: int) -> None:
    members = read_members(whole)
    block, row, count = change_last_rows(members, by)
    rehash(members)
    target = write_members(tmp_path / "x.zip", members)
    assert v.verify(target, chain_only=True)["verified"]
    found = defect(target)
    assert (found["what"], found["record"], found["block"]) == ("rows too many or too few", LAST, block)
    assert (found["row"], found["stored"], found["recomputed"]) == (row + max(by, 0), str(count + by), str(count))


# ---- what only a backtest knows -----------------------------------------------------------------------------------


def events_of(members: Members) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack("<15q", members["events.bin"]))


def set_event(members: Members, n: int, field: str, value: int) -> None:
    struct.pack_into("<q", members["events.bin"], n * v.EVENT_BYTES + 8 * v.EVENT.split().index(field), value)


def two_fills(members: Members) -> int:
    """Return where (from 0) the first of two fills of one bar stands."""
    kinds = [event[0] for event in events_of(members)]
    return next(n for n in range(len(kinds)) if kinds[n : n + 2] == [v.EV_FILL] * 2)


@pytest.mark.parametrize("field", ["price_e8", "qty_e8", "liquidity_id", "quote_id", "amount_e8"])
def test_a_fill_that_its_bar_does_not_give_is_a_defect(whole: Path, tmp_path: Path, field: str) -> None:
    members = read_members(whole)
    n = two_fills(members)
    value = events_of(members)[n][v.EVENT.split().index(field)]
    set_event(members, n, field, value + 1)
    rehash(members)
    found = defect(write_members(tmp_path / "x.zip", members))
    assert (found["what"], found["block"], found["record"]) == ("a fill that its bar does not give", n + 1, "event")
    assert (found["field"], found["stored"], found["recomputed"]) == (field, str(value + 1), str(value))


def test_fills_come_in_the_order_of_the_instruments(whole: Path, tmp_path: Path) -> None:
    members = read_members(whole)
    n = two_fills(members)
    first, second = (events_of(members)[n + k][5] for k in range(2))
    for at, s in ((n, v.SLOTS), (n, -1), (n + 1, first)):
        changed = read_members(whole)
        set_event(changed, at, "instrument_id", s)
        rehash(changed)
        found = defect(write_members(tmp_path / "x.zip", changed))
        assert (found["what"], found["block"]) == ("a fill out of order, or without a bar", at + 1)
        assert (found["record"], found["field"], found["stored"]) == ("event", "instrument_id", str(s))
    set_event(members, n, "instrument_id", second)
    rehash(members)
    found = defect(write_members(tmp_path / "x.zip", members))
    assert found["what"].startswith("a fill is missing")
    assert (found["block"], found["record"], found["recomputed"]) == (n + 1, "order_fill", str(first))


def test_a_deposit_that_never_came_is_a_defect(whole: Path, tmp_path: Path) -> None:
    def change(members: Members) -> None:
        deposits = json.loads(members["genesis.json"])["deposits"]
        edit_json(members, "genesis.json", deposits=[*deposits, {"quote_id": 1, "amount_e8": "700"}])

    found = defect(forged(whole, tmp_path / "x.zip", change, hashes=True))
    assert (found["what"], found["record"]) == ("a deposit of the genesis is missing", "cash_ledger")
    assert (found["stored"], found["recomputed"]) == ("1", "2")
