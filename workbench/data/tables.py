"""How the data commands show their results to people: rich tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from workbench.data.check import CheckResult
from workbench.data.datasets import DatasetManifest, describe
from workbench.data.findings import FindingSummary
from workbench.data.ingest import ImportResult
from workbench.data.lake import Entry
from workbench.data.universe import iso

STYLES = {"fatal": "bold red", "blocking": "yellow", "note": "dim"}


def _table(title: str, columns: Sequence[str], numbers: Iterable[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", expand=False)
    for name in columns:
        right = name in set(numbers)
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "worst", overflow="fold")
    return table


def _findings_table(rows: Sequence[FindingSummary], title: str = "Findings by gate and symbol") -> RenderableType:
    if not rows:
        return Text("No findings.")
    table = _table(title, ("gate", "symbol", "findings", "accepted", "bars", "worst"), ("findings", "accepted", "bars"))
    for r in rows:
        table.add_row(
            Text(r.gate, style=STYLES[r.severity]),
            r.symbol,
            str(r.findings_n),
            str(r.accepted_n),
            str(r.rows_n),
            r.example,
        )
    return table


def show_import(console: Console, result: ImportResult) -> None:
    """Show what an import did."""
    table = _table(
        f"Imported from {result.source}", ("series", "file", "bars", "added", "changed", "digest"), ("bars", "added", "changed")
    )
    for s in result.series:
        added = "unchanged" if s.unchanged else str(s.added_n)
        table.add_row(s.series, s.origin, str(s.rows), added, str(s.changed_n), s.sha256[:12])
    console.print(table)
    for f in result.findings:
        console.print(Text(f"{f.gate}: {f.detail}", style=STYLES[f.severity]))
    console.print(f"{result.changed_n} of {len(result.series)} series changed, {len(result.findings)} skipped")


def show_check(console: Console, result: CheckResult) -> None:
    """Show the findings of a check and its verdict."""
    console.print(_findings_table(result.summary()))
    bars_n = sum(s.rows for s in result.series)
    console.print(
        f"{len(result.series)} series, {bars_n} bars, {len(result.findings)} findings: ",
        Text(result.verdict.upper(), style="bold"),
    )


def show_entries(console: Console, entries: Sequence[Entry]) -> None:
    """Show the series of a lake."""
    table = _table(
        f"{len(entries)} series", ("series", "bars", "first", "last", "versions", "source", "digest"), ("bars", "versions")
    )
    for e in entries:
        v = e.current
        table.add_row(e.key, str(v.rows), iso(v.first_t), iso(v.last_t), str(len(e.versions)), v.source, v.sha256[:12])
    console.print(table)


def show_dataset(console: Console, manifest: DatasetManifest) -> None:
    """Show a dataset: what it is, its files, its findings and its assumptions."""
    files = _table("Files", ("asset", "series", "bars", "first", "last", "digest"), ("bars",))
    for f in manifest.files:
        files.add_row(f.symbol, f.series, str(f.rows), iso(f.first_t), iso(f.last_t), f.sha256[:12])
    head = Text(describe(manifest), style="bold")
    head.append(
        f"\ndataset_hash {manifest.dataset_hash}\nverdict {manifest.verdict}, {len(manifest.gaps)} gaps, as of {iso(manifest.as_of_t)}"
    )
    from workbench.data.findings import summarise

    notes = Text("\n".join(f"- {a}" for a in manifest.assumptions))
    console.print(Group(head, files, _findings_table(summarise(manifest.findings)), Text("Assumptions", style="bold"), notes))
