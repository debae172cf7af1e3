"""Builds the pages: one function per address, called by Panel for every browser session."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import panel as pn
from bokeh.io import curdoc
from panel.io.resources import _env as panel_environment

from reports.dashboards import markup
from reports.dashboards.bus import Bus, Message
from reports.dashboards.client import ControlClient, RequestRefused, RuntimeUnreachable
from reports.dashboards.decision_shapes import Candles, Decision
from reports.dashboards.decisions_page import CANDLES_N, DecisionsPage, first_choice
from reports.dashboards.door import Door
from reports.dashboards.follower import Follower, Snapshot
from reports.dashboards.overview_values import Values, banner_of, head_values, overview_values
from reports.dashboards.palette import Painter, theme_of
from reports.dashboards.plots import EquityPlots
from reports.dashboards.timeline import Frames

THEME_COOKIE: Final = "ballast_theme"
KILL_COMMAND: Final = 'ballast runtime kill --reason "dashboard stale"'
RELEASE_COMMAND: Final = 'ballast runtime kill --release --reason "dashboard stale"'
"""What a stale page offers instead of its buttons."""
READ_MAX: Final = 32
CSRF_PLACE: Final = "@@CSRF@@"
"""Filled in by the handler, which knows the session."""
BEAT_MS: Final = 1_000
"""A page hears from us at least this often: its watchdog warns after 3 s."""


@dataclass(frozen=True, slots=True)
class Site:
    """What all pages share.

    Attributes:
        read: decision id (`""`: the one that a page opens with) -> what the handler read for the page it is about to make.
    """

    follower: Follower
    client: ControlClient
    door: Door
    frames: Frames = field(default_factory=Frames)
    read: dict[str, tuple[Decision, Candles]] = field(default_factory=dict)

    async def read_ahead(self, asked_id: str) -> None:
        """Read the decision that a page opens with, so that its first response shows it.

        Args:
            asked_id: number of a decision, or nothing.
        """
        self.read.pop(asked_id, None)
        chosen = first_choice(self.follower.snapshot.signals) if self.follower.snapshot else None
        signal_id = asked_id if asked_id.isdecimal() else str(chosen.signal_id) if chosen else ""
        if not signal_id:
            return
        try:
            decision = await self.client.read(Decision, f"/decisions/{signal_id}")
            candles = await self.client.read(Candles, f"/assets/{decision.signal.symbol}/candles", limit=CANDLES_N)
        except (RuntimeUnreachable, RequestRefused):
            return
        while len(self.read) >= READ_MAX:
            self.read.pop(next(iter(self.read)))
        self.read[asked_id] = decision, candles


def prepare() -> None:
    """Load what the pages need and nothing from another machine."""
    pn.extension("tabulator", sizing_mode="stretch_width", notifications=False)
    panel_environment.filters["without_log_level"] = markup.without_log_level


def bokeh(model: Any) -> Any:
    """Return a Bokeh model as a pane."""
    return pn.pane.Bokeh(model)  # type: ignore[no-untyped-call]  # Panel gives it no types


def applications(site: Site) -> dict[str, Any]:
    """Return address -> application."""
    return {"/overview": lambda: overview(site), "/decisions": lambda: decisions(site)}


def _frame(snapshot: Snapshot, page: str, values: Values, context: dict[str, object]) -> Any:
    """Return the Panel template of a page, rendered with its values."""
    banner = banner_of(snapshot.status)
    html = markup.render(
        f"{page}.html",
        page=page,
        title=page.capitalize(),
        theme=theme_of(pn.state.cookies.get(THEME_COOKIE, "")),
        edition=markup.edition(),
        v=values,
        banner=banner,
        banner_json=markup.environment().filters["safe"](markup.script_json(markup.banner_values(banner))),
        csrf=CSRF_PLACE,
        kill_command=KILL_COMMAND,
        release_command=RELEASE_COMMAND,
        key=str(uuid.uuid4()),
        key2=str(uuid.uuid4()),
        **context,
    )
    return pn.Template(markup.page_template(html))


def _live(site: Site, tick: Callable[[], None]) -> None:
    """Call `tick` on news and once a second, on the session's own turn, until the session ends."""
    document = curdoc()
    asked = False

    def turn() -> None:
        nonlocal asked
        asked = False
        tick()

    def news() -> None:
        nonlocal asked
        if not asked:  # one turn serves any amount of news
            asked = True
            document.add_next_tick_callback(turn)

    end = site.follower.subscribe(news)
    document.on_session_destroyed(lambda _context: end())
    pn.state.add_periodic_callback(tick, BEAT_MS)


def overview(site: Site) -> Any:
    """Build the page Overview."""
    snapshot = _held(site)
    painter = Painter(theme_of(pn.state.cookies.get(THEME_COOKIE, "")))
    values = _overview_values(site, snapshot)
    template = _frame(snapshot, "overview", values, markup.overview_context(snapshot))
    plots = EquityPlots(painter, snapshot.equity, snapshot.summary)

    def asked(message: Message) -> None:
        if message.theme:
            painter.change(theme_of(message.theme))

    bus = Bus(asked, values)
    shown_n = snapshot.version_n

    def tick() -> None:
        nonlocal shown_n
        now = _held(site)
        if now.version_n != shown_n:
            shown_n = now.version_n
            plots.extend(now.equity, now.summary)
        bus.send(
            _overview_values(site, now),
            site.follower.age_ms(),
            site.follower.reason,
            banner=markup.banner_values(banner_of(now.status)),
        )

    _live(site, tick)
    template.add_panel("equity", bokeh(plots.equity))
    template.add_panel("drawdown", bokeh(plots.drawdown))
    template.add_panel("bus", bokeh(bus.out))
    template.add_panel("command", bokeh(bus.command))
    return template


def _overview_values(site: Site, snapshot: Snapshot) -> Values:
    values = overview_values(snapshot, site.follower)
    values["positions"] = markup.positions(snapshot.assets, snapshot.status.now_t)
    values["decs"] = markup.last_decisions(snapshot.signals)
    return values


def decisions(site: Site) -> Any:
    """Build the page Decisions."""
    snapshot = _held(site)
    painter = Painter(theme_of(pn.state.cookies.get(THEME_COOKIE, "")))
    asked_id = (pn.state.session_args.get("id") or [b""])[0].decode(errors="replace")
    opened, candles = site.read.pop(asked_id, (None, None))
    page = DecisionsPage(site.client, site.follower, site.frames, painter, opened, candles)
    values = head_values(snapshot, site.follower) | page.values()
    template = _frame(snapshot, "decisions", values, page.context())
    bus = Bus(page.asked, values)
    page.attach(bus, curdoc())

    def tick() -> None:
        now = _held(site)
        page.refresh(now)
        values = head_values(now, site.follower) | page.values()
        bus.send(values, site.follower.age_ms(), site.follower.reason, banner=markup.banner_values(banner_of(now.status)))

    _live(site, tick)
    template.add_panel("chart", bokeh(page.plot.figure))
    template.add_panel("table", page.table)
    template.add_panel("bus", bokeh(bus.out))
    template.add_panel("command", bokeh(bus.command))
    return template


def _held(site: Site) -> Snapshot:
    snapshot = site.follower.snapshot
    if snapshot is None:
        raise RuntimeError("a page was asked for before the runtime answered")
    return snapshot
