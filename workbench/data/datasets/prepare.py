"""The demo's first step: find the data, import it, and build the dataset by stated rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runtime.errors import DataError, UsageError
from runtime.progress import Report, silent
from workbench.data.datasets.build import build_dataset, draft_dataset
from workbench.data.datasets.manifests import DatasetManifest, store_manifest
from workbench.data.providers import BarProvider, SeriesRef, read_series
from workbench.data.providers.files import FileProvider
from workbench.data.providers.simulate import PREDICTABILITY
from workbench.data.providers.simulated import VENUE as SIMULATED
from workbench.data.providers.simulated import SimulatedProvider
from workbench.data.store.ingest import import_bars, import_received, receive
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, Universe, load_universe

SOURCES: Final = ("auto", "simulated", "kraken")
INTERVAL: Final = "1h"
QUOTE: Final = "USD"
MIN_YEARS: Final = 2.0

DEMO_ACCEPTED: Final = ("fill_forward", "gap", "jump", "partial_tail", "stale_tail", "wick", "zero_volume")
"""Findings the demo accepts, by gate. Each is real history and stays as it is: nothing is filled, an asset is untradable in a
gap, features that span a gap are missing. A disagreement with a second source is not accepted."""


def prepare_dataset(home: Path, data: Path | None, source: str = "auto", report: Report = silent) -> DatasetManifest:
    """Import what the demo runs on and build its dataset.

    The dataset of local or simulated data is that of exactly the source's bars, whatever the home's lake held before. It is
    made before anything is written, so data the demo refuses leaves the home as it was.

    Args:
        home: the home folder.
        data: a folder or file of bars; None = no local data.
        source: `auto` (local data when given, else simulated), `simulated`, or `kraken` (its public interface).
        report: told about each stage.

    Raises:
        UsageError: an unknown source, or one that contradicts `data`.
        DataError: the data cannot be read or holds no hourly bars of the universe.
        GateError: malformed bars, or findings the demo does not accept.
        EnvironmentFailure: disk or network.
    """
    if source not in SOURCES:
        raise UsageError(f"source {source!r}", expected="one of " + ", ".join(SOURCES), action="choose another --source")
    if data is not None and source != "auto":
        raise UsageError(f"both --data and --source {source}", expected="one of the two", action="leave out --source or --data")
    if source == "kraken":
        return _kraken(home, report)
    return _simulated(home, report) if data is None else _local(home, data, report)


def _simulated(home: Path, report: Report) -> DatasetManifest:
    provider = SimulatedProvider(report=report)
    return _exactly(home, provider, provider.series(), SIMULATED, None, [PREDICTABILITY], load_universe(), report)


def _exactly(
    home: Path,
    provider: BarProvider,
    series: Sequence[SeriesRef],
    venue: str,
    symbols: Sequence[str] | None,
    assumptions: Sequence[str],
    universe: Universe,
    report: Report,
) -> DatasetManifest:
    """Build the dataset of exactly the bars of a source, then import them, then store it."""
    received = receive(provider, series=series, universe=universe, report=report)
    manifest = draft_dataset(
        received,
        venue,
        INTERVAL,
        symbols,
        DEMO_ACCEPTED,
        MIN_YEARS,
        quote=QUOTE,
        assumptions=assumptions,
        universe=universe,
        report=report,
    )
    import_received(home, received, exact=True, report=report)
    store_manifest(home, manifest)
    return manifest


def _kraken(home: Path, report: Report) -> DatasetManifest:
    from workbench.data.providers.kraken import VENUE, KrakenProvider

    import_bars(home, KrakenProvider(report=report), report=report)
    return build_dataset(
        home,
        VENUE,
        INTERVAL,
        accept_names=DEMO_ACCEPTED,
        report=report,
        assumptions=[
            "Kraken's public interface gives the last 720 hourly candles; older bars are those imported into the lake before.",
        ],
    )


def _local(home: Path, data: Path, report: Report) -> DatasetManifest:
    universe = load_universe()
    provider: BarProvider = FileProvider(data, interval=INTERVAL, universe=universe)
    refs = provider.series()
    venue = choose_venue(provider, refs, universe)
    chosen = [r for r in refs if r.venue in (venue, venue + SECOND_SOURCE_SUFFIX)]
    assets = {
        found.asset for r in chosen if (found := universe.resolve(r.venue, r.symbol)) is not None and found.quote == QUOTE
    }
    return _exactly(
        home,
        provider,
        chosen,
        venue,
        universe.order(assets),
        [
            f"The history is that of the venue with the most hourly bars of universe assets in the data folder: {venue}.",
            f"Every asset with at least {MIN_YEARS:g} years of hourly bars ({int(MIN_YEARS * 8760)}) takes part.",
        ],
        universe,
        report,
    )


def choose_venue(provider: BarProvider, refs: Sequence[SeriesRef], universe: Universe) -> str:
    """Return the venue a study of these series is about.

    The rule: the venue with the most hourly bars of universe assets, second sources (`-b`) aside; on a tie the first by name.

    Raises:
        DataError: no series of a known symbol.
    """
    known = [r for r in refs if not r.venue.endswith(SECOND_SOURCE_SUFFIX) and universe.resolve(r.venue, r.symbol) is not None]
    venues = sorted({r.venue for r in known})
    if not venues:
        raise DataError(
            f"no known symbol among {', '.join(r.origin for r in refs[:5])}",
            expected=f"symbols of universe {universe.version}",
            action="rename the files to the venue's symbols, or choose another folder",
        )
    if len(venues) == 1:
        return venues[0]
    return max(venues, key=lambda v: sum(len(read_series(provider, r)) for r in known if r.venue == v))
