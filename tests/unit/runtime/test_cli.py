"""The root command: lazy, complete, and not broken by a broken plugin."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint

import pytest

from runtime import cli
from runtime.cli import main


def plugin(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [EntryPoint("broken", target, group)])


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in cli.command_targets():
        assert f"\n  {name} " in out
    assert "unavailable" not in out


@pytest.mark.parametrize("target", ["no_such_module:x", "json:no_such_attribute", "tests.unit.runtime.broken_plugin:x"])
def test_a_broken_plugin_explains_itself_and_breaks_nothing(
    target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin(monkeypatch, target)
    assert main(["--help"]) == 0
    assert "(unavailable:" in capsys.readouterr().out
    assert main(["doctor", "--help"]) == 0
    capsys.readouterr()
    assert main(["broken", "any", "--thing", "--json"]) == 6
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "environment"


def test_a_plugin_cannot_replace_a_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [EntryPoint("replay", "evil:x", group)])
    assert cli.command_targets()["replay"] == cli.BUILT_INS["replay"]


@pytest.mark.parametrize("arguments", [["no-such-command"], ["doctor", "--no-such-option"], ["doctor", "surplus"]])
def test_a_wrong_command_line_is_a_usage_error(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["exit_code"] == 2
    assert "do next:  see `ballast" in err


def test_no_command_shows_the_help_page_and_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: ballast")


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ballast ")
