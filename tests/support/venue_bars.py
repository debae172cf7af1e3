"""The local Kraken over given bars, for tests of what reads its public interface."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from runtime.adapters.local_kraken.breakage import Answer
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.server import LocalKraken, Settings, serve
from tests.support.bars import some_bars, without, write_series
from workbench.data.bars import Bars

SEED = 7
Body = dict[str, object]


def venue_bars(n: int, *quiet: int, step_t: int = 3_600) -> Bars:
    """Return bars that trades at two decimals can have made, without the quiet rows."""
    bars = without(some_bars(n, trades=True, step_t=step_t), *quiet)
    cents = {name: np.round(getattr(bars, name), 2) for name in ("open", "high", "low", "close")}
    return replace(bars, trades=4.0 + np.arange(len(bars)) % 4, **cents)


@contextmanager
def serve_bars(
    folder: Path, bars: Mapping[str, Bars], *, now_t: int, interval: str = "1h", stall_s: float = 600.0
) -> Iterator[LocalKraken]:
    """Serve pairs at a standing time; trades are made that give exactly the bars.

    Args:
        folder: an empty one, for the files.
        bars: by Kraken's pair name, such as `XBTUSD`.
        now_t: the venue's time, seconds UTC.
        interval: of the bars.
        stall_s: how long a stalled answer holds its connection.
    """
    for symbol, series in bars.items():
        write_series(folder, f"kraken-spot/{interval}/{symbol}", series)
    with serve_folder(folder, now_t=now_t, stall_s=stall_s) as venue:
        yield venue


@contextmanager
def serve_folder(folder: Path, *, now_t: int, stall_s: float = 600.0) -> Iterator[LocalKraken]:
    """Serve the files of a folder at a standing time; see `serve_bars`."""
    market = LocalMarket.open([folder], seed=SEED, start_ns=now_t * 10**9)
    with serve(market, settings=Settings(stall_s=stall_s)) as venue:
        yield venue


@dataclass
class Lie:
    """Answers of an endpoint that say something else: a change of the parsed body, from the `first`-th call on, `times` times."""

    endpoint: str
    change: Callable[[Body], object]
    first: int = 0
    times: int = 1
    asked_n: int = field(default=0, init=False)

    def tell(self, venue: LocalKraken) -> None:
        """Make the venue tell it."""
        rest = venue.venue.rest
        honest = rest.answer

        def answer(endpoint: str, query: Mapping[str, str], client: str = "") -> Answer:
            found = honest(endpoint, query, client)
            if endpoint != self.endpoint:
                return found
            self.asked_n += 1
            if not self.first < self.asked_n <= self.first + self.times:
                return found
            return Answer(200, json.dumps(self.change(json.loads(found.body))).encode())

        rest.answer = answer  # type: ignore[method-assign]  # the point of it


def rows(change: Callable[[list[list[object]]], object]) -> Callable[[Body], object]:
    """Return a change of the rows of the one pair in an answer."""

    def changed(body: Body) -> object:
        result = body["result"]
        assert isinstance(result, dict)
        return {"error": [], "result": {k: change(v) if isinstance(v, list) else v for k, v in result.items()}}

    return changed
