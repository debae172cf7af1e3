"""Changing stored bytes at random, and where a detector must say that they changed.

The places of `replay` (a flip is a change of one byte, of one bit or more):

- in a row: at the level `decisions` block, record, row and field; at the level `chain` the block, and nothing else of the row, since
  the journal holds a digest of all rows of a block and none of a single row (a wrong id, owner or parent names the record as well).
- in a section header of a payload (record code, number of rows): the block, and the record that it adds or takes away, or `payload`
  when it cannot be read on from there.
- in a header: block and field; in a digest or in a column beside the header: block and column, at the level `chain` the block.
- in the hash of the block that the anchor names: that block; which of the two was changed cannot be known.
- in the number of a block: the block that is missing. In the genesis: the genesis.
"""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from runtime.core.digest import SECTION, Block, decode_payload
from runtime.core.records import RECORD_TYPES

HEADER_FIELDS: Final = ("seq_n", "at_t", "kind_id", "account_id", "mode_id", "records_n")
DIGESTS: Final = ("inputs_digest", "records_digest", "block_hash")
COLUMNS: Final = (*["payload"] * 8, *["header"] * 3, *DIGESTS, *DIGESTS, "at_t", "kind_id", "seq_n", "genesis")


class Place(NamedTuple):
    """Where a flip is; empty or 0 where there is nothing to name."""

    block: int
    record: str = ""
    row: int = 0
    field: str = ""


def flipped(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    """Return the content with one byte changed: mostly one bit of it."""
    mask = 1 << int(rng.integers(0, 8)) if rng.random() < 0.7 else int(rng.integers(1, 256))
    return content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


def payload_place(block: Block, at: int, changed: bytes) -> Place:
    """Return where a byte of a payload stands."""
    first = 0
    types = {record.code: record for record in RECORD_TYPES}
    while first < len(block.payload):
        code, rows_n = SECTION.unpack_from(block.payload, first)
        record = types[code]
        rows_at = first + SECTION.size
        first = rows_at + rows_n * record.dtype.itemsize
        if rows_at <= at < first:
            row, inside = divmod(at - rows_at, record.dtype.itemsize)
            names = record.dtype.names or ()
            row_id = int(decode_payload(block.payload)[record.name][names[0]][row])
            return Place(block.seq_n, record.name, row_id, names[inside // 8])
        if at < rows_at:
            return Place(block.seq_n, _section_difference(block.payload, changed))
    raise AssertionError("no such byte")


def _section_difference(payload: bytes, changed: bytes) -> str:
    ours = decode_payload(payload)
    try:
        theirs = decode_payload(changed)
    except ValueError:
        return "payload"
    for record in RECORD_TYPES:
        left, right = ours.get(record.name), theirs.get(record.name)
        if (left is None) != (right is None) or (left is not None and right is not None and left.tobytes() != right.tobytes()):
            return record.name
    return "payload"


def flip_journal(path: Path, blocks: list[Block], rng: np.random.Generator, n: int) -> tuple[str, Place]:
    """Change one byte of one stored cell; return the column and the place that must be named."""
    block, column = blocks[int(rng.integers(0, len(blocks)))], COLUMNS[n % len(COLUMNS)]
    if column == "genesis":
        name = "content" if rng.random() < 0.7 else "hash"
        (content,) = _edit(path, f"SELECT {name} FROM genesis")
        _edit(path, f"UPDATE genesis SET {name} = ?", flipped(content, int(rng.integers(0, len(content))), rng))
        return column, Place(0)
    place = Place(block.seq_n, column)
    if column == "seq_n":  # to a number that no block has
        value: bytes | int = block.seq_n ^ (1 << int(rng.integers(10, 62)))
    elif column in {"at_t", "kind_id"}:
        (value,) = struct.unpack("<q", flipped(struct.pack("<q", getattr(block, column)), int(rng.integers(0, 8)), rng))
    else:
        content = getattr(block, column)
        while not content:  # a block without records
            block = blocks[int(rng.integers(0, len(blocks)))]
            content = getattr(block, column)
        at = int(rng.integers(0, len(content)))
        value = flipped(content, at, rng)
        place = Place(block.seq_n, column)
        if column == "payload":
            place = payload_place(block, at, value)
        elif column == "header":
            place = Place(block.seq_n, "header", 0, HEADER_FIELDS[at // 8])
    _edit(path, f"UPDATE block SET {column} = ? WHERE seq_n = ?", value, block.seq_n)
    return column, place


def _edit(path: Path, statement: str, *values: bytes | int) -> tuple:
    """Run one statement with the triggers away, without waiting for the disk; return the first row."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    row = connection.execute(statement, values).fetchone()
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()
    return row or ()


def logical_content(path: Path) -> list[object]:
    """Return everything that a reader of the database can see: schema, every row of every table, the marks in its header."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    connection.text_factory = bytes
    try:
        queries = [
            "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid", "SELECT * FROM genesis", "SELECT * FROM block",
            "PRAGMA application_id", "PRAGMA user_version",
        ]  # fmt: skip
        return [connection.execute(query).fetchall() for query in queries]
    finally:
        connection.close()
