"""Writing a bundle: every file as bytes, the manifest over them, the signature over the manifest; then one rename."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from packaging.version import Version

from runtime.canonical import canonical_json, sha256_hex
from runtime.errors import DataError, EnvironmentFailure
from runtime.files import partial_folder, publish_folder
from runtime.inference.bundle import BundleDescription
from runtime.inference.feature_spec import FeatureSpec
from runtime.inference.forecaster import Forecaster
from runtime.inference.panel import BarPanel
from runtime.inference.trend import TrendSpec
from runtime.jit import deciding_source_digest
from runtime.ops.bundles import manifest as m
from runtime.ops.bundles.keys import SigningKey
from runtime.ops.bundles.tail import encode_tail
from runtime.ops.bundles.vectors import encode_vectors, make_vectors
from runtime.policy import PairRules, RiskProfile

BUNDLES_FOLDER: Final = "bundles"


@dataclass(frozen=True, slots=True)
class Shown:
    """A check of the promotion: what was found, and the document that shows it.

    Attributes:
        name: short name; the document is `evidence/<name>.json`.
        asked: False for what is information only.
        found: in words.
        document: canonical JSON.
    """

    name: str
    asked: bool
    found: str
    document: bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        forecaster: the models or the rule, ready to forecast; it carries description, texts, calibrations and clusters.
        pairs: trading rules of each asset as the run assumed them.
        tail: the seed bars, at least `forecaster.window_n` of them.
        profile: what the run was governed by.
        lineage: where it comes from.
        shown: what the promotion checked.
    """

    forecaster: Forecaster
    pairs: tuple[PairRules, ...]
    tail: BarPanel
    profile: RiskProfile
    lineage: m.Lineage
    shown: tuple[Shown, ...]


def bundles_path(home: Path) -> Path:
    """Return the folder of promoted bundles."""
    return home / BUNDLES_FOLDER


def app_range(app: str) -> str:
    """Return the versions of ballast that a bundle made by this one may be run with: up to the next minor release."""
    found = Version(app)
    return f">={found},<{found.major}.{found.minor + 1}"


def write_bundle(folder: Path, contents: Contents, key: SigningKey) -> Path:
    """Write a bundle into a folder of its own below `folder` and return its path; the same contents and key give the same bytes.

    Raises:
        DataError: the seed is shorter than a window, or the bundle forecasts nothing on it.
        EnvironmentFailure: the folder cannot be written.
    """
    files = _files(contents)
    manifest = _manifest(contents, files, key)
    target = folder / manifest.folder_name
    try:
        with partial_folder(target) as partial:
            for path, content in files.items():
                (partial / path).parent.mkdir(exist_ok=True)
                (partial / path).write_bytes(content)
            (partial / m.MANIFEST_NAME).write_bytes(manifest.canonical())
            (partial / m.SIGNATURE_NAME).write_bytes(key.sign(manifest.canonical()).encode() + b"\n")
            publish_folder(partial, target)
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot write {target}: {e.strerror or e}",
            expected="a writable folder with free space",
            action="check permissions and disk, or choose another folder with --home",
        ) from e
    return target


def _files(contents: Contents) -> dict[str, bytes]:
    forecaster = contents.forecaster
    tail = contents.tail
    if len(tail.open_t) < forecaster.window_n:
        raise DataError(
            f"{len(tail.open_t)} seed bars",
            expected=f"at least {forecaster.window_n}, the bundle's window",
            action="promote with a later --tail-until, or from a longer dataset",
        )
    vectors = make_vectors(forecaster, tail)
    if not any(vector.valid_n for vector in vectors):
        raise DataError(
            "a bundle without any forecast on its seed bars",
            expected="models in force at the seed's end, and an asset with bars there",
            action="promote with another --tail-until",
        )
    named = forecaster.description
    found = {
        m.DESCRIPTION_NAME: canonical_json(named.model_dump(mode="json")),
        m.RULE_NAME: encode_rule(forecaster.rule),
        m.TAIL_NAME: encode_tail(tail),
        m.VECTORS_NAME: encode_vectors(vectors),
        m.PROFILE_NAME: contents.profile.canonical(),
        **{f"models/{name}.txt": forecaster.texts[name].encode() for name in named.model_hashes},
        **{
            f"calibrations/{name}.json": canonical_json(c.model_dump(mode="json"))
            for name, c in forecaster.calibrations.items()
        },
        **{evidence_path(shown.name): shown.document for shown in contents.shown},
    }
    return dict(sorted(found.items()))


def encode_rule(rule: FeatureSpec | TrendSpec) -> bytes:
    """Return the canonical JSON whose SHA-256 is the feature set hash."""
    if isinstance(rule, FeatureSpec):
        return canonical_json(rule.describe())
    return canonical_json({"kind": "trend", **asdict(rule), "horizons_h": list(rule.horizons_h)})


def evidence_path(name: str) -> str:
    """Return the path of an evidence document in a bundle."""
    return f"evidence/{name}.json"


def _manifest(contents: Contents, files: Mapping[str, bytes], key: SigningKey) -> m.Manifest:
    forecaster = contents.forecaster
    named: BundleDescription = forecaster.description
    tail = contents.tail
    return m.Manifest(
        name=named.name,
        kind=named.kind,
        bundle_hash=named.digest,
        feature_set_hash=named.feature_set_hash,
        model_hashes=tuple(named.model_hashes),
        models={"lightgbm_text": len(named.model_hashes)} if named.model_hashes else {},
        symbols=forecaster.symbols,
        pairs=contents.pairs,
        interval_t=forecaster.interval_t,
        grid_h=forecaster.grid_h,
        seed_until_t=int(tail.open_t[-1]) + tail.interval_t,
        clusters=m.ClusterRule(**asdict(forecaster.clusters)),
        lineage=contents.lineage,
        compatibility=m.Compatibility(
            app=app_range(version("ballast")), core_digest=deciding_source_digest(), feature_set_hash=named.feature_set_hash
        ),
        policy=m.PolicyRef(name=contents.profile.name, version=contents.profile.version, policy_digest=contents.profile.digest),
        evidence=tuple(
            m.Evidence(name=shown.name, asked=shown.asked, found=shown.found, file=evidence_path(shown.name))
            for shown in contents.shown
        ),
        assumptions=named.assumptions,
        signer=key.public_key,
        signer_store=key.store,
        files=tuple(
            m.BundleFile(path=path, bytes_n=len(content), sha256=sha256_hex(content)) for path, content in files.items()
        ),
    )
