from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.adapters.kraken.pairs import find_pairs, read_rules
from runtime.adapters.kraken.settings import FeedSettings
from runtime.adapters.local_kraken.market import LocalMarket
from runtime.adapters.local_kraken.records import NS
from runtime.adapters.local_kraken.server import serve
from runtime.core.codes import CAD, USD
from runtime.errors import EnvironmentFailure
from runtime.policy import PairRules
from tests.support.kraken_feed import SYMBOLS, write_market
from tests.support.kraken_socket import START_T


def entry(wsname: str, **changes: object) -> dict[str, object]:
    base, _, quote = wsname.partition("/")
    return {
        "altname": base + quote,
        "wsname": wsname,
        "pair_decimals": 1,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "tick_size": "0.1",
        "ordermin": "0.00005",
        "costmin": "0.5",
    } | changes


def test_common_names_find_krakens_own() -> None:
    listed = {"XXBTZUSD": entry("XBT/USD"), "XDGCAD": entry("XDG/CAD", lot_decimals=2), "junk": 5}
    bitcoin, doge = find_pairs(listed, ("BTC", "DOGE"), (USD, CAD))
    assert (bitcoin.symbol, bitcoin.altname, bitcoin.names) == ("BTC/USD", "XBTUSD", {"XXBTZUSD", "XBTUSD", "XBT/USD"})
    assert bitcoin.rules == PairRules(quote_id=USD, lot_e8=1, tick_e8=10**7, qty_min_e8=5_000, cost_min_e8=50_000_000)
    assert (doge.symbol, doge.instrument_id, doge.rules.lot_e8) == ("DOGE/CAD", 1, 10**6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pair_decimals": 9}, "9 decimals of price"),
        ({"lot_decimals": 10}, "10 of quantity"),
        ({"lot_decimals": "8"}, "without decimals"),
        ({"altname": None}, "without decimals or name"),
        ({"lot_multiplier": 2}, "lots of 2"),
        ({"tick_size": "0.000000001"}, "tick 0.000000001"),
        ({"tick_size": "0"}, "tick 0"),
        ({"ordermin": "x"}, "minima x"),
        ({"costmin": "NaN"}, "NaN"),
    ],
)
def test_a_pair_that_does_not_fit_the_scales_is_refused_by_name(change: dict[str, object], said: str) -> None:
    listed = {"XXBTZUSD": entry("XBT/USD", **change), "SOLUSD": entry("SOL/USD")}
    with pytest.raises(EnvironmentFailure, match="BTC/USD") as caught:
        find_pairs(listed, ("BTC", "SOL"), (USD, USD))
    assert said in str(caught.value)
    assert "SOL" not in str(caught.value)


def test_all_pairs_that_are_wrong_are_named_at_once() -> None:
    with pytest.raises(EnvironmentFailure, match=r"BTC/USD is not listed; ETH/CAD is not listed"):
        find_pairs({}, ("BTC", "ETH"), (USD, CAD))


def test_the_rules_of_a_new_account_come_from_the_venue(tmp_path: Path) -> None:
    market = LocalMarket.open([write_market(tmp_path)], seed=1, start_ns=START_T * NS)
    with serve(market) as local:
        rules = asyncio.run(read_rules(local.url, SYMBOLS, [USD] * len(SYMBOLS), FeedSettings.stepped()))
    assert len(rules) == len(SYMBOLS)
    assert rules[0].tick_e8 == 10**7
    assert all(one.quote_id == USD and one.lot_e8 >= 1 for one in rules)
