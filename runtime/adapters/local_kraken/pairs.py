"""Kraken's names and rules of a pair: altname, key, wsname, v2 symbol, decimals, minima and fees.

Names follow the venue: old assets carry an X (coins) or Z (money) in keys (`XXBTZUSD`), Bitcoin is XBT and Dogecoin XDG except
in WebSocket v2. Minima are the venue's where known and close to it elsewhere: a client reads them from AssetPairs in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

OLD_COINS: Final = frozenset({"XBT", "ETH", "XRP", "LTC", "ETC", "XLM", "XMR", "ZEC", "XDG", "REP", "MLN"})
OLD_MONEY: Final = frozenset({"USD", "CAD", "EUR", "GBP", "JPY"})
QUOTES: Final = ("USDT", "USDC", "USD", "CAD", "EUR", "GBP", "JPY", "XBT", "BTC", "ETH")
"""Quote currencies by which a joined name is split, longest first."""
KRAKEN_NAMES: Final = {"BTC": "XBT", "DOGE": "XDG"}
COMMON_NAMES: Final = {own: common for common, own in KRAKEN_NAMES.items()}
PLAIN_KEYS: Final = frozenset({"XDG"})
"""Old coins whose pairs have plain keys (`XDGUSD`)."""

PRICE_DECIMALS: Final = {
    "XBT": 1, "ETH": 2, "SOL": 2, "BNB": 2, "LTC": 2, "BCH": 2, "XMR": 2, "ZEC": 2, "AAVE": 2, "TAO": 2, "AVAX": 2, "XRP": 5, "ADA": 6,
    "TRX": 6, "LINK": 5, "XLM": 6, "HBAR": 5, "SUI": 4, "SHIB": 8, "TON": 4, "DOT": 4, "UNI": 3, "NEAR": 3, "ETC": 3, "ICP": 3,
    "POL": 4, "KAS": 5, "ALGO": 5, "FIL": 3, "APT": 4, "XDG": 7,
}  # fmt: skip
ORDER_MINIMUM: Final = {
    "XBT": "0.00005", "ETH": "0.002", "SOL": "0.06", "BNB": "0.015", "LTC": "0.12", "BCH": "0.025", "XMR": "0.04", "ZEC": "0.15",
    "AAVE": "0.05", "TAO": "0.03", "AVAX": "0.5", "XRP": "4", "ADA": "15", "TRX": "40", "LINK": "0.7", "XLM": "40", "HBAR": "60",
    "SUI": "3", "SHIB": "800000", "TON": "3", "DOT": "2.5", "UNI": "1.5", "NEAR": "4", "ETC": "0.5", "ICP": "2", "POL": "40",
    "KAS": "100", "ALGO": "50", "FIL": "4", "APT": "2", "XDG": "60",
}  # fmt: skip
COST_MINIMUM: Final = {"XBT": "0.00002", "ETH": "0.0002", "JPY": "50"}
TAKER_FEES: Final = (
    (0, 0.40),
    (10_000, 0.35),
    (50_000, 0.24),
    (100_000, 0.22),
    (250_000, 0.20),
    (500_000, 0.18),
    (1_000_000, 0.16),
)
MAKER_FEES: Final = (
    (0, 0.25),
    (10_000, 0.20),
    (50_000, 0.14),
    (100_000, 0.12),
    (250_000, 0.08),
    (500_000, 0.06),
    (1_000_000, 0.04),
)
MONEY_DECIMALS: Final = 4
COIN_DECIMALS: Final = 10


@dataclass(frozen=True, slots=True)
class PairInfo:
    """One pair of the venue."""

    base: str
    """Kraken's own name, as in altname: XBT, ETH, SOL."""
    quote: str
    pair_decimals: int
    """Decimals of every price: enough for each price of the data, so none is rounded."""
    lot_decimals: int
    """Decimals of every quantity."""

    @property
    def altname(self) -> str:
        """Return the joined name, `XBTUSD`."""
        return self.base + self.quote

    @property
    def wsname(self) -> str:
        """Return the name of WebSocket v1, `XBT/USD`."""
        return f"{self.base}/{self.quote}"

    @property
    def symbol(self) -> str:
        """Return the symbol of WebSocket v2, `BTC/USD`."""
        return f"{COMMON_NAMES.get(self.base, self.base)}/{COMMON_NAMES.get(self.quote, self.quote)}"

    @property
    def key(self) -> str:
        """Return the key of REST answers, `XXBTZUSD`."""
        old = self.base in OLD_COINS - PLAIN_KEYS and (self.quote in OLD_MONEY or self.quote in OLD_COINS)
        return asset_key(self.base) + asset_key(self.quote) if old else self.altname

    @property
    def price_text_decimals(self) -> int:
        """Return how many decimals Ticker, Trades, Depth and Spread print: five at least, as the venue does."""
        return max(5, self.pair_decimals)

    @property
    def tick_size(self) -> Decimal:
        """Return the smallest step of a price."""
        return Decimal(1).scaleb(-self.pair_decimals)

    @property
    def ordermin(self) -> Decimal:
        """Return the least quantity of an order."""
        return Decimal(ORDER_MINIMUM.get(self.base, "1"))

    @property
    def costmin(self) -> Decimal:
        """Return the least value of an order in the quote currency."""
        return Decimal(COST_MINIMUM.get(self.quote, "0.5"))

    @property
    def cost_decimals(self) -> int:
        """Return the decimals of a value in the quote currency."""
        return COIN_DECIMALS if self.quote in OLD_COINS else 5


def kraken_name(asset: str) -> str:
    """Return Kraken's name of an asset: BTC -> XBT."""
    return KRAKEN_NAMES.get(asset, asset)


def asset_key(asset: str) -> str:
    """Return the key of an asset in REST answers: XBT -> XXBT, USD -> ZUSD, SOL -> SOL."""
    if asset in OLD_COINS:
        return "X" + asset
    return "Z" + asset if asset in OLD_MONEY else asset


def asset_decimals(asset: str) -> int:
    """Return the decimals of a balance in this asset."""
    return MONEY_DECIMALS if asset in OLD_MONEY else COIN_DECIMALS


def split_pair(name: str) -> tuple[str, str] | None:
    """Return Kraken's base and quote of a joined name (`BTCUSDT` -> XBT, USDT), or None when no known quote ends it."""
    for quote in QUOTES:
        if name.endswith(quote) and len(name) > len(quote):
            return kraken_name(name.removesuffix(quote)), kraken_name(quote)
    return None


class PairTable:
    """The pairs of a venue, found by any of their names."""

    def __init__(self, pairs: Sequence[PairInfo]) -> None:
        self.pairs: tuple[PairInfo, ...] = tuple(pairs)
        self._found: dict[str, PairInfo] = {}
        for pair in pairs:
            common = pair.symbol.replace("/", "")
            for name in (pair.key, pair.altname, pair.wsname, pair.symbol, common):
                self._found.setdefault(name, pair)

    def find(self, name: str) -> PairInfo | None:
        """Return the pair of a key, altname, wsname or symbol, as REST resolves it; None when there is none."""
        return self._found.get(name.upper())
