"""`ballast data certify` and `ballast data certificates`: records that say why a gap is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.console import print_json, stdout_console, time_option
from runtime.errors import EXIT_VERIFY, UsageError
from runtime.home import home_path

Home = Annotated[Path | None, typer.Option("--out", "--home", help="Home folder (default: BALLAST_HOME, else ./out).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def certify(
    series: Annotated[str, typer.Argument(help="VENUE/INTERVAL/SYMBOL of the lake.")],
    gap: Annotated[
        str,
        typer.Argument(
            metavar="RANGE", help="First and last missing bar, 2024-06-15T14:00Z..2024-06-15T16:00Z; or the first alone."
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why the bars are missing, in a sentence.")],
    author: Annotated[str, typer.Option("--author", help="Who certifies.")],
    evidence: Annotated[
        list[str] | None,
        typer.Option("--evidence", help="source:FILE (asked again), trades:FILE (an answer of Trades) or outage:TEXT."),
    ] = None,
    despite: Annotated[str, typer.Option("--despite", help="Why it stands although another source has bars in the gap.")] = "",
    out: Home = None,
    json: Json = False,
) -> None:
    """Certify one gap of one series; refused when another source has the bars. Nothing is filled."""
    from runtime.adapters.clock import SystemClock
    from workbench.data.checks.certify import certify_gap

    begin, _, end = gap.partition("..")
    first_t = time_option(begin, "RANGE")
    if first_t is None:
        raise UsageError(f"RANGE {gap!r}", expected="FIRST..LAST or FIRST", action="copy it from `ballast data check --json`")
    made = certify_gap(
        home_path(out),
        series,
        first_t,
        time_option(end, "RANGE"),
        author=author,
        reason=reason,
        now_t=SystemClock().now_t(),
        evidence=evidence or [],
        despite=despite,
    )
    if json:
        print_json({"certificate": made.digest, **made.model_dump(mode="json")})
        return
    console = stdout_console()
    console.print(f"certified {made.series} {made.range} ({made.bars_n} bars)\ncertificate {made.digest}", soft_wrap=True)
    for e in made.evidence:
        console.print(f"- {e.kind}: {e.text}", soft_wrap=True)


def certificates(out: Home = None, json: Json = False) -> None:
    """List the gap certificates and verify each: its digest, its gap, and what other sources have there now.

    Exit code 5: one was altered, or another source now has bars in its gap.
    """
    from workbench.data.checks.certify import standing
    from workbench.data.quality.certificates import load_certificates
    from workbench.data.store.lake import Lake

    home = home_path(out)
    lake = Lake(home)
    catalog = lake.catalog()
    found = [(c, *standing(lake, catalog, c)) for c in load_certificates(home)]
    if json:
        rows = [
            {"certificate": c.digest, "standing": state, "why": why, **c.model_dump(mode="json")} for c, state, why in found
        ]
        print_json({"certificates": rows})
    else:
        from workbench.data.commands.tables import plain_table
        from workbench.data.universe.versions import iso

        columns = ("certificate", "series", "gap", "bars", "evidence", "author", "written", "standing", "why")
        cells = [
            (c.digest[:12], c.series, c.range, str(c.bars_n), ", ".join(e.kind for e in c.evidence), c.author, iso(c.written_t), state, why)
            for c, state, why in found
        ]  # fmt: skip
        stdout_console().print(plain_table(f"{len(found)} gap certificates", columns, cells, flexible="why"))
    if any(state == "disproved" for _, state, _ in found):
        raise typer.Exit(EXIT_VERIFY)
