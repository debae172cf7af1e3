"""The real order book captures of Kraken's WebSocket, read with decimals: what the local venue and every client must reproduce."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from runtime.adapters.order_book import Change, Level, OrderBook, scaled

V1_PRICE_DECIMALS: Final = 5
V2_PRICE_DECIMALS: Final = 1
QTY_DECIMALS: Final = 8


class Update(NamedTuple):
    """One update message of a capture: its levels, its checksum and (v2) its timestamp."""

    change: Change
    checksum: int
    timestamp: str


class Capture(NamedTuple):
    """A snapshot (checksum None where the venue sent none) and the updates after it."""

    snapshot: Change
    checksum: int | None
    updates: Sequence[Update]


def _v2_levels(rows: Sequence[dict[str, Decimal]]) -> list[Level]:
    return [Level(scaled(row["price"], V2_PRICE_DECIMALS), scaled(row["qty"], QTY_DECIMALS)) for row in rows]


def v2_path(real_data: Path) -> Path:
    """Return the file of the WebSocket v2 capture."""
    return real_data / "kraken-book" / "kraken_BTCUSD_book10_ws_v2.json"


def read_v2(real_data: Path) -> Capture:
    """Return the capture of WebSocket v2 of BTC/USD at depth 10: 510 messages, the snapshot and 509 updates."""
    raw = json.loads(v2_path(real_data).read_text(), parse_float=Decimal)
    first = raw["init"]["data"][0]
    updates = [
        Update(Change(_v2_levels(data["bids"]), _v2_levels(data["asks"])), data["checksum"], data["timestamp"])
        for message in raw["updates"]
        for data in message["data"]
    ]
    return Capture(Change(_v2_levels(first["bids"]), _v2_levels(first["asks"])), first["checksum"], updates)


def _v1_levels(rows: Sequence[Sequence[str]]) -> list[Level]:
    return [Level(scaled(row[0], V1_PRICE_DECIMALS), scaled(row[1], QTY_DECIMALS)) for row in rows]


def read_v1(real_data: Path) -> Capture:
    """Return the capture of WebSocket v1 of XBT/USD at depth 10: 1,146 messages, 979 of them updates (of one or two parts)."""
    raw = json.loads((real_data / "kraken-book" / "kraken_BTCUSD_book10_ws_v1.json").read_text())
    first = raw["init"][-1][1]
    updates = []
    for message in raw["updates"]:
        if isinstance(message, dict):  # a heartbeat, a pong or a status
            continue
        parts = [part for part in message if isinstance(part, dict)]
        bids = [row for part in parts for row in _v1_levels(part.get("b", []))]
        asks = [row for part in parts for row in _v1_levels(part.get("a", []))]
        checksum = next(int(part["c"]) for part in parts if "c" in part)
        updates.append(Update(Change(bids, asks), checksum, ""))
    return Capture(Change(_v1_levels(first["bs"]), _v1_levels(first["as"])), None, updates)


def books(capture: Capture, depth: int) -> Iterator[tuple[Update, OrderBook]]:
    """Yield each update with the (one, growing) book after it."""
    book = OrderBook(depth)
    book.load(*capture.snapshot)
    for update in capture.updates:
        book.apply(*update.change)
        yield update, book
