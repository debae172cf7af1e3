"""The providers that ship with Ballast, as the entry points name them. Each is imported when it is made, not when it is listed."""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

from runtime.errors import UsageError
from workbench.data.providers import BarProvider
from workbench.data.providers.registry import Kind, ProviderOptions


def _files(o: ProviderOptions) -> BarProvider:
    from workbench.data.providers.files import FileProvider

    return FileProvider(cast("Path", o.path), venue=o.venue, interval=o.interval, universe=o.universe)


def _simulated(o: ProviderOptions) -> BarProvider:
    from workbench.data.providers.simulated import SimulatedProvider

    if o.interval not in {None, "1h"}:
        raise UsageError(f"--source simulated with --interval {o.interval}", expected="1h", action="leave it out")
    return SimulatedProvider(report=o.report)


def _kraken(o: ProviderOptions) -> BarProvider:
    from workbench.data.providers.kraken import KrakenProvider

    return KrakenProvider(
        assets=o.assets or None,
        quote=o.quote or "USD",
        interval=o.interval or "1h",
        since_t=o.since_t,
        url=o.url,
        ledger=o.ledger,
        sleep=o.sleep,
        universe=o.universe,
        report=o.report,
    )


def _archive(o: ProviderOptions) -> BarProvider:
    from workbench.data.providers.archive import ArchiveProvider

    return ArchiveProvider(
        cast("Path", o.path), interval=o.interval, assets=o.assets or None, quote=o.quote, universe=o.universe
    )


def _exchange(o: ProviderOptions) -> BarProvider:
    from workbench.data.providers.exchange import ExchangeProvider

    return ExchangeProvider(
        o.argument,
        venue=o.venue,
        assets=o.assets or None,
        quote=o.quote or "USD",
        interval=o.interval or "1h",
        since_t=o.since_t,
        url=o.url,
        ledger=o.ledger,
        sleep=o.sleep,
        universe=o.universe,
        report=o.report,
    )


def _coinapi(o: ProviderOptions) -> BarProvider:
    from workbench.data.providers.coinapi import CoinApiProvider

    return CoinApiProvider(
        venue=o.venue or "binance-spot",
        assets=o.assets or None,
        quote=o.quote or "USD",
        interval=o.interval or "1h",
        since_t=o.since_t,
        url=o.url,
        ledger=o.ledger,
        sleep=o.sleep,
        universe=o.universe,
        report=o.report,
    )


def _has_coinapi_key() -> bool:
    from workbench.data.providers.keys import COINAPI, find_key

    return find_key(COINAPI) is not None


_VENUE: Final = frozenset({"interval", "assets", "quote", "since_t", "url"})

files: Final = Kind(
    "Folders or files of Parquet and CSV bars.", _files, frozenset({"path", "venue", "interval"}), frozenset({"path"})
)
simulated: Final = Kind("The simulated market: invented bars, the same on every machine.", _simulated, frozenset({"interval"}))
kraken: Final = Kind("Kraken's public interface: the last 720 candles, older bars from trades.", _kraken, _VENUE)
archive: Final = Kind(
    "Kraken's downloadable OHLCVT archives: zips or folders of their CSV files.",
    _archive,
    frozenset({"path", "interval", "assets", "quote"}),
    frozenset({"path"}),
)
exchange: Final = Kind(
    "Any exchange ccxt knows, such as ccxt:binance: deep history.",
    _exchange,
    _VENUE | {"venue", "argument"},
    frozenset({"argument"}),
)
coinapi: Final = Kind(
    "CoinAPI: deep history of many venues; needs a key.", _coinapi, _VENUE | {"venue"}, credentials=_has_coinapi_key
)
