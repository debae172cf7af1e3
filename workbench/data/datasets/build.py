"""Datasets: content-addressed manifests over the lake, and the panel of bars they stand for.

A manifest lists the files and their digests, the universe version, interval, as-of time, every gap, every finding with its
acceptance, and the assumptions. `dataset_hash` is the SHA-256 of the canonical JSON of all of it; it holds no folder, no
clock and no order of imports, and every later artefact names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runtime.errors import DataError, GateError
from runtime.progress import Report, silent
from workbench.data.bars import interval_seconds
from workbench.data.datasets.asset_findings import asset_findings
from workbench.data.datasets.chains import Part, asset_chains, joined_bars
from workbench.data.datasets.manifests import SIMULATED_VENUE, DatasetFile, DatasetManifest, Gap, store_manifest
from workbench.data.quality.certificates import Certificate, certify_findings, load_certificates
from workbench.data.quality.findings import Finding, accept, blocking, finding, summarise
from workbench.data.quality.gates import absent_findings, gaps
from workbench.data.store.lake import Lake, Shelf
from workbench.data.store.segments import overlapping, series_digest
from workbench.data.universe.versions import Universe, load_universe

YEAR_T: Final = 365 * 86_400


def build_dataset(
    home: Path,
    venue: str,
    interval: str = "1h",
    symbols: Sequence[str] | None = None,
    accept_names: Sequence[str] = (),
    min_years: float = 0.0,
    *,
    as_of_t: int | None = None,
    quote: str = "USD",
    assumptions: Sequence[str] = (),
    universe: Universe | None = None,
    report: Report = silent,
) -> DatasetManifest:
    """Build a dataset from the lake, store its manifest and return it.

    Args:
        home: the home folder.
        venue: whose bars.
        interval: bar length by name.
        symbols: assets; default every asset the lake has for them.
        accept_names: findings accepted by name (`gap`, `gap:BTC`, or one finding in full).
        min_years: an asset with fewer bars than this many years of them is left out, with a note.
        as_of_t: use only bars that closed at or before this time.
        quote: quote currency.
        assumptions: statements to record beside the venue's own.
        universe: default version v1.
        report: told per asset.

    Raises:
        DataError: the lake has no such series.
        UsageError: an unknown asset, interval or finding name.
        GateError: findings block and are not accepted. Nothing was written.
        VerificationError: a lake file does not hold what it should, or a gap certificate was altered.
    """
    manifest = draft_dataset(
        Lake(home),
        venue,
        interval,
        symbols,
        accept_names,
        min_years,
        as_of_t=as_of_t,
        quote=quote,
        assumptions=assumptions,
        universe=universe,
        certificates=load_certificates(home),
        report=report,
    )
    store_manifest(home, manifest)
    return manifest


def draft_dataset(
    shelf: Shelf,
    venue: str,
    interval: str = "1h",
    symbols: Sequence[str] | None = None,
    accept_names: Sequence[str] = (),
    min_years: float = 0.0,
    *,
    as_of_t: int | None = None,
    quote: str = "USD",
    assumptions: Sequence[str] = (),
    universe: Universe | None = None,
    certificates: Sequence[Certificate] = (),
    report: Report = silent,
) -> DatasetManifest:
    """Return the manifest of the dataset a shelf's bars make; nothing is written. See `build_dataset`.

    A gap that one of the certificates covers is accepted by it.
    """
    universe = universe or load_universe()
    interval_t = interval_seconds(interval)
    catalog = shelf.catalog()
    chains, findings = asset_chains(shelf, catalog, universe, venue, interval, quote, symbols, as_of_t, report)
    findings += absent_findings(universe, venue, interval) if symbols is None else []
    kept = _long_enough(chains, int(min_years * YEAR_T) // interval_t, findings)
    if not kept:
        raise DataError(
            f"no asset of {venue}/{interval} has {min_years:g} years of bars",
            expected=f"at least {max(int(min_years * YEAR_T) // interval_t, 1)} {interval} bars of one asset",
            action="bring a longer history; only `ballast dataset build --min-years` sets another rule",
        )
    joined = {asset: joined_bars(parts) for asset, parts in kept.items()}
    newest_t = max(int(b.t[-1]) for b in joined.values())
    for asset, bars in joined.items():
        findings += asset_findings(shelf, catalog, kept[asset], asset, bars, newest_t, interval_t)
    findings = accept(
        sorted(findings, key=lambda f: (universe.assets.index(f.symbol), f.gate, f.first_t, f.series)), accept_names
    )
    findings = certify_findings(findings, certificates)
    _refuse(findings)
    content = DatasetManifest(
        dataset_hash="",
        source=_source(venue, kept),
        simulated=venue == SIMULATED_VENUE,
        venue=venue,
        interval=interval,
        universe_version=universe.version,
        universe_digest=universe.digest,
        as_of_t=as_of_t or newest_t + interval_t,
        first_t=min(int(b.t[0]) for b in joined.values()),
        last_t=newest_t,
        symbols=tuple(kept),
        bars_n=sum(len(b) for b in joined.values()),
        files=tuple(_file(a, p) for a, parts in kept.items() for p in parts),
        gaps=tuple(
            Gap(symbol=s, first_t=a, last_t=z, bars_n=n) for s, b in joined.items() for a, z, n in gaps(b.t, interval_t)
        ),
        findings=tuple(findings),
        verdict="accepted" if any(f.accepted for f in findings) else "clean",
        assumptions=(*universe.venue(venue).assumptions, *_rename_assumptions(universe, kept), *assumptions),
    )
    return content.model_copy(update={"dataset_hash": content.computed_hash()})


def _long_enough(chains: dict[str, list[Part]], needed: int, findings: list[Finding]) -> dict[str, list[Part]]:
    """Return the assets with enough bars; the others are left out, with a note among the findings."""
    kept: dict[str, list[Part]] = {}
    for asset, parts in chains.items():
        n = sum(len(p.bars) for p in parts)
        if n >= max(needed, 1):
            kept[asset] = parts
        else:
            findings.append(_note(asset, parts, n, needed))
    return kept


def _note(asset: str, parts: list[Part], n: int, needed: int) -> Finding:
    series = "+".join(p.entry.key for p in parts)
    first, last = (int(parts[0].bars.t[0]), int(parts[-1].bars.t[-1])) if n else (0, 0)
    return finding("short_history", asset, series, first, last, n, f"{n} bars, the rule asks for {needed}: left out")


def _rename_assumptions(universe: Universe, kept: dict[str, list[Part]]) -> list[str]:
    return [
        f"{r.former} was renamed {r.asset} 1:1 ({r.upgraded_on.isoformat()}); bars of {r.former} count as {r.asset} until the rename."
        for r in universe.renames
        if any(p.listing.former for p in kept.get(r.asset, []))
    ]


def _source(venue: str, kept: dict[str, list[Part]]) -> str:
    providers = {s.split(":", 1)[0] for parts in kept.values() for p in parts for s in p.entry.current.sources}
    return SIMULATED_VENUE if venue == SIMULATED_VENUE else "+".join(sorted(providers))


def _file(asset: str, part: Part) -> DatasetFile:
    first_t, last_t = int(part.bars.t[0]), int(part.bars.t[-1])
    segments = overlapping(part.entry.current.segments, first_t, last_t + 1)
    return DatasetFile(
        symbol=asset,
        series=part.entry.key,
        sha256=series_digest(segments),
        segments=segments,
        rows=len(part.bars),
        first_t=first_t,
        last_t=last_t,
        left_out_t=part.left_out_t,
    )


def _refuse(findings: list[Finding]) -> None:
    stop = blocking(findings)
    if not stop:
        return
    rows = summarise(stop)
    names = sorted({f.gate for f in stop if f.severity == "blocking"})
    raise GateError(
        f"{len(stop)} findings block the dataset: "
        + "; ".join(f"{r.gate} {r.symbol} ({r.findings_n})" for r in rows[:6])
        + ("; ..." if len(rows) > 6 else ""),
        expected="no finding, or each accepted by name",
        action="look at them with `ballast data check` (give it the files when they are not imported), then correct the files, or "
        "accept by name: `ballast dataset build" + "".join(f" --accept {n}" for n in names) + "`",
    )
