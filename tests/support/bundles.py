"""Small signed bundles, made by the product's own writer: of the trend rule on any panel, and of models trained here."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runtime.canonical import canonical_json
from runtime.inference.bundle import BundleDescription
from runtime.inference.forecaster import Forecaster, last_bars
from runtime.inference.panel import BarPanel
from runtime.inference.trend import TrendSpec
from runtime.ops.bundles.keys import SigningKey, TrustedKey, trust
from runtime.ops.bundles.manifest import Lineage
from runtime.ops.bundles.package import Contents, Shown, bundles_path, write_bundle
from runtime.ops.bundles.vectors import VECTOR_BARS
from runtime.policy import PairRules, RiskProfile, load_profile
from tests.support.panels import make_panel

GRID_H = 4


def signing_key(label: str = "test") -> SigningKey:
    """Return a key that is the same for the same label."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = hashlib.sha256(label.encode()).digest()
    return SigningKey(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex(), "keyring", False, seed)


def trusted(home: Path, key: SigningKey) -> None:
    """Trust a key in a home folder."""
    trust(home, TrustedKey(public_key=key.public_key, store="keyring", label="test"))


def trend_forecaster(symbols: tuple[str, ...], grid_h: int = GRID_H) -> Forecaster:
    """Return the forecaster of the trend rule."""
    rule = TrendSpec()
    description = BundleDescription(
        kind="trend", name="trend", feature_set_hash=rule.digest, horizons_h=rule.horizons_h, assumptions=("A test's rule.",)
    )
    return Forecaster(description, symbols, grid_h, rule)


def contents_of(
    forecaster: Forecaster,
    panel: BarPanel,
    *,
    profile: RiskProfile | None = None,
    pairs: tuple[PairRules, ...] | None = None,
    simulated: bool = True,
) -> Contents:
    """Return what goes into a bundle: the panel's last bars are its seed."""
    lineage = Lineage(
        run_id=f"{forecaster.description.name}-{'0' * 12}", run_root="1" * 64, genesis_hash="2" * 64, run_bundle_hash="3" * 64,
        study_id="4" * 12, study_digest="5" * 64, dataset_hash="6" * 64, source="simulated", venue="simulated",
        simulated=simulated, universe_version="v1", source_commit="",
    )  # fmt: skip
    return Contents(
        forecaster=forecaster,
        pairs=pairs or tuple(PairRules() for _ in panel.symbols),
        tail=last_bars(panel, forecaster.window_n + VECTOR_BARS),
        profile=profile or load_profile("conservative"),
        lineage=lineage,
        shown=(Shown("replay", True, "TRUE, as a test says", canonical_json({"parity": True})),),
    )


def make_bundle(
    home: Path,
    panel: BarPanel | None = None,
    *,
    forecaster: Forecaster | None = None,
    profile: RiskProfile | None = None,
    pairs: tuple[PairRules, ...] | None = None,
    grid_h: int = GRID_H,
    key: SigningKey | None = None,
) -> Path:
    """Write a bundle below `home/bundles`, signed by a key that the home trusts, and return its folder.

    Args:
        home: the home folder.
        panel: bars that end where the bundle's seed ends; 1,200 hours of four assets by default.
        forecaster: what forecasts; the trend rule by default.
        profile, pairs: what the bundle says it was proven with.
        grid_h: hours between decisions of the rule.
        key: what signs.
    """
    panel = panel or make_panel(1_200, 4)
    key = key or signing_key()
    trusted(home, key)
    made = forecaster or trend_forecaster(panel.symbols, grid_h)
    return write_bundle(bundles_path(home), contents_of(made, panel, profile=profile, pairs=pairs), key)
