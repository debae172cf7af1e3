"""What a bundle says of itself: canonical JSON, signed as a whole, naming every other file by its SHA-256.

See docs/reference/bundle.md.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.canonical import canonical_json, sha256_hex
from runtime.ops.bundles.refusal import BundleRefused, Reason
from runtime.policy import HEX, PairRules, first_problem

FORMAT: Final = 1
EXPECTED: Final = f"a manifest of format {FORMAT} in canonical JSON"
MANIFEST_NAME: Final = "manifest.json"
SIGNATURE_NAME: Final = "signature"
DESCRIPTION_NAME: Final = "description.json"
RULE_NAME: Final = "rule.json"
TAIL_NAME: Final = "tail.bin"
VECTORS_NAME: Final = "vectors.json"
PROFILE_NAME: Final = "profile.json"
PATH: Final = r"^(?:(?:models|calibrations|evidence)/)?[a-z0-9_]{1,64}\.(?:json|txt|bin)$"
"""The only paths a bundle may have: no dots but the one before the ending, no absolute path, no way out of the folder."""
FILE_BYTES_MAX: Final = 64 * 2**20
MANIFEST_BYTES_MAX: Final = 2**20
FILES_MAX: Final = 2_000
TOTAL_BYTES_MAX: Final = 512 * 2**20
Hex = Annotated[str, Field(pattern=HEX)]
Text = Annotated[str, Field(max_length=400)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BundleFile(_Frozen):
    """One file of the bundle."""

    path: str = Field(pattern=PATH)
    bytes_n: int = Field(ge=0, le=FILE_BYTES_MAX)
    sha256: Hex


class Lineage(_Frozen):
    """Where the bundle comes from: everything here is named by its hash, and can be followed with `ballast replay`."""

    run_id: Text
    run_root: Hex
    genesis_hash: Hex
    run_bundle_hash: Hex = Field(description="the run's own description, all folds; this bundle is the last one in force")
    study_id: Text
    study_digest: Hex
    dataset_hash: Hex
    source: Text
    venue: Text
    simulated: bool = Field(description="whether the study's market data is simulated")
    universe_version: Text
    source_commit: Text = Field(description="commit of the notebook's receipt; `+changes` when the checkout had any")


class Compatibility(_Frozen):
    """With what the evidence was produced, and the bundle may be run."""

    app: str = Field(max_length=80, description="version range of ballast (PEP 440)")
    core_digest: Hex = Field(description="SHA-256 of the source that decides, as in a genesis")
    feature_set_hash: Hex


class PolicyRef(_Frozen):
    """The profile under which the run was made (`profile.json`)."""

    name: Text
    version: int
    policy_digest: Hex


class Evidence(_Frozen):
    """One check of the promotion and the document that shows it; `asked` is False for what is information only."""

    name: str = Field(pattern=r"^[a-z_]{1,40}$")
    asked: bool
    found: str = Field(max_length=4_000)
    file: str = Field(pattern=PATH)


class ClusterRule(_Frozen):
    """Constants of the memberships; see `runtime.inference.clusters.ClusterSpec`."""

    version: int
    window_n: int = Field(ge=2, le=100_000)
    step_n: int = Field(ge=1)
    coverage_ppm: int
    threshold_ppm: int


class Manifest(_Frozen):
    """Everything a bundle says of itself; its canonical bytes are what is signed, and `digest` is their SHA-256.

    Attributes:
        name: name of the bundle (`ml`, `trend`).
        bundle_hash: SHA-256 of `description.json`; what a genesis and a BUNDLE event name.
        models: number of models by family.
        symbols: instrument i is symbols[i].
        pairs: trading rules of each as the run assumed them.
        seed_until_t: closing time of the last bar of `tail.bin`, seconds UTC.
        admits: modes that the evidence admits the bundle to.
        signer: Ed25519 public key.
        signer_store: where its private half is kept; a key in a file admits to paper only.
    """

    format_n: Literal[1] = FORMAT
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")
    kind: Literal["ml", "trend"]
    bundle_hash: Hex
    feature_set_hash: Hex
    model_hashes: tuple[Hex, ...]
    models: dict[str, int]
    symbols: tuple[Text, ...]
    pairs: tuple[PairRules, ...]
    interval_t: int = Field(ge=60)
    grid_h: int = Field(ge=1)
    seed_until_t: int
    clusters: ClusterRule
    lineage: Lineage
    compatibility: Compatibility
    policy: PolicyRef
    evidence: tuple[Evidence, ...]
    assumptions: tuple[Annotated[str, Field(max_length=4_000)], ...]
    admits: tuple[Literal["paper"], ...] = ("paper",)
    signer: Hex
    signer_store: Literal["keyring", "file"]
    files: tuple[BundleFile, ...] = Field(max_length=FILES_MAX)

    def canonical(self) -> bytes:
        """Return the canonical JSON bytes that are signed."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical bytes."""
        return sha256_hex(self.canonical())

    @property
    def folder_name(self) -> str:
        """Return the name of the bundle's folder."""
        return f"{self.name}-{self.digest[:12]}"


def signer_of(content: bytes) -> str:
    """Return the key that a manifest names as its signer: all that is read of it before its signature holds.

    Raises:
        BundleRefused: the bytes are no JSON object that names a key.
    """
    raw = _json(content)
    signer = raw.get("signer") if isinstance(raw, dict) else None
    if not isinstance(signer, str) or not re.fullmatch(HEX, signer):
        raise BundleRefused(Reason.MALFORMED, f"{MANIFEST_NAME} names no signer", expected=EXPECTED)
    return signer


def _json(content: bytes) -> object:
    try:
        raw: object = json.loads(content)
    except (ValueError, RecursionError) as e:
        raise BundleRefused(Reason.MALFORMED, f"{MANIFEST_NAME} is not JSON", expected=EXPECTED) from e
    return raw


def parse_manifest(content: bytes) -> Manifest:
    """Return the manifest of a file's bytes.

    Raises:
        BundleRefused: not JSON, of another format, not a manifest, or not in canonical form.
    """
    raw = _json(content)
    found = raw.get("format_n") if isinstance(raw, dict) else None
    if isinstance(found, int) and found != FORMAT:
        raise BundleRefused(Reason.INCOMPATIBLE, f"a bundle of format {found}", expected=f"format {FORMAT}")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as e:
        raise BundleRefused(Reason.MALFORMED, f"{MANIFEST_NAME}: {first_problem(e)}", expected=EXPECTED) from e
    if manifest.canonical() != content:
        raise BundleRefused(Reason.MALFORMED, f"{MANIFEST_NAME} is not in canonical form", expected=EXPECTED)
    paths = [file.path for file in manifest.files]
    if paths != sorted(set(paths)):
        raise BundleRefused(Reason.MALFORMED, f"{MANIFEST_NAME} names files twice or out of order", expected=EXPECTED)
    if sum(file.bytes_n for file in manifest.files) > TOTAL_BYTES_MAX:
        raise BundleRefused(Reason.TOO_LARGE, "the files together", expected=f"at most {TOTAL_BYTES_MAX} bytes")
    return manifest
