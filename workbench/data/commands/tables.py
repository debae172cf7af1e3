"""How the data commands show their results to people: rich tables, which never cut a number short."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from workbench.data.checks.check import CheckResult
from workbench.data.datasets.manifests import DatasetManifest, describe
from workbench.data.quality.findings import FindingSummary, summarise
from workbench.data.store.catalog import Entry
from workbench.data.store.ingest import ImportResult
from workbench.data.universe.versions import iso

STYLES = {"fatal": "bold red", "blocking": "yellow", "note": "dim"}
DIGEST_HEX = 12


def plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], flexible: str = "") -> Table:
    """Return a table whose columns keep their full width but for one flexible column, which wraps.

    A column whose cells are all numbers is set to the right.
    """
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for i, name in enumerate(columns):
        cells = [row[i] for row in rows]
        number = bool(cells) and all(c.isdigit() for c in cells)
        width = None if name == flexible else max([len(name), *(len(c) for c in cells)])
        table.add_column(name, justify="right" if number else "left", min_width=width, overflow="fold")
    for row in rows:
        table.add_row(*(Text(c) for c in row))
    return table


def _findings(rows: Sequence[FindingSummary]) -> RenderableType:
    if not rows:
        return Text("No findings.")
    cells = [
        (r.gate, r.symbol, str(r.findings_n), str(r.accepted_n), str(r.certified_n), str(r.rows_n), r.example) for r in rows
    ]
    columns = ("gate", "symbol", "n", "accepted", "certified", "bars", "worst")
    table = plain_table("Findings", columns, cells, flexible="worst")
    for row, summary in zip(table.rows, rows, strict=True):
        row.style = STYLES[summary.severity]
    return table


def show_import(console: Console, result: ImportResult) -> None:
    """Show what an import did."""
    rows = [
        (
            s.series,
            str(s.rows),
            "restored" if s.restored and s.unchanged else "unchanged" if s.unchanged else str(s.added_n),
            str(s.changed_n),
            s.sha256[:DIGEST_HEX],
        )
        for s in result.series
    ]
    console.print(plain_table(f"Imported from {result.source}", ("series", "bars", "added", "changed", "digest"), rows))
    for f in result.findings:
        console.print(Text(f"{f.gate}: {f.detail}", style=STYLES[f.severity]))
    console.print(f"{result.changed_n} of {len(result.series)} series changed, {len(result.findings)} skipped")


def show_check(console: Console, result: CheckResult) -> None:
    """Show the findings of a check and its verdict."""
    console.print(_findings(result.summary()))
    bars_n = sum(s.rows for s in result.series)
    verdict = Text(result.verdict.upper(), style="bold")
    console.print(f"{len(result.series)} series, {bars_n} bars, {len(result.findings)} findings:", verdict)


def show_entries(console: Console, entries: Sequence[Entry]) -> None:
    """Show the series of a lake."""
    rows = [
        (
            e.key,
            str(e.current.rows),
            iso(e.current.first_t),
            iso(e.current.last_t),
            str(len(e.versions)),
            e.current.sha256[:DIGEST_HEX],
        )
        for e in entries
    ]
    console.print(plain_table(f"{len(entries)} series", ("series", "bars", "first", "last", "versions", "digest"), rows))


def show_dataset(console: Console, manifest: DatasetManifest) -> None:
    """Show a dataset: what it is, its files, its findings and its assumptions."""
    rows = [(f.symbol, f.series, str(f.rows), iso(f.first_t), iso(f.last_t), f.sha256[:DIGEST_HEX]) for f in manifest.files]
    files = plain_table("Files", ("asset", "series", "bars", "first", "last", "digest"), rows)
    head = Text(describe(manifest), style="bold")
    state = f"verdict {manifest.verdict}, {len(manifest.gaps)} gaps, as of {iso(manifest.as_of_t)}"
    head.append(f"\ndataset_hash {manifest.dataset_hash}\n{state}")
    notes = Text("\n".join(f"- {a}" for a in manifest.assumptions))
    console.print(Group(head, files, _findings(summarise(manifest.findings)), Text("Assumptions", style="bold"), notes))
