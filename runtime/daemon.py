"""The composition root: the one place that knows the mode, and puts every part of a trading process together.

Main thread: one event loop with the feed and the trading loop. A second thread serves the control API, a third keeps the live tables;
trading waits for neither. The order of the end is that of the beginning, backwards, and takes less than five seconds.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from runtime.adapters.bar_tail import BarTail
from runtime.adapters.clock import SystemClock, VenueClock
from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.adapters.kraken.feed import KrakenMarketData
from runtime.adapters.kraken.pairs import read_rules
from runtime.adapters.kraken.settings import FeedSettings
from runtime.adapters.live_reader import LiveReader
from runtime.adapters.simulator import SimulatedExchange
from runtime.control.app import Sources
from runtime.control.server import ControlServer
from runtime.control.settings import ControlSettings
from runtime.core.codes import EV_BUNDLE
from runtime.core.digest import Block
from runtime.errors import BallastError
from runtime.event import BundleNote, Event, SessionNote
from runtime.files import write_bytes
from runtime.jit import deciding_source_digest
from runtime.ops.accounts import Account, Market, create_account, find_account, new_genesis, open_journal
from runtime.ops.bundles.keys import trusted_keys
from runtime.ops.bundles.read import LoadedBundle, read_bundle
from runtime.ops.bundles.store import bundle_to_start, point, stage, store_path
from runtime.ops.endpoint import Endpoint, remove_endpoint, write_endpoint
from runtime.ops.lock import DaemonLock
from runtime.ops.logs import REDACTION, configure
from runtime.ops.paper_days import PaperDayCounter
from runtime.ops.projector import Projector
from runtime.ops.venues import LocalTime, local_time
from runtime.profiles.store import find_version
from runtime.progress import Report, silent
from runtime.settings import RuntimeSettings
from runtime.trading.needs import Forecasting, Hooks, LogFields, Start
from runtime.trading.recovery import Recovered, recover, warm_up
from runtime.trading.trader import Trader
from runtime.trading.view import PaperDays, RuntimeView

SWITCH_S: Final = 0.001
"""How long another thread may hold the interpreter before the trading loop gets it back."""
TOKEN_BYTES: Final = 32
REAL_TIME: Final = 1.0
TAIL_NAME: Final = "bars.sqlite"
EVIDENCE: Final = "evidence"
SNAPSHOTS: Final = "snapshots"
Clock = SystemClock | VenueClock
Log = structlog.stdlib.BoundLogger


class Ready(NamedTuple):
    """A daemon that takes commands.

    Attributes:
        run_id: the run folder of its account.
        account_id: which account.
        simulated: whether its venue is not the real one.
        url: of the control API.
        pid: the process.
    """

    run_id: str
    account_id: int
    simulated: bool
    url: str
    pid: int


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that was made before the event loop begins; the journal is folded, nothing is connected."""

    home: Path
    settings: RuntimeSettings
    clock: Clock
    local: LocalTime | None
    account: Account
    journal: SqliteJournal
    recovered: Recovered
    bundle: LoadedBundle
    tail: BarTail
    days: PaperDayCounter
    projector: Projector
    log: Log


def run(home: Path, settings: RuntimeSettings, announce: Callable[[Ready], None], report: Report = silent) -> int:
    """Trade on paper until a signal asks to stop, and return its number.

    Args:
        home: the home folder; one daemon at a time works in it.
        settings: what the operator set.
        announce: told once when the control API can be used.
        report: told how far the recovery is.

    Raises:
        AlreadyRunning: another daemon holds the home folder.
        GateError: the account belongs to another kind of venue, or no bundle may be used.
        UsageError: no bundle was ever activated.
        VerificationError: a bundle is refused, or the journal is not what the core computes.
        EnvironmentFailure: venue, disk or network.
        InvariantError: a broken invariant halted it; the evidence is in the run folder.
    """
    sys.setswitchinterval(SWITCH_S)
    with ExitStack() as held:
        held.callback(DaemonLock.take(home, SystemClock().now_t()).release)
        remove_endpoint(home)  # of a daemon that was killed: its token opens nothing
        log_settings = settings.log
        configure(home, bytes_max=log_settings.bytes_max, files_n=log_settings.files_n, level=log_settings.level)
        log: Log = structlog.get_logger("ballast.daemon")
        try:
            log.info("starting", version=version("ballast"), venue=settings.venue, settings_digest=settings.digest)
            number = asyncio.run(_serve(_prepare(home, settings, report, held, log), announce))
        except BallastError as e:
            log.critical("ended", kind=e.kind, got=e.got, expected=e.expected, action=e.action, exit_code=e.exit_code)
            raise
        except KeyboardInterrupt:
            log.info("ended before it traded")
            raise
        # Whatever else happens must be on record before the process ends; the message for people follows at the boundary.
        except Exception:
            log.exception("ended by a defect")
            raise
        log.info("ended", signal=number)
        return number


# ---- what is made before the loop begins -----------------------------------------------------------------------


def _prepare(home: Path, settings: RuntimeSettings, report: Report, held: ExitStack, log: Log) -> Parts:
    """Open the account, fold its journal and load the bundle; nothing is connected but the clock."""
    local = local_time(settings.venue)
    clock = _open_clock(settings, local, held)
    account = find_account(home, settings.account_id, simulated=settings.simulated)
    if account is None:
        account = _new_account(home, settings, clock)
        log.info("new account", run_id=account.run_id, account_id=settings.account_id, symbols=account.genesis.symbols)
    genesis = account.genesis
    journal = open_journal(account)
    held.callback(journal.close)
    days = PaperDayCounter(genesis.interval_t, simulated=genesis.simulated)
    recovered = recover(journal, report, lambda event, _: days.take(event), snapshots=account.folder / SNAPSHOTS)
    log.info(
        "recovered", run_id=account.run_id, seq_n=recovered.desk.head.seq_n, block_hash=recovered.desk.head.block_hash.hex()
    )
    bundle = _bundle(home, account, recovered.desk.bundle)
    tail = BarTail(account.folder / TAIL_NAME, genesis.symbols, genesis.interval_t)
    held.callback(tail.close)
    if tail.last_open_t is None:
        tail.seed(bundle.tail)
    projector = Projector(account.folder, lambda event, fields: log.warning(event, **fields))
    warm_up(genesis)
    return Parts(home, settings, clock, local, account, journal, recovered, bundle, tail, days, projector, log)


def _open_clock(settings: RuntimeSettings, local: LocalTime | None, held: ExitStack) -> Clock:
    """Return the venue's virtual clock where it publishes one, else the system's."""
    if local is None:
        return SystemClock()
    clock = VenueClock(settings.venue)
    held.callback(clock.close)
    return clock


def _new_account(home: Path, settings: RuntimeSettings, clock: Clock) -> Account:
    """Make the account that the settings describe, from the active bundle and the venue's own rules."""
    path, _ = bundle_to_start(home, None)
    bundle = read_bundle(path, trusted_keys(home))
    bundle.require_mode("paper")
    manifest = bundle.manifest
    quotes = [pair.quote_id for pair in manifest.pairs]
    rules = asyncio.run(read_rules(settings.venue, manifest.symbols, quotes))
    lineage = manifest.lineage
    market = Market(manifest.symbols, rules, manifest.interval_t, lineage.universe_version, lineage.dataset_hash)
    profile = find_version(home, settings.profile).profile
    amounts = settings.start_cash.amounts_e8()
    genesis = new_genesis(
        settings.account_id, market, bundle.genesis_bundle, profile, amounts, clock.now_t(), simulated=settings.simulated
    )
    return create_account(home, genesis)


def _bundle(home: Path, account: Account, journaled: BundleNote | None) -> LoadedBundle:
    """Return the bundle that the chain asks for, or that a person activated since, verified."""
    path, must_journal = bundle_to_start(home, journaled)
    bundle = _checked(read_bundle(path, trusted_keys(home)), account)
    if not must_journal and path.parent == store_path(home):
        point(home, path.name, pending=False)  # a crash may have come between the block and the pointer
    return bundle


def _checked(bundle: LoadedBundle, account: Account) -> LoadedBundle:
    bundle.require_mode("paper")
    bundle.require_fits(account.genesis.symbols, account.genesis.interval_t)
    return bundle


# ---- the loop --------------------------------------------------------------------------------------------------


async def _serve(parts: Parts, announce: Callable[[Ready], None]) -> int:
    """Trade until a signal; return its number."""
    asked: list[int] = []
    trader = _trader(parts)

    def stop(number: int) -> None:
        asked.append(number)
        trader.shutdown(signal.Signals(number).name)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    with ExitStack() as serving:
        parts.projector.start()
        serving.callback(parts.projector.stop)
        server = _control(parts, trader)
        serving.callback(server.stop)
        serving.callback(remove_endpoint, parts.home)
        trading = asyncio.create_task(trader.run())
        genesis = parts.account.genesis
        announce(Ready(parts.account.run_id, genesis.account_id, genesis.simulated, server.url, os.getpid()))
        parts.log.info("control API", url=server.url)
        gc.collect()
        gc.freeze()  # what was imported and made so far stays: collections during trading need not look at it
        await trading
    return asked[0] if asked else signal.SIGTERM


def _trader(parts: Parts) -> Trader:
    genesis, local = parts.account.genesis, parts.local
    settings = FeedSettings() if local is None or local.speed == REAL_TIME else FeedSettings.stepped()
    observe = parts.clock.observe if isinstance(parts.clock, VenueClock) else None
    market = KrakenMarketData(
        parts.settings.venue, genesis.symbols, genesis.pairs, genesis.interval_t, parts.clock, settings,
        since_t=parts.recovered.next_open_t, observe=observe,
    )  # fmt: skip
    session = SessionNote(
        version=version("ballast"),
        core_digest=deciding_source_digest(),
        clock="system" if local is None else "venue",
        venue=parts.settings.venue,
        simulated=genesis.simulated,
        settings_digest=parts.settings.digest,
        cause="start",
    )
    start = Start(parts.bundle.forecaster, parts.bundle.note, session)
    exchange = SimulatedExchange(parts.recovered.desk.policy)
    return Trader(
        parts.recovered, parts.journal, market, exchange, parts.clock, parts.tail, parts.settings.trading, start, _hooks(parts)
    )  # fmt: skip


def _hooks(parts: Parts) -> Hooks:
    """Return what the trading loop calls."""

    def load_bundle(path: Path) -> tuple[BundleNote, Forecasting]:
        bundle = _checked(stage(parts.home, path), parts.account)
        return bundle.note, bundle.forecaster

    def on_block(event: Event, block: Block) -> None:
        parts.projector.wake()
        parts.days.take(event)
        note = event.note_of() if block.kind_id == EV_BUNDLE else None
        if note is not None and note.bundle is not None:
            try:
                point(parts.home, f"{note.bundle.name}-{note.bundle.manifest_digest[:12]}", pending=False)
            except BallastError as e:  # the chain has it, and the next start moves the pointer: no reason to halt
                parts.log.warning("the pointer to the active bundle stays behind", got=e.got)

    def paper_days() -> PaperDays:
        days = parts.days.days
        return PaperDays(completed_n=days.completed_n, reason=days.reason)

    def log(event: str, fields: LogFields) -> None:
        parts.log.info(event, **fields)

    def warn(event: str, fields: LogFields) -> None:
        parts.log.warning(event, **fields)

    def keep_evidence(name: str, content: bytes) -> None:
        write_bytes(parts.account.folder / EVIDENCE / name, content)

    return Hooks(
        load_bundle=load_bundle,
        on_block=on_block,
        paper_days=paper_days,
        log=log,
        warn=warn,
        keep_evidence=keep_evidence,
        snapshots=parts.account.folder / SNAPSHOTS,
    )


class _Views:
    """The desk's latest view, with what is wrong around it; the same object for the same content, from any thread."""

    def __init__(self, trader: Trader, projector: Projector) -> None:
        self._trader, self._projector = trader, projector
        self._told: tuple[RuntimeView, str, RuntimeView] | None = None

    def __call__(self) -> RuntimeView:
        view, problem, told = self._trader.view, self._projector.problem, self._told
        if not problem:
            return view
        if told is None or told[0] is not view or told[1] != problem:
            told = self._told = (view, problem, replace(view, reasons=(*view.reasons, problem)))
        return told[2]


def _control(parts: Parts, trader: Trader) -> ControlServer:
    """Serve the control API in its thread, and say where it is and what opens it."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    REDACTION.hide(token)
    sources = Sources(
        view=_Views(trader, parts.projector),
        submit=trader.submit,
        tables=LiveReader(parts.projector.path),
        home=parts.home,
        run_dir=parts.account.folder,
        now_t=SystemClock().now_t,
    )
    server = ControlServer.start(sources, token, ControlSettings(port=parts.settings.port))
    try:
        write_endpoint(parts.home, Endpoint(url=server.url, launch_token=token, pid=os.getpid()))
    except BaseException:
        server.stop()
        raise
    return server
