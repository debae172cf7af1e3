from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runtime.errors import DataError, UsageError
from workbench.data.universe.versions import load_universe

MISSION = "BTC ETH BNB XRP SOL TRX ADA BCH XMR LINK XLM HBAR LTC AVAX ZEC SUI SHIB TON DOT UNI AAVE TAO NEAR ETC ICP POL KAS ALGO FIL APT"
V1_DIGEST = "1772e89ae22abf1d9627a009ad8c09206688dc21a90aed1431d45a2f47b077ff"


def t(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_version_1_is_the_missions_list_and_is_frozen() -> None:
    universe = load_universe("v1")
    assert " ".join(universe.assets) == MISSION
    assert universe.quotes == ("USD", "CAD", "USDC")
    assert universe.digest == V1_DIGEST, "a change of the universe is a new version, never an edit of v1"


@pytest.mark.parametrize(
    ("venue", "symbol", "asset", "quote"),
    [
        ("kraken-spot", "XBTUSD", "BTC", "USD"),
        ("kraken-spot-b", "XBTUSD", "BTC", "USD"),
        ("kraken-spot", "ETHCAD", "ETH", "CAD"),
        ("kraken-spot", "SOLUSDC", "SOL", "USDC"),
        ("binance-spot", "BTCUSDT", "BTC", "USD"),
        ("simulated", "BTCUSD", "BTC", "USD"),
    ],
)
def test_venue_symbols_resolve(venue: str, symbol: str, asset: str, quote: str) -> None:
    listing = load_universe().resolve(venue, symbol)
    assert listing is not None
    assert (listing.asset, listing.quote, listing.former) == (asset, quote, "")


@pytest.mark.parametrize(
    ("venue", "symbol"),
    [
        ("kraken-spot", "BTCUSD"),  # Kraken writes XBT
        ("kraken-spot", "XBTUSDT"),  # a quote outside the universe
        ("binance-spot", "KASUSDT"),  # never listed there
        ("binance-spot", "DOGEUSDT"),
        ("binance-spot", "BTCUSD"),
        ("simulated", "USD"),
    ],
)
def test_other_symbols_do_not(venue: str, symbol: str) -> None:
    assert load_universe().resolve(venue, symbol) is None


def test_the_rename_of_matic_is_dated() -> None:
    universe = load_universe()
    former, now = universe.resolve("binance-spot", "MATICUSDT"), universe.resolve("binance-spot", "POLUSDT")
    assert former is not None
    assert now is not None
    assert (former.asset, former.former, former.rank, former.until_t) == ("POL", "MATIC", 0, t("2024-09-10T03:00"))
    assert (now.asset, now.former, now.rank, now.from_t) == ("POL", "", 1, t("2024-09-13T10:00"))
    assert universe.symbol("binance-spot", "POL") == "POLUSDT"


def test_symbols_are_written_the_venues_way() -> None:
    universe = load_universe()
    assert universe.symbol("kraken-spot", "BTC") == "XBTUSD"
    assert universe.symbol("kraken-spot", "BTC", "CAD") == "XBTCAD"
    for venue, asset in (("binance-spot", "KAS"), ("kraken-spot", "MATIC"), ("kraken-spot", "DOGE")):
        with pytest.raises(UsageError, match=f"{asset}/USD at {venue} is not in universe v1"):
            universe.symbol(venue, asset)


def test_unknown_venue_and_version_are_refused() -> None:
    with pytest.raises(DataError, match="venue 'mtgox' is not in universe v1"):
        load_universe().resolve("mtgox", "BTCUSD")
    with pytest.raises(UsageError, match="no universe version 'v9'"):
        load_universe("v9")
