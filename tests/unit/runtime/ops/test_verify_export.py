"""The single-file verifier: it accepts what the core made, and names the first defect of whatever a forger made of it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.canonical import canonical_json
from runtime.core import codes, records
from runtime.ops import verify_export as v
from tests.support import exports
from tests.support.exports import (
    Members,
    block_of,
    bump,
    defect,
    export,
    forged,
    random_run,
    read_members,
    rehash,
    write_members,
)
from tests.support.venues import venue_run

WISHES = {("trade_signal", "action_id"), ("trade_signal", "reason_id")}
"""What the strategy chose: the verifier takes it as given."""
FIELDS = [(name, field) for name in v.NAMES for field in v.FIELDS[name] if (name, field) not in WISHES]


def middle_row(members: Members, table: str) -> int:
    return max(len(members[f"rows/{table}.bin"]) // v.ROW_BYTES[table] // 2, 1)


# ---- what is whole verifies -------------------------------------------------------------------------------------


def verify_runs(folder: Path, seeds: range) -> None:
    for seed in seeds:
        result = v.verify(export(folder, random_run(seed, hours=250, symbols=1 + seed % 8), f"{seed}.zip"))
        assert result["verified"], (seed, result["defect"])
        inputs, blocks, events = venue_run(seed, hours=120)
        result = v.verify(exports.export_blocks(folder / f"venue-{seed}.zip", inputs, blocks, events))
        assert result["verified"], (seed, result["defect"])


def test_random_runs_and_every_kind_of_event_verify(tmp_path: Path) -> None:
    verify_runs(tmp_path, range(8))


@pytest.mark.slow
def test_many_random_runs_verify(tmp_path: Path) -> None:
    verify_runs(tmp_path, range(1_000, 1_150))


def test_the_chain_alone_verifies(whole: Path) -> None:
    result = v.verify(whole, chain_only=True)
    assert result["verified"]
    assert result["scope"] == "chain"


def test_progress_reaches_the_end(whole: Path) -> None:
    told: list[tuple[int, int]] = []
    v.verify(whole, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0


def test_progress_is_told_every_so_many_blocks(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v, "REPORT_BLOCKS_N", 50)
    told: list[int] = []
    result = v.verify(whole, progress=lambda done, _total: told.append(done))
    assert isinstance(result["blocks"], int)
    assert told == [*range(50, result["blocks"] + 1, 50), result["blocks"]]


def test_it_runs_in_a_bare_interpreter_far_from_the_project(whole: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(whole) as z:
        z.extract("verify_export.py", tmp_path)
    command = [sys.executable, "-I", "-S", "verify_export.py", str(whole), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["verified"] is True
    again = subprocess.run([*command[:-1], "--run-root", "0" * 64], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert again.returncode == 1
    assert "EXPORT VERIFIED: FALSE" in again.stdout
    assert "another one than expected" in again.stdout
    missing = subprocess.run([*command[:-2], "none.zip"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert missing.returncode == 1
    assert "cannot read none.zip" in missing.stderr


def test_its_layout_and_codes_are_the_cores() -> None:
    assert tuple(r.name for r in records.RECORD_TYPES) == v.NAMES
    for record in records.RECORD_TYPES:
        code, _, parents = v.RECORDS[record.name]
        assert (code, v.FIELDS[record.name], parents) == (record.code, record.dtype.names, record.parents)
    assert [tuple(x.split()) for x in (v.EVENT, v.BAR, v.FORECAST)] == [
        records.EVENT.names, records.BAR.names, records.FORECAST.names,
    ]  # fmt: skip
    shared = [name for name in dir(codes) if name.isupper() and hasattr(v, name)]
    assert len(shared) > 60
    assert [name for name in shared if getattr(v, name) != getattr(codes, name)] == []
    assert (v.SLOTS, v.LOTS_MAX, v.DAYS) == (records.INSTRUMENTS, records.MAX_LOTS, records.DAYS)


def test_its_canonical_json_is_rfc_8785_for_what_the_files_hold(whole: Path) -> None:
    members = read_members(whole)
    for name in ("manifest.json", "layout.json", "genesis.json", "head.json"):
        assert canonical_json(json.loads(members[name])) == v.canonical(json.loads(members[name])) == bytes(members[name])


# ---- forgers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "field"), [*FIELDS[::4], ("cash_ledger", "after_e8"), ("position_lot", "cost_e8")])
def test_an_edited_field_is_named(whole: Path, tmp_path: Path, table: str, field: str) -> None:
    """With and without every hash computed again."""
    edit_and_check(whole, tmp_path, table, field)


@pytest.mark.slow
@pytest.mark.parametrize(("table", "field"), FIELDS)
def test_any_edited_field_is_named(whole: Path, tmp_path: Path, table: str, field: str) -> None:
    edit_and_check(whole, tmp_path, table, field)


def edit_and_check(whole: Path, tmp_path: Path, table: str, field: str) -> None:
    members = read_members(whole)
    row = middle_row(members, table)
    at = exports.field_at(table, row, field)
    (value,) = struct.unpack_from("<q", members[f"rows/{table}.bin"], at)
    by = -1 if value > 1 and field.endswith("_id") else 1  # a parent must exist for its hash to be forged
    for hashes in (False, True):
        found = defect(forged(whole, tmp_path / "forged.zip", bump(table, row, field, by), hashes=hashes))
        if (table, field) == ("trade_signal", "instrument_id"):
            assert found["record"] == table  # the wish of another instrument: the field that gives it away varies
            continue
        assert (found["block"], found["record"], found["row"]) == (block_of(members, table, row), table, row), found
        assert (found["field"], found["stored"], found["recomputed"]) == (field, str(value + by), str(value))


@pytest.mark.parametrize("table", v.NAMES)
def test_the_chain_alone_names_the_row_of_an_edit(whole: Path, tmp_path: Path, table: str) -> None:
    members = read_members(whole)
    row = middle_row(members, table)
    change = bump(table, row, v.FIELDS[table][-1])
    found = defect(forged(whole, tmp_path / "forged.zip", change, hashes=False), chain_only=True)
    assert (found["block"], found["record"], found["row"], found["field"]) == (
        block_of(members, table, row), table, row, "row hash",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("at", "record", "field"),
    [(0, "header", "seq_n"), (8, "header", "at_t"), (16, "header", "kind_id"), (24, "header", "account_id"),
     (32, "header", "mode_id"), (40, "header", "records_n"), (48, "event", "inputs_digest"), (80, "block", "records_digest"),
     (112, "block", "block_hash")],
)  # fmt: skip
def test_an_edited_block_is_named(whole: Path, tmp_path: Path, at: int, record: str, field: str) -> None:
    def change(members: Members) -> None:
        members["blocks.bin"][69 * v.BLOCK_BYTES + at] ^= 1

    found = defect(forged(whole, tmp_path / "forged.zip", change, hashes=False))
    assert (found["block"], found["record"], found["field"]) == (70, record, field)


def test_a_wish_can_be_forged_and_only_the_run_root_shows_it(whole: Path, tmp_path: Path) -> None:
    """The documented limit: a reason that changes nothing else, with every hash computed again."""
    members = read_members(whole)
    change = bump("trade_signal", middle_row(members, "trade_signal"), "reason_id", 100)
    before = defect(forged(whole, tmp_path / "forged.zip", change, hashes=False))
    assert (before["record"], before["field"]) == ("trade_signal", "row hash")
    path = forged(whole, tmp_path / "forged.zip", change, hashes=True)
    assert v.verify(path)["verified"]
    root = str(v.verify(whole)["run_root"])
    assert defect(path, run_root=root)["record"] == "run root"
    assert v.verify(whole, run_root=root.upper())["verified"]


def test_another_action_needs_its_situation(whole: Path, tmp_path: Path) -> None:
    """A sale turned into a purchase, or a wish into nothing, changes the books."""
    members = read_members(whole)
    rows = np.frombuffer(bytes(members["rows/trade_signal.bin"]), records.TRADE_SIGNAL.dtype)
    placed = [k for k in range(len(rows)) if rows["gate_id"][k] == 0 and rows["action_id"][k] in (codes.ENTER, codes.EXIT)]
    for k in placed[:6]:
        for action in (codes.NONE, codes.ENTER, codes.EXIT, codes.REENTER, codes.DIP_WAIT, 77):
            by = action - int(rows["action_id"][k])
            if by:
                change = bump("trade_signal", k + 1, "action_id", by)
                found = defect(forged(whole, tmp_path / "forged.zip", change, hashes=True))
                assert found["block"] == block_of(members, "trade_signal", k + 1)


def remove_block(members: Members, seq_n: int) -> None:
    """Take out one block with its event and rows."""
    blocks = members["blocks.bin"]
    counts = np.frombuffer(bytes(blocks), "<i8").reshape(-1, v.BLOCK_BYTES // 8)[:, 18:]
    before, count = counts[: seq_n - 1].sum(axis=0), counts[seq_n - 1]
    for k, name in enumerate(v.NAMES):
        size = v.ROW_BYTES[name]
        del members[f"rows/{name}.bin"][before[k] * size : (before[k] + count[k]) * size]
    del blocks[(seq_n - 1) * v.BLOCK_BYTES : seq_n * v.BLOCK_BYTES]
    del members["events.bin"][(seq_n - 1) * v.EVENT_BYTES : seq_n * v.EVENT_BYTES]
    for n in range(seq_n - 1, len(blocks) // v.BLOCK_BYTES):
        struct.pack_into("<q", blocks, n * v.BLOCK_BYTES, n + 1)


def kinds(members: Members) -> list[int]:
    return [event[0] for event in struct.iter_unpack("<15q", members["events.bin"])]


def test_a_fill_left_out_is_named(whole: Path, tmp_path: Path) -> None:
    seq_n = [n for n, kind in enumerate(kinds(read_members(whole)), 1) if kind == codes.EV_FILL][-1]
    members = read_members(whole)
    remove_block(members, seq_n)
    for name in v.NAMES:  # the forger numbers the rows again
        for k in range(len(members[f"rows/{name}.bin"]) // v.ROW_BYTES[name]):
            struct.pack_into("<q", members[f"rows/{name}.bin"], k * v.ROW_BYTES[name], k + 1)
    rehash_leniently(members)
    found = defect(write_members(tmp_path / "forged.zip", members))
    assert "fill is missing" in found["what"]
    assert found["block"] == seq_n


def rehash_leniently(members: Members) -> None:
    """Rehash although rows may name parents that were taken out: those count as none."""
    for name in v.NAMES:
        last = {table: len(members[f"rows/{table}.bin"]) // v.ROW_BYTES[table] for table in v.NAMES}
        for table, column in v.RECORDS[name][2]:
            for k in range(last[name]) if table in last else ():
                at = exports.field_at(name, k + 1, column)
                (value,) = struct.unpack_from("<q", members[f"rows/{name}.bin"], at)
                struct.pack_into("<q", members[f"rows/{name}.bin"], at, min(value, last[table]))
    rehash(members)


def test_a_cut_off_end_is_named(whole: Path, tmp_path: Path) -> None:
    members = read_members(whole)
    anchor = bytes(members["head.json"])
    remove_block(members, len(kinds(members)))
    rehash(members)
    bars = len(members["inputs/close_t.bin"]) // 8
    found = defect(write_members(tmp_path / "all hashes.zip", members))
    assert (found["record"], found["row"]) == ("inputs/bars.bin", bars)
    members["head.json"][:] = anchor
    exports.mend_manifest(members)
    assert defect(write_members(tmp_path / "anchor kept.zip", members), chain_only=True)["record"] == "head.json"


@pytest.mark.parametrize(
    ("member", "at"),
    [("inputs/bars.bin", 100 * v.BAR_BYTES + 24), ("inputs/forecasts.bin", 20 * v.FORECAST_BYTES + 8),
     ("inputs/feature_digests.bin", 40), ("inputs/clusters.bin", 8), ("inputs/close_t.bin", 80), ("inputs/forecast_t.bin", 80)],
)  # fmt: skip
def test_changed_inputs_are_named(whole: Path, tmp_path: Path, member: str, at: int) -> None:
    def change(members: Members) -> None:
        members[member][at] ^= 1

    plain = defect(forged(whole, tmp_path / "forged.zip", change, hashes=False))
    assert plain["block"] > 0
    if member != "inputs/forecast_t.bin":  # a forecast's time is what a forger's row hashes look up
        assert defect(forged(whole, tmp_path / "forged.zip", change, hashes=True))["what"]


def test_a_changed_profile_is_named_even_with_its_digest(whole: Path, tmp_path: Path) -> None:
    def change(members: Members) -> None:
        genesis = json.loads(members["genesis.json"])
        genesis["profile"]["fees"][0]["taker_ppm"] += 100
        if with_digest:
            genesis["policy_digest"] = v.sha256(v.canonical(genesis["profile"])).hex()
        members["genesis.json"][:] = v.canonical(genesis)

    with_digest = False
    found = defect(forged(whole, tmp_path / "forged.zip", change, hashes=True))
    assert (found["record"], found["field"]) == ("genesis.json", "policy_digest")
    with_digest = True
    found = defect(forged(whole, tmp_path / "forged.zip", change, hashes=True))
    assert found["block"] > 0
    assert found["record"] in v.NAMES


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.pop("profile"), lambda g: g.update(profile=3), lambda g: g["profile"].pop("fees"), lambda g: g.update(pairs=7),
        lambda g: g.update(policy_digest="xy"), lambda g: g.update(deposits=[{}]), lambda g: g.update(account_id="one"),
        lambda g: g.update(bars_digest="0" * 64), lambda g: g.update(symbols=[]),
        lambda g: g.update(deposits=[{"quote_id": 0, "amount_e8": "5"}]), lambda g: g.update(deposits=g["deposits"] * 2),
    ],
)  # fmt: skip
def test_a_strange_genesis_is_a_defect_and_no_crash(
    whole: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    def forge(members: Members) -> None:
        genesis = json.loads(members["genesis.json"])
        change(genesis)
        genesis.setdefault("policy_digest", "0" * 64)
        members["genesis.json"][:] = v.canonical(genesis)

    assert defect(forged(whole, tmp_path / "forged.zip", forge, hashes=False))["what"]


@pytest.mark.parametrize("name", v.TEXTS)
def test_a_changed_text_is_named(whole: Path, tmp_path: Path, name: str) -> None:
    members = read_members(whole)
    members[name] += b" "
    found = defect(write_members(tmp_path / "forged.zip", members))
    assert found["record"] == name
