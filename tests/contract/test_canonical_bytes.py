"""docs/reference/canonical-bytes.md and records.md are enough to verify a run: here with hashlib, struct and the pages alone.

Only the inputs (bars, forecasts) are read through our own code; every digest is computed from what the pages say.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from struct import calcsize, pack, unpack_from
from typing import NamedTuple

from runtime.adapters.inputs import load_bars, load_forecasts
from runtime.genesis import Genesis
from runtime.home import find_run
from tests.support.runs import make_run

BARS_EVENT = 1
HOUR_T = 3_600


class Kind(NamedTuple):
    name: str
    code: int
    fields: list[str]
    parents: list[tuple[str, str]]


def kinds(page: str) -> list[Kind]:
    """Read the record types from the reference page, in the order in which it lists them."""
    found = []
    for section in page.split("\n## ")[1:]:
        name, body = section.split("\n", 1)
        code = re.findall(r"^Code (\d+),", body, re.MULTILINE)
        parents = re.findall(r"^Parents: (.*)\.$", body, re.MULTILINE)
        pairs = re.findall(r"`(\w+)`(?: by `(\w+)`)?", parents[0])
        found.append(Kind(name.strip(), int(code[0]), re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE), pairs))
    return found


def sections(payload: bytes, by_code: dict[int, Kind]) -> Iterator[tuple[Kind, bytes]]:
    at = 0
    while at < len(payload):
        code, rows_n = unpack_from("<2q", payload, at)
        at += calcsize("<2q")
        kind = by_code[code]
        for _ in range(rows_n):
            yield kind, payload[at : at + 8 * len(kind.fields)]
            at += 8 * len(kind.fields)


def test_a_run_verifies_from_the_pages_alone(tmp_path: Path, repository: Path) -> None:
    summary = make_run(tmp_path)
    run = find_run(tmp_path, summary.run_id)
    by_code = {kind.code: kind for kind in kinds((repository / "docs/reference/records.md").read_text("utf-8"))}
    genesis = (run / "genesis.json").read_bytes()
    parsed = Genesis.model_validate_json(genesis)
    bars, close_t = load_bars(tmp_path, parsed.bars_digest)
    forecasts = load_forecasts(tmp_path, parsed.forecasts_digest)
    bar_of = {int(t): i for i, t in enumerate(close_t)}
    forecast_of = {int(t): i for i, t in enumerate(forecasts.at_t)}
    hashes: dict[tuple[str, int], bytes] = {}

    def parent(table: str, column: str, row: dict[str, int]) -> bytes:
        if table == "policy":
            return bytes.fromhex(parsed.policy_digest)
        if table == "forecast":
            if row["forecast_t"] == 0:
                return bytes(32)
            n = forecast_of[row["forecast_t"]]
            content = forecasts.rows[n, row[column]].tobytes() + forecasts.feature_digests[n]
            return sha256(b"ballast.forecast.1\0" + content).digest()
        return hashes[table, row[column]] if row[column] else bytes(32)

    assert (
        sha256(b"ballast.bars.1\0" + pack("<q", len(bars)) + close_t.tobytes() + bars.tobytes()).hexdigest()
        == parsed.bars_digest
    )
    first = head = sha256(b"ballast.genesis.1\0" + genesis).digest()
    journal = sqlite3.connect(run / "journal.sqlite")
    blocks = journal.execute(
        "SELECT seq_n, at_t, kind_id, header, inputs_digest, payload, block_hash FROM block ORDER BY seq_n"
    )
    seen = rows_n = 0
    for seq_n, at_t, kind_id, header, inputs_digest, payload, block_hash in blocks:
        seen += 1
        row_hashes = []
        for kind, content in sections(payload, by_code):
            row = dict(zip(kind.fields, unpack_from(f"<{len(kind.fields)}q", content), strict=True))
            parents = b"".join(parent(table, column, row) for table, column in kind.parents)
            row_hash = sha256(pack("<q", kind.code) + content + parents).digest()
            hashes[kind.name, row[kind.fields[0]]] = row_hash
            row_hashes.append(row_hash)
        rows_n += len(row_hashes)
        assert header == pack("<6q", seen, at_t, kind_id, parsed.account_id, parsed.mode_id, len(row_hashes)), seq_n
        if kind_id == BARS_EVENT:
            bar_n, forecast_n = bar_of[at_t], forecast_of.get(at_t, -1)
            event = pack("<15q", kind_id, at_t, bar_n, forecast_n, -1, *[0] * 9, at_t - HOUR_T) + bars[bar_n].tobytes()
            if forecast_n >= 0:
                event += forecasts.rows[forecast_n].tobytes() + forecasts.feature_digests[forecast_n]
            assert inputs_digest == sha256(event).digest(), seq_n
        records_digest = sha256(b"".join(row_hashes)).digest()
        head = sha256(b"ballast.block.1\0" + head + header + inputs_digest + records_digest).digest()
        assert head == block_hash, seq_n
    journal.close()
    assert summary.fills > 0
    assert rows_n > seen, "more than one record per block: the test saw the ledger"
    assert sha256(b"ballast.run.1\0" + first + head + pack("<q", seen)).hexdigest() == summary.run_root
