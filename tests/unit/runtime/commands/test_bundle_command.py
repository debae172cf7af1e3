"""`ballast bundle`: output, exit codes, and the running daemon that switches in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.adapters.clock import SystemClock
from runtime.cli import main
from runtime.ops import api_client
from runtime.ops.bundles.manifest import TAIL_NAME
from runtime.ops.bundles.store import read_pointer, store_path
from runtime.ops.endpoint import Endpoint, write_endpoint
from runtime.ops.lock import DaemonLock
from tests.support.bundles import make_bundle, signing_key
from tests.support.panels import first_bars, make_panel

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return two bundles in the home folder."""
    monkeypatch.setenv("BALLAST_HOME", str(tmp_path))
    panel = make_panel(1_200, 4)
    return [make_bundle(tmp_path, first_bars(panel, rows_n)) for rows_n in (1_200, 1_176)]


def run(capsys: Out, *arguments: str, code: int = 0) -> str:
    assert main(["bundle", *arguments]) == code
    done = capsys.readouterr()
    return done.out if code == 0 else done.out + done.err


def run_json(capsys: Out, *arguments: str, code: int = 0) -> dict:
    assert main(["bundle", *arguments, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_verify_says_what_was_verified(capsys: Out, bundles: list[Path]) -> None:
    said = run(capsys, "verify", bundles[0].name)
    assert said.startswith(f"valid: {bundles[0].name}")
    assert "recorded forecasts came out the same here" in said
    assert run_json(capsys, "verify", str(bundles[0]))["valid"] is True


def test_a_refused_bundle_ends_in_exit_code_5_with_the_reason(capsys: Out, bundles: list[Path]) -> None:
    (bundles[0] / TAIL_NAME).write_bytes(b"altered")
    for command in ("verify", "show", "activate"):
        assert "truncated: tail.bin" in run(capsys, command, bundles[0].name, code=5)
    assert run_json(capsys, "verify", bundles[0].name, code=5)["error"]["got"].startswith("truncated")
    assert not store_path(Path(bundles[0].parents[1])).exists()
    listed = {row["name"]: row for row in run_json(capsys, "list")["bundles"]}
    assert listed[bundles[0].name]["refused"].startswith("truncated")
    assert listed[bundles[1].name]["refused"] == ""
    assert "truncated" in run(capsys, "list")


def test_show_says_what_it_is_made_of(capsys: Out, bundles: list[Path]) -> None:
    said = run(capsys, "show", bundles[0].name)
    for words in ("bundle hash", "SIMULATED", "a rule with stated constants", "replay", "TRUE, as a test says", "paper"):
        assert words in said
    assert run_json(capsys, "show", bundles[0].name)["manifest"]["name"] == "trend"


def test_activate_and_rollback_without_a_daemon_wait_for_its_start(capsys: Out, tmp_path: Path, bundles: list[Path]) -> None:
    assert "its next start journals it" in run(capsys, "activate", bundles[0].name)
    run(capsys, "activate", bundles[1].name, "--reason", "a newer seed")
    rows = {row["name"]: row["state"] for row in run_json(capsys, "list")["bundles"]}
    assert rows == {bundles[0].name: "previous", bundles[1].name: "active"}
    done = run_json(capsys, "rollback")
    assert (done["name"], done["journaled"]) == (bundles[0].name, False)
    pointer = read_pointer(tmp_path)
    assert pointer is not None
    assert pointer.active == bundles[0].name
    assert pointer.pending
    assert run_json(capsys, "list")["pending"] is True


def test_a_running_daemon_is_asked_and_the_pointer_left_to_it(
    capsys: Out, tmp_path: Path, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, dict[str, object]]] = []

    def post(self: api_client.ControlClient, path: str, body: dict[str, object], command_id: str) -> dict[str, object]:
        assert 8 <= len(command_id) <= 64
        sent.append((path, body))
        return {"accepted": True, "seq_n": 17, "at_t": 1, "reason": ""}

    monkeypatch.setattr(api_client.ControlClient, "post", post)
    lock = DaemonLock.take(tmp_path, SystemClock().now_t())
    try:
        assert "no endpoint yet" in run(capsys, "activate", bundles[0].name, code=6)
        write_endpoint(tmp_path, Endpoint(url="http://127.0.0.1:9", launch_token="t" * 40, pid=1))
        assert "in block 17" in run(capsys, "activate", bundles[0].name, "--reason", "why")
    finally:
        lock.release()
    (asked,) = sent
    assert asked[0] == "/bundle/activate"
    assert str(asked[1]["bundle_hash"]).startswith(bundles[0].name.rpartition("-")[2])
    assert asked[1]["reason"] == "why"
    assert read_pointer(tmp_path) is None
    assert (store_path(tmp_path) / bundles[0].name).is_dir(), "staged, so that the daemon finds it"


def test_what_a_killed_process_left_half_written_is_removed(capsys: Out, tmp_path: Path, bundles: list[Path]) -> None:
    left = [folder / ".partial-999999999-trend" for folder in (store_path(tmp_path), bundles[0].parent)]
    for folder in left:
        folder.mkdir(parents=True)
    run(capsys, "activate", bundles[0].name)
    assert not any(folder.exists() for folder in left)


def test_keys_are_listed_and_added(capsys: Out) -> None:
    other = signing_key("other").public_key
    assert signing_key().public_key in run(capsys, "keys")
    assert run_json(capsys, "trust", other, "--label", "Ada")["added"] is True
    assert "trusted already" in run(capsys, "trust", other)
    assert {key["public_key"] for key in run_json(capsys, "keys")["keys"]} == {signing_key().public_key, other}


@pytest.mark.parametrize(
    "arguments",
    [("trust", "abc"), ("trust", "f" * 64, "--label", "x" * 81), ("activate", "trend"), ("rollback",), ("show", "nothing")],
)
def test_mistakes_are_usage_errors(capsys: Out, arguments: tuple[str, ...]) -> None:
    assert "do next:" in run(capsys, *arguments, code=2)


def test_a_reason_prints(capsys: Out, bundles: list[Path]) -> None:
    for reason in ("x" * 501, "a\nb", "\x1b[31m"):
        assert "--reason" in run(capsys, "activate", bundles[0].name, "--reason", reason, code=2)
