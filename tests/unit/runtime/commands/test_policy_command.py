"""`ballast policy`: output, exit codes, one clear message per mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from runtime.cli import main
from runtime.commands.policy import _shown
from runtime.policy import PRESETS, RiskProfile

Out = pytest.CaptureFixture[str]
SET = ["policy", "set", "mine", "--author", "Ada", "--note", "smaller entries"]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALLAST_HOME", str(tmp_path))


def run(capsys: Out, *arguments: str, code: int = 0) -> str:
    assert main(["policy", *arguments]) == code
    return capsys.readouterr().out


def run_json(capsys: Out, *arguments: str, code: int = 0) -> dict:
    found = json.loads(run(capsys, *arguments, "--json", code=code))
    assert isinstance(found, dict)
    return found


def make(capsys: Out, *assignments: str, derive: str | None = "conservative") -> dict:
    assert main([*SET, *assignments, *(["--from", derive] if derive else []), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_show_a_preset(capsys: Out) -> None:
    shown = run(capsys, "show")
    assert "conservative@1" in shown
    for words in (
        "total_cap_ppm",
        "200,000 = 20 %",
        "0 to 1,000,000",
        "tiers.DD10.size_ppm",
        "quote_caps.CAD.cap_e8",
    ):
        assert words in shown
    found = run_json(capsys, "show", "aggressive")
    assert found["profile"] == json.loads(PRESETS["aggressive"].profile.model_dump_json())
    assert found["policy_digest"] == PRESETS["aggressive"].policy_digest


def test_show_the_schema(capsys: Out) -> None:
    for arguments in (("show", "--schema"), ("show", "--schema", "--json")):
        schema = json.loads(run(capsys, *arguments))
        assert schema["properties"]["base_ppm"]["maximum"] == 1_000_000
        assert schema["properties"]["base_ppm"]["title"].startswith("Entry size (ppm")
        assert schema["x-groups"][0]["name"] == "identity"


def test_set_makes_the_next_version(capsys: Out, tmp_path: Path) -> None:
    first = make(capsys, "base_ppm=1%", "tiers.DD10.size_ppm=40%")
    assert (first["profile"], first["author"], first["note"], first["kind"]) == ("mine@1", "Ada", "smaller entries", "own")
    assert first["derived_from"] == first["origin"]["profile"] == "conservative@1"
    assert [(d["path"], d["new"], d["change"]) for d in first["differences"]] == [
        ("base_ppm", 10_000, "tightens"),
        ("tiers.DD10.size_ppm", 400_000, "tightens"),
    ]
    second = make(capsys, "base_ppm=30000", derive=None)
    assert second["profile"] == "mine@2"
    assert second["previous_digest"] == first["entry_digest"]
    assert [d["change"] for d in second["differences"]] == ["loosens"]
    assert sorted(path.name for path in (tmp_path / "profiles/mine").iterdir()) == ["v001.json", "v002.json"]
    assert "made mine@3" in run(capsys, "set", "mine", "base_ppm=5000", "--author", "Ada", "--note", "less")
    shown = run(capsys, "show", "mine", "--version", "2")
    assert "30,000 = 3 %" in shown
    assert run_json(capsys, "show", "mine@1")["profile"]["base_ppm"] == 10_000
    assert run_json(capsys, "show", "mine")["profile"]["version"] == 3


def test_list(capsys: Out) -> None:
    make(capsys, "base_ppm=1%")
    found = run_json(capsys, "list")["profiles"]
    assert [(row["profile"], row["kind"]) for row in found] == [
        ("conservative@1", "preset"), ("balanced@1", "preset"), ("aggressive@1", "preset"), ("mine@1", "own"),
    ]  # fmt: skip
    shown = run(capsys, "list")
    assert "smaller entries" in shown
    assert found[3]["policy_digest"][:12] in shown


def test_diff(capsys: Out, tmp_path: Path) -> None:
    make(capsys, "base_ppm=1%", "horizon_t=7200", "margin_ppm=0")
    found = run_json(capsys, "diff", "conservative", "mine@1")
    assert found["counts"] == {"loosens": 1, "tightens": 1, "not decidable": 1}
    assert [(d["path"], d["old"], d["new"], d["unit"], d["change"]) for d in found["differences"]] == [
        ("horizon_t", 259_200, 7_200, "s", "not decidable"),
        ("base_ppm", 20_000, 10_000, "ppm", "tightens"),
        ("margin_ppm", 2_000, 0, "ppm", "loosens"),
    ]
    shown = run(capsys, "diff", "conservative", str(tmp_path / "profiles/mine/v001.json"))
    assert "conservative@1 -> mine@1: 1 loosens, 1 tightens, 1 not decidable" in shown
    assert "20,000 = 2 %" in shown
    assert "no difference" in run(capsys, "diff", "mine", "mine")


@pytest.mark.parametrize(
    ("arguments", "code", "got"),
    [
        (["base_ppm=200%", "--from", "conservative"], 2, "got 2000000"),
        (["nothing=1", "--from", "conservative"], 2, "no setting"),
        (["base_ppm=1%"], 2, "no profile mine"),
    ],
)
def test_set_refuses_and_writes_nothing(
    capsys: Out, tmp_path: Path, arguments: list[str], code: int, got: str
) -> None:  # fmt: skip
    assert main([*SET, *arguments, "--json"]) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert got in error["got"]
    assert error["expected"]
    assert error["action"]
    assert not (tmp_path / "profiles").exists()


def test_set_needs_who_and_why_and_a_change(capsys: Out) -> None:
    assert main(["policy", "set", "mine", "base_ppm=1%", "--from", "balanced", "--author", " ", "--note", "x"]) == 2
    assert main(["policy", "set", "mine", "base_ppm=1%", "--from", "balanced", "--author", "A", "--note", "x" * 1_001]) == 2
    assert main(["policy", "set", "mine", "base_ppm=1%", "--from", "balanced", "--author", "A", "--note", "\x1b[31mred"]) == 2
    assert main(["policy", "set", "mine", "base_ppm=1%", "--from", "balanced", "--author", "A\u202eb", "--note", "x"]) == 2
    assert main(["policy", "set", "mine", "base_ppm=1%", "--from", "balanced"]) == 2
    assert main(["policy", "set", "conservative", "base_ppm=1%", "--author", "A", "--note", "x"]) == 2
    capsys.readouterr()
    make(capsys, "base_ppm=1%")
    assert main([*SET, "base_ppm=1%"]) == 4
    assert "has these values already" in capsys.readouterr().err


def test_show_refuses_two_versions_and_unknown_ones(capsys: Out) -> None:
    run(capsys, "show", "conservative@1", "--version", "1", code=2)
    run(capsys, "show", "conservative", "--version", "2", code=2)
    run(capsys, "show", "nobody", code=2)


def test_validate(capsys: Out, tmp_path: Path) -> None:
    make(capsys, "base_ppm=1%")
    path = tmp_path / "profiles/mine/v001.json"
    assert run(capsys, "validate", str(path)).startswith("valid: mine@1, digest ")
    found = run_json(capsys, "validate", str(path))
    assert (found["valid"], found["profile"]) == (True, "mine@1")
    bare = tmp_path / "bare.json"
    bare.write_text(RiskProfile(name="bare").model_dump_json())
    assert "valid: bare@1" in run(capsys, "validate", str(bare))
    path.write_bytes(path.read_bytes().replace(b"smaller", b"larger "))
    assert run_json(capsys, "validate", str(path), code=5)["error"]["kind"] == "verification"
    run(capsys, "show", "mine", code=5)
    run(capsys, "list", code=5)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}x", '{"base_ppm": 2000000}', '{"base_pm": 1}', '{"profile": {}}', '{"strong_prob_ppm": 1}', "\xff"]
)
def test_validate_names_what_is_wrong(capsys: Out, tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content.encode("latin-1"))
    error = run_json(capsys, "validate", str(path), code=3)["error"]
    assert "x.json" in error["got"]


def test_validate_a_file_that_is_not_there(capsys: Out, tmp_path: Path) -> None:
    assert "cannot read" in run_json(capsys, "validate", str(tmp_path / "no.json"), code=3)["error"]["got"]


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(None, "ppm", ""), (True, "switch", "yes"), (False, "switch", "no"), ("a", "text", "a"), (0, "e8 base", "0"),
     (150_000_000, "e8 base", "150,000,000 = 1.5"), (12_000_000, "ppb", "12,000,000 = 1.2 %"), (7_200, "s", "7,200")],
)  # fmt: skip
def test_values_read_well(value: int | str | None, unit: str, expected: str) -> None:
    assert _shown(value, unit) == expected


def test_on_a_terminal_tables_keep_its_width(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    wide = max(map(len, run(capsys, "list").splitlines()))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", run(capsys, "list"))
    assert max(map(len, plain.splitlines())) <= 100 < wide
