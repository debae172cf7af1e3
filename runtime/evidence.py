"""What a run left to be replayed: its journal, its genesis, its inputs; whatever is not as it should be has its class."""

from __future__ import annotations

from pathlib import Path

from runtime.adapters.anchor import ANCHOR_NAME
from runtime.adapters.inputs import InputChanged, InputMissing, StoredInputs, open_inputs
from runtime.adapters.journal_sqlite import JOURNAL_NAME, ReplacedBlock, SqliteJournal, TruncatedJournal
from runtime.adapters.projections import parse_genesis
from runtime.canonical import sha256_file
from runtime.difference import Failure, FailureClass
from runtime.errors import DataError, VerificationError
from runtime.genesis import Genesis
from runtime.home import RUN_MARK, RUN_SUMMARY


class Found(Exception):
    """Not an error: it carries the answer out of the checks."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def failed(
    kind: FailureClass, detail: str, block: int = 0, record: str = "", stored: str = "", recomputed: str = "", path: str = ""
) -> Found:
    """Return what ends a replay."""
    return Found(Failure(kind=kind, detail=detail, block=block, record=record, stored=stored, recomputed=recomputed, path=path))


def unreadable(name: str, e: OSError) -> str:
    """Return in words why a file cannot be read."""
    return f"{name} is missing" if isinstance(e, FileNotFoundError) else f"{name} cannot be read: {e.strerror or e}"


def open_journal(run_dir: Path) -> SqliteJournal:
    """Open the journal of a run.

    Raises:
        Found: it is missing, cut off or damaged.
        DataError: the folder is no run.
        EnvironmentFailure: it cannot be read, or was written by a newer version.
    """
    path = run_dir / JOURNAL_NAME
    try:
        return SqliteJournal.open(path)
    except DataError as e:
        if not any((run_dir / name).is_file() for name in (RUN_MARK, ANCHOR_NAME, RUN_SUMMARY)):
            raise
        if not path.is_file() or path.stat().st_size == 0:
            what = "is empty" if path.is_file() else "is missing"
            raise failed(FailureClass.TRUNCATED, f"the journal {path} {what}") from e
        raise failed(FailureClass.CHAIN_BREAK, e.got) from e
    except TruncatedJournal as e:
        raise failed(FailureClass.TRUNCATED, e.got) from e
    except ReplacedBlock as e:
        raise failed(FailureClass.CHAIN_BREAK, e.got, block=e.seq_n, record="block_hash") from e
    except VerificationError as e:
        raise failed(FailureClass.CHAIN_BREAK, e.got) from e


def read_genesis(content: bytes, run_dir: Path) -> Genesis:
    """Return the genesis of a journal.

    Raises:
        Found: this version does not understand it.
    """
    try:
        return parse_genesis(content, run_dir)
    except VerificationError as e:
        raise failed(FailureClass.CODE_DRIFT, e.got) from e


def check_genesis(genesis: Genesis, content: bytes, owner: tuple[int, int], run_dir: Path) -> None:
    """Hold a genesis against the journal that carries its bytes, its own digests, and its copy in the run folder.

    Raises:
        Found: they disagree.
    """
    if genesis.canonical() != content:
        raise failed(FailureClass.CODE_DRIFT, "this version writes the genesis with other bytes")
    if owner != (genesis.account_id, genesis.mode_id):
        raise failed(FailureClass.CHAIN_BREAK, f"the journal says account and mode {owner}, its genesis differs")
    if genesis.profile.digest != genesis.policy_digest:
        raise failed(FailureClass.POLICY_CHANGED, f"the profile has the digest {genesis.profile.digest}, the genesis another")
    _check_mark(genesis, content, run_dir / RUN_MARK)


def _check_mark(genesis: Genesis, content: bytes, mark: Path) -> None:
    try:
        copy = mark.read_bytes()
    except OSError as e:
        raise failed(FailureClass.CHAIN_BREAK, unreadable(RUN_MARK, e)) from e
    if copy == content:
        return
    try:
        same_policy = Genesis.model_validate_json(copy).profile == genesis.profile
    except ValueError:
        same_policy = True
    kind = FailureClass.CHAIN_BREAK if same_policy else FailureClass.POLICY_CHANGED
    raise failed(kind, f"{RUN_MARK} is not the genesis of the journal")


def stored_inputs(home: Path, genesis: Genesis) -> StoredInputs:
    """Return everything that a run was computed from, each by its digest; bars and forecasts stay in their files.

    Raises:
        Found: a model that a study of this home folder keeps, or an input, is missing or changed.
    """
    _check_models(home, genesis)
    try:
        return open_inputs(home, genesis)
    except InputMissing as e:
        raise failed(FailureClass.INPUT_MISSING, e.got) from e
    except InputChanged as e:
        raise failed(FailureClass.INPUT_CHANGED, e.got) from e


def _check_models(home: Path, genesis: Genesis) -> None:
    """Compare each model of the bundle that a study of this home folder keeps with the hash that names it."""
    wanted = set(genesis.bundle.model_hashes)
    for path in sorted((home / "studies").glob("*/models/*.txt")):
        if path.stem in wanted and sha256_file(path) != path.stem:
            raise failed(
                FailureClass.MODEL_CHANGED,
                f"{path} is not the model that the genesis names",
                record="model",
                path=path.relative_to(home).as_posix(),
            )
