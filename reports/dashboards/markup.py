"""Templates: words and bars are rendered here with live values, so that the first response is the page and not a promise of one.

A rendered page becomes the template of a Panel document, and is rendered again: braces in data must not mean anything by then.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports.dashboards import words
from reports.dashboards.decision_shapes import Signal
from reports.dashboards.decision_view import Panel
from reports.dashboards.follower import Snapshot
from reports.dashboards.overview_values import Banner, scale_ppm
from reports.dashboards.shapes import Asset, Tier

HERE: Final = Path(__file__).parent
ASSETS: Final = HERE / "static"
LAST_N: Final = 7
ROOT: Final = re.compile(r"@@ROOT:([a-z]+)@@")
PLACES: Final = {
    "@@MACROS@@": "{% from macros import embed %}",
    "@@BOKEH_CSS@@": "{{ bokeh_css if bokeh_css }}",
    # deferred: the page paints before two megabytes of script are read
    "@@BOKEH_JS@@": "{{ bokeh_js | replace('<script type=\"text/javascript\" src', '<script defer src') | without_log_level }}",
    "@@PLOT_SCRIPT@@": "{{ plot_script }}",
}
LOG_LEVEL: Final = re.compile(r"<script[^>]*>\s*Bokeh\.set_log_level\([^)]*\);\s*</script>")


@cache
def environment() -> Environment:
    """Return the environment of our templates: escaping, and strict about names."""
    return Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)


@cache
def edition() -> str:
    """Return a digest of everything under `static`: another edition is another address, so browsers may keep each for ever."""
    content = b"".join(path.read_bytes() for path in sorted(ASSETS.iterdir()))
    return hashlib.sha256(content).hexdigest()[:12]


def without_log_level(html: object) -> str:
    """Return Bokeh's script tags without the inline call that runs before the deferred bundle exists."""
    return LOG_LEVEL.sub("", str(html))


def page_template(html: str) -> str:
    """Return a rendered page as a template for Panel: our places become its expressions, all other braces mean nothing."""
    for opening in ("{{", "{%", "{#"):
        html = html.replace(opening, "&#123;" + opening[1])
    for place, expression in PLACES.items():
        html = html.replace(place, expression)
    return ROOT.sub(r"{{ embed(roots.\1) }}", html)


def render(name: str, **values: object) -> str:
    """Return a template with its values."""
    return environment().get_template(name).render(**values)


def banner_values(banner: Banner | None) -> dict[str, str] | None:
    """Return a banner as the page's script reads it."""
    return banner._asdict() if banner is not None else None


def script_json(value: object) -> str:
    """Return JSON for a script element: nothing in it can close the element."""
    return json.dumps(value).replace("<", "\\u003c")


def positions(assets: tuple[Asset, ...], now_t: int) -> str:
    """Return the table of open positions, the largest first."""
    held = sorted((a for a in assets if a.qty_e8 > 0), key=lambda a: -a.value_e8)
    return render("positions.html", assets=[_position(a, now_t) for a in held])


def _position(asset: Asset, now_t: int) -> Mapping[str, str]:
    glyph, word = words.outlook(asset.outlook)
    notes = ["recovery"] if asset.recovering else []
    if asset.order is not None:
        notes.append(f"{asset.order.side.lower()} {words.sentence(asset.order.status).lower()}")
    return {
        "pair": f"{asset.symbol}/{asset.quote}",
        "value": words.money(asset.value_e8),
        "gain": f"{'▲' if asset.gain_ppm >= 0 else '▼'} {words.percent(asset.gain_ppm, 2, sign=True)}",
        "mark": words.price(asset.mark_e8),
        "cost": words.price(asset.cost_e8 * words.E8 // asset.qty_e8),
        "quantity": words.quantity(asset.qty_e8),
        "age": words.span(now_t - asset.opened_t) if asset.opened_t else words.NONE,
        "outlook": f"{glyph} {word}",
        "note": ", ".join(notes),
    }


def last_decisions(signals: tuple[Signal, ...]) -> str:
    """Return the list of the newest decisions."""
    rows = []
    for signal in signals[:LAST_N]:
        glyph, word, tone = words.action(signal.action, refused=signal.refused)
        rows.append({
            "id": signal.signal_id, "symbol": signal.symbol, "glyph": glyph, "word": word, "tone": tone,
            "time": words.moment(signal.at_t, "%H:%M"), "full": words.moment(signal.at_t) + " UTC",
            "why": words.gate(signal.gate) if signal.refused else words.reason(signal.reason),
        })  # fmt: skip
    return render("decs.html", signals=rows)


def zones(tiers: tuple[Tier, ...]) -> list[Mapping[str, str]]:
    """Return the zones of the depth gauge, each as tall as its tier is deep."""
    foot = scale_ppm(tiers)
    edges = [t.drawdown_ppm for t in tiers] + [foot]
    return [
        {
            "name": tier.tier,
            "effect": _effect(tier),
            "flex": f"{edges[n + 1] - tier.drawdown_ppm}",
            "top": f"{tier.drawdown_ppm / foot * 100:.2f}",
            "label": words.decimal(-tier.drawdown_ppm, 4, 0) if tier.drawdown_ppm else "0",
        }
        for n, tier in enumerate(tiers)
    ]


def _effect(tier: Tier) -> str:
    if not tier.allow_entry:
        return "exits only"
    size = "full size" if tier.size_ppm == 1_000_000 else f"size \u00d7{words.decimal(tier.size_ppm, 6, 2)}"
    return size if tier.allow_reentry else f"{size}, no re-entries"


def detail(panel: Panel | None) -> str:
    """Return the panel of one decision."""
    return render("detail.html", p=panel)


def overview_context(snapshot: Snapshot) -> dict[str, object]:
    """Return what the template of the overview needs beside its values."""
    status = snapshot.status
    return {
        "zones": zones(snapshot.summary.tiers),
        "slots": range(6),
        "cash": [c.quote for c in snapshot.summary.cash],
        "hashes": {"bundle": status.bundle.bundle_hash, "policy": status.profile.policy_digest},
        "replay": f"ballast replay {status.run_id}",
    }
