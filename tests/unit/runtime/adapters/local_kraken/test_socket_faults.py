"""The WebSocket over loopback with a raw client: equal runs, and what each fault does to it. Virtual time is stepped."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from runtime.adapters.local_kraken import channels
from runtime.adapters.local_kraken.faults import Fault, Switch
from runtime.adapters.local_kraken.records import NS
from tests.support.kraken_socket import BOTH, HOUR_NS, NAMES, Client, Venue, client, follow_all, run, write_bars


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("bars"), NAMES, trades=True)


def test_two_runs_are_equal_byte_for_byte_under_faults(folder: Path) -> None:
    kinds = [Fault.WS_GAP, Fault.WS_BAD_CHECKSUM, Fault.WS_DUPLICATE, Fault.WS_LATE, Fault.WS_OUT_OF_ORDER, Fault.WS_GARBAGE]

    def told(seed: int) -> list[str]:
        found: list[str] = []

        async def scene(place: Venue, one: Client) -> None:
            await follow_all(one)
            for _ in range(20):
                await place.step(60 * NS)
                await one.settle()
            found.extend(one.texts)

        run(folder, scene, *[Switch(kind, probability_ppm=30_000) for kind in kinds], seed=seed)
        return found

    first = told(3)
    assert first == told(3)
    assert first != told(4)
    assert len(first) > 500


@pytest.mark.parametrize("seed", [1, 2])
def test_every_checksum_holds_or_is_mended_by_subscribing_again(folder: Path, seed: int) -> None:
    """Under every fault of the data, a client that subscribes again after a mismatch ends with the venue's own book."""
    kinds = [Fault.WS_GAP, Fault.WS_BAD_CHECKSUM, Fault.WS_DUPLICATE, Fault.WS_LATE, Fault.WS_OUT_OF_ORDER, Fault.WS_GARBAGE]
    mended: Counter[str] = Counter()

    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("book", *BOTH)
        await one.settle()
        for _ in range(30):
            await place.step(60 * NS)
            await one.settle()
            for symbol in sorted(one.desynced):
                mended[symbol] += 1
                await one.subscribe("book", symbol, method="unsubscribe")
                await one.subscribe("book", symbol)
            await one.settle()
        place.faults.clear()
        await place.step(60 * NS)  # what was late or swapped still arrives
        await one.settle()
        for symbol in BOTH:
            await one.subscribe("book", symbol, method="unsubscribe")
            await one.subscribe("book", symbol)
        await place.step(60 * NS)
        await one.settle()
        assert not one.desynced
        for pair in place.market.pairs:
            shown = place.market.book(pair, place.market.now_ns)
            ours = one.books[pair.symbol]
            assert [level.price for level in ours.asks()] == [int(x.price.scaleb(pair.pair_decimals)) for x in shown.asks]
        assert one.verified_n > 500

    place = run(folder, scene, *[Switch(kind, "book", probability_ppm=10_000) for kind in kinds], seed=seed)
    assert set(place.faults.injected) == set(kinds)
    assert min(mended[symbol] for symbol in BOTH) > 3


def test_without_faults_no_checksum_fails(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("book", *BOTH)
        for _ in range(20):
            await place.step(61 * NS)
            await one.settle()
        assert one.mismatched_n == 0
        assert one.verified_n > 500

    run(folder, scene)


@pytest.mark.parametrize(
    ("fault", "more", "mismatched"),
    [(Fault.WS_GAP, -1, True), (Fault.WS_BAD_CHECKSUM, 0, True), (Fault.WS_DUPLICATE, 1, False), (Fault.WS_GARBAGE, 0, False)],
)
def test_each_fault_of_the_data(folder: Path, fault: Fault, more: int, mismatched: bool) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("book", "BTC/USD")
        await one.settle()
        await place.step(60 * NS)
        told_n = sum(body.get("channel") == "book" for body in await one.settle())
        called_n = place.faults.switches[0].called_n
        injected_n = place.faults.injected[fault]
        assert injected_n == called_n // 5 > 2
        assert told_n == called_n + more * injected_n
        assert bool(one.mismatched_n) == mismatched
        assert one.garbage_n == (injected_n if fault is Fault.WS_GARBAGE else 0)

    run(folder, scene, Switch(fault, "book", every_n=5))


def test_a_late_message_comes_in_the_next_step_and_a_swapped_one_after_the_next(folder: Path) -> None:
    def stamps(*switches: Switch) -> list[str]:
        found: list[str] = []

        async def scene(place: Venue, one: Client) -> None:
            await one.subscribe("trade", "BTC/USD")
            await one.settle()
            for _ in range(2):
                await place.step(HOUR_NS)
                found.extend(body["data"][0]["trade_id"] for body in await one.settle() if body.get("channel") == "trade")

        run(folder, scene, *switches)
        return found

    right = stamps()
    swapped = stamps(Switch(Fault.WS_OUT_OF_ORDER, "trade", next_n=1))
    assert swapped == [right[1], right[0], *right[2:]]
    late = stamps(Switch(Fault.WS_LATE, "trade", next_n=1))
    assert sorted(late) == right
    assert late[0] == right[1]
    assert late.index(right[0]) > 3


def test_a_disconnect_ends_the_stream_where_it_happens_and_a_new_connection_gets_fresh_snapshots(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("trade", "BTC/USD")
        await one.settle()
        place.faults.add(Switch(Fault.WS_DISCONNECT, "trade", every_n=3))
        await place.step(HOUR_NS)
        told = [body for body in await one.settle() if body.get("channel") == "trade"]
        assert one.closed
        assert len(told) == 2  # everything before the fault was still delivered, nothing after it
        place.faults.clear()
        async with client(place.url) as again:
            await again.subscribe("book", "BTC/USD")
            await again.settle()
            await place.step(60 * NS)
            await again.settle()
            assert again.verified_n > 1
            assert again.mismatched_n == 0
            assert [topic.channel for topic in place.hub.stream.topics()] == ["book"]  # the ended connection left nothing
            assert place.hub.drop_all() >= 1
            assert place.hub.drop_all() >= 0  # once more changes nothing
            await again.settle()
            assert again.closed

    run(folder, scene)


def test_a_stalled_connection_says_nothing_any_more(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("ticker", "BTC/USD")
        await one.settle()
        place.faults.add(Switch(Fault.WS_STALL, "ticker", next_n=1))
        async with client(place.url) as other:
            await other.subscribe("ticker", "BTC/USD")
            await other.settle()
            await place.step(HOUR_NS)
            assert len(await other.settle()) > 3
        await one.send(method="ping", req_id=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await one.read()

    run(folder, scene)


def test_a_rejected_subscription_is_answered_and_stays_closed(folder: Path) -> None:
    async def scene(place: Venue, one: Client) -> None:
        await one.subscribe("ohlc", "BTC/USD", interval=60)
        answers = await one.settle()
        assert [body.get("error") for body in answers[1:]] == ["EService:Unavailable"]
        await one.subscribe("ohlc", "BTC/USD", interval=60)
        assert (await one.settle())[0]["success"] is True

    run(folder, scene, Switch(Fault.WS_REJECT, "ohlc", next_n=1))


def test_the_garbage_frame_is_no_json() -> None:
    with pytest.raises(ValueError, match="Unterminated|Invalid"):
        json.loads(channels.GARBAGE)
