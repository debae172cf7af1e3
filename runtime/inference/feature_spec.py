"""What a feature set is: forty named, window-exact numbers, the rules they share, and the digest that pins them.

Rules shared by every feature (part of the digest, so that a bundle made under other rules is refused):

- **Window.** A value at row i is a function of the bars i - window_n + 1 .. i only, bit for bit.
- **Gaps.** A missing bar is never filled and a return that would touch one is missing. A window shorter than 168 bars needs every one of
  its bars or returns; a window of 168 or 720 needs 90 % of them, and the missing ones are left out of sums, means and
  extremes (requiring all 720 would drop 17 % of the real rows, 90 % drops 2 %). A momentum compares two traded
  closes and needs both of them. An asset without a bar at row i has no features at all there.
- **Cross section.** Market figures and ranks are taken over the assets of the panel that have the figure at row i, at
  least `assets_min_n` of them; tied assets share their mean rank; the order of assets changes nothing.
- **Arithmetic.** IEEE double + - * / sqrt and comparisons in a fixed order: the same bits on every processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.canonical import digest
from runtime.errors import DataError

FEATURES_VERSION: Final = 1
"""Raise it whenever a value changes in any bit: old bundles then refuse to run on new code."""
REFERENCE: Final = "BTC"
INTERVAL_T: Final = 3_600
COVERAGE_PPM: Final = 900_000
FULL_BELOW_N: Final = 168
ASSETS_MIN_N: Final = 3


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its name, the number of bars it looks back on (its own bar included) and its definition."""

    name: str
    window_n: int
    definition: str


CATALOGUE: Final = (
    Feature("mom_12", 169, "momentum 12 / (volatility 168 * sqrt 12)"),
    Feature("mom_24", 169, "momentum 24 / (volatility 168 * sqrt 24)"),
    Feature("mom_720", 721, "momentum 720 / (volatility 720 * sqrt 720)"),
    Feature("vol_24", 25, "sqrt(mean of squared hourly returns, 24)"),
    Feature("vol_168", 169, "sqrt(mean of squared hourly returns, 168)"),
    Feature("vol_720", 721, "sqrt(mean of squared hourly returns, 720)"),
    Feature("vol_ratio_24_168", 169, "volatility 24 / volatility 168"),
    Feature("vol_ratio_168_720", 721, "volatility 168 / volatility 720"),
    Feature("efficiency_72", 73, "(close - close 72 bars ago) / 72 / mean of absolute hourly changes of close, 72"),
    Feature("autocorr_168", 170, "correlation of an hourly return with the one before it, 168 pairs"),
    Feature("max_ret_168", 169, "highest hourly return of 168 / volatility 168"),
    Feature("min_ret_168", 169, "lowest hourly return of 168 / volatility 168"),
    Feature("dist_low_168", 168, "close / lowest low of 168 - 1"),
    Feature("dist_high_168", 168, "close / highest high of 168 - 1"),
    Feature("dist_low_720", 720, "close / lowest low of 720 - 1"),
    Feature("dist_high_720", 720, "close / highest high of 720 - 1"),
    Feature("volume_ratio_24_168", 168, "mean turnover 24 / mean turnover 168; turnover = close * volume"),
    Feature("volume_ratio_168_720", 720, "mean turnover 168 / mean turnover 720"),
    Feature(
        "amihud_168", 169, "mean of |hourly return| / turnover over the bars of 168 with turnover, times 1e6 (Amihud 2002)"
    ),
    Feature("beta_720", 721, "covariance with the reference's hourly returns / their variance, 720 common returns"),
    Feature("corr_720", 721, "correlation with the reference's hourly returns, 720 common returns"),
    Feature("resid_mom_24", 721, "(momentum 24 - beta 720 * reference momentum 24) / (volatility 168 * sqrt 24)"),
    Feature("resid_mom_168", 721, "(momentum 168 - beta 720 * reference momentum 168) / (volatility 720 * sqrt 168)"),
    Feature("btc_mom_24", 169, "mom_24 of the reference"),
    Feature("btc_mom_720", 721, "mom_720 of the reference"),
    Feature("btc_vol_168", 169, "vol_168 of the reference"),
    Feature("btc_dist_high_720", 720, "dist_high_720 of the reference"),
    Feature("breadth_24", 25, "share of assets with momentum 24 above zero"),
    Feature("breadth_168", 169, "share of assets with momentum 168 above zero"),
    Feature("above_mean_720", 720, "share of assets whose close is above their mean close of 720"),
    Feature("dispersion_24", 25, "standard deviation of momentum 24 across assets"),
    Feature("market_mom_24", 25, "mean of momentum 24 across assets"),
    Feature("rank_mom_24", 25, "rank of momentum 24 across assets, 0 lowest .. 1 highest"),
    Feature("rank_mom_72", 73, "rank of momentum 72"),
    Feature("rank_mom_720", 721, "rank of momentum 720"),
    Feature("rank_vol_168", 169, "rank of volatility 168"),
    Feature("rank_resid_168", 721, "rank of resid_mom_168"),
    Feature("rank_amihud_168", 169, "rank of amihud_168"),
    Feature("rank_dist_high_168", 168, "rank of dist_high_168"),
    Feature("weekday", 1, "day of the week at the bar's close, UTC, Monday 0"),
)
"""Every feature this code can compute, in the order of the compiled columns."""

_POSITION: Final = {feature.name: i for i, feature in enumerate(CATALOGUE)}


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """An ordered choice of features together with the rules under which their bits are defined.

    The defaults are the rules of this code; a spec read from a bundle carries its own, and `columns` refuses it
    when they differ.
    """

    features: tuple[Feature, ...] = CATALOGUE
    version: int = FEATURES_VERSION
    reference: str = REFERENCE
    interval_t: int = INTERVAL_T
    coverage_ppm: int = COVERAGE_PPM
    full_below_n: int = FULL_BELOW_N
    assets_min_n: int = ASSETS_MIN_N

    @property
    def names(self) -> tuple[str, ...]:
        """Return the column names in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def window_n(self) -> int:
        """Return how many bars, the last one included, every value of this spec is a function of."""
        return max(feature.window_n for feature in self.features)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of names, windows, definitions and rules: `feature_set_hash`."""
        return digest(self.describe())

    def describe(self) -> dict[str, object]:
        """Return the JSON form that is hashed and stored in bundles."""
        return {
            "version": self.version,
            "reference": self.reference,
            "interval_t": self.interval_t,
            "coverage_ppm": self.coverage_ppm,
            "full_below_n": self.full_below_n,
            "assets_min_n": self.assets_min_n,
            "features": [{"name": f.name, "window_n": f.window_n, "definition": f.definition} for f in self.features],
        }

    def columns(self) -> list[int]:
        """Return the compiled column of each feature; raise `DataError` for a spec this code cannot compute bit for bit."""
        rules = FeatureSpec(self.features)
        if self != rules:
            raise DataError(
                f"a feature set with other rules (digest {self.digest[:12]}, version {self.version})",
                expected=f"the rules of this code (version {rules.version}, digest of the same features {rules.digest[:12]})",
                action="retrain the bundle with this version, or run it with the version that made it",
            )
        unknown = [f.name for f in self.features if f.name not in _POSITION or CATALOGUE[_POSITION[f.name]] != f]
        if unknown or not self.features or len(set(self.names)) != len(self.features):
            raise DataError(
                f"a feature set with unknown, altered or repeated features: {', '.join(unknown) or self.names}",
                expected=f"distinct features of the catalogue: {', '.join(_POSITION)}",
                action="choose names from the catalogue in runtime/inference/feature_spec.py",
            )
        return [_POSITION[name] for name in self.names]


def spec_of(names: tuple[str, ...]) -> FeatureSpec:
    """Return the spec of some catalogue features in the given order; raise `DataError` for an unknown name."""
    unknown = [name for name in names if name not in _POSITION]
    if unknown:
        raise DataError(
            f"unknown features: {', '.join(unknown)}",
            expected=f"names of the catalogue: {', '.join(_POSITION)}",
            action="correct the names",
        )
    return FeatureSpec(tuple(CATALOGUE[_POSITION[name]] for name in names))


DEFAULT_SPEC: Final = FeatureSpec()
