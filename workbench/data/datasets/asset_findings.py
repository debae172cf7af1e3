"""What the gates find in one asset of a dataset: its history across renames, and each of its series beside a second source."""

from __future__ import annotations

from workbench.data.bars import Bars
from workbench.data.datasets.chains import Part
from workbench.data.quality.findings import Finding
from workbench.data.quality.gates import Series, history_findings, second_source_findings, stale_findings, unclosed_findings
from workbench.data.quality.second_source import judge_moves
from workbench.data.store.catalog import Catalog
from workbench.data.store.lake import Shelf
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX


def asset_findings(
    shelf: Shelf, catalog: Catalog, parts: list[Part], asset: str, bars: Bars, newest_t: int, interval_t: int
) -> list[Finding]:
    """Return every finding about one asset of a dataset.

    Args:
        shelf, catalog: where second sources are.
        parts: the asset's series as used, oldest ticker first.
        asset: its name.
        bars: the bars of all parts in one piece.
        newest_t: opening time of the dataset's newest bar, seconds UTC.
        interval_t: seconds per bar.
    """
    names = Series(asset, "+".join(p.entry.key for p in parts), interval_t)
    history = history_findings(bars, names)
    rest = stale_findings(int(bars.t[-1]), newest_t, names)
    for part in parts:
        own = Series(asset, part.entry.key, interval_t)
        rest += unclosed_findings(part.left_out_t, own)
        second = _second_bars(shelf, catalog, part)
        if second is None or len(part.bars) == 0:
            continue
        rest += second_source_findings(part.bars, second, own)
        first_t, last_t = int(part.bars.t[0]), int(part.bars.t[-1])
        mine = [f for f in history if first_t <= f.first_t <= last_t]
        others = [f for f in history if not first_t <= f.first_t <= last_t]
        history = others + judge_moves(mine, bars, second, interval_t, tell_all=False)
    return history + rest


def _second_bars(shelf: Shelf, catalog: Catalog, part: Part) -> Bars | None:
    """Return the bars of a series' second source, if there is one."""
    second = catalog.get(f"{part.entry.venue}{SECOND_SOURCE_SUFFIX}/{part.entry.interval}/{part.entry.symbol}")
    return None if second is None else shelf.read(second.key, second.current.segments)
