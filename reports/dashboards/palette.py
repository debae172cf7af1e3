"""Colours of marks on a canvas. Axes and grids take theirs from the page (`--bk-*` in tokens.css); glyphs are set from here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Theme = Literal["light", "dark"]
PALETTES: Final[dict[Theme, dict[str, str]]] = {
    "light": {
        "ink": "#15191D", "ink2": "#4A545E", "ink3": "#66717B", "accent": "#1F5A85", "ok": "#00707A", "warn": "#8A5A00",
        "bad": "#B4330E", "surf": "#FFFFFF",
    },
    "dark": {
        "ink": "#E6EAEC", "ink2": "#A9B3BB", "ink3": "#8793A0", "accent": "#7DB4DC", "ok": "#4FB8B0", "warn": "#E0AC46",
        "bad": "#F08A62", "surf": "#161B1F",
    },
}  # fmt: skip


def theme_of(name: str) -> Theme:
    """Return the theme of a cookie's value, chosen (`dark`) or of the person's system (`system-dark`); light for anything else."""
    return "dark" if name in ("dark", "system-dark") else "light"


@dataclass(slots=True)
class Painter:
    """Gives models their colours, and gives them again when the theme changes."""

    theme: Theme
    _given: list[tuple[Any, dict[str, str]]] = field(default_factory=list)

    def paint(self, model: Any, **colours: str) -> None:
        """Set properties of a Bokeh model (property name -> palette key) now and at every change of theme."""
        self._given.append((model, colours))
        model.update(**{name: PALETTES[self.theme][key] for name, key in colours.items()})

    def change(self, theme: Theme) -> None:
        """Repaint everything in another theme."""
        self.theme = theme
        for model, colours in self._given:
            model.update(**{name: PALETTES[theme][key] for name, key in colours.items()})
