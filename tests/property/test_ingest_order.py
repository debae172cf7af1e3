"""Whatever pieces of a history are imported, in whatever order and how often, the lake holds their union once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.bars import HOUR_T, START_T, some_bars, without
from workbench.data.bars import Bars
from workbench.data.providers import Page, SeriesRef
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake

WHOLE = without(some_bars(120), 40, 41, 77)
REF = SeriesRef("binance-spot", "1h", "BTCUSDT", "pieces", "")


class Piece:
    """A provider of one slice; where it is cut inside a day its last bar was still forming."""

    name = "pieces"
    closed = False

    def __init__(self, bars: Bars, forming: bool) -> None:
        self.bars = bars
        cut = int(bars.t[-1]) + HOUR_T
        if forming and cut % 86_400:
            volume = bars.volume.copy()
            volume[-1] /= 8.0
            self.bars = Bars(bars.t, bars.open, bars.high, bars.low, bars.close, volume)

    def series(self) -> list[SeriesRef]:
        return [REF]

    def pages(self, ref: SeriesRef, since_t: int | None = None, until_t: int | None = None) -> Iterator[Page]:
        yield Page(self.bars, int(self.bars.t[-1]) + HOUR_T)


pieces = st.tuples(st.integers(0, len(WHOLE) - 2), st.integers(1, 60), st.booleans())


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(pieces, min_size=1, max_size=5), order=st.randoms(use_true_random=False))
def test_the_lake_holds_the_union(parts: list[tuple[int, int, bool]], order: object) -> None:
    taken = [Piece(WHOLE.take(slice(a, a + n)), forming) for a, n, forming in parts]
    shuffled = [*taken, *taken]
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis hands over a random.Random
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for piece in shuffled:
            import_bars(home, piece)
        (entry,) = Lake(home).catalog().entries
        stored = Lake(home).read(entry.key, entry.current.segments)
    union = np.unique(np.concatenate([p.bars.t for p in taken]))
    assert stored.t.tolist() == union.tolist()
    open_bars = set(entry.current.unclosed_t)
    for t, volume in zip(stored.t.tolist(), stored.volume.tolist(), strict=True):
        whole = float(WHOLE.volume[WHOLE.t == t][0])
        went_past = any(int(p.bars.t[0]) <= t < int(p.bars.t[-1]) for p in taken)
        assert volume == whole or (not went_past and t in open_bars)
        assert not (went_past and t in open_bars)
    assert stored.t[0] >= START_T
