"""Only what the risk engine approved and the journal holds becomes an order that can be sent."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from runtime.approval import ApprovedOrder, approved_orders, client_order_id, row_hashes_of
from runtime.core import codes as c
from runtime.core.digest import NO_PARENT, RowHasher, genesis_hash
from runtime.core.records import ORDER_REQUEST
from runtime.errors import InvariantError
from runtime.policy import RiskProfile
from tests.support.desk import Desk
from tests.support.wiring import GENESIS, Office


@pytest.fixture
def office() -> Office:
    return Office(Desk(RiskProfile(entry_persist_n=1)))


@pytest.fixture
def order(office: Office) -> ApprovedOrder:
    office.desk.hour((600_000, 20_000))
    (made,) = office.approve()
    return made


def changed(order: ApprovedOrder, **fields: int) -> bytes:
    row = np.frombuffer(order.row, ORDER_REQUEST.dtype).copy()
    for name, value in fields.items():
        row[name] = value
    return row.tobytes()


def rehashed(order: ApprovedOrder, **fields: int) -> ApprovedOrder:
    """Make what somebody could who computes the right hash of a wrong row."""
    row = changed(order, **fields)
    hasher = RowHasher(bytes(32), lambda _i, _t: bytes(32))
    signal_id = int(np.frombuffer(row, ORDER_REQUEST.dtype)[0]["signal_id"])
    hasher.hashes["trade_signal"][signal_id] = order.signal_hash
    (row_hash,) = hasher.hash_rows(ORDER_REQUEST, np.frombuffer(row, ORDER_REQUEST.dtype))
    return dataclasses.replace(order, row=row, row_hash=row_hash)


def test_an_approved_order_carries_its_rows_terms(office: Office, order: ApprovedOrder) -> None:
    row = office.desk.rows("order_request")[-1]
    terms = order.terms
    assert terms.qty_e8 == row["qty_e8"] == row["left_e8"] > 0
    assert (terms.order_id, terms.side_id, terms.attempt_n, terms.instrument_id) == (1, c.BUY, 1, 0)
    assert (terms.limit_price_e8, terms.expires_t, terms.approved_t) == (row["limit_price_e8"], row["expires_t"], row["at_t"])
    assert order.client_order_id == client_order_id(genesis_hash(GENESIS), 1, 1)


def test_client_order_ids_are_deterministic_uuids_that_kraken_takes() -> None:
    genesis = bytes(range(32))
    assert client_order_id(genesis, 1, 1) == "75eaf142-1ba4-8001-bed0-65630951ef70"
    ids = {client_order_id(g, order, attempt) for g in (genesis, bytes(32)) for order in range(50) for attempt in range(1, 5)}
    assert len(ids) == 2 * 50 * 4
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", text) for text in ids)


@pytest.mark.parametrize(
    "fields", [{"left_e8": 10**12}, {"limit_price_e8": 1}, {"side_id": -1}, {"order_id": 2}, {"account_id": 2}]
)
def test_a_changed_row_is_refused(order: ApprovedOrder, fields: dict[str, int]) -> None:
    with pytest.raises(InvariantError, match="does not match its row hash"):
        dataclasses.replace(order, row=changed(order, **fields))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [({"status_id": c.O_OPEN}, "its status"), ({"left_e8": 0}, "no gate"), ({"side_id": 0}, "no gate"), ({"attempt_n": 0}, "no gate"),
     ({"limit_price_e8": 0}, "without a limit")],
)  # fmt: skip
def test_a_row_with_a_true_hash_must_still_be_an_approval(order: ApprovedOrder, fields: dict[str, int], problem: str) -> None:
    with pytest.raises(InvariantError, match=problem):
        rehashed(order, **fields)


def test_the_rehashing_above_is_right(order: ApprovedOrder) -> None:
    assert rehashed(order) == order


@pytest.mark.parametrize(
    "fields",
    [{"genesis": b""}, {"signal_hash": b"x"}, {"row": b""}, {"row_hash": bytes(32)}, {"signal_hash": NO_PARENT}],
    ids=lambda f: next(iter(f)),
)
def test_hashes_must_have_their_form(order: ApprovedOrder, fields: dict[str, bytes]) -> None:
    with pytest.raises(InvariantError, match="without approval"):
        dataclasses.replace(order, **fields)


def test_an_order_without_a_signal_is_refused(order: ApprovedOrder) -> None:
    row = np.frombuffer(changed(order, signal_id=0), ORDER_REQUEST.dtype)
    (row_hash,) = RowHasher(bytes(32), lambda _i, _t: bytes(32)).hash_rows(ORDER_REQUEST, row)
    with pytest.raises(InvariantError, match="no signal"):
        ApprovedOrder(order.genesis, row.tobytes(), row_hash, NO_PARENT)


def test_it_is_frozen(order: ApprovedOrder) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        order.row = b""  # type: ignore[misc]  the point of the test


def test_only_journaled_blocks_have_orders(office: Office, order: ApprovedOrder) -> None:
    signals = office.hasher.hashes["trade_signal"]
    with pytest.raises(InvariantError, match="not in the journal"):
        approved_orders(office.journal, 9, [], signals)
    with pytest.raises(InvariantError, match="not the block's"):
        approved_orders(office.journal, 1, [], signals)
    assert order


def test_after_a_restart_the_journal_gives_the_same_orders(office: Office, order: ApprovedOrder) -> None:
    office.desk.fill()
    office.journal_rows()
    hasher = RowHasher(bytes(32), lambda _instrument, _forecast_t: bytes(32))
    again = []
    for block in office.journal.read():
        hashes = row_hashes_of(block, hasher)
        again += approved_orders(office.journal, block.seq_n, hashes, hasher.hashes["trade_signal"])
    assert again == [order]


def test_a_signal_hash_that_is_not_the_parents_is_refused(office: Office, order: ApprovedOrder) -> None:
    (block,) = office.journal.read(1, 1)
    hashes = row_hashes_of(block, RowHasher(bytes(32), lambda _instrument, _forecast_t: bytes(32)))
    with pytest.raises(InvariantError, match="does not match its row hash"):
        approved_orders(office.journal, 1, hashes, {1: b"x" * 32})
    with pytest.raises(InvariantError, match="does not match its row hash"):
        approved_orders(office.journal, 1, hashes, {})
    assert order
