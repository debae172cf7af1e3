"""The documentation says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime import errors
from tools import docs


def test_every_link_resolves() -> None:
    assert list(docs.broken_links()) == []


def test_every_shown_command_exists() -> None:
    assert list(docs.unknown_commands()) == []


def test_generated_pages_are_fresh_and_so_every_command_is_documented() -> None:
    assert list(docs.stale_pages()) == []


def test_every_command_offers_json() -> None:
    for path, command, _ in docs.walk():
        if not isinstance(command, docs.TyperGroup):
            options = {option for parameter in command.params for option in parameter.opts}
            assert "--json" in options, " ".join(path)


def test_every_exit_code_is_documented(repository: Path) -> None:
    page = (repository / "docs/reference/exit-codes.md").read_text("utf-8")
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes


def test_every_decision_record_is_in_the_index(repository: Path) -> None:
    folder = repository / "docs/adr"
    index = (folder / "README.md").read_text("utf-8")
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert pages
    assert all(f"({name})" in index for name in pages)
    numbers = [name[:4] for name in pages]
    assert len(numbers) == len(set(numbers)), "two records share a number"


def test_the_readme_opens_with_the_two_commands(repository: Path) -> None:
    shown = list(docs.shown_commands((repository / "README.md").read_text("utf-8")))
    assert shown[:2] == ["make demo", "make demo"]


@pytest.mark.parametrize(
    ("page", "sentence"),
    [("[x](no-such-file.md)", "no such file"), ("# A\n\n[x](#no-such-heading)", "no such heading"),
     ("```sh\nballast no-such-command\n```", "no command"), ("`ballast doctor --no-such-option`", "no option"),
     ("`make no-such-target`", "no target")],
)  # fmt: skip
def test_a_planted_mistake_is_found(page: str, sentence: str, tmp_path: Path, repository: Path) -> None:
    (tmp_path / "Makefile").write_text((repository / "Makefile").read_text("utf-8"), "utf-8")
    (tmp_path / "README.md").write_text(page, "utf-8")
    found = [*docs.broken_links(tmp_path), *docs.unknown_commands(tmp_path)]
    assert len(found) == 1
    assert sentence in found[0]
