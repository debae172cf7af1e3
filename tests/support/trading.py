"""The trading loop in a test: a scripted feed and forecaster around the real loop, desk, journal and simulated exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.adapters.bar_tail import BarTail
from runtime.adapters.clock import ManualClock
from runtime.adapters.journal_memory import MemoryJournal
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.simulator import Reply, SimulatedExchange
from runtime.core import codes as c
from runtime.core.digest import Block
from runtime.core.records import E8
from runtime.engine import RunInputs
from runtime.errors import BallastError, EnvironmentFailure
from runtime.event import BundleNote, Event, SessionNote
from runtime.genesis import Genesis
from runtime.inference.bundle import Forecasts
from runtime.inference.clusters import DEFAULT_CLUSTERS, memberships
from runtime.inference.panel import BarPanel
from runtime.market import BookView, ClosedBar, MarketEvent, Notice, NoticeKind
from runtime.ports import Journal
from runtime.trading.commands import Command, Receipt
from runtime.trading.needs import Hooks, Start
from runtime.trading.recovery import recover
from runtime.trading.settings import TradingSettings
from runtime.trading.trader import Trader
from tests.support.markets import START_T, random_inputs

HOUR_T = 3_600
Rows = npt.NDArray[np.void]
BUNDLE = BundleNote(name="test", bundle_hash="1" * 64, feature_set_hash="2" * 64, manifest_digest="3" * 64, signer="4" * 64)
SESSION = SessionNote(
    version="test", core_digest="0" * 64, clock="venue", venue="http://127.0.0.1:1", simulated=True, settings_digest="5" * 64,
    cause="start",
)  # fmt: skip


def panel_of(inputs: RunInputs) -> BarPanel:
    """Return the bars of a run as floats, NaN where absent, that quantise back to the same integers."""
    names = inputs.genesis.symbols
    bars = inputs.bars[:, : len(names)]
    absent = bars["present_n"] == 0
    scales = {"open_e8": 1e8, "high_e8": 1e8, "low_e8": 1e8, "close_e8": 1e8, "volume_e4": 1e4}
    values = [np.where(absent, np.nan, bars[name] / scale) for name, scale in scales.items()]
    values[4] = np.where(absent, np.nan, (bars["volume_e4"] + 0.5) / 1e4)  # floors to the same lots
    return BarPanel(names, HOUR_T, inputs.close_t - HOUR_T, *values)


class ScriptedMarket:
    """Live data of a run: bars become known when the clock passes their end; what else happens is put in by the test."""

    def __init__(self, inputs: RunInputs, clock: ManualClock) -> None:
        self.panel, self.clock = panel_of(inputs), clock
        self.queue: asyncio.Queue[MarketEvent] = asyncio.Queue()
        self.broken: set[int] = set()
        self.hidden: set[tuple[int, int]] = set()
        """Pairs of opening time and instrument that REST does not have."""
        self.skew: int | None = 0
        self.unreachable_n = 0
        self.opened_n = self.closed_n = 0

    def bar(self, open_t: int, s: int, origin: str = "ws") -> ClosedBar:
        """Return a bar; NaN where nobody traded."""
        row, p = int((open_t - self.panel.open_t[0]) // HOUR_T), self.panel
        cells = [float(values[row, s]) for values in (p.open, p.high, p.low, p.close, p.volume)]
        return ClosedBar(s, open_t, *cells, origin)

    def put(self, *events: MarketEvent) -> None:
        """Let something happen."""
        for event in events:
            self.queue.put_nowait(event)

    def hour(self, close_t: int, but: Sequence[int] = ()) -> None:
        """Publish the bars that closed at a time, except some instruments'."""
        self.put(*(self.bar(close_t - HOUR_T, s) for s in range(len(self.panel.symbols)) if s not in but))

    async def open(self) -> None:
        """Connect, unless the test says otherwise."""
        if self.unreachable_n:
            self.unreachable_n -= 1
            raise EnvironmentFailure("no venue", expected="one", action="wait")
        self.opened_n += 1
        self.put(Notice(NoticeKind.CONNECTED, -1, self.clock.now_ms(), ""))

    async def next(self) -> MarketEvent:
        """Return what the test put in."""
        return await self.queue.get()

    async def bars(self, instrument_id: int, since_t: int) -> list[ClosedBar]:
        """Return what has closed by now."""
        await asyncio.sleep(0)
        if instrument_id in self.broken:
            raise EnvironmentFailure("no answer", expected="bars", action="ask again")
        first = max(since_t, int(self.panel.open_t[0]))
        last = min(self.clock.now_t() - HOUR_T, int(self.panel.open_t[-1]))
        times = range(first, last + 1, HOUR_T)
        return [self.bar(t, instrument_id, "rest") for t in times if (t, instrument_id) not in self.hidden]

    async def skew_ms(self) -> int:
        """Return what the test set."""
        if self.skew is None:
            raise EnvironmentFailure("no answer", expected="a time", action="ask again")
        return self.skew

    async def close(self) -> None:
        """Disconnect."""
        self.closed_n += 1


class ScriptedForecasts:
    """The forecasts of a run as a bundle at work, with real memberships."""

    window_n = DEFAULT_CLUSTERS.window_n + 1
    grid_h = 1

    def __init__(self, forecasts: Forecasts) -> None:
        self.symbols, self._forecasts = forecasts.symbols, forecasts
        self.asked_t: list[int] = []

    def forecast(self, panel: BarPanel) -> tuple[Rows, bytes] | None:
        """Return the run's forecast of the panel's last bar."""
        at_t = int(panel.open_t[-1]) + HOUR_T
        self.asked_t.append(at_t)
        n = int(np.searchsorted(self._forecasts.at_t, at_t))
        if n == len(self._forecasts.at_t) or self._forecasts.at_t[n] != at_t:
            return None
        return self._forecasts.rows[n], self._forecasts.feature_digests[n]

    def memberships(self, panel: BarPanel) -> Rows:
        """Return the clusters at the panel's last bar."""
        last = len(panel.open_t) - 1
        return np.asarray(memberships(panel, np.array([last, last]), DEFAULT_CLUSTERS).rows[0])


@dataclass
class Told:
    """What the loop told its hooks."""

    blocks: list[Block] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    warned: list[tuple[str, dict[str, str | int | float]]] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    activated: list[Path] = field(default_factory=list)
    rotated_n: int = 0


class Bench:
    """One paper account over a folder; `trader` may be made again and again over the same folder, as after a crash."""

    def __init__(
        self, folder: Path, inputs: RunInputs, at_t: int, settings: TradingSettings | None = None, *, acknowledges: bool = True,
        replies: Sequence[Reply] = (), durable: bool = False,
    ) -> None:  # fmt: skip
        """Make an account; `durable` journals to a file, otherwise the journal outlives the loop in memory."""
        self.folder, self.inputs = folder, inputs
        folder.mkdir(parents=True, exist_ok=True)
        self.clock = ManualClock(at_t)
        self.settings = settings or TradingSettings(warm_up_n=24)
        self.acknowledges, self.replies = acknowledges, list(replies)
        self.load_bundle: Callable[[Path], tuple[BundleNote, ScriptedForecasts]] = self._no_bundle
        self.told = Told()
        genesis = inputs.genesis
        mine = {"account_id": genesis.account_id, "mode_id": genesis.mode_id}
        self.journal: Journal = MemoryJournal(genesis.canonical(), **mine)
        if durable:
            self.journal = SqliteJournal.create(folder / JOURNAL_NAME, genesis.canonical(), **mine)
        self._build()

    def _no_bundle(self, path: Path) -> tuple[BundleNote, ScriptedForecasts]:
        raise BallastError(f"no bundle at {path}", expected="one", action="name another")

    def _build(self, journal: Journal | None = None) -> None:
        self.recovered = recover(self.journal)
        self.exchange = SimulatedExchange(self.recovered.desk.policy, acknowledges=self.acknowledges, replies=self.replies)
        self.market = ScriptedMarket(self.inputs, self.clock)
        self.forecaster = ScriptedForecasts(self.inputs.forecasts)
        self.tail = BarTail(self.folder / "bars.sqlite", self.inputs.genesis.symbols, HOUR_T)
        self.hooks = Hooks(
            load_bundle=lambda path: self.load_bundle(path),  # noqa: PLW0108  a test may set it later
            bundle_activated=self.told.activated.append,
            on_block=self._on_block,
            rotate_logs=self._rotate,
            log=lambda name, _fields: self.told.lines.append(name),
            warn=lambda name, fields: self.told.warned.append((name, dict(fields))),
            keep_evidence=lambda name, _content: self.told.evidence.append(name),
        )
        self._used = journal or self.journal
        self.use(self.hooks)

    def use(self, hooks: Hooks) -> None:
        """Make the loop, which has not run yet, with other hooks."""
        self.trader = Trader(
            self.recovered, self._used, self.market, self.exchange, self.clock, self.tail, self.settings,
            Start(self.forecaster, BUNDLE, SESSION), hooks,
        )  # fmt: skip

    def _on_block(self, _event: Event, block: Block) -> None:
        self.told.blocks.append(block)

    def _rotate(self) -> None:
        self.told.rotated_n += 1

    def reopen(self, wrap: Callable[[Journal], Journal] | None = None) -> None:
        """Make everything anew from the folder, as the next process would."""
        self.journal.close()
        self.tail.close()
        if isinstance(self.journal, SqliteJournal):
            self.journal = SqliteJournal.open(self.folder / JOURNAL_NAME, writable=True)
        self._build(None if wrap is None else wrap(self.journal))

    def close(self) -> None:
        """Release the files."""
        self.journal.close()
        self.tail.close()

    def blocks(self, *kinds: int) -> list[Block]:
        """Return the journal's blocks, of some kinds or all."""
        return [block for block in self.journal.read() if not kinds or block.kind_id in kinds]

    def events(self, *kinds: int) -> list[Event]:
        """Return the journal's events, of some kinds or all."""
        return [Event.decode(block.inputs) for block in self.blocks(*kinds)]

    def run(self, play: Callable[[Bench], object]) -> None:
        """Run the loop while an async play goes on, then shut it down; what the loop raises is raised."""

        async def both() -> None:
            loop = asyncio.ensure_future(self.trader.run())
            for _ in range(100):
                await asyncio.sleep(0)
            playing = asyncio.ensure_future(play(self))  # type: ignore[arg-type]  # a play is a coroutine function
            await asyncio.wait({loop, playing}, return_when=asyncio.FIRST_COMPLETED)
            if loop.done():
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
            else:
                await playing
                self.trader.shutdown("the test ends")
            await loop

        asyncio.run(both())

    async def settled(self) -> None:
        """Return when the feed is read and the loop has nothing to do; never when the loop has died."""
        if self.trader.view.state == "halted":
            await asyncio.get_running_loop().create_future()
        for _ in range(3):
            while not self.market.queue.empty():  # noqa: ASYNC110  the queue is the loop's to empty, and tells nobody
                await asyncio.sleep(0)
            await self.trader.settled()
        if self.trader.view.state == "halted":
            await asyncio.get_running_loop().create_future()

    async def step(self, to_t: int, *, books: Sequence[BookView] = (), but: Sequence[int] = ()) -> None:
        """Move the clock; at an hour's end publish books, then the hour's bars."""
        self.clock.at_t = to_t
        self.market.put(*books)
        if to_t % HOUR_T == 0:
            self.market.hour(to_t, but)
        await self.settled()

    async def hours(self, until_t: int) -> None:
        """Step hour by hour until a time, without books."""
        while self.clock.now_t() < until_t:
            await self.step((self.clock.now_t() // HOUR_T + 1) * HOUR_T)

    async def ask(self, command: Command) -> Receipt:
        """Submit a command and return its receipt."""
        return await asyncio.wrap_future(self.trader.submit(command))


def book(s: int, at_t: int, bid_e8: int, ask_e8: int, qty_e8: int = 10**6 * E8) -> BookView:
    """Return a book of one level a side."""
    return BookView(s, at_t * 1_000, np.array([[bid_e8, qty_e8]], np.int64), np.array([[ask_e8, qty_e8]], np.int64))


def cut(inputs: RunInputs, warm_n: int, memberships_too: bool = True) -> RunInputs:
    """Return a paper account's market: no forecast before the bars that warm the core up, and real memberships."""
    known = inputs.forecasts.at_t > inputs.close_t[warm_n - 1] if warm_n else np.ones(len(inputs.forecasts.at_t), np.bool_)
    digests = [d for d, use in zip(inputs.forecasts.feature_digests, known, strict=True) if use]
    forecasts = Forecasts(inputs.forecasts.symbols, inputs.forecasts.at_t[known], inputs.forecasts.rows[known], digests)
    genesis: Genesis = inputs.genesis.model_copy(update={"mode_id": c.MODE_PAPER})
    panel = panel_of(inputs)
    clusters = memberships(panel, np.array([0, len(panel.open_t) - 1])) if memberships_too else inputs.clusters
    return RunInputs(genesis, inputs.bars, inputs.close_t, forecasts, clusters)


def account(seed: int = 2, hours: int = 300, symbols: int = 5, warm_n: int = 24, **changes: object) -> RunInputs:
    """Return a random market for a paper account whose profile trades often."""
    from tests.support.checks import BUSY

    profile = BUSY.model_copy(update=changes)
    return cut(random_inputs(seed, hours, symbols, profile, wildness=1.5), warm_n)


__all__ = ["BUNDLE", "HOUR_T", "SESSION", "START_T", "Bench", "ScriptedMarket", "account", "book", "cut"]
