"""Reading a bundle: nothing in it is used before its signature, its checksums and its compatibility are established.

Every file is read once; the bytes whose digest was checked are the bytes that are used, whatever happens to the folder meanwhile.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import TypeAdapter, ValidationError

from runtime.canonical import sha256_hex
from runtime.errors import DataError, InvariantError, UsageError
from runtime.event import BundleNote
from runtime.genesis import Bundle
from runtime.inference.bundle import BundleDescription
from runtime.inference.clusters import DEFAULT_CLUSTERS, ClusterSpec
from runtime.inference.feature_spec import FeatureSpec
from runtime.inference.forecaster import Forecaster
from runtime.inference.panel import BarPanel
from runtime.inference.predict import Calibration
from runtime.inference.trend import TrendSpec
from runtime.jit import deciding_source_digest
from runtime.ops.bundles import manifest as m
from runtime.ops.bundles.keys import TrustedKey, is_signed
from runtime.ops.bundles.package import encode_rule, evidence_path
from runtime.ops.bundles.refusal import BundleRefused, Reason
from runtime.ops.bundles.tail import decode_tail
from runtime.ops.bundles.vectors import check_vectors
from runtime.policy import RiskProfile

FOLDERS: Final = frozenset({"models", "calibrations", "evidence"})
SIGNATURE_BYTES: Final = 129
SIGNATURE: Final = re.compile(rb"([0-9a-f]{128})\n")
REQUIRED: Final = (m.DESCRIPTION_NAME, m.RULE_NAME, m.TAIL_NAME, m.VECTORS_NAME, m.PROFILE_NAME)


@dataclass(frozen=True, slots=True)
class SealedBundle:
    """A bundle whose signature and checksums hold; nothing in it was interpreted yet.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
        signature: the file's bytes.
        files: verified bytes by path.
    """

    path: Path
    manifest: m.Manifest
    signature: bytes
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    """A verified bundle, ready to forecast.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
        forecaster: makes its forecasts.
        tail: the seed bars.
        profile: what its run was governed by.
        forecasts_n: forecasts of an asset, at the check vectors, that came out the same here.
    """

    path: Path
    manifest: m.Manifest
    forecaster: Forecaster
    tail: BarPanel
    profile: RiskProfile
    forecasts_n: int

    @property
    def description(self) -> BundleDescription:
        """Return what the bundle is made of."""
        return self.forecaster.description

    @property
    def note(self) -> BundleNote:
        """Return what a BUNDLE event says of it."""
        return BundleNote(
            name=self.manifest.name,
            bundle_hash=self.manifest.bundle_hash,
            feature_set_hash=self.manifest.feature_set_hash,
            model_hashes=self.manifest.model_hashes,
            manifest_digest=self.manifest.digest,
            signer=self.manifest.signer,
        )

    @property
    def genesis_bundle(self) -> Bundle:
        """Return what a genesis says of it."""
        return Bundle(
            name=self.manifest.name,
            bundle_hash=self.manifest.bundle_hash,
            feature_set_hash=self.manifest.feature_set_hash,
            model_hashes=self.manifest.model_hashes,
        )

    def require_fits(self, symbols: tuple[str, ...], interval_t: int) -> None:
        """Refuse a bundle for other assets or bars than an account trades.

        Raises:
            BundleRefused: they differ.
        """
        if (self.manifest.symbols, self.manifest.interval_t) != (tuple(symbols), interval_t):
            raise BundleRefused(
                Reason.INCOMPATIBLE,
                f"a bundle for {self.manifest.interval_t} s bars of {', '.join(self.manifest.symbols)}",
                expected=f"{interval_t} s bars of {', '.join(symbols)}, what the account trades, in this order",
                action="promote a run on these assets, or start another account",
            )

    def require_mode(self, mode: str) -> None:
        """Refuse a mode that the bundle's evidence and key do not admit.

        Raises:
            BundleRefused: the mode is not among those it admits.
        """
        if mode != "paper" or mode not in self.manifest.admits:  # what live will ask for comes with live
            raise BundleRefused(
                Reason.PAPER_ONLY,
                f"{mode} with a bundle that admits {', '.join(self.manifest.admits)}, signed by a key in a {self.manifest.signer_store}",
                expected="the evidence that the mode asks for, signed by a key in a keyring",
            )


def read_bundle(path: Path, trusted: Mapping[str, TrustedKey]) -> LoadedBundle:
    """Verify a bundle and load it.

    Args:
        path: its folder.
        trusted: keys whose signature is accepted (`keys.trusted_keys`).

    Raises:
        UsageError: there is no such folder.
        BundleRefused: anything about it is not as it should be; `reason` says what.
    """
    return load(open_sealed(path, trusted))


# ---- signature and checksums -----------------------------------------------------------------------------------


def open_sealed(path: Path, trusted: Mapping[str, TrustedKey]) -> SealedBundle:
    """Read every file of a bundle and verify signature and checksums.

    Raises:
        UsageError: there is no such folder.
        BundleRefused: a file is missing, too many, too large, altered or not a plain file; the signature is none of a trusted key.
    """
    found = _scan(path)
    manifest_bytes = _read(path, m.MANIFEST_NAME, m.MANIFEST_BYTES_MAX, found)
    if m.SIGNATURE_NAME not in found:
        raise BundleRefused(Reason.UNSIGNED, f"{path.name} has no signature", expected="a signed bundle")
    signature = _read(path, m.SIGNATURE_NAME, SIGNATURE_BYTES, found)
    _check_signature(m.signer_of(manifest_bytes), manifest_bytes, signature, trusted)
    manifest = m.parse_manifest(manifest_bytes)
    listed = {file.path: file for file in manifest.files}
    extra = sorted(set(found) - set(listed) - {m.MANIFEST_NAME, m.SIGNATURE_NAME})
    if extra:
        raise BundleRefused(Reason.UNEXPECTED, f"{extra[0]}, which the manifest does not name", expected="its files alone")
    files = {}
    for name, file in listed.items():
        content = _read(path, name, file.bytes_n, found)
        if len(content) < file.bytes_n:
            raise BundleRefused(Reason.TRUNCATED, f"{name} of {len(content)} bytes", expected=f"{file.bytes_n} bytes")
        if sha256_hex(content) != file.sha256:
            raise BundleRefused(Reason.ALTERED, f"{name} with digest {sha256_hex(content)[:12]}", expected=file.sha256[:12])
        files[name] = content
    return SealedBundle(path, manifest, signature, files)


def _scan(path: Path) -> dict[str, int]:
    """Return the size of every file of a bundle by its path; refuse what is not a plain file or in a place of its own."""
    if path.is_symlink() or not path.is_dir():
        raise UsageError(
            f"{path} is no folder", expected="the folder of a bundle", action="see `ballast bundle list`, or correct the path"
        )
    found: dict[str, int] = {}
    for folder in ("", *sorted(FOLDERS)):
        here = path / folder
        if folder and not os.path.lexists(here):
            continue
        with os.scandir(here) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if len(found) > m.FILES_MAX:
                    raise BundleRefused(Reason.TOO_LARGE, "too many files", expected=f"at most {m.FILES_MAX}")
                about = entry.stat(follow_symlinks=False)
                if not folder and entry.name in FOLDERS and stat.S_ISDIR(about.st_mode):
                    continue
                if not stat.S_ISREG(about.st_mode):
                    raise BundleRefused(Reason.UNEXPECTED, f"{name!a} is not a plain file", expected="plain files alone")
                found[name] = about.st_size
    return found


def _read(path: Path, name: str, bytes_max: int, found: Mapping[str, int]) -> bytes:
    """Return a file's bytes, at most as many as it may have."""
    if name not in found:
        raise BundleRefused(Reason.MISSING, f"{name} in {path.name}", expected="every file of the bundle")
    try:
        fd = os.open(path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as f:
            content = f.read(bytes_max + 1)
    except OSError as e:
        raise BundleRefused(Reason.MISSING, f"{name} cannot be read: {e.strerror}", expected="a readable file") from e
    if len(content) > bytes_max:
        huge = name == m.MANIFEST_NAME or found[name] > m.FILE_BYTES_MAX
        reason = Reason.TOO_LARGE if huge else Reason.ALTERED
        raise BundleRefused(reason, f"{name} of {found[name]} bytes", expected=f"at most {bytes_max}")
    return content


def _check_signature(signer: str, content: bytes, signature: bytes, trusted: Mapping[str, TrustedKey]) -> None:
    if signer not in trusted:
        known = ", ".join(key[:12] for key in trusted) or "none"
        raise BundleRefused(Reason.UNKNOWN_KEY, f"signed with {signer}", expected=f"a trusted key (this home trusts {known})")
    form = SIGNATURE.fullmatch(signature)  # exactly one form: no byte of a bundle can change unnoticed
    if form is None or not is_signed(signer, form[1].decode(), content):
        raise BundleRefused(
            Reason.ALTERED,
            f"{m.MANIFEST_NAME} is not what the key {signer[:12]} signed",
            expected="a manifest and its signature, both untouched",
        )


# ---- compatibility and contents --------------------------------------------------------------------------------


def load(sealed: SealedBundle) -> LoadedBundle:
    """Interpret a sealed bundle: compatible, consistent, and computing here what it computed there.

    Raises:
        BundleRefused: it is not.
    """
    manifest = sealed.manifest
    check_compatible(manifest)
    for name in REQUIRED:
        if name not in sealed.files:
            raise BundleRefused(Reason.MISSING, f"{name} in the manifest", expected=f"at least {', '.join(REQUIRED)}")
    try:
        description = BundleDescription.model_validate_json(sealed.files[m.DESCRIPTION_NAME])
        profile = RiskProfile.model_validate_json(sealed.files[m.PROFILE_NAME])
        rule = decode_rule(sealed.files[m.RULE_NAME], manifest.kind)
        calibrations = {
            Path(name).stem: Calibration.model_validate_json(content) for name, content in _in("calibrations", sealed).items()
        }
        models = {Path(name).stem: content.decode() for name, content in _in("models", sealed).items()}
    except (ValidationError, UnicodeDecodeError) as e:
        said = str(e).splitlines()[0]
        raise BundleRefused(Reason.MALFORMED, said, expected="contents as this version writes them") from e
    tail = decode_tail(sealed.files[m.TAIL_NAME])
    _check_consistent(sealed, description, profile, tail)
    try:
        clusters = ClusterSpec(**asdict(DEFAULT_CLUSTERS) | manifest.clusters.model_dump())
        forecaster = Forecaster(description, manifest.symbols, manifest.grid_h, rule, models, calibrations, clusters)
        forecasts_n = check_vectors(forecaster, tail, sealed.files[m.VECTORS_NAME])
    except (DataError, InvariantError) as e:
        raise BundleRefused(Reason.UNCOMPUTABLE, e.got, expected=e.expected) from e
    return LoadedBundle(sealed.path, manifest, forecaster, tail, profile, forecasts_n)


def decode_rule(content: bytes, kind: str) -> FeatureSpec | TrendSpec:
    """Return the feature spec or the trend rule of `rule.json`.

    Raises:
        BundleRefused: it says more or less than this code knows.
        ValidationError: it is not of this form.
    """
    rule: FeatureSpec | TrendSpec
    if kind == "ml":
        rule = TypeAdapter(FeatureSpec).validate_json(content, strict=True)
    else:
        rule = TypeAdapter(TrendSpec).validate_json(content, strict=True)
    if encode_rule(rule) != content:
        raise BundleRefused(
            Reason.UNCOMPUTABLE, "a feature or rule spec with settings that this version does not know", expected="its own form"
        )
    return rule


def _in(folder: str, sealed: SealedBundle) -> dict[str, bytes]:
    return {name: content for name, content in sealed.files.items() if name.startswith(f"{folder}/")}


def check_compatible(manifest: m.Manifest) -> None:
    """Refuse a bundle for another version of ballast, or proven with another source than the one that would decide here.

    Raises:
        BundleRefused: it is one.
    """
    here, app = deciding_source_digest(), version("ballast")
    try:
        within = SpecifierSet(manifest.compatibility.app).contains(app, prereleases=True)
    except InvalidSpecifier as e:
        raise BundleRefused(Reason.MALFORMED, f"the version range {manifest.compatibility.app!r}", expected="PEP 440") from e
    if not within:
        raise BundleRefused(
            Reason.INCOMPATIBLE, f"a bundle for ballast {manifest.compatibility.app}", expected=f"ballast {app}"
        )
    if manifest.compatibility.core_digest != here:
        raise BundleRefused(
            Reason.INCOMPATIBLE,
            f"a bundle proven with the deciding source {manifest.compatibility.core_digest[:12]}",
            expected=f"the source of this version, {here[:12]}: the evidence is about one source only",
        )


def _check_consistent(sealed: SealedBundle, description: BundleDescription, profile: RiskProfile, tail: BarPanel) -> None:
    """Refuse a manifest that says other things than the files it names: a careless signer is as bad as a forger."""
    manifest = sealed.manifest
    checks = {
        "name and kind": (manifest.name, manifest.kind) == (description.name, description.kind),
        "bundle hash": manifest.bundle_hash == description.digest == sha256_hex(sealed.files[m.DESCRIPTION_NAME]),
        "feature set": manifest.feature_set_hash == description.feature_set_hash == manifest.compatibility.feature_set_hash,
        "models": list(manifest.model_hashes)
        == description.model_hashes
        == sorted(Path(p).stem for p in _in("models", sealed)),
        "assets": manifest.symbols == tail.symbols and len(manifest.pairs) == len(manifest.symbols),
        "seed": (manifest.seed_until_t, manifest.interval_t) == (int(tail.open_t[-1]) + tail.interval_t, tail.interval_t),
        "policy": manifest.policy.policy_digest == profile.digest,
        "evidence": all(e.file in sealed.files and e.file == evidence_path(e.name) for e in manifest.evidence),
    }
    for name, holds in checks.items():
        if not holds:
            raise BundleRefused(Reason.MALFORMED, f"manifest and files disagree about {name}", expected="one bundle")
