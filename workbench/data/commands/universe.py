"""`ballast universe`: the governed set of assets: show a version, compare two, check a candidate, add your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runtime.console import print_json, stdout_console, time_option
from runtime.errors import UsageError
from runtime.home import home_path

if TYPE_CHECKING:
    from workbench.data.universe.store import VersionRecord
    from workbench.data.universe.versions import Universe

universe: Final = typer.Typer(
    name="universe", no_args_is_help=True, help="The universe: show a version, compare two, add your own with a record."
)
Home = Annotated[Path | None, typer.Option("--out", "--home", help="Home folder (default: BALLAST_HOME, else ./out).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
SUFFIX: Final = ".toml"


@universe.command("list")
def list_command(out: Home = None, json: Json = False) -> None:
    """List every version with its record: who decided it, when, why, and what it takes the place of."""
    from workbench.data.universe.store import find_universe, own_versions
    from workbench.data.universe.versions import shipped_versions

    home = home_path(out)
    records = [find_universe(home, name)[1] for name in (*shipped_versions(), *own_versions(home))]
    if json:
        print_json({"versions": [r.model_dump(mode="json") for r in records]})
        return
    from workbench.data.commands.tables import plain_table

    cells = [
        (
            r.version,
            r.digest[:12],
            r.supersedes,
            r.author,
            r.decided_on.isoformat(),
            "release" if r.shipped else "own",
            r.reason,
        )
        for r in records
    ]
    columns = ("version", "digest", "supersedes", "author", "decided", "from", "reason")
    stdout_console().print(plain_table("Universe versions", columns, cells, flexible="reason"))


@universe.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="Version, or a candidate .toml file.")] = "v1",
    out: Home = None,
    json: Json = False,
) -> None:
    """Show a version: its record, its assets in order, and what every venue calls each pair."""
    found, record = _open(home_path(out), name)
    symbols = {venue: _symbols(found, venue) for venue in found.venues}
    if json:
        told = record.model_dump(mode="json") if record else None
        print_json({"digest": found.digest, "record": told, **found.model_dump(mode="json"), "symbols": symbols})
        return
    from workbench.data.commands.tables import plain_table

    console = stdout_console()
    console.print(f"universe {found.version}, digest {found.digest}", soft_wrap=True)
    if record is not None:
        console.print(f"{record.author}, {record.decided_on.isoformat()}: {record.reason}", soft_wrap=True)
    for venue, pairs in symbols.items():
        quotes = tuple(found.venues[venue].quotes.values())
        cells = [
            (str(i + 1), asset, *(pairs.get(f"{asset}/{q}", "never listed") for q in quotes))
            for i, asset in enumerate(found.assets)
        ]
        console.print(plain_table(f"{venue}: {found.venues[venue].title}", ("#", "asset", *quotes), cells))
    for r in found.renames:
        console.print(f"{r.former} was renamed {r.asset} {r.ratio}:1 on {r.upgraded_on.isoformat()}", soft_wrap=True)


@universe.command("diff")
def diff_command(
    a: Annotated[str, typer.Argument(help="The older one: a version or a candidate .toml file.")],
    b: Annotated[str, typer.Argument(help="The newer one: a version or a candidate .toml file.")],
    out: Home = None,
    json: Json = False,
) -> None:
    """List what changed between two versions, and what each change means for datasets."""
    from workbench.data.universe.diff import REBUILT, differences

    home = home_path(out)
    old, new = _open(home, a)[0], _open(home, b)[0]
    found = differences(old, new)
    if json:
        print_json(
            {
                "a": {"version": old.version, "digest": old.digest},
                "b": {"version": new.version, "digest": new.digest},
                "changes": [c._asdict() for c in found],
            }
        )
        return
    from workbench.data.commands.tables import plain_table

    console = stdout_console()
    if not found:
        console.print(f"{old.version} and {new.version}: no difference")
        return
    console.print(
        plain_table(f"{old.version} -> {new.version}", ("change", "of", "old", "new", "means"), found, flexible="means")
    )
    console.print(f"{len(found)} changes; {REBUILT}", soft_wrap=True)


@universe.command("validate")
def validate_command(
    file: Annotated[Path, typer.Argument(help="A candidate .toml file.")],
    json: Json = False,
) -> None:
    """Check a candidate: its form, its names, and that every symbol of every venue comes back as its asset and quote."""
    from workbench.data.universe.store import read_candidate

    found, _ = read_candidate(file)
    pairs_n = sum(len(_symbols(found, venue)) for venue in found.venues)
    if json:
        print_json({"valid": True, "version": found.version, "digest": found.digest, "pairs_n": pairs_n})
        return
    stdout_console().print(
        f"valid: {found.version}, {len(found.assets)} assets, {pairs_n} pairs, digest {found.digest}", soft_wrap=True
    )


@universe.command("add")
def add_command(
    file: Annotated[Path, typer.Argument(help="TOML in the form of universe_v1.toml, with a version name of its own.")],
    author: Annotated[str, typer.Option("--author", help="Who is responsible for this version.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it is made, in a sentence.")],
    supersedes: Annotated[str, typer.Option("--supersedes", help="The version it takes the place of [the newest].")] = "",
    out: Home = None,
    json: Json = False,
) -> None:
    """Add a version of your own with its record; nothing is ever replaced."""
    from runtime.adapters.clock import SystemClock
    from workbench.data.universe.diff import differences
    from workbench.data.universe.store import add_universe, find_universe

    home = home_path(out)
    made, record = add_universe(home, file, author=author, reason=reason, now_t=SystemClock().now_t(), supersedes=supersedes)
    before, _ = find_universe(home, record.supersedes)
    found = differences(before, made)
    if json:
        print_json({"record": record.model_dump(mode="json"), "changes": [c._asdict() for c in found]})
        return
    stdout_console().print(
        f"added {made.version} with {len(found)} changes from {before.version}, digest {made.digest}", soft_wrap=True
    )


@universe.command("members")
def members_command(
    at: Annotated[str, typer.Argument(help="UTC time, such as 2024-09-01.")],
    venue: Annotated[str, typer.Option("--venue", help="Venue, such as binance-spot.")],
    interval: Annotated[str, typer.Option("--interval", help="Bar length (1m 5m 15m 1h 4h 1d).")] = "1h",
    quote: Annotated[str, typer.Option("--quote", help="Quote currency.")] = "USD",
    version: Annotated[str, typer.Option("--universe", help="Version.")] = "v1",
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Know only bars closed by this UTC time [all the lake holds].")
    ] = None,
    out: Home = None,
    json: Json = False,
) -> None:
    """List which assets had a tradable series at a time (in a gap they had not), and how we know: the universe's dates, then the lake's own bars."""
    from workbench.data.store.lake import Lake
    from workbench.data.view.membership import membership

    at_t = time_option(at, "AT")
    if at_t is None:
        raise UsageError("AT ''", expected="a UTC time such as 2024-09-01", action="give one")
    home = home_path(out)
    found = membership(_open(home, version)[0], Lake(home), venue, interval, at_t, quote, time_option(as_of, "--as-of"))
    if json:
        print_json({"at_t": at_t, "members": [{**m._asdict(), "facts": [f._asdict() for f in m.facts]} for m in found]})
        return
    from workbench.data.commands.tables import plain_table

    cells = [
        (m.asset, "yes" if m.member else "no", m.reason, m.series, "; ".join(f"{f.source}: {f.text}" for f in m.facts))
        for m in found
    ]
    title = f"{sum(m.member for m in found)} of {len(found)} assets tradable at {venue}"
    stdout_console().print(
        plain_table(title, ("asset", "member", "reason", "series", "known from"), cells, flexible="known from")
    )


# ---- helpers ---------------------------------------------------------------------------------------------------


def _open(home: Path, name: str) -> tuple[Universe, VersionRecord | None]:
    """Return a version by name, or a candidate where the argument looks like a file."""
    from workbench.data.universe.store import find_universe, read_candidate

    return (read_candidate(Path(name))[0], None) if name.endswith(SUFFIX) else find_universe(home, name)


def _symbols(found: Universe, venue: str) -> dict[str, str]:
    """Return the venue's symbol of every pair it may list, by `ASSET/QUOTE`."""
    held = found.venues[venue]
    return {f"{a}/{q}": found.symbol(venue, a, q) for a in found.assets if a not in held.absent for q in held.quotes.values()}
