"""Names and scales: a universe symbol and a quote, the venue's pair for it, and whether that pair fits the integer scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, DecimalException
from typing import Final, NamedTuple

from runtime.adapters.kraken.rest import Rest
from runtime.adapters.kraken.settings import FeedSettings
from runtime.core.codes import QUOTE_NAMES
from runtime.errors import EnvironmentFailure
from runtime.policy import PairRules

SCALE_DECIMALS: Final = 8
"""Every price, quantity and value enters the core as a whole number of 1e-8."""
COMMON_NAMES: Final = {"XBT": "BTC", "XDG": "DOGE"}
"""Kraken's own names of assets that WebSocket v2, and this project, call by their common ones."""


class Pair(NamedTuple):
    """One instrument at the venue."""

    instrument_id: int
    symbol: str
    """Of WebSocket v2: `BTC/USD`."""
    names: frozenset[str]
    """Names under which REST answers: key, altname, wsname."""
    altname: str
    """What REST is asked with: `XBTUSD`."""
    price_decimals: int
    lot_decimals: int
    rules: PairRules
    """Step, tick and minima as the venue lists them."""


def find_pairs(listed: Mapping[str, object], symbols: Sequence[str], quote_ids: Sequence[int]) -> tuple[Pair, ...]:
    """Return the venue's pair of every instrument.

    Args:
        listed: the result of AssetPairs.
        symbols: universe symbols, index = instrument_id.
        quote_ids: quote currency of each.

    Raises:
        EnvironmentFailure: pairs are not listed, or do not fit the integer scales: all of them are named.
    """
    by_symbol = {_symbol(entry): (key, entry) for key, entry in listed.items() if isinstance(entry, dict)}
    found: list[Pair] = []
    wrong: list[str] = []
    for instrument_id, (symbol, quote_id) in enumerate(zip(symbols, quote_ids, strict=True)):
        name = f"{COMMON_NAMES.get(symbol, symbol)}/{QUOTE_NAMES[quote_id]}"
        if name not in by_symbol:
            wrong.append(f"{name} is not listed")
            continue
        key, entry = by_symbol[name]
        pair = _pair(instrument_id, name, key, entry, quote_id)
        if isinstance(pair, str):
            wrong.append(pair)
        else:
            found.append(pair)
    if wrong:
        raise EnvironmentFailure(
            f"pairs of the venue that cannot be followed: {'; '.join(wrong)}",
            expected="every instrument listed, with at most 8 decimals of price and quantity",
            action="disable these instruments or choose another quote for them; wider scales need a new version of the core",
        )
    return tuple(found)


def _symbol(entry: Mapping[str, object]) -> str:
    base, _, quote = str(entry.get("wsname", "")).partition("/")
    return f"{COMMON_NAMES.get(base, base)}/{COMMON_NAMES.get(quote, quote)}"


def _pair(instrument_id: int, name: str, key: str, entry: Mapping[str, object], quote_id: int) -> Pair | str:
    """Return the pair, or why it cannot be followed."""
    price_decimals, lot_decimals = entry.get("pair_decimals"), entry.get("lot_decimals")
    altname = entry.get("altname")
    if not isinstance(price_decimals, int) or not isinstance(lot_decimals, int) or not isinstance(altname, str):
        return f"{name} without decimals or name in AssetPairs"
    if not 0 <= price_decimals <= SCALE_DECIMALS or not 0 <= lot_decimals <= SCALE_DECIMALS:
        return f"{name} has {price_decimals} decimals of price and {lot_decimals} of quantity"
    multiplier = entry.get("lot_multiplier", 1)
    if multiplier != 1:
        return f"{name} has lots of {multiplier}"
    tick, qty_min, cost_min = (_e8(entry.get(field)) for field in ("tick_size", "ordermin", "costmin"))
    if tick is None or qty_min is None or cost_min is None or tick < 1 or qty_min < 1:
        return f"{name} has tick {entry.get('tick_size')}, minima {entry.get('ordermin')} and {entry.get('costmin')}"
    lot = 10 ** (SCALE_DECIMALS - lot_decimals)
    rules = PairRules(quote_id=quote_id, lot_e8=lot, tick_e8=tick, qty_min_e8=qty_min, cost_min_e8=cost_min)
    names = frozenset({key, altname, str(entry.get("wsname"))})
    return Pair(instrument_id, name, names, altname, price_decimals, lot_decimals, rules)


def _e8(value: object) -> int | None:
    """Return a decimal text in 1e-8 units, None where that is not exact."""
    try:
        number = Decimal(str(value)).scaleb(SCALE_DECIMALS)
    except DecimalException:
        return None
    return int(number) if number.is_finite() and number == number.to_integral_value() else None


async def read_rules(
    url: str, symbols: Sequence[str], quote_ids: Sequence[int], settings: FeedSettings | None = None
) -> tuple[PairRules, ...]:
    """Return what the venue's AssetPairs says of every instrument, for the genesis of a new account.

    Args:
        url: base address of the venue.
        symbols: universe symbols, index = instrument_id.
        quote_ids: quote currency of each.
        settings: bounds of the calls.

    Raises:
        EnvironmentFailure: the venue does not answer, or pairs are not listed or do not fit the scales.
    """
    rest = Rest(url, settings or FeedSettings())
    try:
        return tuple(pair.rules for pair in find_pairs(await rest.asset_pairs(), symbols, quote_ids))
    finally:
        await rest.close()
