"""Membership at a time: renames, listing windows, and the lake's own first and last bars."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime.errors import DataError, UsageError
from tests.support.bars import START_T, some_bars, write_series
from workbench.data.providers.files import FileProvider
from workbench.data.store.catalog import Catalog
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake
from workbench.data.universe import versions as universe_module
from workbench.data.universe.versions import load_universe, parse_universe
from workbench.data.view.lake_view import open_view
from workbench.data.view.membership import membership

V1 = (Path(universe_module.__file__).parent / "universe_v1.toml").read_text()


def t(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_membership_of_a_small_lake(home: Path, tmp_path: Path) -> None:
    """Former ticker, pause, new ticker, ends and beginnings; the newer ticker alone counts from its first bar on."""
    hour = 3_600
    removed, opened = t("2024-09-10T03:00"), t("2024-09-13T10:00")
    write_series(tmp_path, "binance-spot/1h/MATICUSDT", some_bars(96, start_t=removed - 90 * hour))
    write_series(tmp_path, "binance-spot/1h/POLUSDT", some_bars(96, start_t=opened - 5 * hour))
    import_bars(home, FileProvider(tmp_path))
    catalog = Lake(home).catalog()

    def of(asset: str, at_t: int, universe_text: str = V1) -> tuple[bool, str, str]:
        universe = parse_universe(universe_text, "v")
        m = next(m for m in membership(universe, catalog, "binance-spot", "1h", at_t) if m.asset == asset)
        assert m.facts
        return m.member, m.reason, m.series.rsplit("/", 1)[-1]

    assert of("POL", removed - 91 * hour) == (False, "before its first bar", "MATICUSDT")
    assert of("POL", removed - 90 * hour) == (True, "listed", "MATICUSDT")
    assert of("POL", removed - 1) == (True, "listed", "MATICUSDT")
    assert of("POL", removed) == (False, "between tickers", "MATICUSDT"), "its file goes on; the venue had removed it"
    assert of("POL", opened - 1) == (False, "between tickers", "MATICUSDT")
    assert of("POL", opened) == (True, "listed", "POLUSDT")
    assert of("POL", opened + 91 * hour - 1) == (True, "listed", "POLUSDT")
    assert of("POL", opened + 91 * hour) == (False, "after its last bar", "POLUSDT")
    assert of("KAS", opened) == (False, "never listed", "")
    assert of("BTC", opened) == (False, "no series", "")
    window = '\n[[listings]]\nasset = "POL"\nvenue = "binance-spot"\nlisted_from = 2024-09-13T10:00:00Z\nsource = "notice"\n'
    assert of("POL", opened - 1, V1 + window) == (False, "outside its listing", "")
    assert of("POL", opened, V1 + window) == (True, "listed", "POLUSDT")


def test_without_a_venues_dates_the_new_ticker_counts_from_its_first_bar(home: Path, tmp_path: Path) -> None:
    """Kraken's rename has no dates of its own: where both files have bars, POL's alone count, in the view and in membership."""
    write_series(tmp_path, "kraken-spot/1h/MATICUSD", some_bars(48))
    write_series(tmp_path, "kraken-spot/1h/POLUSD", some_bars(48, start_t=START_T + 40 * 3_600))
    import_bars(home, FileProvider(tmp_path))
    with open_view(home, venue="kraken-spot") as view:
        for hour, ticker in ((0, "MATICUSD"), (39, "MATICUSD"), (40, "POLUSD"), (47, "POLUSD"), (87, "POLUSD")):
            at = datetime.fromtimestamp(START_T + hour * 3_600, UTC)
            member = next(m for m in view.members(at) if m.asset == "POL")
            assert (member.member, member.series.rsplit("/", 1)[-1]) == (True, ticker), hour
        assert view.members("2024-01-01T00:00Z", "binance-spot")[0].reason == "no series"
        with pytest.raises(UsageError, match="zone"):
            view.members("2024-01-01")
    write_series(tmp_path, "binance-spot/1h/BTCUSDT", some_bars())
    import_bars(home, FileProvider(tmp_path))
    with open_view(home) as view, pytest.raises(UsageError, match="the view has binance-spot, kraken-spot"):
        view.members("2024-01-01T00:00Z")


def test_membership_needs_a_known_venue_and_interval() -> None:
    with pytest.raises(DataError, match="venue 'mtgox'"):
        membership(load_universe(), Catalog(), "mtgox", "1h", START_T)
    with pytest.raises(UsageError, match="interval '2h'"):
        membership(load_universe(), Catalog(), "kraken-spot", "2h", START_T)
