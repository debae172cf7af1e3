"""Activation is staged, verified and one rename; whatever goes wrong on the way, the active bundle is as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import EnvironmentFailure, UsageError, VerificationError
from runtime.ops.bundles import store
from runtime.ops.bundles.keys import trusted_keys
from runtime.ops.bundles.manifest import MANIFEST_NAME, TAIL_NAME
from runtime.ops.bundles.read import read_bundle
from runtime.ops.bundles.refusal import BundleRefused
from runtime.ops.bundles.store import (
    active,
    bundle_of,
    bundle_to_start,
    find_bundle,
    point,
    previous,
    read_pointer,
    rollback,
    stage,
    store_path,
)
from tests.support.bundles import make_bundle
from tests.support.panels import first_bars, make_panel


@pytest.fixture
def bundles(tmp_path: Path) -> list[Path]:
    """Return three bundles of one home folder: one rule, three seeds."""
    panel = make_panel(1_200, 4)
    return [make_bundle(tmp_path, first_bars(panel, rows_n)) for rows_n in (1_200, 1_176, 1_152)]


def test_activation_copies_verified_bytes_and_swaps_the_pointer(tmp_path: Path, bundles: list[Path]) -> None:
    assert active(tmp_path) is None
    loaded = store.activate(tmp_path, bundles[0])
    folder = active(tmp_path)
    assert folder == loaded.path == store_path(tmp_path) / bundles[0].name
    (bundles[0] / TAIL_NAME).write_bytes(b"what happens to the source")
    assert read_bundle(folder, trusted_keys(tmp_path)).manifest.digest == loaded.manifest.digest


def test_rollback_goes_to_the_one_before_and_back_again(tmp_path: Path, bundles: list[Path]) -> None:
    with pytest.raises(UsageError, match="no bundle was active before"):
        rollback(tmp_path)
    store.activate(tmp_path, bundles[0])
    with pytest.raises(UsageError, match="no bundle was active before"):
        rollback(tmp_path)
    store.activate(tmp_path, bundles[1])
    store.activate(tmp_path, bundles[1])  # twice is once
    assert previous(tmp_path).name == bundles[0].name
    assert rollback(tmp_path).path.name == bundles[0].name
    assert rollback(tmp_path).path.name == bundles[1].name
    store.activate(tmp_path, bundles[2])
    staged = sorted(path.name for path in store_path(tmp_path).iterdir() if path.is_dir())
    assert staged == sorted([bundles[1].name, bundles[2].name]), "copies that nothing names are removed"


def test_a_refused_bundle_changes_nothing(tmp_path: Path, bundles: list[Path]) -> None:
    store.activate(tmp_path, bundles[0])
    before = sorted(path.relative_to(tmp_path) for path in store_path(tmp_path).rglob("*"))
    (bundles[1] / TAIL_NAME).unlink()
    with pytest.raises(BundleRefused):
        store.activate(tmp_path, bundles[1])
    assert sorted(path.relative_to(tmp_path) for path in store_path(tmp_path).rglob("*")) == before
    (store_path(tmp_path) / bundles[0].name / TAIL_NAME).write_bytes(b"altered")
    store.activate(tmp_path, bundles[2])
    with pytest.raises(BundleRefused):
        rollback(tmp_path)
    assert active(tmp_path) == store_path(tmp_path) / bundles[2].name, "an altered predecessor is no way back"
    assert store.activate(tmp_path, bundles[0]).forecasts_n, "staged again from its source, whole"


def test_a_full_disk_leaves_the_active_one(tmp_path: Path, bundles: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    store.activate(tmp_path, bundles[0])

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "publish_folder", full)
    with pytest.raises(EnvironmentFailure, match="No space left"):
        store.activate(tmp_path, bundles[1])
    assert active(tmp_path) == store_path(tmp_path) / bundles[0].name
    assert not list(store_path(tmp_path).glob(".partial*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from runtime.ops.bundles import store
home, source, at = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
kept = getattr(store, at)
def dies(*arguments, **options):
    if at == "_sweep":
        kept(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(store, at, dies)
store.activate(home, source)
"""


@pytest.mark.parametrize(("at", "after"), [("publish_folder", 0), ("write_bytes", 0), ("_sweep", 1)])
def test_a_kill_leaves_the_old_one_or_the_new_one(tmp_path: Path, bundles: list[Path], at: str, after: int) -> None:
    store.activate(tmp_path, bundles[0])
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(bundles[1]), at], check=False, env={**os.environ})
    assert done.returncode == -signal.SIGKILL
    folder = active(tmp_path)
    assert folder == store_path(tmp_path) / bundles[after].name
    assert read_bundle(folder, trusted_keys(tmp_path)).forecasts_n
    assert store.activate(tmp_path, bundles[1]).forecasts_n, "and the next one succeeds"


def test_only_a_staged_bundle_can_be_pointed_at(tmp_path: Path, bundles: list[Path]) -> None:
    for name in (bundles[0].name, "../../etc", "trend-000000000000"):
        with pytest.raises(UsageError, match="not staged"):
            point(tmp_path, name, pending=False)


def test_a_damaged_pointer_is_named(tmp_path: Path, bundles: list[Path]) -> None:
    store.activate(tmp_path, bundles[0])
    for text in ("{", '{"active": "../x"}'):
        (store_path(tmp_path) / store.POINTER_NAME).write_text(text)
        with pytest.raises(VerificationError, match="which bundle is active"):
            active(tmp_path)


# ---- what a daemon starts with ---------------------------------------------------------------------------------


def test_the_chain_is_the_truth_unless_a_person_chose_meanwhile(tmp_path: Path, bundles: list[Path]) -> None:
    with pytest.raises(UsageError, match="no bundle is active"):
        bundle_to_start(tmp_path, None)
    first = store.activate(tmp_path, bundles[0])
    assert bundle_to_start(tmp_path, None) == (first.path, True), "a new chain: journal it"
    point(tmp_path, first.path.name, pending=False)
    assert bundle_to_start(tmp_path, first.note) == (first.path, False), "nothing new"
    second = stage(tmp_path, bundles[1])
    assert bundle_to_start(tmp_path, second.note) == (second.path, False), "journaled, then killed before the pointer"
    point(tmp_path, second.path.name, pending=False)
    third = store.activate(tmp_path, bundles[2])
    assert bundle_to_start(tmp_path, second.note) == (third.path, True), "activated while no daemon ran"
    point(tmp_path, third.path.name, pending=False)
    pointer = read_pointer(tmp_path)
    assert pointer is not None
    assert not pointer.pending
    assert bundle_to_start(tmp_path, third.note) == (third.path, False)
    promoted = bundle_to_start(tmp_path, first.note)
    assert promoted == (bundles[0], False), "not staged any more, but promoted here"
    with pytest.raises(VerificationError, match="neither staged nor promoted"):
        bundle_to_start(tmp_path, first.note.model_copy(update={"manifest_digest": "f" * 64}))


# ---- names -----------------------------------------------------------------------------------------------------


def test_a_bundle_is_found_by_path_name_or_digest(tmp_path: Path, bundles: list[Path]) -> None:
    digest = json.loads((bundles[0] / MANIFEST_NAME).read_bytes())["bundle_hash"]
    manifest = bundles[0].name.rpartition("-")[2]
    for text in (str(bundles[0]), bundles[0].name, manifest, manifest[:6]):
        assert find_bundle(tmp_path, text) == bundles[0]
    for text in ("trend", digest, digest[:8]):
        with pytest.raises(UsageError, match="3 bundles"):
            find_bundle(tmp_path, text)
    for text in ("ml", manifest[:5], "f" * 64, "/nowhere"):
        with pytest.raises(UsageError, match="no bundle named"):
            find_bundle(tmp_path, text)
    with pytest.raises(UsageError, match="there are no bundles"):
        find_bundle(tmp_path / "other", "trend")


def test_a_running_daemon_finds_the_staged_one_by_either_digest(tmp_path: Path, bundles: list[Path]) -> None:
    staged = stage(tmp_path, bundles[0])
    assert bundle_of(tmp_path, staged.manifest.digest) == staged.path
    assert bundle_of(tmp_path, staged.manifest.bundle_hash) == staged.path
    other = read_bundle(bundles[1], trusted_keys(tmp_path)).manifest
    assert bundle_of(tmp_path, other.digest) == bundles[1]
    assert bundle_of(tmp_path, "0" * 64) is None
    (bundles[1] / MANIFEST_NAME).write_text("damaged")
    assert bundle_of(tmp_path, other.digest) is None
