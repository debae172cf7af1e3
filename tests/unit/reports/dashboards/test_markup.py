"""Words from outside cannot become markup, an expression, or a script."""

from __future__ import annotations

from jinja2 import Environment

from reports.dashboards import markup
from reports.dashboards.shapes import Tier


def test_braces_in_data_mean_nothing_when_a_page_is_rendered_again() -> None:
    html = markup.page_template("<p>{{ 7 * 7 }} {% if %} {# gone #}</p>@@ROOT:bus@@")
    again = Environment(autoescape=True).from_string(html.replace("{{ embed(roots.bus) }}", "")).render()
    assert "49" not in again
    assert "&#123;{ 7 * 7 }}" in again
    assert "{# gone" not in again
    assert "{{ embed(roots.bus) }}" in html


def test_json_in_a_script_element_cannot_close_it() -> None:
    assert "</script" not in markup.script_json({"body": "</script><b>"})


def test_markup_in_a_value_is_text() -> None:
    said = markup.render("offline.html", theme="light", reason="<img src=x>", edition="1")
    assert "<img" not in said
    assert "&lt;img" in said


def test_zones_are_as_deep_as_their_tiers() -> None:
    tiers = tuple(
        Tier(tier=name, drawdown_ppm=ppm, size_ppm=size, allow_entry=size > 0, allow_reentry=size > 250_000)
        for name, ppm, size in (
            ("NORMAL", 0, 1_000_000),
            ("DD10", 100_000, 500_000),
            ("DD15", 150_000, 250_000),
            ("HALT20", 200_000, 0),
        )
    )
    zones = markup.zones(tiers)
    assert [z["top"] for z in zones] == ["0.00", "40.00", "60.00", "80.00"]
    assert [z["effect"] for z in zones] == ["full size", "size \u00d70.50", "size \u00d70.25, no re-entries", "exits only"]


def test_the_inline_log_level_call_is_taken_out() -> None:
    html = '<script src="a.js"></script><script type="text/javascript">\n Bokeh.set_log_level("info");\n</script><b></b>'
    assert markup.without_log_level(html) == '<script src="a.js"></script><b></b>'
