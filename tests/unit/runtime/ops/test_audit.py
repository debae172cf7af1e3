"""Exports of journaled runs, and the command: equal bytes for equal runs, exit codes, the bundled verifier alone."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runtime.adapters.journal_sqlite import JOURNAL_NAME
from runtime.cli import main
from runtime.core.codes import EV_HEARTBEAT
from runtime.core.digest import HEADER, Block
from runtime.errors import (
    EXIT_DATA,
    EXIT_ENVIRONMENT,
    EXIT_OK,
    EXIT_USAGE,
    EXIT_VERIFY,
    DataError,
    UsageError,
    VerificationError,
)
from runtime.genesis import Genesis
from runtime.home import find_run
from runtime.ops import audit, verify_export
from tests.support import exports
from tests.support.replays import rechain
from tests.support.runs import make_run
from tests.support.venues import venue_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with one run that holds rows of every type."""
    folder = tmp_path_factory.mktemp("home")
    make_run(folder)
    return folder


def command(*arguments: object) -> int:
    return main([str(argument) for argument in ("audit", *arguments)])


def test_a_run_is_exported_and_its_bundled_verifier_accepts_it(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run.zip"
    assert command("export", "ml", "--home", made, "--out", out, "--json") == EXIT_OK
    summary = json.loads(capsys.readouterr().out)
    assert summary["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert summary["bytes_n"] == out.stat().st_size
    assert summary["records"] > 1_000
    assert command("verify", out, "--json", "--run-root", summary["run_root"]) == EXIT_OK
    result = json.loads(capsys.readouterr().out)
    assert result["verified"] is True
    assert (result["records"], result["blocks"], result["run_root"]) == (
        summary["records"],
        summary["blocks"],
        summary["run_root"],
    )
    assert command("verify", out) == EXIT_OK
    shown = capsys.readouterr().out
    assert "EXPORT VERIFIED: TRUE" in shown
    assert "not checked" in shown
    assert command("export", "ml", "--home", made, "--out", tmp_path / "again.zip") == EXIT_OK
    told = capsys.readouterr().out
    assert f"sha256    {summary['sha256']}" in told
    assert f"run_root  {summary['run_root']}" in told


def test_equal_runs_give_equal_bytes(made: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "other home")
    (first,), (second,) = (sorted((home / "runs").iterdir()) for home in (made, tmp_path / "other home"))
    a = audit.export_run(first, made, tmp_path / "a.zip")
    b = audit.export_run(second, tmp_path / "other home", tmp_path / "deeper" / "b.zip")
    assert a.sha256 == b.sha256
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "deeper" / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as z:
        assert tuple(z.namelist()) == verify_export.MEMBERS
        assert {info.date_time for info in z.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in z.infolist()} == {0o100644}
        assert not any(str(tmp_path).encode() in z.read(name) for name in z.namelist())
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "deeper", "other home"}, "no partial file is left"


def test_the_verifier_inside_runs_without_the_project(made: Path, tmp_path: Path) -> None:
    (run,) = (made / "runs").iterdir()
    audit.export_run(run, made, tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as z:
        z.extractall(tmp_path / "unpacked")
    script = "verify_export.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, "../run.zip"],
        cwd=tmp_path / "unpacked",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forged_export_ends_with_the_verify_code_and_the_place(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = (made / "runs").iterdir()
    audit.export_run(run, made, tmp_path / "run.zip")
    forged = exports.forged(tmp_path / "run.zip", tmp_path / "forged.zip", exports.bump("order_fill", 2, "fee_e8"), hashes=True)
    assert command("verify", forged, "--json") == EXIT_VERIFY
    found = json.loads(capsys.readouterr().out)["defect"]
    assert (found["record"], found["row"], found["field"]) == ("order_fill", 2, "fee_e8")
    assert int(found["stored"]) == int(found["recomputed"]) + 1
    assert command("verify", forged) == EXIT_VERIFY
    assert "EXPORT VERIFIED: FALSE" in capsys.readouterr().out
    plain = exports.forged(tmp_path / "run.zip", tmp_path / "plain.zip", exports.bump("order_fill", 2, "fee_e8"), hashes=False)
    members = exports.read_members(plain)
    members["README.md"] += b"\n"
    assert command("verify", exports.write_members(plain, members)) == EXIT_VERIFY
    assert "changed" in capsys.readouterr().out


def test_a_strange_verifier_is_started_only_on_request(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = (made / "runs").iterdir()
    audit.export_run(run, made, tmp_path / "run.zip")
    members = exports.read_members(tmp_path / "run.zip")
    members["verify_export.py"] += b"# of another version\n"
    exports.mend_manifest(members)
    other = exports.write_members(tmp_path / "other.zip", members)
    assert command("verify", other, "--json") == EXIT_VERIFY
    assert "another verifier" in json.loads(capsys.readouterr().out)["error"]["got"]
    assert command("verify", other, "--any-verifier") == EXIT_OK
    members["verify_export.py"][:] = b"raise SystemExit('broken')\n"
    exports.mend_manifest(members)
    exports.write_members(other, members)
    with pytest.raises(VerificationError, match="broken"):
        audit.run_bundled_verifier(other, any_verifier=True)


def test_what_is_no_archive_or_no_run_has_its_own_exit_code(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.zip").write_bytes(b"no archive")
    assert command("verify", tmp_path / "x.zip") == EXIT_DATA
    assert command("verify", tmp_path / "none.zip") == EXIT_DATA
    assert command("export", "nothing", "--home", made) == EXIT_USAGE
    (tmp_path / "file").write_bytes(b"")
    assert command("export", "ml", "--home", made, "--out", tmp_path / "file" / "x.zip") == EXIT_ENVIRONMENT
    assert "cannot write" in capsys.readouterr().err
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as z:
        z.writestr("other", "x")
    with pytest.raises(VerificationError, match="carries no whole verifier"):
        audit.run_bundled_verifier(tmp_path / "empty.zip")
    with pytest.raises(DataError):
        audit.run_bundled_verifier(tmp_path)


def test_a_damaged_run_is_not_exported(tmp_path: Path) -> None:
    make_run(tmp_path)
    (run,) = (tmp_path / "runs").iterdir()
    connection = sqlite3.connect(run / JOURNAL_NAME)
    (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'block_refuses_update'").fetchone()
    connection.execute("DROP TRIGGER block_refuses_update")
    (payload,) = connection.execute("SELECT payload FROM block WHERE seq_n = 300").fetchone()
    damaged = payload[:60] + bytes([payload[60] ^ 1]) + payload[61:]
    connection.execute("UPDATE block SET payload = ? WHERE seq_n = 300", (damaged,))
    connection.execute(trigger)
    connection.commit()
    connection.close()
    with pytest.raises(VerificationError, match="cannot be exported") as e:
        audit.export_run(run, tmp_path, tmp_path / "x.zip")
    assert "block 300" in e.value.got or "trade_signal" in e.value.got or "state" in e.value.got
    assert [path.name for path in tmp_path.iterdir() if "zip" in path.name or "partial" in path.name] == []


def test_a_mode_without_stored_events_is_refused(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = (made / "runs").iterdir()
    parse = audit.parse_genesis

    def paper(content: bytes, run_dir: Path) -> Genesis:
        return parse(content, run_dir).model_copy(update={"mode_id": 2})

    monkeypatch.setattr(audit, "parse_genesis", paper)
    with pytest.raises(UsageError, match="mode paper"):
        audit.export_run(run, made, tmp_path / "x.zip")


def blocks_without_their_end(blocks: list[Block]) -> list[Block]:
    return blocks[:-1]


def test_blocks_that_end_before_their_head_are_not_exported(tmp_path: Path) -> None:
    inputs, blocks, events = venue_run(2, hours=30)
    with pytest.raises(VerificationError, match="31 events|the chain ends|events"):
        exports.export_blocks(tmp_path / "x.zip", inputs, blocks, events[:-1])
    head = audit.Head(blocks[-1].seq_n, blocks[-1].block_hash)
    source = audit.Source(inputs, iter(blocks_without_their_end(blocks)), head, b"{}", events)
    with pytest.raises(VerificationError, match="the chain ends at block"):
        audit.write_export(tmp_path / "x.zip", source)
    assert not (tmp_path / "x.zip").exists()


def test_an_event_that_a_backtest_does_not_have_is_not_exported(tmp_path: Path) -> None:
    """Its block, and every hash, fit; no such event follows from inputs and records."""
    make_run(tmp_path, hours_n=260)
    (run,) = (tmp_path / "runs").iterdir()

    def another_kind(block: Block) -> Block:
        if block.seq_n != 100:
            return block
        seq_n, at_t, _, *rest = HEADER.unpack(block.header)
        return block._replace(header=HEADER.pack(seq_n, at_t, EV_HEARTBEAT, *rest), kind_id=EV_HEARTBEAT)

    rechain(run, tmp_path, lambda block: block)
    audit.export_run(run, tmp_path, tmp_path / "x.zip")
    rechain(run, tmp_path, another_kind)
    with pytest.raises(VerificationError, match="the inputs of block 100 do not match"):
        audit.export_run(run, tmp_path, tmp_path / "y.zip")


def test_an_export_never_costs_another_file(made: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep.txt"
    keep.write_text("precious")
    journal = find_run(made, "ml") / "journal.sqlite"
    before = journal.read_bytes()
    for out in (keep, journal, tmp_path):
        assert command("export", "ml", "--home", made, "--out", out) == EXIT_USAGE
    assert (keep.read_text(), journal.read_bytes()) == ("precious", before)
    out = tmp_path / "x.audit.zip"
    assert command("export", "ml", "--home", made, "--out", out) == EXIT_OK
    assert command("export", "ml", "--home", made, "--out", out) == EXIT_OK, "an earlier export makes room"
