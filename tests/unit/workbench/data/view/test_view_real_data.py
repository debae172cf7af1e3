"""The view over the real files: the same three ways, renames joined, longer bars that agree with the venue's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from workbench import data
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.view.lake_view import LakeView


@pytest.fixture(scope="module")
def view(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeView]:
    home = tmp_path_factory.mktemp("real")
    import_bars(home, FileProvider(real_data))
    with data.open(home) as opened:
        yield opened


def test_a_million_bars_are_the_same_three_ways(view: LakeView) -> None:
    frame = view.frame().collect()
    assert frame.height > 1_300_000
    assert frame.equals(view.relation().pl(), null_equal=True)
    assert frame.equals(view.table().to_polars(), null_equal=True)


def test_matic_counts_until_its_rename_and_pol_after(view: LakeView) -> None:
    own = view.frame().filter(venue="binance-spot", symbol="POL").group_by("venue_symbol", maintain_order=True)
    ends = own.agg(pl.col("ts_utc").first().alias("first"), pl.col("ts_utc").last().alias("last")).collect().rows()
    assert ends == [
        ("MATICUSDT", datetime(2019, 4, 26, 15, tzinfo=UTC), datetime(2024, 9, 10, 0, tzinfo=UTC)),
        ("POLUSDT", datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 6, 18, 5, tzinfo=UTC)),
    ]


def test_days_made_of_hours_are_the_days_the_venue_gives(view: LakeView) -> None:
    days = view.aggregate("1d").frame().filter(venue="binance-spot", symbol="ADA").filter("whole").collect()
    with data.open(view.home, venue="binance-spot", interval="1d", symbols=["ADA"]) as daily:
        both = days.join(daily.frame().collect(), on="ts_utc", suffix="_venue")
    assert both.height > 2_700
    for name in ("open", "high", "low", "close"):
        assert (both[name] == both[f"{name}_venue"]).mean() > 0.999, name
    apart = (both["volume"] / both["volume_venue"] - 1.0).abs()
    assert apart.median() < 1e-9  # type: ignore[operator]  # a column of floats has a median


def test_no_moment_of_a_long_hole_sees_what_came_after(view: LakeView) -> None:
    found = view.asof([datetime(2024, 6, 1, 12, 30, tzinfo=UTC)]).filter(symbol="ETH", venue="binance-spot").row(0, named=True)
    assert found["ts_utc"] == datetime(2023, 12, 30, 19, tzinfo=UTC)
    assert found["age"].days == 153
