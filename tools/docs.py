"""Keep the documentation true: generated reference pages, links that resolve, commands that exist.

`make docs` checks; `make docs ARGS=--write` writes the generated pages. Plain Markdown on purpose: it is read in the
repository, and a site generator would add a build without adding a check.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from typer.core import TyperGroup

from runtime.cli import app
from runtime.core import records
from runtime.fields import GROUPS
from runtime.inference import feature_spec
from runtime.policy import PRESETS, PairRules
from runtime.profiles.leaves import Leaf, leaves
from tools.docs_api import api_page
from tools.docs_settings import settings_page

if TYPE_CHECKING:
    from typer._click.core import Command, Context

ROOT: Final = Path(__file__).resolve().parent.parent
HELP_WIDTH: Final = 110
LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING: Final = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
FENCE: Final = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE: Final = re.compile(r"`((?:ballast|make) [^`]+)`")
SHELL: Final = {"sh", "bash", "console", "shell"}
TARGET: Final = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
COMMAND_WORD: Final = re.compile(r"[a-z][a-z-]*")
MADE_BY: Final = "<!-- Made by `make docs ARGS=--write`; do not edit. -->\n"
SCALES: Final = (
    ("`_e8`", "price, quantity or money in units of 1e-8"),
    ("`_e4`", "traded volume in units of 1e-4 (a measure, not money)"),
    ("`_ppm`", "ratio, probability or return in units of 1e-6"),
    ("`_t`", "seconds since 1970-01-01 UTC"),
    ("`_n`", "count, flag or sequence number"),
    ("`_id`", "identity or code"),
    ("`_v`", "a number whose scale is the row's `scale_id`"),
)


def pages(root: Path = ROOT) -> list[Path]:
    """Return every Markdown page of the repository, in path order."""
    tops = [path for path in root.iterdir() if path.name in {"docs", "macos-shell"} or path.suffix == ".md"]
    return sorted(page for top in tops for page in (top.rglob("*.md") if top.is_dir() else [top]))


# ---- checks ----------------------------------------------------------------------------------------------------


def broken_links(root: Path = ROOT) -> Iterator[str]:
    """Yield one sentence for each relative link whose file or heading does not exist."""
    for page in pages(root):
        text = _without_code(page.read_text("utf-8"))
        for target in LINK.findall(text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                yield f"{page.relative_to(root)}: link to {target}: no such file"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                yield f"{page.relative_to(root)}: link to {target}: no such heading"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as Git hosts make them."""
    found = HEADING.findall(_without_code(page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def unknown_commands(root: Path = ROOT) -> Iterator[str]:
    """Yield one sentence for each `ballast …` or `make …` that the pages show and that does not exist."""
    commands = {" ".join(path): command for path, command, _ in walk()}
    targets = set(TARGET.findall((root / "Makefile").read_text("utf-8")))
    for page in pages(root):
        for line in shown_commands(page.read_text("utf-8")):
            program, *words = line.split()
            if program == "make":
                wrong = [w for w in words if COMMAND_WORD.fullmatch(w) and w not in targets]
                problem = f"no target {wrong[0]}" if wrong else None
            else:
                problem = _command_problem(words, commands)
            if problem:
                yield f"{page.relative_to(root)}: `{line}`: {problem}"


def shown_commands(text: str) -> Iterator[str]:
    """Yield every `ballast` and `make` command line that a page shows, inline or in a shell block."""
    for language, block in FENCE.findall(text):
        if language in SHELL:
            for raw in block.splitlines():
                line = re.sub(r"^(\$ )?((?:[A-Z_]+=\S* )*)(\.venv/bin/)?", "", raw.strip()).split(" #")[0]
                line = re.split(r" [|>&;]", line)[0].strip()
                if line.startswith(("ballast ", "make ")):
                    yield line
    yield from (line.strip() for line in INLINE.findall(FENCE.sub("", text)))


def _command_problem(words: list[str], commands: dict[str, Command]) -> str | None:
    if words and words[0].startswith("-"):
        words = []
    path = "ballast"
    while words and f"{path} {words[0]}" in commands:
        path = f"{path} {words.pop(0)}"
    if path == "ballast" and words:
        return f"no command {words[0]}"
    command = commands[path]
    if isinstance(command, TyperGroup) and path != "ballast" and words and COMMAND_WORD.fullmatch(words[0]):
        return f"{path} has no sub-command {words[0]}"
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"-h", "--help", "--version"} | ({"-p"} if "ignore_unknown_options" in command.context_settings else set())
    for word in words:
        option = word.split("=")[0]
        if re.fullmatch(r"--?[a-z][a-z-]*", option) and option not in known:
            return f"{path} has no option {option}"
    return None


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text)) if "](" in text else FENCE.sub("", text)


# ---- generated pages -------------------------------------------------------------------------------------------


def generated() -> dict[str, str]:
    """Return the pages that are made from the code: path in the repository -> content."""
    return {
        "docs/reference/api.md": f"{MADE_BY}\n# Control API\n\n{api_page()}",
        "docs/reference/cli.md": command_page(),
        "docs/reference/features.md": features_page(),
        "docs/reference/policy.md": policy_page(),
        "docs/reference/records.md": records_page(),
        "docs/reference/runtime-settings.md": f"{MADE_BY}\n{settings_page()}",
    }


def stale_pages(root: Path = ROOT) -> Iterator[str]:
    """Yield one sentence for each generated page that does not say what the code says."""
    for name, content in generated().items():
        path = root / name
        if not path.is_file() or path.read_text("utf-8") != content:
            yield f"{name}: not what the code says; run make docs ARGS=--write"


def walk() -> Iterator[tuple[tuple[str, ...], Command, Context]]:
    """Yield every command with its path, the root first, then in alphabetical order."""
    root = typer.main.get_command(app)
    yield from _walk(("ballast",), root, None)


def _walk(
    path: tuple[str, ...], command: Command, parent: Context | None
) -> Iterator[tuple[tuple[str, ...], Command, Context]]:
    context = command.make_context(path[-1], [], parent=parent, resilient_parsing=True, terminal_width=HELP_WIDTH)
    context.max_content_width = HELP_WIDTH
    yield path, command, context
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _walk((*path, name), below, context)


def command_page() -> str:
    """Return the command reference: the help page of every command."""
    lines = [
        MADE_BY,
        "# Commands\n",
        "Every command prints its result on stdout and everything else on stderr. With `--json` stdout is",
    ]
    lines += ["exactly one JSON object, also when the command fails: see [exit codes](exit-codes.md).\n"]
    for path, command, context in walk():
        lines += [f"## {' '.join(path)}\n", "```text", _plain(command.get_help(context)), "```\n"]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def records_page() -> str:
    """Return the reference of the record types, made from runtime/core/records.py."""
    lines = [MADE_BY, "# Records\n", "Every field is a little-endian int64; the last part of its name is its scale.\n"]
    lines += ["| suffix | meaning |", "| --- | --- |", *(f"| {suffix} | {meaning} |" for suffix, meaning in SCALES), ""]
    lines += ["A block lists its records in this order, parents before children. A row's hash covers its own bytes and the"]
    lines += ["row hashes of its parents: see [canonical bytes](canonical-bytes.md).\n"]
    for record in records.RECORD_TYPES:
        lines += [
            f"## {record.name}\n",
            f"Code {record.code}, {len(record.dtype.names or ())} fields, {record.dtype.itemsize} bytes.",
        ]
        parents = [f"`{table}`" + (f" by `{column}`" if column else "") for table, column in record.parents]
        lines += [f"Parents: {', '.join(parents) or 'none'}.\n", "| field | values |", "| --- | --- |"]
        lines += [f"| `{name}` | {_values(record.names.get(name, {}))} |" for name in record.dtype.names or ()]
        lines += [""]
    return "\n".join(lines)


def features_page() -> str:
    """Return the reference of the features, made from runtime/inference/feature_spec.py."""
    spec = feature_spec.DEFAULT_SPEC
    rules = (feature_spec.__doc__ or "").partition("\n\n")[2]
    lines = [MADE_BY, "# Features\n", rules.strip(), ""]
    lines += [f"`feature_set_hash` of all {len(spec.features)} in this order, version {spec.version}: `{spec.digest}`.\n"]
    lines += ["| feature | bars | definition |", "| --- | --- | --- |"]
    lines += [f"| `{f.name}` | {f.window_n} | {f.definition.replace('|', chr(92) + '|')} |" for f in spec.features]
    lines += ["", "Momentum n is close / close n bars ago - 1; the reference is BTC; hourly bars; ranks run from 0 to 1.", ""]
    return "\n".join(lines)


def _values(names: dict[int, str]) -> str:
    return ", ".join(f"{code} {name}" for code, name in names.items())


def policy_page() -> str:
    """Return the reference of the profiles, made from the presets and the JSON Schema of runtime/policy.py."""
    lines = [
        MADE_BY,
        "# Policy\n",
        "Every number of the core comes from a governed profile: validated, versioned, content-hashed. Bounds, units and the direction in",
        "which a setting moves risk are part of its schema (`ballast policy show --schema`). To make one of your own:",
        "[change a profile](../how-to/change-a-profile.md).\n",
        "## Presets\n",
        "| preset | digest | note |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{name}@1` | `{v.policy_digest}` | {v.note} |" for name, v in PRESETS.items()]
    lines += [
        "",
        "Money is in units of 1e-8, ratios in ppm (10,000 ppm = 1 %). Bold: not as in the first preset. The last column says what a",
    ]
    lines += ["higher value does to risk; an absolute cap of 0 is none.", ""]
    columns = [list(leaves(v.profile)) for v in PRESETS.values()]
    names = " | ".join(f"`{name}`" for name in PRESETS)
    for group, heading in GROUPS.items():
        rows = [row for row in zip(*columns, strict=True) if row[0].about.group == group and group != "identity"]
        if rows:
            lines += [
                f"## {heading}\n",
                f"| setting | {names} | bounds | meaning | risk |",
                "| --- " * (4 + len(PRESETS)) + "|",
            ]
            lines += [_preset_row(row) for row in rows]
            lines += [""]
    lines += ["## Pair rules\n", f"{PairRules.__doc__} They stand beside the profile, per instrument.\n"]
    lines += ["| field | default | bounds | meaning |", "| --- | --- | --- | --- |"]
    for name, schema in PairRules.model_json_schema()["properties"].items():
        high = schema.get("maximum", schema.get("exclusiveMaximum", 0) - 1)
        bounds = f"{schema['minimum']} to {high}" if high >= 0 else f"{schema['minimum']} or more"
        lines += [f"| `{name}` | `{schema['default']}` | {bounds} | {schema['description']} |"]
    return "\n".join([*lines, ""])


def _preset_row(row: tuple[Leaf, ...]) -> str:
    first = row[0]
    cells = [f"{leaf.value:,}" if type(leaf.value) is int else str(leaf.value).lower() for leaf in row]
    cells = [cell if leaf.value == first.value else f"**{cell}**" for cell, leaf in zip(cells, row, strict=True)]
    about = first.about
    bounds = (
        ""
        if about.minimum is None
        else f"{about.minimum:,} to {about.maximum:,}"
        if about.maximum is not None
        else f"{about.minimum:,} or more"
    )
    return f"| `{first.path}` | {' | '.join(cells)} | {bounds} | {about.help} | {about.risk.value} |"


def main() -> int:
    """Check the documentation, or write the generated pages with `--write`; return 1 if anything is wrong."""
    if "--write" in sys.argv[1:]:
        for name, content in generated().items():
            (ROOT / name).write_text(content, "utf-8")
            print(f"wrote {name}")
    wrong = [*broken_links(), *unknown_commands(), *stale_pages()]
    for sentence in wrong:
        print(sentence)
    print(f"docs: {len(pages())} pages, {len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
