"""A forecaster on a tail gives what a study gave on full history, bit for bit, and refuses what it cannot compute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest

from runtime.errors import DataError
from runtime.inference.bundle import BundleDescription, Forecasts
from runtime.inference.clusters import memberships
from runtime.inference.contributions import contributions
from runtime.inference.feature_spec import DEFAULT_SPEC, FeatureSpec, spec_of
from runtime.inference.forecaster import Forecaster, last_bars
from runtime.inference.panel import BarPanel
from runtime.inference.trees import raw_scores
from runtime.inference.trend import TrendSpec
from tests.support.panels import first_bars, make_panel
from tests.support.training import HORIZONS_H, Small, small
from workbench.data.datasets.manifests import DatasetManifest
from workbench.study import StudySpec, stages
from workbench.training.walk_forward import Trained

GRID_H = 4


@dataclass(frozen=True)
class Studied:
    """A small study of a market with holes: its bars, and what it stored for both bundles."""

    panel: BarPanel
    trained: Trained
    ml: Forecasts
    trend: Forecasts
    description: BundleDescription

    def forecaster(self, **changes: object) -> Forecaster:
        """Return the forecaster of the models."""
        arguments = {
            "description": self.description, "symbols": self.panel.symbols, "grid_h": GRID_H, "rule": DEFAULT_SPEC,
            "models": {m.model_hash: m.text for m in self.trained.models},
            "calibrations": {c.digest: c for row in self.trained.calibrations for c in row},
        }  # fmt: skip
        return Forecaster(**{**arguments, **changes})  # type: ignore[arg-type]  # tests plant other types


def trend_forecaster(symbols: tuple[str, ...], rule: TrendSpec | None = None) -> Forecaster:
    rule = rule or TrendSpec()
    description = BundleDescription(kind="trend", name="trend", feature_set_hash=rule.digest, horizons_h=rule.horizons_h)
    return Forecaster(description, symbols, GRID_H, rule)


@pytest.fixture(scope="module")
def studied() -> Studied:
    made: Small = small()
    trained = made.train()
    spec = StudySpec(dataset="0" * 64, horizons_h=HORIZONS_H, grid_h=GRID_H, folds_n=2)
    data = stages.StudyData(cast("DatasetManifest", None), made.panel)
    rows = np.flatnonzero((made.panel.open_t + 3_600) % (GRID_H * 3_600) == 0)
    known = stages.usable(made.features)
    features = stages.StudyFeatures(DEFAULT_SPEC, rows, made.labels.at_t, made.features, known)
    ml = stages.forecast_ml(data, features, trained, spec)
    trend = stages.forecast_trend(data, features, made.folds, spec)
    return Studied(made.panel, trained, ml, trend, stages.describe_ml(data, features, trained, spec))


def row_of(panel: BarPanel, at_t: int) -> int:
    return int((at_t - panel.interval_t - panel.open_t[0]) // panel.interval_t)


@pytest.mark.parametrize("kind", ["ml", "trend"])
def test_a_tail_gives_the_rows_and_digests_that_the_study_stored(studied: Studied, kind: str) -> None:
    stored: Forecasts = getattr(studied, kind)
    forecaster = studied.forecaster() if kind == "ml" else trend_forecaster(studied.panel.symbols)
    assert forecaster.window_n == {"ml": 721, "trend": 888}[kind]
    unusable = absent = 0
    for n in range(0, len(stored.at_t), 3):
        row = row_of(studied.panel, int(stored.at_t[n]))
        tail = last_bars(first_bars(studied.panel, row + 1), forecaster.window_n)
        made = forecaster.forecast(tail)
        assert made is not None
        assert made[0].tobytes() == stored.rows[n].tobytes()
        assert made[1] == stored.feature_digests[n]
        unusable += int((made[0]["valid_n"][:4] == 0).sum())
        absent += int(np.isnan(tail.close[-1]).sum())
    assert len(stored.at_t) > 300
    assert unusable >= absent > 0, "bars that are missing belong to the test"
    assert any(horizon.coins for part in studied.description.parts for horizon in part.horizons)


@pytest.mark.parametrize("kind", ["ml", "trend"])
def test_a_day_less_would_be_too_little(studied: Studied, kind: str) -> None:
    """What shows that the comparison above can fail."""
    forecaster = studied.forecaster() if kind == "ml" else trend_forecaster(studied.panel.symbols)
    stored: Forecasts = getattr(studied, kind)
    differs = 0
    for n in range(0, len(stored.at_t), 10):
        row = row_of(studied.panel, int(stored.at_t[n]))
        made = forecaster.forecast(last_bars(first_bars(studied.panel, row + 1), forecaster.window_n - 24))
        assert made is not None
        differs += made[1] != stored.feature_digests[n]
    assert differs > 0


def test_history_that_begins_later_counts_as_bars_that_are_missing(studied: Studied) -> None:
    forecaster = studied.forecaster()
    row = row_of(studied.panel, int(studied.ml.at_t[50]))
    short = last_bars(first_bars(studied.panel, row + 1), 300)
    padded = last_bars(first_bars(studied.panel, row + 1), forecaster.window_n)
    fields = [values.copy() for values in (padded.open, padded.high, padded.low, padded.close, padded.volume)]
    for values in fields:
        values[:-300] = np.nan
    full = BarPanel(padded.symbols, padded.interval_t, padded.open_t, *fields)
    one, other = forecaster.forecast(short), forecaster.forecast(full)
    assert one is not None
    assert other is not None
    assert one[0].tobytes() == other[0].tobytes()
    assert one[1] == other[1]
    assert forecaster.memberships(short).tobytes() == forecaster.memberships(full).tobytes()


def test_there_is_no_forecast_off_the_grid_or_outside_the_models_time(studied: Studied) -> None:
    forecaster = studied.forecaster()
    first = row_of(studied.panel, studied.description.parts[0].from_t)
    assert forecaster.forecast(first_bars(studied.panel, first + 1)) is not None
    for rows_n in (first + 2, first + 3, first + 4, first + 1 - GRID_H):
        assert forecaster.forecast(first_bars(studied.panel, rows_n)) is None
    parts = tuple(
        part.model_copy(update={"to_t": studied.description.parts[0].from_t + 1}) for part in studied.description.parts[:1]
    )
    ended = studied.forecaster(description=studied.description.model_copy(update={"parts": parts}))
    assert ended.forecast(first_bars(studied.panel, first + 1)) is not None
    assert ended.forecast(first_bars(studied.panel, first + 1 + GRID_H)) is None


def test_memberships_are_those_of_full_history(studied: Studied) -> None:
    forecaster = trend_forecaster(studied.panel.symbols)
    for row in range(800, 6_000, 400):
        at = np.array([row, row], np.int64)
        found = forecaster.memberships(last_bars(first_bars(studied.panel, row + 1), forecaster.window_n))
        assert found.tobytes() == memberships(studied.panel, at).rows[0].tobytes()


def test_contributions_of_a_forecast_add_up_to_the_score_it_was_made_from(studied: Studied) -> None:
    forecaster = studied.forecaster()
    panel = first_bars(studied.panel, row_of(studied.panel, int(studied.ml.at_t[200])) + 1)
    features, seen = forecaster.features(panel), 0
    part = forecaster.part_at(int(studied.ml.at_t[200]))
    assert part is not None
    for s, symbol in enumerate(panel.symbols):
        if not studied.ml.rows[200][s]["valid_n"]:
            continue
        found = contributions(forecaster, panel, symbol)
        assert [f.horizon_h for f in found] == list(studied.description.horizons_h)
        for f, horizon in zip(found, part.horizons, strict=True):
            hashes = [horizon.global_hash, *(c.model_hash for c in horizon.coins if c.symbol == symbol)]
            score = np.mean([raw_scores(forecaster.models[h], features[s : s + 1])[0] for h in hashes])
            assert f.score == pytest.approx(score, abs=1e-12)
            assert f.base + sum(f.values) == pytest.approx(score, abs=1e-9)
            assert f.features == DEFAULT_SPEC.names
            seen += 1
    assert seen >= 6


REFUSED: dict[str, Callable[[Studied], dict[str, object]]] = {
    "is missing": lambda s: {"models": {m.model_hash: m.text for m in s.trained.models[1:]}},
    "is there with digest": lambda s: {"models": {m.model_hash: s.trained.models[0].text for m in s.trained.models}},
    "calibration .* is missing": lambda s: {"calibrations": {}},
    "calibration .* is there with digest": lambda s: {
        "calibrations": {
            c.digest: c.model_copy(update={"base_ppm": c.base_ppm + 1}) for row in s.trained.calibrations for c in row
        }
    },
    "other rules": lambda s: {"rule": replace(DEFAULT_SPEC, version=2)},
    "a spec with digest": lambda s: {"rule": spec_of(DEFAULT_SPEC.names[:-1])},
    "a TrendSpec for a bundle": lambda s: {"rule": TrendSpec()},
    "the assets": lambda s: {"symbols": ("ETH", "SOL", "XRP")},
    "which the bundle does not trade": lambda s: {"symbols": ("BTC",)},
    "decision grid": lambda s: {"grid_h": 0},
    "without a time": lambda s: {"description": s.description.model_copy(update={"parts": ()})},
    "in a bundle for": lambda s: {"description": s.description.model_copy(update={"horizons_h": (1, 4, 24)})},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_be_computed_is_refused_before_the_first_forecast(studied: Studied, said: str) -> None:
    with pytest.raises(DataError, match=said):
        studied.forecaster(**REFUSED[said](studied))


def test_a_rule_with_other_constants_is_refused() -> None:
    with pytest.raises(DataError, match="other constants"):
        trend_forecaster(("BTC", "ETH"), TrendSpec(carry_ppm=200_000))


def test_a_rule_for_other_horizons_than_the_bundle_says_is_refused() -> None:
    rule = TrendSpec()
    description = BundleDescription(kind="trend", name="trend", feature_set_hash=rule.digest, horizons_h=(1, 4, 24))
    with pytest.raises(DataError, match="a rule for"):
        Forecaster(description, ("BTC",), GRID_H, rule)


def test_without_any_bar_there_is_a_digest_and_no_forecast_of_any_asset(studied: Studied) -> None:
    row = row_of(studied.panel, int(studied.ml.at_t[5]))
    panel = first_bars(studied.panel, row + 1)
    fields = [values.copy() for values in (panel.open, panel.high, panel.low, panel.close, panel.volume)]
    for values in fields:
        values[-1] = np.nan
    made = studied.forecaster().forecast(BarPanel(panel.symbols, panel.interval_t, panel.open_t, *fields))
    assert made is not None
    assert not made[0]["valid_n"].any()
    assert len(made[1]) == 32


def test_a_panel_of_other_assets_is_refused(studied: Studied) -> None:
    forecaster = studied.forecaster()
    for panel in (make_panel(900, 3), replace(make_panel(900, 4), interval_t=900), first_bars(studied.panel, 0)):
        with pytest.raises(DataError, match="bars of"):
            forecaster.forecast(panel)
    with pytest.raises(DataError, match="trend rule"):
        trend_forecaster(studied.panel.symbols).features(studied.panel)


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="plain Python is not what is timed")
def test_a_forecast_of_thirty_assets_takes_well_under_a_tenth_of_a_second() -> None:
    """The rule and the features on 30 assets; the models of 30 assets are a few milliseconds more (see the bundle reference)."""
    from runtime.inference.features import compute

    panel = make_panel(900, 10)
    fields = [np.tile(values, 3) for values in (panel.open, panel.high, panel.low, panel.close, panel.volume)]
    wide = BarPanel(("BTC", *(f"A{n}" for n in range(29))), 3_600, panel.open_t, *fields)
    forecaster = trend_forecaster(wide.symbols)
    row = np.array([899], np.int64)
    forecaster.forecast(wide), forecaster.memberships(wide), compute(wide, row, FeatureSpec())
    began_s = time.perf_counter()
    for _ in range(5):
        forecaster.forecast(first_bars(wide, 896))
        forecaster.memberships(wide)
        compute(wide, row, FeatureSpec())
    assert (time.perf_counter() - began_s) / 5 < 0.5, "well under 0.1 s alone; other suites may share the processor"
