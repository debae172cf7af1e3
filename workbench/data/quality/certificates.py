"""Gap certificates: records that say why one hole of one series is there, on evidence, by whom.

A certificate is a file `HOME/certificates/<digest>.json`: canonical JSON, named after its own SHA-256, written once, never
edited. It fills nothing: the gap stays in the findings and in the manifest, is accepted by the certificate and names its digest,
which makes it part of the dataset's hash. `workbench.data.checks.certify` computes evidence and writes certificates.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.canonical import canonical_json, digest
from runtime.errors import VerificationError
from workbench.data.quality.findings import Finding
from workbench.data.universe.versions import iso

FORMAT: Final = 1
EvidenceKind = Literal["source has none", "no trades", "both sources lack it", "venue outage"]
Relation = Literal["second source", "other interval", "other venue"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evidence(_Frozen):
    """One reason to believe that the bars do not exist.

    Attributes:
        kind: `source has none`: the source, asked again, has no bar there. `no trades`: the venue's trades have none there.
            `both sources lack it`: an independent download of the series covers the time and has none. `venue outage`: stated
            by a person, with a reference; nothing was computed.
        text: what was looked at, or the statement.
        sha256: of the file or answer that was looked at, or the content digest of the other series; empty for a statement.
    """

    kind: EvidenceKind
    text: str
    sha256: str = ""


class Witness(_Frozen):
    """What another series of the lake has inside the gap.

    Attributes:
        relation: to the series with the gap. `second source`: an independent download of it. `other interval`: the same symbol
            in bars of another length. `other venue`: the same asset and quote elsewhere, in bars of the same length.
        series: `venue/interval/SYMBOL`.
        sha256: content digest of that series.
        covers: it has bars before and after the gap.
        bars_n: its bars inside the gap; of another interval those with volume.
    """

    relation: Relation
    series: str
    sha256: str
    covers: bool
    bars_n: int

    @property
    def disproves(self) -> bool:
        """Return whether the bars that are missing did exist. Another venue's say nothing: this one may have been down."""
        return self.bars_n > 0 and self.relation != "other venue"


class Certificate(_Frozen):
    """Why one gap is there.

    Attributes:
        format: 1.
        series: `venue/interval/SYMBOL`.
        interval_t: seconds per bar.
        first_t, last_t: opening times of the first and last missing bar, seconds UTC.
        bars_n: bars missing.
        series_sha256: content digest of the series when the certificate was made.
        evidence: at least one.
        witnesses: every other series of the lake that could know better.
        despite: why the certificate stands although a witness has bars there; else empty.
        author, reason: who certifies, and why, in their words.
        written_t: when, seconds UTC.
    """

    format: Literal[1] = FORMAT
    series: str
    interval_t: int
    first_t: int
    last_t: int
    bars_n: int
    series_sha256: str
    evidence: tuple[Evidence, ...]
    witnesses: tuple[Witness, ...]
    despite: str
    author: str
    reason: str
    written_t: int

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON: the certificate's name."""
        return digest(self.model_dump(mode="json"))

    def content(self) -> bytes:
        """Return the bytes of its file."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def range(self) -> str:
        """Return the gap as a person writes it."""
        return iso(self.first_t) if self.first_t == self.last_t else f"{iso(self.first_t)}..{iso(self.last_t)}"


def certificates_dir(home: Path) -> Path:
    """Return the folder of certificates."""
    return home / "certificates"


def load_certificates(home: Path) -> tuple[Certificate, ...]:
    """Return every certificate of the home, verified, in the order of series, range and digest.

    Raises:
        VerificationError: one was altered, renamed or cannot be read.
    """
    folder = certificates_dir(home)
    paths = sorted(p for p in folder.glob("*.json") if not p.name.startswith(".")) if folder.is_dir() else []
    found = [_load(p) for p in paths]
    return tuple(sorted(found, key=lambda c: (c.series, c.first_t, c.last_t, c.digest)))


def _load(path: Path) -> Certificate:
    action = "restore it from a backup, or remove it: its gap is then accepted by name or not at all"
    try:
        content = path.read_bytes()
        certificate = Certificate.model_validate_json(content)
    except (ValidationError, OSError) as e:
        reason = str(e).splitlines()[0]
        raise VerificationError(f"certificate {path.name}: {reason}", expected="a gap certificate", action=action) from e
    if certificate.digest != path.stem or certificate.content() != content:
        raise VerificationError(
            f"certificate {path.name} was altered: its content has the digest {certificate.digest}",
            expected=f"{path.stem}, the digest it is named after",
            action=action,
        )
    return certificate


def certify_findings(findings: Iterable[Finding], certificates: Iterable[Certificate]) -> list[Finding]:
    """Return the findings, each gap that a certificate covers accepted by it and with its digest.

    A certificate covers exactly the gap it is about: same series, first and last missing bar. Of several for one gap the one with
    the smallest digest counts, so that the outcome does not depend on an order.
    """
    by_gap: dict[tuple[str, int, int], str] = {}
    for c in sorted(certificates, key=lambda c: c.digest, reverse=True):
        by_gap[c.series, c.first_t, c.last_t] = c.digest

    def covered(f: Finding) -> Finding:
        if f.gate != "gap":
            return f
        known = sorted(d for key in f.series.split("+") if (d := by_gap.get((key, f.first_t, f.last_t))) is not None)
        return f.model_copy(update={"accepted": True, "certificate": known[0]}) if known else f

    return [covered(f) for f in findings]
