"""A session of trading: how a process takes its chain up, carries out what operators ask, stops, and halts."""

from __future__ import annotations

import time
from concurrent.futures import Future

from runtime import event as events
from runtime.core.codes import EV_DEPOSIT
from runtime.event import BundleNote, Note
from runtime.inference.quantise import bars_to_core
from runtime.market import ClosedBar
from runtime.trading.commands import ActivateBundle, Command, Kill, Receipt, StartTrading, StopTrading, UpdateProfile
from runtime.trading.inbox import Asked, Loaded
from runtime.trading.market import MarketDesk
from runtime.trading.needs import Hooks, Start
from runtime.trading.operator import Refused, bundle_event, event_of, session_event
from runtime.trading.past import SYSTEM
from runtime.trading.recovery import store_snapshot
from runtime.trading.view import RunState


class Session:
    """State of the loop from the start of a process to its end.

    Args:
        desk: what the market makes of the chain.
        start: what this process is.
        hooks: what the loop calls.
    """

    def __init__(self, desk: MarketDesk, start: Start, hooks: Hooks) -> None:
        self._market, self._start, self._hooks = desk, start, hooks
        self._chain, self._venue, self._settings = desk.chain, desk.venue, desk.settings
        self.state: RunState = "starting"
        self.reasons: tuple[str, ...] = ()
        self.bundle: BundleNote = start.bundle
        self._loading: dict[str, Future[Receipt]] = {}

    # ---- start -------------------------------------------------------------------------------------------------

    @property
    def needs_history(self) -> bool:
        """Whether a new account waits for the bars before its start."""
        return self.state == "starting"

    def begin_if_known(self, received_ns: int) -> None:
        """Begin at once where nothing has to be read first: there was a session, or the core needs no bars before it."""
        if self._chain.past.ended_by or self._settings.warm_up_n == 0:
            self._begin(received_ns)

    def begin_new(self, bars: list[ClosedBar], received_ns: int) -> None:
        """Show a new account's core the bars before its start, at their own times: no forecast, no position, so no decision."""
        hours, past = self._market.hours, self._chain.past
        interval_t, newest_t = hours.interval_t, hours.next_open_t
        first_t = newest_t - self._settings.warm_up_n * interval_t
        if past.first_open_t >= 0:  # the last process died on the way here
            first_t = past.last_open_t + interval_t
        self._market.tail.put([bar for bar in bars if hours.believable(bar, self._market.clock.now_t())])
        self._deposit(first_t, received_ns)
        if first_t < newest_t:
            self._show_history(newest_t, (newest_t - first_t) // interval_t)
        self._begin(time.perf_counter_ns())  # the history is no event that anyone waited for

    def _show_history(self, newest_t: int, rows_n: int) -> None:
        """Take in the bars before an opening time, each at the time at which it closed."""
        chain, interval_t = self._chain, self._market.hours.interval_t
        panel = self._market.tail.panel(newest_t - interval_t, rows_n)
        rows, close_t = bars_to_core(panel, chain.desk.genesis.symbols)
        for bar_rows, at_t in zip(rows, close_t.tolist(), strict=True):
            taken_t, received_ns = max(at_t, chain.desk.now_t), time.perf_counter_ns()
            chain.take(events.bars(taken_t, at_t - interval_t, bar_rows), received_ns)
            self._market.clusters_if_due(taken_t, received_ns)

    def wait_for(self, missing_n: int) -> None:
        """Say what a new account waits for."""
        self.reasons = (f"the venue gave no bars of {missing_n} instruments",)

    def _begin(self, received_ns: int) -> None:
        """Say which bundle and session this is, resolve what the last process left open, and trade."""
        chain, desk, past = self._chain, self._chain.desk, self._chain.past
        self._deposit(self._market.hours.next_open_t, received_ns)
        left_open = self._venue.restore(desk, past.filled_t)
        chain.take_answers(left_open, received_ns)
        note = Note(actor=SYSTEM, reason="start of the process")
        if desk.bundle != self.bundle:
            told = note.model_copy(update={"bundle": self.bundle})
            chain.take(events.bundle(chain.now_t(), desk.bundles_n + 1, told), received_ns)
        if past.ended_by and not past.started and past.ended_by != SYSTEM:
            self.state, self.reasons = "stopped", (f"stopped by {past.ended_by}",)
            return
        cause = "crash-recovery" if past.started else "start"
        chain.take(session_event(chain.now_t(), note, self._start.session, cause), received_ns)
        self._resume(received_ns)

    def _resume(self, received_ns: int) -> None:
        """Trade from here on: open questions first, then the hours that were missed."""
        market, hours = self._market, self._market.hours
        self.state, self.reasons = "running", ()
        market.running = True
        market.resumed_ms = market.clock.now_ms()
        now_t = market.clock.now_t() // hours.interval_t * hours.interval_t
        skipped_n = hours.skip_to(now_t - self._settings.catch_up_n * hours.interval_t)
        if skipped_n:
            self._hooks.log("hours that no venue gives any more", {"hours_n": skipped_n})
        self._chain.take_answers(self._venue.resolve(self._chain.desk), received_ns)
        market.clusters_if_due(self._chain.now_t(), received_ns)
        market.beat(received_ns)
        market.close_hours(received_ns)

    def _deposit(self, at_t: int, received_ns: int) -> None:
        """Pay in what the genesis says, once."""
        desk = self._chain.desk
        if int(desk.state[0]["desk"]["entry_n"]) > 0:
            return
        for deposit in desk.genesis.deposits:
            event = events.cash(
                max(at_t, desk.now_t),
                EV_DEPOSIT,
                deposit.quote_id,
                int(deposit.amount_e8),
                Note(actor=SYSTEM, reason="genesis"),
            )
            self._chain.take(event, received_ns)

    # ---- the operator ------------------------------------------------------------------------------------------

    def carry_out(self, asked: Asked, received_ns: int) -> ActivateBundle | None:
        """Carry out a command, or refuse it; return it when its bundle must be loaded first."""
        command, chain = asked.command, self._chain
        known = chain.past.receipts.get(command.command_id)
        if known is not None:
            asked.answer.set_result(known)
            return None
        if isinstance(command, ActivateBundle):
            self._loading[command.command_id] = asked.answer
            return command
        if self.needs_history and isinstance(command, StartTrading | StopTrading):
            asked.answer.set_result(self._refusal("the account has not begun yet"))
            return None
        event = event_of(command, chain.desk, chain.now_t(), self._start.session, running=self.state == "running")
        if isinstance(event, Refused):
            asked.answer.set_result(self._refusal(event.reason))
            return None
        block = chain.take(event, received_ns)
        self._follow(command, received_ns)
        asked.answer.set_result(Receipt(True, block.seq_n, block.at_t, command.reason))
        return None

    def _follow(self, command: Command, received_ns: int) -> None:
        """Act on a command whose block is durable."""
        if isinstance(command, StartTrading):
            self._resume(received_ns)
        elif isinstance(command, StopTrading):
            self._market.running = False
            self.state, self.reasons = "stopped", (f"stopped by {command.actor}",)
        elif isinstance(command, UpdateProfile):
            self._venue.govern(self._chain.desk.policy)
        elif isinstance(command, Kill) and not command.on:
            self._market.health.forgive()

    def activate(self, loaded: Loaded, received_ns: int) -> None:
        """Let a loaded bundle make the forecasts from the next block on."""
        chain, desk, command = self._chain, self._chain.desk, loaded.command
        self._loading.pop(command.command_id, None)
        refusal, known = loaded.refusal, chain.past.receipts.get(command.command_id)
        if loaded.found is not None and loaded.found[1].symbols != desk.genesis.symbols:
            refusal = f"a bundle for {', '.join(loaded.found[1].symbols)}: the account trades {', '.join(desk.genesis.symbols)}"
        if known is not None:
            loaded.answer.set_result(known)
        elif refusal or loaded.found is None:
            loaded.answer.set_result(self._refusal(refusal))
        else:
            self.bundle, forecaster = loaded.found
            block = chain.take(bundle_event(command, self.bundle, chain.now_t(), desk.bundles_n), received_ns)
            self._market.forecaster = forecaster
            self._hooks.bundle_activated(command.path)
            loaded.answer.set_result(Receipt(True, block.seq_n, block.at_t, command.reason))

    # ---- end ---------------------------------------------------------------------------------------------------

    def stop(self, reason: str, received_ns: int) -> None:
        """End the process's trading: on record when it ran."""
        if self.state == "running":
            note = Note(actor=SYSTEM, reason=reason)
            self._chain.take(session_event(self._chain.now_t(), note, self._start.session, "stop"), received_ns)
            if self._hooks.snapshots is not None:
                store_snapshot(self._hooks.snapshots, self._chain.desk)
        self._market.running = False
        self.state, self.reasons = "stopped", (reason,)

    def halt(self, reason: str) -> None:
        """Do nothing any more: what is durable is all there is."""
        self._market.running = False
        self.state, self.reasons = "halted", (reason,)
        self._hooks.log("halted", {"reason": reason})

    def refuse(self, asked: Asked) -> None:
        """Answer a command that comes too late."""
        asked.answer.set_result(self._refusal("; ".join(self.reasons) or "the loop has ended"))

    def refuse_loading(self) -> None:
        """Answer the commands whose bundles are still being loaded."""
        for answer in self._loading.values():
            if not answer.done():
                answer.set_result(self._refusal("the loop has ended"))

    def _refusal(self, reason: str) -> Receipt:
        desk = self._chain.desk
        return Receipt(False, desk.head.seq_n, desk.now_t, reason)
