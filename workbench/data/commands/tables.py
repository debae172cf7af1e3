"""How the data commands show their results to people: rich tables that never cut a value, records where they would not fit."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from runtime.console import printable
from workbench.data.checks.check import CheckResult
from workbench.data.datasets.manifests import DatasetManifest, describe
from workbench.data.quality.findings import FindingSummary, summarise
from workbench.data.store.catalog import Entry
from workbench.data.store.ingest import ImportResult
from workbench.data.universe.versions import iso

STYLES = {"fatal": "bold red", "blocking": "yellow", "note": "dim"}
DIGEST_HEX = 12
FLEXIBLE_CELLS = 28
"""What the flexible column of a table gets at least, where its cells are longer; with less room rows become records."""
RECORD_INDENT = "  "


class PlainTable:
    """Rows for people: a table where every word of it fits the width it is shown at, else one record of several lines per row.

    Nothing is ever cut: a narrow terminal gets every value too, each with the name of its column.

    Attributes:
        styles: one per row.
    """

    def __init__(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], flexible: str) -> None:
        self.title = title
        self.columns = tuple(columns)
        self.rows = [tuple(printable(c) for c in row) for row in rows]
        self.flexible = flexible
        self.styles = [""] * len(self.rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show the table or the records, whichever the width allows."""
        wrapped = options.update(no_wrap=False, overflow="fold")  # also in a pipe, whose other lines are left as they are
        yield from console.render(Text(printable(self.title), style="bold"), wrapped)
        widths = [self._least_cells(i) for i in range(len(self.columns))]
        if sum(widths) + 3 * len(widths) + 1 <= options.max_width:
            yield from console.render(self._table(widths), wrapped)
            return
        for row, style in zip(self.rows, self.styles, strict=True):
            yield from console.render(self._record(row, style, options.max_width), wrapped)

    def _least_cells(self, i: int) -> int:
        """Return the width a column needs: of its widest cell, where it is flexible of its longest word."""
        cells = [row[i] for row in self.rows]
        if self.columns[i] != self.flexible:
            return max(map(cell_len, (self.columns[i], *cells)))
        words = [w for c in cells for w in c.split()]
        widest = max(map(cell_len, (self.columns[i], *cells)))
        return max([min(FLEXIBLE_CELLS, widest), cell_len(self.columns[i]), *map(cell_len, words)])

    def _table(self, widths: Sequence[int]) -> Table:
        table = Table(header_style="bold")
        for i, (name, width) in enumerate(zip(self.columns, widths, strict=True)):
            cells = [row[i] for row in self.rows]
            number = bool(cells) and all(c.isdigit() for c in cells)
            table.add_column(name, justify="right" if number else "left", min_width=width, overflow="fold")
        for row, style in zip(self.rows, self.styles, strict=True):
            table.add_row(*(Text(c) for c in row), style=style)
        return table

    def _record(self, row: Sequence[str], style: str, width: int) -> Text:
        """Return a row as its first cell and, below it, `name value` pairs; a line ends between two pairs where it can."""
        record, used = Text(row[0], style=f"{style} bold".strip()), width
        for name, cell in zip(self.columns[1:], row[1:], strict=True):
            if not cell:
                continue
            pair = f"{name} {cell}"
            fits = used + len(RECORD_INDENT) + cell_len(pair) <= width
            record.append(RECORD_INDENT if fits else "\n" + RECORD_INDENT, style="not bold")
            record.append(name, style="not bold dim").append(f" {cell}", style="not bold")
            used = (used if fits else 0) + len(RECORD_INDENT) + cell_len(pair)
        return record


def plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], flexible: str = "") -> PlainTable:
    """Return a table whose columns keep their full width but for one flexible column, which wraps between words.

    Where that does not fit the terminal each row becomes a record of several lines. A column whose cells are all numbers is set to the
    right.
    """
    return PlainTable(title, columns, rows, flexible)


def _findings(rows: Sequence[FindingSummary]) -> RenderableType:
    if not rows:
        return Text("No findings.")
    cells = [
        (r.gate, r.symbol, str(r.findings_n), str(r.accepted_n), str(r.certified_n), str(r.rows_n), r.example) for r in rows
    ]
    columns = ("gate", "symbol", "n", "accepted", "certified", "bars", "worst")
    table = plain_table("Findings", columns, cells, flexible="worst")
    table.styles = [STYLES[r.severity] for r in rows]
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
