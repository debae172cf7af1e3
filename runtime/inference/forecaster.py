"""A promoted model at work: from a tail of bars to the one forecast row that the core takes in.

It calls the very functions that a study calls, on the last `window_n` bars instead of years, and gives the same integers and
the same feature digest for the same bar, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.core.records import FORECAST, INSTRUMENTS
from runtime.errors import DataError
from runtime.inference.bundle import BundleDescription, BundlePart
from runtime.inference.clusters import DEFAULT_CLUSTERS, ClusterSpec, memberships
from runtime.inference.feature_spec import FeatureSpec
from runtime.inference.features import compute, feature_digests, usable
from runtime.inference.panel import BarPanel, Floats, Ints
from runtime.inference.predict import Calibration, forecast
from runtime.inference.trees import TreeModel, raw_scores, require_logit
from runtime.inference.trend import TrendSpec, trend_forecasts, widen

HOUR_T: Final = 3_600
DAY_T: Final = 86_400
HORIZON_NAMES: Final = ("near", "main", "far")
TREND_DAYS: Final = 37
"""Daily closes behind one trend forecast: thirty days of momentum seen from each of seven looks."""
OPEN_END_T: Final = 253_402_300_799
"""9999-12-31T23:59:59Z: the end of models that are in force until others take their place."""


class Forecaster:
    """Makes the forecasts of one bundle; construction refuses whatever the forecasts could not be made from.

    Args:
        description: what the bundle is made of.
        symbols: instrument i is symbols[i].
        grid_h: hours between two decisions.
        rule: the feature spec of models, or the constants of the trend rule.
        models: LightGBM text by its SHA-256; at least those that the description names.
        calibrations: by digest, likewise.
        clusters: constants of the memberships.

    Attributes:
        window_n: bars, the last one included, that forecasts and memberships are functions of.

    Raises:
        DataError: another spec, a model or calibration that is missing, altered or of an unknown kind, an asset without a place.
    """

    def __init__(
        self,
        description: BundleDescription,
        symbols: Sequence[str],
        grid_h: int,
        rule: FeatureSpec | TrendSpec,
        models: Mapping[str, str] | None = None,
        calibrations: Mapping[str, Calibration] | None = None,
        clusters: ClusterSpec = DEFAULT_CLUSTERS,
    ) -> None:
        self.description = description
        self.symbols = tuple(symbols)
        self.grid_h = grid_h
        self.rule = rule
        self.clusters = clusters
        self.texts = dict(models or {})
        _check_rule(description, self.symbols, grid_h, rule)
        self.models = {name: _model(name, self.texts, rule) for name in description.model_hashes}
        named = {horizon.calibration_hash for part in description.parts for horizon in part.horizons}
        self.calibrations = {name: _calibration(name, calibrations or {}) for name in sorted(named)}
        self.window_n = max(rule.window_n, clusters.window_n + 1)

    @property
    def interval_t(self) -> int:
        """Return the seconds of a bar."""
        return self.rule.interval_t

    def part_at(self, at_t: int) -> BundlePart | None:
        """Return the models in force at a decision time; None before the first and after the last."""
        return next((part for part in self.description.parts if part.from_t <= at_t < part.to_t), None)

    def forecast(self, panel: BarPanel) -> tuple[npt.NDArray[np.void], bytes] | None:
        """Return the forecast made at the close of the panel's last bar.

        Args:
            panel: the last bars of all assets in the bundle's order, `window_n` of them or more; fewer are taken as the
                beginning of history.

        Returns:
            FORECAST [INSTRUMENTS] and the feature digest of 32 bytes; None off the decision grid, and outside the time for
            which the bundle has models.

        Raises:
            DataError: other assets, another interval, or no bars.
        """
        self._check_panel(panel)
        at_t = int(panel.open_t[-1]) + panel.interval_t
        if at_t % (self.grid_h * HOUR_T):
            return None
        tail = last_bars(panel, self.window_n)
        row = np.array([len(tail.open_t) - 1], np.int64)
        if isinstance(self.rule, TrendSpec):
            found = widen(trend_forecasts(tail, row, self.rule))
            return found[0], feature_digests(daily_closes(tail, row))[0]
        part = self.part_at(at_t)
        if part is None:
            return None
        values = compute(tail, row, self.rule)
        return self._forecast_models(values[0], usable(values, self.rule)[0], part), feature_digests(values)[0]

    def features(self, panel: BarPanel) -> Floats:
        """Return the features float64 [S, F] at the panel's last bar; NaN where a window is incomplete.

        Raises:
            DataError: as `forecast`; and for the trend rule, which has no features.
        """
        self._check_panel(panel)
        if isinstance(self.rule, TrendSpec):
            raise DataError(
                "features of the trend rule", expected="a bundle of models", action="look at the closes that the rule compares"
            )
        tail = last_bars(panel, self.window_n)
        return np.asarray(compute(tail, np.array([len(tail.open_t) - 1], np.int64), self.rule)[0])

    def memberships(self, panel: BarPanel) -> npt.NDArray[np.void]:
        """Return the clusters at the panel's last bar, CLUSTER [INSTRUMENTS].

        Raises:
            DataError: as `forecast`.
        """
        self._check_panel(panel)
        tail = last_bars(panel, self.window_n)
        last = len(tail.open_t) - 1
        return np.asarray(memberships(tail, np.array([last, last], np.int64), self.clusters).rows[0])

    def _forecast_models(self, features: Floats, asked: npt.NDArray[np.bool_], part: BundlePart) -> npt.NDArray[np.void]:
        """Return FORECAST [INSTRUMENTS] of the assets that may be asked about, from features [S, F]."""
        out = np.zeros(INSTRUMENTS, FORECAST)
        at = np.flatnonzero(asked)
        if not len(at):
            return out
        rows = np.ascontiguousarray(features[at])
        for name, horizon in zip(HORIZON_NAMES, part.horizons, strict=True):
            own = raw_scores(self.models[horizon.global_hash], rows)
            coin = np.full(len(at), np.nan)
            for model in horizon.coins:
                (place,) = np.nonzero(at == self.symbols.index(model.symbol))
                if len(place):
                    coin[place] = raw_scores(self.models[model.model_hash], rows[place])
            made = forecast(own, coin, self.calibrations[horizon.calibration_hash])
            out[f"prob_{name}_ppm"][at] = made.prob_ppm
            out[f"ret_{name}_ppm"][at] = made.ret_ppm
            if name == "main":
                out["uncertainty_ppm"][at] = made.uncertainty_ppm
        out["valid_n"][at] = 1
        return out

    def _check_panel(self, panel: BarPanel) -> None:
        if panel.symbols != self.symbols or panel.interval_t != self.interval_t or not len(panel.open_t):
            raise DataError(
                f"{len(panel.open_t)} bars of {panel.interval_t} s of {', '.join(panel.symbols)}",
                expected=f"bars of {self.interval_t} s of {', '.join(self.symbols)}",
                action="give the assets of the bundle in its order",
            )


def bars_between(panel: BarPanel, first: int, end: int) -> BarPanel:
    """Return the bars `first .. end - 1` of a panel (views, no copies)."""
    at = slice(first, end)
    return BarPanel(
        panel.symbols, panel.interval_t, panel.open_t[at], panel.open[at], panel.high[at], panel.low[at], panel.close[at],
        panel.volume[at],
    )  # fmt: skip


def last_bars(panel: BarPanel, window_n: int) -> BarPanel:
    """Return the last bars of a panel (views, no copies), all of them when it has no more."""
    return bars_between(panel, max(len(panel.open_t) - window_n, 0), len(panel.open_t))


def daily_closes(panel: BarPanel, rows: Ints) -> Floats:
    """Return the closes at the last 37 midnights up to each row (float64 [N, S, 37]); NaN before the data begins."""
    day_n = DAY_T // panel.interval_t
    midnight = rows - ((panel.open_t[rows] + panel.interval_t) % DAY_T) // panel.interval_t
    looked = midnight[:, None] - day_n * np.arange(TREND_DAYS)
    closes = panel.close[np.maximum(looked, 0)]
    closes[looked < 0] = np.nan
    return np.asarray(closes.transpose(0, 2, 1))


def _check_rule(description: BundleDescription, symbols: tuple[str, ...], grid_h: int, rule: FeatureSpec | TrendSpec) -> None:
    """Refuse a spec that this code does not compute bit for bit, or that is not the one the bundle names."""
    if isinstance(rule, FeatureSpec):
        rule.columns()
    problem = ""
    if (description.kind == "trend") != isinstance(rule, TrendSpec):
        problem = f"a {type(rule).__name__} for a bundle of kind {description.kind}"
    elif isinstance(rule, TrendSpec) and rule != TrendSpec(horizons_h=rule.horizons_h):
        problem = "a trend rule with other constants than this code's"
    elif isinstance(rule, TrendSpec) and rule.horizons_h != description.horizons_h:
        problem = f"a rule for {rule.horizons_h} h in a bundle for {description.horizons_h} h"
    elif rule.digest != description.feature_set_hash:
        problem = f"a spec with digest {rule.digest[:12]} for a bundle of {description.feature_set_hash[:12]}"
    elif not 0 < len(symbols) <= INSTRUMENTS or len(set(symbols)) != len(symbols) or rule.reference not in symbols:
        problem = f"the assets {', '.join(symbols) or 'none'}"
    elif grid_h < 1 or (grid_h * HOUR_T) % rule.interval_t:
        problem = f"a decision grid of {grid_h} h on bars of {rule.interval_t} s"
    elif description.kind == "ml" and not description.parts:
        problem = "models without a time in which they are in force"
    else:
        problem = next(filter(None, (_part_problem(part, description, symbols) for part in description.parts)), "")
    if problem:
        raise DataError(
            problem,
            expected=f"the spec, horizons and parts of the bundle, at most {INSTRUMENTS} different assets with {rule.reference} among them",
            action="promote the run again with this version",
        )


def _part_problem(part: BundlePart, description: BundleDescription, symbols: tuple[str, ...]) -> str:
    horizons = tuple(horizon.horizon_h for horizon in part.horizons)
    strangers = sorted({coin.symbol for horizon in part.horizons for coin in horizon.coins} - set(symbols))
    if horizons != description.horizons_h:
        return f"models for {horizons} h in a bundle for {description.horizons_h} h"
    if strangers:
        return f"models of {', '.join(strangers)}, which the bundle does not trade"
    return ""


def _model(name: str, texts: Mapping[str, str], rule: FeatureSpec | TrendSpec) -> TreeModel:
    text = texts.get(name)
    model = None if text is None else TreeModel.parse(text)
    if model is None or model.digest != name or isinstance(rule, TrendSpec) or model.feature_names != rule.names:
        found = "missing" if model is None else f"there with digest {model.digest[:12]} and {len(model.feature_names)} features"
        raise DataError(
            f"model {name[:12]} is {found}", expected="the text that its name is the SHA-256 of, on the features of the spec",
            action="copy or promote the bundle again",
        )  # fmt: skip
    require_logit(model)
    return model


def _calibration(name: str, calibrations: Mapping[str, Calibration]) -> Calibration:
    found = calibrations.get(name)
    if found is None or found.digest != name:
        raise DataError(
            f"calibration {name[:12]} is {'missing' if found is None else f'there with digest {found.digest[:12]}'}",
            expected="the one that its name is the digest of",
            action="copy or promote the bundle again",
        )
    return found
