"""Membership at a time: renames, listing windows, and the lake's own first and last bars."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import DataError, UsageError
from tests.support.bars import START_T, some_bars, without, write_series
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake
from workbench.data.universe import versions as universe_module
from workbench.data.universe.versions import iso, load_universe, parse_universe
from workbench.data.view.lake_view import open_view
from workbench.data.view.membership import Member, membership

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

    def of(asset: str, at_t: int, universe_text: str = V1) -> tuple[bool, str, str]:
        universe = parse_universe(universe_text, "v")
        m = next(m for m in membership(universe, Lake(home), "binance-spot", "1h", at_t) if m.asset == asset)
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


def test_membership_needs_a_known_venue_and_interval(home: Path) -> None:
    with pytest.raises(DataError, match="venue 'mtgox'"):
        membership(load_universe(), Lake(home), "mtgox", "1h", START_T)
    with pytest.raises(UsageError, match="interval '2h'"):
        membership(load_universe(), Lake(home), "kraken-spot", "2h", START_T)


def test_listed_but_not_tradable_in_a_gap(home: Path, tmp_path: Path) -> None:
    """The very bar of that time is missing: the fact names the hole, to the bar."""
    write_series(tmp_path, "binance-spot/1h/BTCUSDT", without(some_bars(96), *range(40, 60)))
    import_bars(home, FileProvider(tmp_path))

    def of(at_t: int, as_of_t: int | None = None) -> Member:
        found = membership(load_universe(), Lake(home), "binance-spot", "1h", at_t, as_of_t=as_of_t)
        return next(m for m in found if m.asset == "BTC")

    assert of(START_T + 40 * 3_600 - 1).member
    for at_t in (START_T + 40 * 3_600, START_T + 60 * 3_600 - 1):
        assert (of(at_t).member, of(at_t).reason, of(at_t).series) == (False, "in a gap", "binance-spot/1h/BTCUSDT")
    assert of(START_T + 60 * 3_600).member
    gap = f"no bar from {iso(START_T + 40 * 3_600)} to {iso(START_T + 59 * 3_600)} (20 missing): not tradable"
    assert gap in [f.text for f in of(START_T + 50 * 3_600).facts]
    # Seen from inside, the hole has no end yet; the newest bar counts while the one after it has had no time to close.
    assert of(START_T + 50 * 3_600, START_T + 50 * 3_600).reason == "after its last bar"
    assert of(START_T + 40 * 3_600, START_T + 40 * 3_600).member
    assert of(START_T + 96 * 3_600, START_T + 96 * 3_600).member
    assert of(START_T + 96 * 3_600).reason == "after its last bar"
    assert of(START_T, START_T + 3_599).reason == "no series", "its first bar had not closed"


@pytest.mark.parametrize("seed", range(6))
def test_what_was_known_does_not_change_with_later_bars(tmp_path: Path, seed: int) -> None:
    """The same question as of T, asked of a lake that ends at T and of one that goes on, with holes and a renamed ticker."""
    rng = np.random.default_rng(seed)
    cut_n = int(rng.integers(40, 150))
    as_of_t = START_T + cut_n * 3_600 + int(rng.integers(0, 3_600))
    for name, rows_n in (("short", cut_n), ("long", 200)):
        for symbol, offset in (("XBTUSD", 0), ("ETHUSD", 30), ("MATICUSD", 0), ("POLUSD", 90), ("SOLUSD", 150)):
            holes = np.random.default_rng([seed, offset]).integers(1, 199, 60)
            bars = some_bars(200 - offset, start_t=START_T + offset * 3_600)
            late = [i for i in range(len(bars)) if i + offset >= rows_n]
            kept = without(bars, *sorted({*late, *(int(i) for i in holes if i < len(bars))}))
            if len(kept):
                write_series(tmp_path / name, f"kraken-spot/1h/{symbol}", kept)
        import_bars(tmp_path / f"{name}-home", FileProvider(tmp_path / name))
    homes = [tmp_path / "short-home", tmp_path / "long-home"]
    hours = [int(h) for h in rng.integers(-3, 205, 25)]
    for at_t in (as_of_t, *(START_T + h * 3_600 + 7 for h in hours)):
        told = [membership(load_universe(), Lake(h), "kraken-spot", "1h", at_t, as_of_t=as_of_t) for h in homes]
        assert told[0] == told[1], (seed, at_t, as_of_t)
    hindsight = [membership(load_universe(), Lake(h), "kraken-spot", "1h", as_of_t) for h in homes]
    assert hindsight[0] != hindsight[1], "the two lakes differ: only the as-of makes them alike"
    with open_view(homes[1], as_of=datetime.fromtimestamp(as_of_t, UTC)) as view:
        assert view.members(datetime.fromtimestamp(as_of_t, UTC)) == membership(
            load_universe(), Lake(homes[0]), "kraken-spot", "1h", as_of_t, as_of_t=as_of_t
        )
