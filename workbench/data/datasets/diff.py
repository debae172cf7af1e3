"""What differs between two datasets: what their manifests say, and bar by bar where their files differ.

A dataset is what its hash covers, so two datasets are equal when their hashes are. Bars are loaded by digest from the lake,
which keeps the files of superseded versions, and only for assets whose files differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from runtime.inference.panel import Ints
from runtime.progress import Report, silent
from workbench.data.bars import Bars, interval_seconds, joined
from workbench.data.datasets.manifests import DatasetFile, DatasetManifest, Gap, used_bars
from workbench.data.quality.findings import Finding
from workbench.data.store.lake import Lake

T = TypeVar("T")

BP: Final = 10_000.0
VALUES_N: Final = 20
"""Changed values named per asset unless the caller asks for another number."""
SCALARS: Final = (
    "source", "simulated", "venue", "interval", "universe_version", "universe_digest", "as_of_t", "first_t", "last_t", "bars_n",
    "verdict",
)  # fmt: skip
COMPARED: Final = frozenset({*SCALARS, "dataset_hash", "symbols", "files", "gaps", "findings", "assumptions"})
"""Fields that `compare` treats one by one; any other field of the manifest is compared as a whole."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldDifference(_Frozen):
    """One field of the manifests, as text."""

    field: str
    a: str
    b: str


class ValueDifference(_Frozen):
    """One value of one bar that both have.

    Attributes:
        open_t: opening time, seconds UTC.
        column: open, high, low, close, volume or trades.
        old, new: in A and in B.
        difference_bp: `(new / old - 1) * 10,000`; None when old is zero.
    """

    open_t: int
    column: str
    old: float
    new: float
    difference_bp: float | None


class Run(_Frozen):
    """Bars that follow each other without a hole."""

    first_t: int
    last_t: int
    bars_n: int


class AssetDifference(_Frozen):
    """The bars of one asset in A and in B.

    Attributes:
        symbol: the asset.
        rows_a, rows_b: its bars.
        added_n, removed_n: bars only in B, only in A.
        changed_n: bars on both with another value in a column that both have.
        values_n: such values.
        added, removed: the bars only one has, as runs.
        values: the changed values, largest difference first; at most as many as asked for.
        columns_added, columns_removed: value columns only B, only A has.
    """

    symbol: str
    rows_a: int
    rows_b: int
    added_n: int
    removed_n: int
    changed_n: int
    values_n: int
    added: tuple[Run, ...]
    removed: tuple[Run, ...]
    values: tuple[ValueDifference, ...]
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()


class Acceptance(_Frozen):
    """A finding both datasets have that they do not accept alike: by name, by a gap certificate (its digest), or not at all."""

    name: str
    series: str
    accepted_a: bool
    accepted_b: bool
    certificate_a: str
    certificate_b: str


class DatasetDifference(_Frozen):
    """Everything that differs; every part is empty when the two are equal."""

    a: str
    b: str
    equal: bool
    fields: tuple[FieldDifference, ...]
    symbols_only_a: tuple[str, ...]
    symbols_only_b: tuple[str, ...]
    assets: tuple[AssetDifference, ...]
    gaps_only_a: tuple[Gap, ...]
    gaps_only_b: tuple[Gap, ...]
    findings_only_a: tuple[Finding, ...]
    findings_only_b: tuple[Finding, ...]
    acceptances: tuple[Acceptance, ...]
    assumptions_only_a: tuple[str, ...]
    assumptions_only_b: tuple[str, ...]


def compare(
    home: Path, a: DatasetManifest, b: DatasetManifest, *, values_n: int = VALUES_N, report: Report = silent
) -> DatasetDifference:
    """Compare two datasets.

    Args:
        home: the home folder whose lake holds their files.
        a, b: the manifests, verified (`load_manifest`).
        values_n: changed values to name per asset; 0 names all.
        report: told per asset whose files differ.

    Raises:
        VerificationError: a file of the lake is missing or was altered.
    """
    files_a, files_b = _by_symbol(a.files), _by_symbol(b.files)
    differing = [s for s in a.symbols if s in files_b and files_a[s] != files_b[s]] if a.interval == b.interval else []
    lake, found = Lake(home), []
    for i, symbol in enumerate(differing):
        report("compare bars", i, len(differing))
        one, other = (joined([used_bars(lake, f) for f in files[symbol]]) for files in (files_a, files_b))
        found.append(compare_bars(symbol, one, other, interval_seconds(a.interval), values_n))
    report("compare bars", len(differing), len(differing))
    findings_a, findings_b = _unaccepted(a.findings), _unaccepted(b.findings)
    return DatasetDifference(
        a=a.dataset_hash,
        b=b.dataset_hash,
        equal=a.dataset_hash == b.dataset_hash,
        fields=_fields(a, b),
        symbols_only_a=tuple(s for s in a.symbols if s not in b.symbols),
        symbols_only_b=tuple(s for s in b.symbols if s not in a.symbols),
        assets=tuple(found),
        gaps_only_a=_missing(a.gaps, b.gaps),
        gaps_only_b=_missing(b.gaps, a.gaps),
        findings_only_a=tuple(f for key, f in findings_a.items() if key not in findings_b),
        findings_only_b=tuple(f for key, f in findings_b.items() if key not in findings_a),
        acceptances=tuple(_acceptances(findings_a, findings_b)),
        assumptions_only_a=_missing(a.assumptions, b.assumptions),
        assumptions_only_b=_missing(b.assumptions, a.assumptions),
    )


def compare_bars(symbol: str, a: Bars, b: Bars, interval_t: int, values_n: int = VALUES_N) -> AssetDifference:
    """Compare two series bar by bar.

    Args:
        symbol: the asset.
        a, b: opening times strictly ascending.
        interval_t: seconds per bar.
        values_n: changed values to name; 0 names all.
    """
    common, at_a, at_b = np.intersect1d(a.t, b.t, assume_unique=True, return_indices=True)
    theirs, mine = dict(b.columns()), dict(a.columns())
    touched = np.zeros(len(common), dtype=np.bool_)
    values: list[ValueDifference] = []
    for name in (n for n in mine if n in theirs):
        old, new = mine[name][at_a], theirs[name][at_b]
        different = old != new
        touched |= different
        values += [_value(int(common[i]), name, float(old[i]), float(new[i])) for i in np.flatnonzero(different)]
    values.sort(key=lambda v: (v.difference_bp is not None, -abs(v.difference_bp or 0.0), v.open_t, v.column))
    added, removed = b.t[~np.isin(b.t, a.t)], a.t[~np.isin(a.t, b.t)]
    return AssetDifference(
        symbol=symbol,
        rows_a=len(a),
        rows_b=len(b),
        added_n=len(added),
        removed_n=len(removed),
        changed_n=int(touched.sum()),
        values_n=len(values),
        added=_runs(added, interval_t),
        removed=_runs(removed, interval_t),
        values=tuple(values[:values_n] if values_n else values),
        columns_added=tuple(n for n in theirs if n not in mine),
        columns_removed=tuple(n for n in mine if n not in theirs),
    )


def _value(open_t: int, column: str, old: float, new: float) -> ValueDifference:
    bp = (new / old - 1.0) * BP if old != 0.0 else None
    return ValueDifference(open_t=open_t, column=column, old=old, new=new, difference_bp=bp)


def _runs(t: Ints, interval_t: int) -> tuple[Run, ...]:
    if len(t) == 0:
        return ()
    breaks = np.flatnonzero(np.diff(t) > interval_t) + 1
    pieces = np.split(t, breaks)
    return tuple(Run(first_t=int(p[0]), last_t=int(p[-1]), bars_n=len(p)) for p in pieces)


def _by_symbol(files: Sequence[DatasetFile]) -> dict[str, list[DatasetFile]]:
    found: dict[str, list[DatasetFile]] = {}
    for file in files:
        found.setdefault(file.symbol, []).append(file)
    return found


def _fields(a: DatasetManifest, b: DatasetManifest) -> tuple[FieldDifference, ...]:
    others = sorted(set(DatasetManifest.model_fields) - COMPARED)
    pairs = [(name, str(getattr(a, name)), str(getattr(b, name))) for name in (*SCALARS, *others)]
    return tuple(FieldDifference(field=name, a=x, b=y) for name, x, y in pairs if x != y)


def _unaccepted(findings: Sequence[Finding]) -> Mapping[str, Finding]:
    """Return findings by everything but their acceptance."""
    return {f.model_dump_json(exclude={"accepted", "certificate"}): f for f in findings}


def _acceptances(a: Mapping[str, Finding], b: Mapping[str, Finding]) -> Iterator[Acceptance]:
    for key, mine in a.items():
        theirs = b.get(key)
        if theirs is not None and (mine.accepted, mine.certificate) != (theirs.accepted, theirs.certificate):
            yield Acceptance(
                name=mine.name,
                series=mine.series,
                accepted_a=mine.accepted,
                accepted_b=theirs.accepted,
                certificate_a=mine.certificate,
                certificate_b=theirs.certificate,
            )


def _missing(ours: Sequence[T], theirs: Sequence[T]) -> tuple[T, ...]:
    held = set(theirs)
    return tuple(x for x in ours if x not in held)
