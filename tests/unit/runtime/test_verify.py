"""The chain verifier names the first bad block, whatever the batches, and goes on from where it stood."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.chain import compute_block_hash
from runtime.core.digest import HEADER, NO_PARENT, SECTION, Block, RowHasher, genesis_hash
from runtime.core.records import BY_NAME
from runtime.ports import Head
from runtime.verify import BadBlock, ChainVerifier, VerifiedRows, gather
from tests.support.blocks import GENESIS, POLICY_DIGEST, make_blocks

BLOCKS = make_blocks(24)
STATE = BY_NAME["portfolio_hourly_state"]


def verifier() -> ChainVerifier:
    return ChainVerifier(genesis_hash(GENESIS), (1, 1), POLICY_DIGEST, lambda _i, _t: NO_PARENT)


def follow(blocks: list[Block], sizes: list[int]) -> BadBlock | Head:
    chain, at = verifier(), 0
    while at < len(blocks):
        size = sizes[at % len(sizes)]
        found = chain.follow(blocks[at : at + size])
        if isinstance(found, BadBlock):
            assert chain.head.seq_n == found.seq_n - 1
            return found
        at += size
    return chain.head


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_any_batches_verify(sizes: list[int]) -> None:
    assert follow(BLOCKS, sizes) == Head(24, BLOCKS[-1].block_hash)


@settings(max_examples=150, deadline=None)
@given(
    at=st.integers(0, 23),
    column=st.sampled_from(["header", "inputs_digest", "payload", "records_digest", "block_hash"]),
    place=st.integers(0, 10_000),
    bit=st.integers(0, 7),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=3),
)
def test_any_flipped_bit_is_found_at_its_block(at: int, column: str, place: int, bit: int, sizes: list[int]) -> None:
    value = bytearray(getattr(BLOCKS[at], column))
    value[place % len(value)] ^= 1 << bit
    changed = [*BLOCKS]
    changed[at] = changed[at]._replace(**{column: bytes(value)})
    found = follow(changed, sizes)
    assert isinstance(found, BadBlock)
    assert found.seq_n == at + 1


def test_a_verifier_goes_on_after_a_bad_block() -> None:
    chain = verifier()
    bad = [*BLOCKS[:10], BLOCKS[10]._replace(payload=BLOCKS[9].payload), *BLOCKS[11:]]
    assert isinstance(chain.follow(bad), BadBlock)
    assert chain.head == Head(10, BLOCKS[9].block_hash)
    assert isinstance(chain.follow(BLOCKS[10:]), VerifiedRows)
    assert chain.head == Head(24, BLOCKS[-1].block_hash)


def test_row_hashes_are_the_hashers() -> None:
    for size in (24, 5):
        chain = verifier()
        hasher = RowHasher(POLICY_DIGEST, lambda _i, _t: NO_PARENT)
        for first in range(0, 24, size):
            found = chain.follow(BLOCKS[first : first + size])
            assert isinstance(found, VerifiedRows)
            assert found.row_hashes[STATE.name] == hasher.hash_rows(STATE, found.tables[STATE.name])
            assert found.block_seq_n[STATE.name].tolist() == list(range(first + 1, min(first + size, 24) + 1))


def section(payload: bytes, *, code: int | None = None, rows: int | None = None) -> bytes:
    old_code, old_rows = SECTION.unpack_from(payload)
    return SECTION.pack(old_code if code is None else code, old_rows if rows is None else rows) + payload[SECTION.size :]


FIRST = BLOCKS[0].payload
MALFORMED: dict[str, bytes] = {
    "cut inside a section header": FIRST + b"\0" * 5,
    "cut inside rows": FIRST[:-8],
    "unknown type": section(FIRST, code=99),
    "no rows": section(FIRST, rows=0),
    "negative rows": section(FIRST, rows=-1),
    "far too many rows": section(FIRST, rows=2**62),
    "a type twice": FIRST + FIRST,
}


@pytest.mark.parametrize("name", MALFORMED, ids=str)
def test_malformed_payloads(name: str) -> None:
    with pytest.raises(ValueError, match="the payload of block 1"):
        gather([BLOCKS[0]._replace(payload=MALFORMED[name])])


def rehashed(block: Block, payload: bytes) -> Block:
    """Return a block with another payload and hashes that fit it, as a forger would make it."""
    gathered = gather([block._replace(payload=payload)])
    hasher = RowHasher(POLICY_DIGEST, lambda _i, _t: NO_PARENT)
    hasher.hashes["portfolio_hourly_state"] |= dict.fromkeys(range(4), NO_PARENT)
    hashes = [h for name, rows in gathered.tables.items() for h in hasher.hash_rows(BY_NAME[name], rows)]
    records_digest = hashlib.sha256(b"".join(hashes)).digest()
    header = HEADER.pack(*HEADER.unpack(block.header)[:5], len(hashes))
    previous = genesis_hash(GENESIS)
    block_hash = compute_block_hash(previous, header, block.inputs_digest, records_digest)
    return block._replace(header=header, payload=payload, records_digest=records_digest, block_hash=block_hash)


def with_column(table: str, column: str, value: int) -> Callable[[bytes], bytes]:
    def change(payload: bytes) -> bytes:
        gathered = gather([BLOCKS[0]._replace(payload=payload)]).tables
        out = b""
        for name, rows in gathered.items():
            copy = rows.copy()
            if name == table:
                copy[column] = value
            if len(copy):
                out += SECTION.pack(BY_NAME[name].code, len(copy)) + copy.tobytes()
        return out

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_column("portfolio_hourly_state", "state_id", 2), "ids of portfolio_hourly_state do not continue"),
        (with_column("portfolio_hourly_state", "account_id", 2), "another account or mode"),
        (with_column("risk_hourly_state", "mode_id", 3), "another account or mode"),
        (with_column("risk_hourly_state", "portfolio_state_id", 3), "names a parent that does not exist"),
    ],
)
def test_well_hashed_rows_that_break_a_rule_are_refused(change: Callable[[bytes], bytes], message: str) -> None:
    found = verifier().follow([rehashed(BLOCKS[0], change(FIRST))])
    assert isinstance(found, BadBlock)
    assert message in found.what
    assert found.table in found.what


def test_a_header_with_another_number_of_rows() -> None:
    block = BLOCKS[0]
    header = HEADER.pack(*HEADER.unpack(block.header)[:5], 3)
    forged = compute_block_hash(genesis_hash(GENESIS), header, block.inputs_digest, block.records_digest)
    found = verifier().follow([block._replace(header=header, block_hash=forged)])
    assert isinstance(found, BadBlock)
    assert "2 rows, its header another number" in found.what


def test_nothing_to_follow() -> None:
    chain = verifier()
    assert isinstance(chain.follow([]), VerifiedRows)
    assert chain.head == Head(0, genesis_hash(GENESIS))
