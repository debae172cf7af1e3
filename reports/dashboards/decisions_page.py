"""One session's page Decisions: the filtered timeline, the open decision, and what is asked for on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

import panel as pn

from reports.dashboards import markup, words
from reports.dashboards.bus import Bus, Filter, Message
from reports.dashboards.client import ControlClient, RequestRefused, RuntimeUnreachable
from reports.dashboards.decision_shapes import Candles, Contributions, Decision, Gates, Signal
from reports.dashboards.decision_view import panel_of
from reports.dashboards.follower import Follower, Snapshot
from reports.dashboards.palette import Painter, theme_of
from reports.dashboards.plots import CandlePlot
from reports.dashboards.timeline import SHOWN, Frames, filtered

if TYPE_CHECKING:
    import pandas as pd
    from bokeh.document import Document

PAGE_N: Final = 20
CANDLES_N: Final = 168
TITLES: Final = {
    "time": "Time UTC", "pair": "Pair", "act": "Action", "why": "Why", "outlook": "Outlook", "p_up": "P(up)", "edge": "Return bp",
    "size": "Size USD",
}  # fmt: skip
WIDTHS: Final = {"time": 150, "pair": 92, "act": 108, "outlook": 118, "p_up": 66, "edge": 82, "size": 86}
RIGHT: Final = ("p_up", "edge", "size")
ENDED: Final = frozenset({"FILLED", "CANCELLED", "EXPIRED", "DUST", "DENIED", "REJECTED"})
EMPTY: Final = "No decisions match. Clear a filter to widen the search."
GATES_WAIT: Final = "recomputing from the journal…"
GATES_OFF: Final = "cannot be recomputed now"


def first_choice(signals: tuple[Signal, ...]) -> Signal | None:
    """Return the decision that a page opens with: the newest that did or was refused something, else the newest."""
    return next(
        (s for s in signals if s.refused or s.action not in ("HOLD", "NONE", "DIP_WAIT")), signals[0] if signals else None
    )


class DecisionsPage:
    """State of one session.

    Args:
        client: for what this page alone asks.
        follower: for what all pages share.
        frames: the table of all held decisions.
        painter: gives the colours.
        opened: what the first response shows, read before; `None` when there is nothing.
        candles: of its asset.
    """

    def __init__(
        self,
        client: ControlClient,
        follower: Follower,
        frames: Frames,
        painter: Painter,
        opened: Decision | None,
        candles: Candles | None,
    ) -> None:
        self._client, self._follower, self._frames, self._painter = client, follower, frames, painter
        self._decision, self._candles = opened, candles
        self._gates: Gates | None = None
        self._gates_said = GATES_WAIT
        self._contributions: Contributions | None = None
        self._contributions_said = ""
        self._filter = Filter()
        self._job: asyncio.Task[None] | None = None
        self._bus: Bus | None = None
        self._document: Document | None = None
        self._signals_n = 0
        self._head_n = 0
        snapshot = follower.snapshot
        interval_t = snapshot.status.interval_t if snapshot else 3600
        self.plot = CandlePlot(painter, interval_t)
        self._frame = self._rows()
        self.table = self._table()
        if opened is not None and candles is not None:
            self.plot.show(candles, opened.signal)
        self._select()

    # ---- what the page shows -----------------------------------------------------------------------------------

    def values(self) -> dict[str, str]:
        """Return the page's own values by key."""
        signal = self._decision.signal if self._decision else None
        drawn = self._candles.candles if self._candles else ()
        shown_n = drawn[-1].open_t - drawn[0].open_t if drawn else 0
        interval = words.span(self._candles.interval_t).replace(" 00 m", "") if self._candles else ""
        return {
            "cur.pair": f"{signal.symbol}/{signal.quote}" if signal else words.NONE,
            "cur.span": f"{interval} candles, {max(round(shown_n / 86_400), 1)} days" if shown_n else "",
            "cur.id": str(signal.signal_id) if signal else "",
            "shown": f"{len(self._frame):,}",
            "held": f"{len(self._held()):,}",
        }

    def context(self) -> dict[str, object]:
        """Return what the template needs beside values."""
        snapshot = self._follower.snapshot
        gates = [(name, label) for name, label in words.GATES.items() if name != "PASS"]
        return {"assets": sorted(snapshot.status.symbols) if snapshot else [], "gates": gates, "detail": self._detail()}

    def attach(self, bus: Bus, document: Document) -> None:
        """Take the channel to the page, and begin what the first response did without."""
        self._bus, self._document = bus, document
        if self._decision is not None:
            self._start(self._complete(self._decision.signal.signal_id))

    def refresh(self, snapshot: Snapshot) -> None:
        """Show new decisions, when the first page is open and no filter of time or page would move under a reader."""
        self._follow(snapshot)
        newest_n = snapshot.signals[0].signal_id if snapshot.signals else 0
        if newest_n == self._signals_n:
            return
        self._signals_n = newest_n
        if self.table.page == 1:
            self._fill()

    def _follow(self, snapshot: Snapshot) -> None:
        """Read the open decision again when blocks came and an order of it has not ended."""
        head_n, idle = snapshot.status.head.seq_n, self._job is None or self._job.done()
        if head_n == self._head_n or not idle or self._decision is None:
            return
        self._head_n = head_n
        last = {order.order_id: order.status for order in self._decision.orders}
        if any(status not in ENDED for status in last.values()):
            self._job = asyncio.ensure_future(self._again(self._decision))

    async def _again(self, known: Decision) -> None:
        signal_id = known.signal.signal_id
        try:
            decision = await self._client.read(Decision, f"/decisions/{signal_id}")
            candles = await self._client.read(Candles, f"/assets/{known.signal.symbol}/candles", limit=CANDLES_N)
        except (RuntimeUnreachable, RequestRefused):
            return

        def apply() -> None:
            if self._current() == signal_id and decision != self._decision:
                self._decision, self._candles = decision, candles
                self.plot.show(candles, decision.signal)
                self._show(opened=False)

        self._later(apply)

    # ---- what the operator does --------------------------------------------------------------------------------

    def asked(self, message: Message) -> None:
        """Carry out what the page asks for."""
        if message.theme:
            self._painter.change(theme_of(message.theme))
        if message.filter is not None:
            self._filter = message.filter
            self.table.page = 1
            self._fill()
            self._tell(filtered=f"{len(self._frame):,}")
        if message.move:
            self._move(message.move)
        if message.explain and self._decision is not None:
            self._start(self._explain(self._decision.signal.signal_id))

    def _move(self, step: int) -> None:
        ids = self._frame["id"].tolist()
        if not ids:
            return
        here = ids.index(self._current()) if self._current() in ids else -1
        place = min(max(here + step, 0), len(ids) - 1)
        self.table.page = place // PAGE_N + 1
        self._start(self._open(int(ids[place]), shown=False))

    def _clicked(self, event: Any) -> None:
        if 0 <= event.row < len(self._frame):
            self._start(self._open(int(self._frame["id"].iloc[event.row]), shown=True))

    # ---- asking the API, outside the session's lock ------------------------------------------------------------

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        """Run one job at a time: the last wish counts."""
        if self._job is not None:
            self._job.cancel()
        self._job = asyncio.ensure_future(job)

    async def _open(self, signal_id: int, *, shown: bool) -> None:
        try:
            decision = await self._client.read(Decision, f"/decisions/{signal_id}")
            candles = self._candles
            if candles is None or candles.symbol != decision.signal.symbol or self._decision != decision:
                candles = await self._client.read(Candles, f"/assets/{decision.signal.symbol}/candles", limit=CANDLES_N)
        except (RuntimeUnreachable, RequestRefused):
            return  # the banner of a stale page says it; the decision that is open stays

        def apply() -> None:
            self._decision, self._candles = decision, candles
            self._gates, self._gates_said = None, GATES_WAIT
            self._contributions, self._contributions_said = None, ""
            self.plot.show(candles, decision.signal)
            self._select()
            self._show(opened=shown)

        self._later(apply)
        await self._complete(signal_id)

    async def _complete(self, signal_id: int) -> None:
        """Read the gates, which the daemon's side recomputes from the journal."""
        gates, said = None, ""
        for wait_s in (0.5, 1.0, 2.0, 0.0):
            try:
                gates = await self._client.read(Gates, f"/decisions/{signal_id}/gates")
                break
            except (RuntimeUnreachable, RequestRefused) as e:
                said = f"{GATES_OFF}: {e}"
                await asyncio.sleep(wait_s)

        def apply() -> None:
            if self._current() == signal_id:
                self._gates, self._gates_said = gates, said
                self._show(opened=False)

        self._later(apply)

    async def _explain(self, signal_id: int) -> None:
        found, said = None, ""
        try:
            found = await self._client.read(Contributions, f"/decisions/{signal_id}/contributions")
        except (RuntimeUnreachable, RequestRefused) as e:
            said = f"No contributions: {e}"

        def apply() -> None:
            if self._current() == signal_id:
                self._contributions, self._contributions_said = found, said
                self._show(opened=False)

        self._later(apply)

    def _later(self, apply: Any) -> None:
        if self._document is not None:
            self._document.add_next_tick_callback(apply)

    # ---- the table ---------------------------------------------------------------------------------------------

    def _held(self) -> pd.DataFrame:
        snapshot = self._follower.snapshot
        return self._frames.of(snapshot.signals if snapshot else ())

    def _rows(self) -> pd.DataFrame:
        snapshot = self._follower.snapshot
        return filtered(self._held(), self._filter, snapshot.status.now_t if snapshot else 0)

    def _fill(self) -> None:
        self._frame = self._rows()
        self.table.selection = []
        self.table.value = self._frame[["id", *SHOWN]]
        self._select()

    def _select(self) -> None:
        place = self._frame.index[self._frame["id"] == self._current()]
        wanted = [int(place[0])] if len(place) else []
        if self.table.selection != wanted:
            self.table.selection = wanted

    def _table(self) -> Any:
        table = pn.widgets.Tabulator(  # type: ignore[no-untyped-call]  # Panel gives it no types
            self._frame[["id", *SHOWN]],
            name="timeline",
            show_index=False,
            disabled=True,
            selectable=1,
            theme="simple",
            stylesheets=[(markup.ASSETS / "tabulator.css").read_text("utf-8")],
            layout="fit_columns",
            hidden_columns=["id"],
            pagination="remote",
            page_size=PAGE_N,
            sizing_mode="stretch_width",
            min_width=760,
            titles=TITLES,
            widths=WIDTHS,
            text_align=dict.fromkeys(RIGHT, "right"),
            header_align=dict.fromkeys(RIGHT, "right"),
            margin=0,
            configuration={"columnDefaults": {"headerSort": False}, "placeholder": EMPTY, "rowHeight": 30},
        )
        table.on_click(self._clicked)
        return table

    # ---- the panel ---------------------------------------------------------------------------------------------

    def _current(self) -> int:
        return self._decision.signal.signal_id if self._decision else 0

    def _detail(self) -> str:
        if self._decision is None:
            return markup.detail(None)
        return markup.detail(
            panel_of(self._decision, self._gates, self._contributions, self._gates_said, self._contributions_said)
        )

    def _show(self, *, opened: bool) -> None:
        self._tell(detail={"id": str(self._current()), "html": self._detail(), "open": opened})

    def _tell(self, **extra: object) -> None:
        if self._bus is not None:
            self._bus.send(self.values(), self._follower.age_ms(), self._follower.reason, **extra)
