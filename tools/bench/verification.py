"""How fast a run is verified: the chain in process, and its audit export by the stand-alone verifier."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from runtime.adapters.anchor import ANCHOR_NAME
from runtime.adapters.inputs import bars_digest
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.core.digest import Block
from runtime.engine import RunInputs
from runtime.ops import verify_export
from runtime.ops.audit import Source, write_export
from runtime.verify import BadBlock, ChainVerifier, forecast_hashes
from tools.bench import ours

BATCH_N: Final = 4_096


class Verified(NamedTuple):
    """Records of a run, and the seconds of each way to verify them."""

    records_n: int
    read_s: float
    chain_s: float
    export_s: float
    export_chain_s: float
    export_books_s: float


def measure(inputs: RunInputs, repeats_n: int = 3, *, books: bool = True) -> Verified:
    """Journal a run, then verify it; without `books` the stand-alone verifier follows hashes only.

    Raises:
        RuntimeError: something does not verify.
    """
    digests = {
        "bars_digest": bars_digest(inputs.bars, inputs.close_t),
        "forecasts_digest": inputs.forecasts.digest,
        "clusters_digest": inputs.clusters.digest,
    }
    genesis = inputs.genesis.model_copy(update=digests)
    inputs = RunInputs(genesis, inputs.bars, inputs.close_t, inputs.forecasts, inputs.clusters)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = ours.run_into(inputs, folder)
        journal = SqliteJournal.open(folder / JOURNAL_NAME)
        try:
            passes = [follow(inputs, journal) for _ in range(repeats_n)]
            began_s = time.perf_counter()
            anchor = (folder / ANCHOR_NAME).read_bytes()
            write_export(folder / "run.zip", Source(inputs, journal.read(), journal.head(), anchor))
            export_s = time.perf_counter() - began_s
        finally:
            journal.close()
        hashes = min(alone(folder / "run.zip", "--chain-only") for _ in range(repeats_n))
        whole = alone(folder / "run.zip") if books else 0.0
    read_s, chain_s = min(read for read, _ in passes), min(chain for _, chain in passes)
    return Verified(run.rows_n, read_s, chain_s, export_s, hashes, whole)


def follow(inputs: RunInputs, journal: SqliteJournal) -> tuple[float, float]:
    """Verify a chain batch by batch; return the seconds of reading and those of verifying."""
    genesis = inputs.genesis
    lookup = forecast_hashes(inputs.forecasts)
    verifier = ChainVerifier(genesis.hash, journal.owner, bytes.fromhex(genesis.policy_digest), lookup)
    read_s, chain_s = 0.0, 0.0
    blocks = journal.read()
    while True:
        began_s = time.perf_counter()
        batch = take(blocks)
        read_s += time.perf_counter() - began_s
        if not batch:
            return read_s, chain_s
        began_s = time.perf_counter()
        found = verifier.follow(batch)
        chain_s += time.perf_counter() - began_s
        if isinstance(found, BadBlock):
            raise RuntimeError(f"the measured run does not verify: {found.what}")  # noqa: TRY004  a verdict, not a wrong type


def take(blocks: Iterator[Block]) -> list[Block]:
    """Return the next BATCH_N blocks, fewer at the end."""
    return [block for _, block in zip(range(BATCH_N), blocks, strict=False)]


def alone(archive: Path, *options: str) -> float:
    """Return the seconds that the stand-alone verifier reports, in an interpreter that sees nothing of the project."""
    done = subprocess.run(
        [sys.executable, "-I", str(verify_export.__file__), str(archive), "--json", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    result = json.loads(done.stdout)
    if not result["verified"]:
        raise RuntimeError(f"the measured export does not verify: {result['defect']}")
    return float(result["seconds"])
