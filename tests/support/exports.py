"""Audit exports of small random runs, and forgers who change them and mend every hash they can reach."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.adapters.inputs import bars_digest
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.core.digest import Block
from runtime.core.records import E8
from runtime.engine import RunInputs, iterate_blocks
from runtime.ops import verify_export as v
from runtime.ops.audit import Source, write_export
from runtime.policy import DrawdownTier, FeeTier, PairRules, QuoteCap, RiskProfile
from runtime.ports import Head
from tests.support.markets import random_inputs

Members = dict[str, bytearray]


def random_profile(seed: int) -> RiskProfile:
    """Return a profile under which things happen: other caps, fees, limits and sensitivities for each seed."""
    rng = np.random.default_rng(seed)

    def pick(*values: int) -> int:
        return int(values[rng.integers(0, len(values))])

    tiers = (
        DrawdownTier(drawdown_ppm=0, size_ppm=1_000_000, allow_entry=True),
        DrawdownTier(drawdown_ppm=pick(5_000, 30_000), size_ppm=600_000, allow_entry=True),
        DrawdownTier(drawdown_ppm=pick(40_000, 90_000), size_ppm=300_000, allow_entry=True, allow_reentry=False),
        DrawdownTier(drawdown_ppm=pick(100_000, 400_000), size_ppm=0, allow_entry=False, allow_reentry=False),
    )
    quote_cap = QuoteCap(cap_ppm=pick(150_000, 500_000, 1_000_000), cap_e8=pick(0, 40_000 * E8))
    fees = (
        FeeTier(volume_e8=0, maker_ppm=2_500, taker_ppm=4_000),
        FeeTier(volume_e8=20_000 * E8, maker_ppm=1_400, taker_ppm=2_400),
        FeeTier(volume_e8=100_000 * E8, maker_ppm=0, taker_ppm=1_000),
    )
    return RiskProfile(
        base_ppm=pick(20_000, 60_000, 150_000), positions_max=pick(2, 5, 10), total_cap_ppm=pick(200_000, 800_000),
        total_cap_e8=pick(0, 0, 30_000 * E8), cluster_cap_ppm=pick(80_000, 400_000, 1_000_000),
        budget_cap_ppm=pick(180_000, 1_000_000), liquidity_ppm=pick(300_000, 1_000_000), participation_ppm=pick(2_000, 30_000, 100_000),
        maker_entry=bool(rng.integers(0, 3) == 0), margin_ppm=pick(0, 2_000), limit_ppm=pick(2_000, 10_000), severe_max=pick(1, 3),
        severe_loss_ppm=pick(60_000, 120_000), recovery_patience_n=pick(1, 4), uncertain_ppm=pick(300_000, 450_000),
        take_profit_ppm=pick(0, 5_000, 30_000), order_ttl_t=pick(3_600, 7_200, 20_000), latency_t=pick(1, 600), tiers=tiers,
        quote_caps=(quote_cap, quote_cap, quote_cap), fees=fees, entry_persist_n=pick(1, 2), exit_persist_n=pick(1, 3),
    )  # fmt: skip


def random_run(seed: int, hours: int = 300, symbols: int = 5, profile: RiskProfile | None = None) -> RunInputs:
    """Return a random run whose genesis names its bars."""
    lot_e8 = (1, 10**4, 10**6)[seed % 3]
    inputs = random_inputs(
        seed, hours, symbols, profile or random_profile(seed), wildness=(1.0, 2.5)[seed % 2],
        pairs=tuple(PairRules(lot_e8=lot_e8) for _ in range(symbols)),
    )  # fmt: skip
    genesis = inputs.genesis.model_copy(update={"bars_digest": bars_digest(inputs.bars, inputs.close_t)})
    return dataclasses.replace(inputs, genesis=genesis)


def export(folder: Path, inputs: RunInputs, name: str = "run.zip") -> Path:
    """Journal a run in a folder and return its export."""
    genesis = inputs.genesis
    journal = SqliteJournal.create(
        folder / name / JOURNAL_NAME, genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id
    )
    try:
        for blocks in iterate_blocks(inputs):
            journal.append(blocks)
        target = folder / name / name
        write_export(target, Source(inputs, journal.read(), journal.head(), (folder / name / "head.json").read_bytes()))
    finally:
        journal.close()
    return target


def export_blocks(target: Path, inputs: RunInputs, blocks: list[Block], events: np.ndarray) -> Path:
    """Write the export of blocks that were never journaled."""
    head = Head(blocks[-1].seq_n, blocks[-1].block_hash)
    anchor = v.canonical({
        "block_hash": head.block_hash.hex(), "genesis_hash": inputs.genesis.hash.hex(), "seq_n": head.seq_n, "version": 1,
    })  # fmt: skip
    write_export(target, Source(inputs, iter(blocks), head, anchor, events))
    return target


# ---- forging ----------------------------------------------------------------------------------------------------


def read_members(path: Path) -> Members:
    """Return the members of an archive."""
    with zipfile.ZipFile(path) as z:
        return {name: bytearray(z.read(name)) for name in z.namelist()}


def write_members(path: Path, members: Members) -> Path:
    """Write an archive that is whole as a ZIP; everything else is up to the caller."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        for name, content in members.items():
            z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), bytes(content))
    return path


def mend_manifest(members: Members, **fields: object) -> None:
    """Make the manifest agree with the members."""
    import json

    manifest = json.loads(members["manifest.json"]) | fields
    for entry in manifest["members"]:
        content = members[entry["name"]]
        entry["bytes_n"], entry["sha256"] = len(content), hashlib.sha256(content).hexdigest()
    members["manifest.json"][:] = v.canonical(manifest)


def rehash(members: Members) -> None:
    """Recompute every hash from the rows and events upwards: row hashes, digests, chain, anchor, run root, manifest."""
    import json

    forecasts, digests = members["inputs/forecasts.bin"], members["inputs/feature_digests.bin"]
    times = {t: n for n, (t,) in enumerate(struct.iter_unpack("<q", members["inputs/forecast_t.bin"]))}
    hashes: dict[str, list[bytes]] = {name: [bytes(32)] for name in v.NAMES}
    genesis = json.loads(members["genesis.json"])
    policy = bytes.fromhex(genesis["policy_digest"])
    head = genesis_hash = v.sha256(b"ballast.genesis.1\0", members["genesis.json"])
    blocks = members["blocks.bin"]
    done = dict.fromkeys(v.NAMES, 0)
    for at in range(0, len(blocks), v.BLOCK_BYTES):
        counts = struct.unpack_from(f"<{len(v.NAMES)}q", blocks, at + 144)
        digest = hashlib.sha256()
        for name, count in zip(v.NAMES, counts, strict=True):
            code, _, parents = v.RECORDS[name]
            for k in range(done[name], done[name] + count):
                row = bytes(members[f"rows/{name}.bin"][k * v.ROW_BYTES[name] : (k + 1) * v.ROW_BYTES[name]])
                values = dict(zip(v.FIELDS[name], struct.unpack(f"<{len(row) // 8}q", row), strict=True))
                content = v.i8(code) + row
                for table, column in parents:
                    if table == "policy":
                        content += policy
                    elif table == "forecast":
                        n = times.get(values["forecast_t"], -1)
                        start = n * v.FORECAST_BYTES + 64 * values["instrument_id"]
                        found = v.sha256(b"ballast.forecast.1\0", forecasts[start : start + 64], digests[32 * n : 32 * n + 32])
                        content += found if n >= 0 else bytes(32)
                    else:
                        content += hashes[table][values[column]]
                hashes[name].append(hashlib.sha256(content).digest())
                digest.update(hashes[name][-1])
            done[name] += count
        blocks[at + 48 : at + 80] = _inputs_digest(members, at // v.BLOCK_BYTES)
        blocks[at + 80 : at + 112] = digest.digest()
        struct.pack_into("<q", blocks, at + 40, sum(counts))
        head = v.sha256(b"ballast.block.1\0", head, blocks[at : at + 112])
        blocks[at + 112 : at + 144] = head
    for name in v.NAMES:
        members[f"hashes/{name}.bin"][:] = b"".join(hashes[name][1:])
    blocks_n = len(blocks) // v.BLOCK_BYTES
    anchor = {"block_hash": head.hex(), "genesis_hash": genesis_hash.hex(), "seq_n": blocks_n, "version": 1}
    members["head.json"][:] = v.canonical(anchor)
    root = v.sha256(b"ballast.run.1\0", genesis_hash, head, v.i8(blocks_n)).hex()
    mend_manifest(
        members, genesis_hash=genesis_hash.hex(), journal_head=head.hex(), run_root=root, blocks_n=blocks_n, records_n=done
    )


def _inputs_digest(members: Members, n: int) -> bytes:
    event = members["events.bin"][n * v.EVENT_BYTES : (n + 1) * v.EVENT_BYTES]
    content = bytes(event)
    bar_n, forecast_n, cluster_n = struct.unpack_from("<3q", event, 16)
    if bar_n >= 0:
        content += members["inputs/bars.bin"][bar_n * v.BAR_BYTES : (bar_n + 1) * v.BAR_BYTES]
    if forecast_n >= 0:
        content += members["inputs/forecasts.bin"][forecast_n * v.FORECAST_BYTES : (forecast_n + 1) * v.FORECAST_BYTES]
        content += members["inputs/feature_digests.bin"][32 * forecast_n : 32 * forecast_n + 32]
    if cluster_n >= 0:
        content += members["inputs/clusters.bin"][cluster_n * 256 : (cluster_n + 1) * 256]
    return hashlib.sha256(content).digest()


def forged(path: Path, target: Path, change: Callable[[Members], None], *, hashes: bool) -> Path:
    """Return an archive with a change; with `hashes` every hash above the change is computed again."""
    members = read_members(path)
    change(members)
    if hashes:
        rehash(members)
    else:
        mend_manifest(members)
    return write_members(target, members)


def field_at(table: str, row: int, field: str) -> int:
    """Return where a field of a row stands in its member; `row` counts from 1."""
    return (row - 1) * v.ROW_BYTES[table] + 8 * v.FIELDS[table].index(field)


def bump(table: str, row: int, field: str, by: int = 1) -> Callable[[Members], None]:
    """Return a change of one field of one row."""

    def change(members: Members) -> None:
        data, at = members[f"rows/{table}.bin"], field_at(table, row, field)
        (value,) = struct.unpack_from("<q", data, at)
        struct.pack_into("<q", data, at, value + by)

    return change


def defect(path: Path, **options: Any) -> dict[str, Any]:
    """Return the defect of an archive that must have one."""
    result = v.verify(path, **options)
    assert result["verified"] is False
    found = result["defect"]
    assert isinstance(found, dict)
    return found


def block_of(members: Members, table: str, row: int) -> int:
    """Return the block that holds a row."""
    at = v.NAMES.index(table)
    counts = np.frombuffer(bytes(members["blocks.bin"]), "<i8").reshape(-1, v.BLOCK_BYTES // 8)[:, 18 + at]
    return int(np.searchsorted(np.cumsum(counts), row)) + 1
