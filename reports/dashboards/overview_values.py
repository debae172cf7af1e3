"""What the page Overview shows, as flat text by key: rendered into the first response, then sent by key when it changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from reports.dashboards import words
from reports.dashboards.follower import Follower, Snapshot
from reports.dashboards.shapes import CapUse, ClusterUse, Status, Tier

SLOTS_N: Final = 6
"""Lines of a list of exposures; the page keeps their place, so that nothing moves when one comes or goes."""
CAP_AT: Final = 80.0
"""Percent of a bar's width at which every cap stands."""
NEAR_PPM: Final = 850_000
MESSAGE_S_MAX: Final = 30
LATENCY_MS_MAX: Final = 25
SKEW_MS_MAX: Final = 2_000
DAY_T: Final = 86_400

Values = dict[str, str]


class Banner(NamedTuple):
    """What the page says above everything; `command` is for a terminal."""

    tone: str
    head: str
    body: str
    command: str = ""


def head_values(snapshot: Snapshot, follower: Follower) -> Values:
    """Return what the head of every page shows."""
    status = snapshot.status
    state, health = health_of(status)
    clock = words.moment(status.now_t, "%d %b %H:%M") if status.simulated else words.moment(int(time.time()), "%H:%M:%S")
    return {
        "mode": status.mode.upper(),
        "market": "simulated market" if status.simulated else "simulated fills",
        "health": health,
        "health.s": state,
        "hb": words.span(_quiet_s(snapshot)),
        "clock": clock,
        "killed": "1" if status.switches.kill_on else "0",
        "age": str(follower.age_ms()),
    }


def _quiet_s(snapshot: Snapshot) -> float:
    """Return the seconds since the market last said something; on a venue's own clock, since a block last came."""
    status = snapshot.status
    if status.simulated or not status.feed.last_message_ms:
        return time.monotonic() - snapshot.moved_s
    return max(time.time() - status.feed.last_message_ms / 1000, 0.0)


def health_of(status: Status) -> tuple[str, str]:
    """Return the state (ok, late, wait or killed) and the word for it, the gravest first."""
    feed = status.feed
    stale = f"{len(feed.stale)} of {len(status.symbols)} books stale"
    cases = (
        (status.switches.kill_on, "killed", "Kill switch on"),
        (status.state == "halted", "killed", "Halted by a fault"),
        (status.state == "starting", "wait", "Starting"),
        (status.state == "stopped", "wait", "Trading stopped"),
        (not feed.connected, "late", "Feed lost"),
        (status.switches.halt_on, "late", "Entries halted"),
        (status.tier == "HALT20", "late", "HALT20: no entries"),
        (bool(feed.stale), "late", stale),
        (feed.venue_mode != "online", "late", f"Venue: {words.sentence(feed.venue_mode).lower()}"),
        (bool(status.reasons), "late", "Not trading fully"),
    )
    return next(((state, word) for holds, state, word in cases if holds), ("ok", "Healthy"))


def banner_of(status: Status) -> Banner | None:
    """Return what an operator must know at once, the gravest first."""
    why = f" ({'; '.join(status.reasons)})" if status.reasons else ""
    if status.state == "halted":
        return Banner(
            "bad",
            "✕ Halted by a fault",
            f"Nothing is decided any more{why}. The evidence is kept. Look at it with",
            f"ballast check {status.run_id}",
        )
    if status.switches.kill_on:
        body = "No new risk is taken, resting entries are cancelled, exits are still managed. Releasing it is a recorded act of an operator."
        return Banner("bad", f"✕ Kill switch thrown by {status.switches.kill}", body)
    if status.state == "stopped":
        return Banner(
            "warn",
            "■ Trading is stopped",
            "Market events are not taken in; positions are not managed. Let them in again with",
            "ballast runtime start",
        )
    if status.tier == "HALT20":
        return Banner("bad", "✕ Drawdown tier HALT20", "No new risk until an operator releases the tier; exits are managed.")
    if status.switches.halt_on:
        return Banner("warn", "▲ Entries are halted", "Positions are managed, none is opened.")
    if status.state == "running" and not status.feed.connected:
        return Banner("warn", "▲ Market feed lost", "The runtime reconnects by itself; nothing is decided on stale data.")
    if status.reasons:
        return Banner("warn", "▲ Not trading fully", "; ".join(status.reasons))
    return None


def overview_values(snapshot: Snapshot, follower: Follower) -> Values:
    """Return every key of the page."""
    status, summary = snapshot.status, snapshot.summary
    values = head_values(snapshot, follower)
    cash_e8 = sum(c.value_e8 for c in summary.cash)
    values |= {
        "eq": words.money(summary.pv_e8),
        "peak": words.money(summary.peak_e8),
        "dd": _below(summary.drawdown_ppm),
        "day": _since_midnight(snapshot),
        "inv.p": _share(summary.gross_e8, summary.pv_e8),
        "cash.p": _share(cash_e8, summary.pv_e8),
        "tier": summary.tier,
        "room": _room(summary.drawdown_ppm, summary.tiers),
        "dd.pos": f"{min(summary.drawdown_ppm / scale_ppm(summary.tiers) * 100, 96):.2f}",
        "npos": f"{summary.open_n} of {summary.positions_max_n}",
        "unrealised": words.money(summary.unrealised_e8, sign=True),
        "realised": words.money(summary.realised_e8, sign=True),
        "fees": words.money(summary.fees_e8),
        "orders": f"{summary.orders_n} order{'s' if summary.orders_n != 1 else ''} in flight",
        "bundle": status.bundle.name,
        "bundle.h": status.bundle.bundle_hash[:8],
        "policy": f"{status.profile.name} v{status.profile.version}",
        "policy.h": status.profile.policy_digest[:8],
        "head.n": f"{status.head.seq_n:,}",
        "head.h": status.head.block_hash[:8],
        "days": f"{status.paper_days.completed_n} of {status.paper_days.required_n}",
        "days.why": status.paper_days.reason,
    }
    lists = (("as", summary.assets), ("cl", summary.clusters), ("qu", (*summary.quotes, summary.total, summary.budget)))
    for key, uses in lists:
        values |= _bars(key, uses)
    for cash in summary.cash:
        values[f"ca.{cash.quote}.v"] = words.money(cash.cash_e8)
        values[f"ca.{cash.quote}.r"] = f"{words.money(cash.reserved_e8)} reserved" if cash.reserved_e8 else ""
        values[f"ca.{cash.quote}.p"] = _share(cash.value_e8, summary.pv_e8)
        values[f"ca.{cash.quote}.w"] = f"{max(cash.value_e8, 0) / max(summary.pv_e8, 1) * 100:.2f}"
    return values | _feed(snapshot)


def scale_ppm(tiers: Sequence[Tier]) -> int:
    """Return the drawdown at the foot of the depth gauge: a quarter beyond the last tier."""
    return max(tiers[-1].drawdown_ppm * 5 // 4, 1) if tiers else 250_000


def _share(part_e8: int, whole_e8: int) -> str:
    return words.percent(part_e8 * 1_000_000 // whole_e8) if whole_e8 > 0 else words.NONE


def _below(drawdown_ppm: int) -> str:
    return words.percent(-drawdown_ppm, 2)


def _since_midnight(snapshot: Snapshot) -> str:
    midnight_t = snapshot.summary.now_t // DAY_T * DAY_T
    before = [p.pv_e8 for p in snapshot.equity if p.close_t <= midnight_t]
    if not before or before[-1] <= 0:
        return words.NONE
    return words.percent((snapshot.summary.pv_e8 - before[-1]) * 1_000_000 // before[-1], 2, sign=True)


def _room(drawdown_ppm: int, tiers: Sequence[Tier]) -> str:
    following = next((t for t in tiers if t.drawdown_ppm > drawdown_ppm), None)
    if following is None:
        return "no tier below"
    return f"{words.decimal(following.drawdown_ppm - drawdown_ppm, 4, 2)} pt to {following.tier}"


def _bars(key: str, uses: Sequence[CapUse]) -> Values:
    values: Values = {}
    for n in range(SLOTS_N):
        at = f"{key}.{n}"
        if n >= len(uses):
            values |= {
                f"{at}.n": "",
                f"{at}.v": "",
                f"{at}.c": "",
                f"{at}.t": "",
                f"{at}.w": "0",
                f"{at}.f": "0",
                f"{at}.l": "0",
                f"{at}.s": "empty",
            }
            continue
        use = uses[n]
        full = use.filled_ppm
        state = "breach" if full > 1_000_000 else "near" if full > NEAR_PPM else "ok"
        marked = min(use.marked_e8 / use.cap_e8 * CAP_AT, 100.0) if use.cap_e8 > 0 else 0.0
        flying = min(use.in_flight_e8 / use.cap_e8 * CAP_AT, 100.0 - marked) if use.cap_e8 > 0 else 0.0
        values |= {
            f"{at}.n": _name(use),
            f"{at}.v": words.percent(use.used_ppm),
            f"{at}.c": "/ " + words.percent(use.cap_ppm).replace(".0 %", " %"),
            f"{at}.t": {"breach": "✕ over cap", "near": "▲ near cap", "ok": ""}[state],
            f"{at}.w": f"{marked:.2f}",
            f"{at}.f": f"{flying:.2f}",
            f"{at}.l": f"{marked:.2f}",
            f"{at}.s": state,
        }
    values[f"{key}.more"] = f"and {len(uses) - SLOTS_N} more" if len(uses) > SLOTS_N else ""
    return values


def _name(use: CapUse) -> str:
    """Return what an exposure is called: a cluster by its members."""
    if isinstance(use, ClusterUse):
        return f"{use.cluster_id}: {', '.join(use.symbols)}"
    return use.name if use.name.isupper() else words.sentence(use.name)


def _feed(snapshot: Snapshot) -> Values:
    status, feed = snapshot.status, snapshot.status.feed
    quiet_s = _quiet_s(snapshot)
    bar_s = max((status.now_t if status.simulated else int(time.time())) - feed.last_bar_t, 0) if feed.last_bar_t else None
    stale_n, all_n = len(feed.stale), len(status.symbols)
    lines = (
        ("link", feed.venue_mode if feed.connected else "lost", "", feed.connected and feed.venue_mode == "online"),
        ("message", words.span(quiet_s), f"max {MESSAGE_S_MAX} s", quiet_s <= MESSAGE_S_MAX or status.state != "running"),
        (
            "bar",
            words.NONE if bar_s is None else words.span(bar_s),
            f"max {words.span(status.interval_t + 300)}",
            bar_s is None or bar_s <= status.interval_t + 300,
        ),
        ("books", f"{all_n - stale_n} of {all_n}", "", stale_n == 0),
        ("skew", f"{feed.skew_ms} ms", f"max {SKEW_MS_MAX // 1000} s", abs(feed.skew_ms) <= SKEW_MS_MAX),
        ("block", f"{status.latency.p99_ms:.1f} ms", f"max {LATENCY_MS_MAX} ms", status.latency.p99_ms <= LATENCY_MS_MAX),
    )
    values: Values = {}
    for key, value, limit, holds in lines:
        good = bool(holds)
        values |= {
            f"fr.{key}.v": value,
            f"fr.{key}.m": limit,
            f"fr.{key}.s": "ok" if good else "near",
            f"fr.{key}.t": "fresh" if good else "late",
        }
    for key, well, ill in (
        ("link", "up", "check"),
        ("books", "usable", "stale"),
        ("skew", "in step", "off"),
        ("block", "durable", "slow"),
    ):
        values[f"fr.{key}.t"] = well if values[f"fr.{key}.s"] == "ok" else ill
    for key in ("gaps_n", "checksum_n", "late_n", "duplicate_n", "reconnects_n"):
        values[f"fn.{key}"] = str(getattr(feed, key))
    return values
