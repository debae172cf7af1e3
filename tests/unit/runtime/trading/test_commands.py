"""What operators ask for: one event each, once, at a block boundary, whatever the loop is doing."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from runtime.adapters.simulator import Reply
from runtime.core import codes as c
from runtime.core.digest import decode_payload
from runtime.errors import DataError, InvariantError
from runtime.event import BundleNote
from runtime.policy import ProfileVersion, RiskProfile
from runtime.trading.commands import (
    ActivateBundle,
    Halt,
    Kill,
    Receipt,
    ReleaseTier,
    StartTrading,
    StopTrading,
    UpdateProfile,
)
from runtime.trading.settings import TradingSettings
from tests.support.trading import BUNDLE, HOUR_T, START_T, Bench, ScriptedForecasts, account, book

WARM_N = 24
BEGIN_T = START_T + (WARM_N + 1) * HOUR_T


def bench_of(tmp_path: Path, **changes: object) -> Bench:
    return Bench(tmp_path, account(seed=2, hours=80, warm_n=WARM_N, **changes), BEGIN_T)


def kill(command_id: str, *, on: bool = True) -> Kill:
    return Kill(actor="operator", command_id=command_id, reason="a drill", on=on)


def test_a_command_is_one_event_and_answers_the_same_receipt_for_ever(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    receipts: list[Receipt] = []

    async def play(bench: Bench) -> None:
        receipts.append(await bench.ask(kill("a")))
        receipts.append(await bench.ask(kill("a")))
        await bench.hours(BEGIN_T + HOUR_T)

    async def again(bench: Bench) -> None:
        receipts.append(await bench.ask(kill("a")))
        receipts.append(await bench.ask(kill("b", on=False)))

    bench.run(play)
    bench.reopen()
    bench.run(again)
    first, second, third, release = receipts
    assert first == second == third
    (on, off) = bench.blocks(c.EV_CONTROL)
    assert first == Receipt(True, on.seq_n, on.at_t, "a drill")
    assert release == Receipt(True, off.seq_n, off.at_t, "a drill")
    note = bench.events(c.EV_CONTROL)[0].note_of()
    assert note is not None
    assert (note.actor, note.reason, note.command_id) == ("operator", "a drill", "a")
    assert bench.trader.view.state_row[0]["desk"]["kill_n"] == 0
    bench.close()


def test_the_kill_switch_works_in_every_state_and_takes_resting_entries_off(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def play(bench: Bench) -> None:
        while not bench.exchange.resting():
            await bench.step((bench.clock.now_t() // HOUR_T + 1) * HOUR_T)
        await bench.ask(StopTrading(actor="operator", command_id="stop"))
        assert bench.exchange.resting(), "stopped: what rests stays"
        assert (await bench.ask(kill("k"))).accepted
        assert not bench.exchange.resting(), "the cancel was sent and answered before anything else"

    bench.run(play)
    rows = [row for b in bench.blocks() for row in decode_payload(b.payload).get("order_request", ())]
    assert [int(row["status_id"]) for row in rows][-1] == c.O_CANCELLED
    assert bench.trader.view.state_row[0]["desk"]["kill_n"] == c.KILL_OPERATOR
    bench.close()


def test_while_stopped_no_market_event_is_applied_and_a_start_catches_up(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def play(bench: Bench) -> None:
        await bench.hours(BEGIN_T + 2 * HOUR_T)
        assert (await bench.ask(StopTrading(actor="ann", command_id="1"))).accepted
        head = bench.journal.head()
        assert bench.trader.view.state == "stopped"
        assert bench.trader.view.reasons[0] == "stopped by ann"
        at_t = bench.clock.now_t()
        await bench.step(at_t + 60, books=[book(0, at_t + 60, 10**10, 10**10 + 1)])
        await bench.hours(BEGIN_T + 6 * HOUR_T)
        assert bench.journal.head() == head
        refused = await bench.ask(StopTrading(actor="ann", command_id="2"))
        assert refused == Receipt(False, head.seq_n, bench.trader.view.now_t, "trading is stopped already")
        assert (await bench.ask(StartTrading(actor="ann", command_id="3"))).accepted
        await bench.settled()
        assert bench.trader.view.state == "running"
        assert not (await bench.ask(StartTrading(actor="ann", command_id="4"))).accepted

    bench.run(play)
    hours = [(int(e.record[0]["value_n"]) - START_T) // HOUR_T for e in bench.events(c.EV_BARS)]
    assert hours == list(range(WARM_N + 7))
    assert [int(e.record[0]["value_n"]) for e in bench.events(c.EV_SESSION)] == [1, 0, 1, 0]
    bench.close()


def test_a_stop_by_an_operator_outlives_the_process(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def stop(bench: Bench) -> None:
        await bench.ask(StopTrading(actor="ann", command_id="1"))

    async def look(bench: Bench) -> None:
        assert bench.trader.view.state == "stopped"
        await bench.hours(BEGIN_T + HOUR_T)
        assert (await bench.ask(StartTrading(actor="ann", command_id="2"))).accepted

    bench.run(stop)
    bench.reopen()
    head = bench.journal.head()
    bench.run(look)
    assert bench.blocks(c.EV_SESSION)[2].seq_n == head.seq_n + 1
    bench.close()


def version(profile: RiskProfile, note: str = "tighter", derived_from: str = "") -> ProfileVersion:
    return ProfileVersion.seal(profile, note, "0" * 64, derived_from)


def update(made: ProfileVersion, base: RiskProfile, command_id: str = "u") -> UpdateProfile:
    return UpdateProfile(actor="ann", command_id=command_id, reason="fewer", version=made, base_digest=base.digest)


def test_a_profile_governs_from_its_block_on(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    base = bench.inputs.genesis.profile
    tighter = base.model_copy(update={"version": base.version + 1, "latency_t": 7, "order_ttl_t": 7_200})

    async def play(bench: Bench) -> None:
        await bench.hours(BEGIN_T + HOUR_T)
        receipt = await bench.ask(update(version(tighter), base))
        assert receipt.accepted
        view = bench.trader.view
        assert (view.profile, view.profile_version_n) == (tighter, base.version + 1)
        assert view.policy_row[0]["rules"]["latency_t"] == 7
        await bench.hours(BEGIN_T + 12 * HOUR_T)

    bench.run(play)
    fills = bench.blocks(c.EV_FILL)
    assert fills
    assert all(b.at_t % HOUR_T == 7 for b in fills), "the venue fills by the new rules as well"
    bench.reopen()
    assert bench.recovered.desk.profile == tighter
    bench.close()


def test_a_profile_not_made_from_the_one_in_force_is_refused(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    base = bench.inputs.genesis.profile
    following = base.model_copy(update={"version": base.version + 1})
    other = base.model_copy(update={"name": "mine"})
    wrong: list[tuple[str, UpdateProfile]] = [
        ("is in force", update(version(following), other)),
        ("governs already: nothing to do", update(version(base), base)),
        ("digests", update(version(following).model_copy(update={"note": "changed"}), base)),
    ]
    stored = version(base.model_copy(update={"name": "mine", "version": 7, "created_t": 0}))

    async def play(bench: Bench) -> None:
        for n, (reason, command) in enumerate(wrong):
            receipt = await bench.ask(command)
            assert not receipt.accepted
            assert reason in receipt.reason, n
        assert not bench.events(c.EV_POLICY)
        assert (await bench.ask(update(stored, base, "ok"))).accepted
        again = await bench.ask(update(stored, stored.profile, "again"))
        assert (again.accepted, again.reason) == (False, "mine@7 governs already: nothing to do")
        assert (await bench.ask(update(version(base), stored.profile, "back"))).accepted, "an older one governs again"
        assert bench.trader.view.profile == base

    bench.run(play)
    assert [int(e.record[0]["value_n"]) for e in bench.events(c.EV_POLICY)] == [7, base.version]
    bench.reopen()
    assert bench.recovered.desk.profile == base
    bench.close()


def test_switches_and_what_they_refuse(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)

    async def play(bench: Bench) -> None:
        assert (await bench.ask(Halt(actor="ann", command_id="1", on=True))).accepted
        assert "entries are halted" in bench.trader.view.reasons
        assert "not HALT20" in (await bench.ask(ReleaseTier(actor="ann", command_id="2"))).reason
        released = await bench.ask(Kill(actor="ann", command_id="4", on=False))
        assert (released.accepted, released.reason) == (False, "the kill switch is off already: nothing to release")
        assert "unknown cause" in (await bench.ask(Kill(actor="ann", command_id="3", on=True, cause=9))).reason

    bench.run(play)
    assert len(bench.blocks(c.EV_CONTROL)) == 1
    bench.close()


def test_a_bundle_is_activated_at_a_block_or_refused(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    other = BUNDLE.model_copy(update={"name": "other", "bundle_hash": "9" * 64})
    made = ScriptedForecasts(bench.inputs.forecasts)
    stranger = ScriptedForecasts(account(seed=2, hours=60, symbols=3).forecasts)

    def load(path: Path) -> tuple[BundleNote, ScriptedForecasts]:
        assert threading.current_thread() is not threading.main_thread()
        if path.name == "bad":
            raise DataError("an altered model", expected="the signed one", action="promote again")
        return other, stranger if path.name == "stranger" else made

    bench.load_bundle = load

    def activation(name: str) -> ActivateBundle:
        return ActivateBundle(actor="ann", command_id=name, path=Path(name))

    async def play(bench: Bench) -> None:
        assert "altered model" in (await bench.ask(activation("bad"))).reason
        assert "the account trades" in (await bench.ask(activation("stranger"))).reason
        assert (await bench.ask(activation("good"))).accepted
        assert (await bench.ask(activation("good"))).accepted
        assert bench.trader.view.bundle == other
        await bench.hours(BEGIN_T + 3 * HOUR_T)

    bench.run(play)
    assert [int(e.record[0]["value_n"]) for e in bench.events(c.EV_BUNDLE)] == [1, 2]
    assert bench.told.activated == [Path("good")]
    assert made.asked_t
    bench.reopen()
    assert bench.recovered.desk.bundle == other
    bench.close()


def test_commands_before_the_loop_and_after_its_end(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    early = bench.trader.submit(kill("early"))

    async def play(bench: Bench) -> None:
        found: list[Future[Receipt]] = []
        thread = threading.Thread(target=lambda: found.append(bench.trader.submit(kill("thread"))))
        thread.start()
        thread.join()
        await bench.settled()
        assert found[0].result(1).accepted

    bench.run(play)
    assert early.result(0).accepted
    late = bench.trader.submit(kill("late")).result(0)
    assert not late.accepted
    assert late.reason == "the test ends"
    bench.close()


def test_a_new_account_waits_for_its_history_and_takes_no_start(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.market.broken = {2}

    async def play(bench: Bench) -> None:
        assert bench.trader.view.state == "starting"
        assert "no bars of 1 instruments" in bench.trader.view.reasons[0]
        assert not (await bench.ask(StartTrading(actor="ann", command_id="1"))).accepted
        bench.market.broken = set()
        await bench.step(BEGIN_T + 21)
        assert bench.trader.view.state == "running"

    bench.run(play)
    bench.close()


def test_a_bundle_of_other_assets_is_no_start(tmp_path: Path) -> None:
    bench = bench_of(tmp_path)
    bench.inputs = account(seed=2, hours=60, symbols=3)
    (tmp_path / "bars.sqlite").unlink()
    with pytest.raises(InvariantError, match="a bundle for S00, S01, S02"):
        bench.reopen()


@pytest.mark.parametrize("reply", [Reply.REJECT, Reply.REFUSE, Reply.LOSE, Reply.HIDE])
def test_what_the_venue_answers_is_taken_in_and_unknowns_are_resolved(tmp_path: Path, reply: Reply) -> None:
    bench = Bench(tmp_path, account(seed=2, hours=80, warm_n=WARM_N), BEGIN_T, replies=[reply])

    async def play(bench: Bench) -> None:
        for n in range(1, 12):
            await bench.step(BEGIN_T + n * HOUR_T)
            for minute in range(1, 5):
                await bench.step(BEGIN_T + n * HOUR_T + 61 * minute)

    bench.run(play)
    rows = [row for b in bench.blocks() for row in decode_payload(b.payload).get("order_request", ())]
    first = [int(row["status_id"]) for row in rows if row["order_id"] == 1]
    expected = {
        Reply.REJECT: [c.O_NEW, c.O_REJECTED, c.O_RETRYING, c.O_NEW, c.O_OPEN],
        Reply.REFUSE: [c.O_NEW, c.O_REJECTED, c.O_CANCELLED],
        Reply.LOSE: [c.O_NEW, c.O_UNKNOWN, c.O_RETRYING, c.O_NEW, c.O_OPEN],
        Reply.HIDE: [c.O_NEW, c.O_UNKNOWN, c.O_OPEN],
    }[reply]
    assert first[: len(expected)] == expected
    bench.close()


def test_an_order_takes_from_the_book_after_its_latency_and_not_twice_from_the_same(tmp_path: Path) -> None:
    settings = TradingSettings(warm_up_n=WARM_N, quote_move_ppm=1_000_000, refill_t=60)
    bench = Bench(tmp_path, account(seed=2, hours=80, warm_n=WARM_N, latency_t=5), BEGIN_T, settings)

    async def play(bench: Bench) -> None:
        while not bench.exchange.resting():
            await bench.step((bench.clock.now_t() // HOUR_T + 1) * HOUR_T)
        ((order_id, left),) = list(bench.exchange.resting().items())[:1]
        s = next(i for i, o in enumerate(bench.trader.view.state_row[0]["orders"]) if o["order_id"] == order_id)
        limit = int(bench.trader.view.state_row[0]["orders"][s]["limit_price_e8"])
        t = bench.clock.now_t()
        thin = book(s, t, limit - 10, limit, qty_e8=left * 10)  # a hundredth of it may be taken
        await bench.step(t, books=[thin])
        assert not bench.blocks(c.EV_FILL), "before its latency"
        await bench.step(t + 5)
        assert len(bench.blocks(c.EV_FILL)) == 1, "the book that stands is met when the latency is over"
        assert bench.blocks(c.EV_FILL)[0].at_t == t + 5
        await bench.step(t + 10)
        await bench.step(t + 11, books=[book(s, t + 11, limit - 10, limit, qty_e8=left * 10)])
        assert len(bench.blocks(c.EV_FILL)) == 1, "the levels need time to fill up again"
        await bench.step(t + 66, books=[book(s, t + 66, limit - 10, limit, qty_e8=left * 10)])
        assert len(bench.blocks(c.EV_FILL)) == 2

    bench.run(play)
    bench.close()
