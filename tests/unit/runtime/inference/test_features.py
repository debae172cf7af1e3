"""Features: right by a second implementation, window-exact, free of lookahead, splittable, indifferent to order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import DataError
from runtime.inference import cross_section
from runtime.inference.features import (
    CATALOGUE,
    DEFAULT_SPEC,
    Feature,
    FeatureSpec,
    clip,
    compute,
    feature_digests,
    spec_of,
    split,
    usable,
)
from runtime.inference.panel import BarPanel, Ints
from tests.support.naive_features import naive_row
from tests.support.panels import START_T, make_panel, permuted, real_panel, with_values

W = DEFAULT_SPEC.window_n


def column(name: str) -> int:
    return DEFAULT_SPEC.names.index(name)


@pytest.fixture(scope="module")
def panel() -> BarPanel:
    return make_panel(2_400, 6, seed=11)


@pytest.fixture(scope="module")
def rows() -> Ints:
    return np.array([0, 5, 25, 170, 660, 719, 720, 733, 1201, 1299, 1310, 1500, 1702, 2017, 2398, 2399], np.int64)


def test_catalogue_names_are_the_compiled_columns() -> None:
    for i, feature in enumerate(CATALOGUE):
        assert getattr(cross_section, f"F_{feature.name.upper()}") == i
    assert len(CATALOGUE) == cross_section.FEATURES_N == 40
    assert W == 721


def test_features_equal_a_second_implementation(panel: BarPanel, rows: Ints) -> None:
    found = compute(panel, rows)
    compared = np.zeros(40, np.int64)
    for n, i in enumerate(rows):
        for s, expected in enumerate(naive_row(panel, int(i))):
            if not expected:
                assert np.isnan(found[n, s]).all()
                continue
            for f, name in enumerate(DEFAULT_SPEC.names):
                want, got = expected[name], found[n, s, f]
                assert np.isnan(want) == np.isnan(got), (i, panel.symbols[s], name)
                if not np.isnan(want):
                    assert got == pytest.approx(want, rel=1e-9, abs=1e-10), (i, panel.symbols[s], name)
                    compared[f] += 1
    assert compared.min() >= 10


def test_last_window_gives_the_bits_of_full_history(panel: BarPanel) -> None:
    for i in (30, 720, 721, 1_000, 1_333, 1_950, 2_399):
        whole = compute(panel, np.array([i]))
        part, row = clip(panel, np.array([i]))
        assert len(part.open_t) == min(W, i + 1)
        assert compute(part, row).tobytes() == whole.tobytes()


def test_one_bar_less_than_the_window_is_noticed(panel: BarPanel) -> None:
    i = np.array([2_399])
    part, row = clip(panel, i, W - 1)
    assert compute(part, row).tobytes() != compute(panel, i).tobytes()


def test_each_feature_reads_no_more_than_its_stated_window(panel: BarPanel) -> None:
    i = np.array([2_300])
    for feature in CATALOGUE:
        spec = spec_of((feature.name,))
        part, row = clip(panel, i, feature.window_n)
        assert compute(part, row, spec).tobytes() == compute(panel, i, spec).tobytes(), feature.name


def test_stated_windows_are_no_longer_than_needed(panel: BarPanel) -> None:
    for feature in CATALOGUE:
        if feature.name in ("above_mean_720", "rank_resid_168", "weekday"):
            continue  # one bar less hardly ever changes an order; the weekday has a window of one bar
        spec = spec_of((feature.name,))
        rows = range(1_000, 2_400, 7)
        clipped = (compute(*clip(panel, np.array([i]), feature.window_n - 1), spec).tobytes() for i in rows)
        whole = compute(panel, np.array(rows), spec)
        assert any(part != row.tobytes() for part, row in zip(clipped, whole, strict=True)), feature.name


def test_the_future_changes_nothing(panel: BarPanel) -> None:
    for t in (800, 1_500, 2_100):
        past = np.array([t - 700, t - 1, t])
        assert compute(with_values(panel, after=t, factor=3.0), past).tobytes() == compute(panel, past).tobytes()


def test_the_present_bar_does_change_features(panel: BarPanel) -> None:
    row = np.array([1_500])
    assert compute(with_values(panel, after=1_499, factor=3.0), row).tobytes() != compute(panel, row).tobytes()


def test_parts_equal_the_whole(panel: BarPanel, rows: Ints) -> None:
    whole = compute(panel, rows)
    for parts_n in (1, 3, 5, 99):
        parts = split(rows, parts_n)
        assert np.array_equal(np.concatenate(parts), rows)
        assert b"".join(compute(*clip(panel, part)).tobytes() for part in parts) == whole.tobytes()
    assert compute(panel, rows[::-1]).tobytes() == whole[::-1].tobytes()


def test_chunks_change_nothing(panel: BarPanel, rows: Ints, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compute(panel, rows)
    monkeypatch.setattr("runtime.inference.features.CHUNK_ROWS", 3)
    assert compute(panel, rows).tobytes() == whole.tobytes()
    names = ("weekday", "mom_24")
    assert compute(panel, rows, spec_of(names)).tobytes() == whole[:, :, [column(n) for n in names]].tobytes()


def test_permuting_assets_permutes_results(panel: BarPanel, rows: Ints) -> None:
    order = [3, 5, 0, 4, 2, 1]
    assert compute(permuted(panel, order), rows).tobytes() == compute(panel, rows)[:, order].tobytes()


def test_ties_share_their_rank() -> None:
    panel = make_panel(200, 4, holes=False)
    for values in (panel.open, panel.high, panel.low, panel.close, panel.volume):
        values[:, 2] = values[:, 1]
    found = compute(panel, np.array([199]))[0, :, column("rank_mom_24")]
    assert found[1] == found[2]
    assert sorted(found * 3) in ([0, 1.5, 1.5, 3], [0.5, 0.5, 2, 3], [0, 1, 2.5, 2.5])


def test_a_missing_bar_is_missing_in_short_windows_only() -> None:
    panel = make_panel(1_000, 4, holes=False)
    for values in (panel.open, panel.high, panel.low, panel.close, panel.volume):
        values[990, 1] = np.nan
    found = compute(panel, np.array([999]))[0]
    short = {
        "mom_12", "mom_24", "vol_24", "efficiency_72", "volume_ratio_24_168", "vol_ratio_24_168", "resid_mom_24", "rank_mom_24",
        "rank_mom_72",
    }  # fmt: skip
    for feature in CATALOGUE:
        f = column(feature.name)
        assert np.isnan(found[1, f]) == (feature.name in short), feature.name
        assert not np.isnan(found[2, f]), feature.name


@pytest.mark.parametrize(("missing", "is_there"), [(15, True), (16, False)])
def test_ninety_percent_of_a_long_window_is_enough(missing: int, is_there: bool) -> None:
    panel = make_panel(400, 3, holes=False)
    panel.close[250 : 250 + missing, 1] = np.nan  # 168 returns: one more is missing than bars, 152 must be there
    found = compute(panel, np.array([399]), spec_of(("vol_168",)))
    assert np.isnan(found[0, 1, 0]) != is_there


def test_an_asset_without_a_bar_has_no_features() -> None:
    panel = make_panel(800, 4, holes=False)
    panel.volume[799, 2] = np.nan
    found = compute(panel, np.array([798, 799]))
    assert not np.isnan(found[0, 2]).any()
    assert np.isnan(found[1, 2]).all()
    assert usable(found).tolist() == [[True] * 4, [True, True, False, True]]


def test_usable_without_the_required_features_asks_for_any(panel: BarPanel) -> None:
    spec = spec_of(("weekday",))
    found = compute(panel, np.array([0, 2_000]), spec)
    assert usable(found, spec).tolist()[0] == [*[True] * 5, False]


def test_idle_hours_do_not_divide_by_zero() -> None:
    panel = make_panel(800, 4, holes=False)
    panel.volume[:, 1] = 0.0
    panel.close[:, 2] = panel.open[:, 2] = panel.high[:, 2] = panel.low[:, 2] = 7.0
    with np.errstate(all="raise"):
        found = compute(panel, np.array([799]))[0]
    assert np.isnan(found[1, [column("amihud_168"), column("volume_ratio_24_168")]]).all()
    assert np.isnan(found[2, [column("mom_24"), column("autocorr_168"), column("efficiency_72")]]).all()
    assert found[2, column("vol_168")] == 0.0


def test_digests_depend_on_every_number_and_on_no_kind_of_nan(panel: BarPanel, rows: Ints) -> None:
    found = compute(panel, rows)
    digests = feature_digests(found)
    assert len(digests) == len(rows)
    assert {len(d) for d in digests} == {32}
    other = found.copy()
    other.view(np.uint64)[np.isnan(found)] = 0xFFF8000000000001
    assert feature_digests(other) == digests
    other[3, 2, 1] = 0.5
    changed = [a != b for a, b in zip(feature_digests(other), digests, strict=True)]
    assert changed == [n == 3 for n in range(len(rows))]


def test_a_spec_with_other_rules_is_refused() -> None:
    panel = make_panel(50, 3)
    for spec in (
        replace(DEFAULT_SPEC, version=2),
        replace(DEFAULT_SPEC, coverage_ppm=950_000),
        FeatureSpec((Feature("mom_12", 12, "another"),)),
        FeatureSpec((CATALOGUE[0], CATALOGUE[0])),
        FeatureSpec(()),
    ):
        with pytest.raises(DataError):
            compute(panel, np.array([40]), spec)
    with pytest.raises(DataError, match="no_such"):
        spec_of(("mom_12", "no_such"))


def test_the_digest_covers_order_names_and_rules() -> None:
    digests = {
        DEFAULT_SPEC.digest,
        replace(DEFAULT_SPEC, coverage_ppm=950_000).digest,
        replace(DEFAULT_SPEC, features=CATALOGUE[::-1]).digest,
        replace(DEFAULT_SPEC, features=CATALOGUE[1:]).digest,
    }
    assert len(digests) == 4


def test_a_panel_that_cannot_serve_is_refused() -> None:
    panel = make_panel(50, 3)
    with pytest.raises(DataError, match="14400 s"):
        compute(replace(panel, interval_t=14_400), np.array([1]))
    with pytest.raises(DataError, match="without BTC"):
        compute(replace(panel, symbols=("X", "ETH", "SOL")), np.array([1]))
    for bad in (-1, 50):
        with pytest.raises(DataError, match="rows"):
            compute(panel, np.array([bad]))


def test_no_rows_give_no_features() -> None:
    assert compute(make_panel(50, 3), np.array([], np.int64)).shape == (0, 3, 40)


def test_weekday_is_that_of_the_close() -> None:
    panel = make_panel(200, 3, holes=False)
    assert panel.open_t[0] == START_T
    found = compute(panel, np.array([22, 23, 46, 47]), spec_of(("weekday",)))[:, 0, 0]
    assert found.tolist() == [4.0, 5.0, 5.0, 6.0]  # Friday until the bar that closes at midnight


def test_values_on_record() -> None:
    """A changed bit here needs a higher FEATURES_VERSION: bundles must not run on other features than theirs."""
    panel = make_panel(1_600, 5, seed=3)
    found = feature_digests(compute(panel, np.array([800, 1_599])))
    assert [d.hex()[:16] for d in found] == ["bf7d92975a1892d5", "97840d388d9d6571"]
    assert DEFAULT_SPEC.digest[:16] == "f67fda465ca57590"


REAL = ("BTC", "ETH", "SOL", "XRP", "ADA", "LINK", "LTC", "AVAX", "MATIC", "NEAR")


@pytest.fixture(scope="module")
def real(real_data: Path) -> BarPanel:
    return real_panel(real_data, REAL, 1_659_312_000, 1_693_526_400)  # August 2022 to August 2023: holes in March


def test_real_features_are_window_exact(real: BarPanel) -> None:
    for i in np.random.default_rng(5).integers(0, len(real.open_t), 12):
        part, row = clip(real, np.array([i]))
        assert compute(part, row).tobytes() == compute(real, np.array([i])).tobytes()


def test_real_features_do_not_see_the_future(real: BarPanel) -> None:
    for t in (2_000, 5_640, 8_000):
        past = np.array([t - 500, t - 20, t])
        assert compute(with_values(real, after=t, factor=0.5), past).tobytes() == compute(real, past).tobytes()


def test_real_features_are_mostly_there(real: BarPanel) -> None:
    found = compute(real, np.arange(800, len(real.open_t), 97))
    assert np.isnan(found).mean() < 0.02
    assert not np.isinf(found).any()
