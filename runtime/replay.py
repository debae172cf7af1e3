"""Replay: the stored chain verified, then every block computed again from its inputs and compared byte by byte.

1. open: the journal's schema, its genesis and its anchor (`adapters/journal_sqlite.py`)
2. inputs: bars and forecasts by content address, the policy by its digest
3. chain: bytes -> row hashes -> records digests -> block hashes, from the genesis to the head (`verify.py`)
4. recomputation: the same `iterate_blocks` that made the run; the first block that differs is taken apart

A failure has one class, from what was established first. A changed row breaks the chain at its block; the block is then
computed again all the same, to name the field.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from runtime.adapters.inputs import InputChanged, InputMissing, load_bars, load_forecasts
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal, TruncatedJournal
from runtime.adapters.projections import batches, parse_genesis
from runtime.core.codes import MODE_BACKTEST, MODE_NAMES
from runtime.core.digest import HEADER, Block, decode_payload, run_root
from runtime.core.records import RECORD_TYPES, RecordType
from runtime.engine import RunInputs, iterate_blocks
from runtime.errors import InvariantError, UsageError, VerificationError
from runtime.genesis import Genesis
from runtime.home import RUN_MARK
from runtime.jit import compiled_source_digest
from runtime.ports import Head
from runtime.progress import Report, silent
from runtime.verify import BadBlock, ChainVerifier, Rows, forecast_hashes

VERIFY_BLOCKS_N: Final = 4_096
_HEADER_FIELDS: Final = ("seq_n", "at_t", "kind_id", "account_id", "mode_id", "records_n")


class FailureClass(StrEnum):
    """Why a replay has no parity."""

    CHAIN_BREAK = "chain break"
    TRUNCATED = "truncated journal"
    INPUT_MISSING = "input missing"
    INPUT_CHANGED = "input changed"
    POLICY_CHANGED = "policy changed"
    CODE_DRIFT = "code drift"
    STATE_DIVERGENCE = "state divergence"


class Failure(BaseModel):
    """The first difference. Fields that do not apply are empty or 0.

    Attributes:
        kind: class of failure.
        detail: one sentence.
        block: sequence number of the block.
        record: record type, or the part of the block (`header`, `inputs_digest`, ...).
        row: the row's own id.
        field: column.
        stored: what the journal holds.
        recomputed: what the core computes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FailureClass
    detail: str
    block: int = 0
    record: str = ""
    row: int = 0
    field: str = ""
    stored: str = ""
    recomputed: str = ""


class ReplayResult(BaseModel):
    """Outcome of a replay. `seconds` describes this execution only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    parity: bool
    blocks: int
    journal_head: str
    run_root: str
    same_code: bool
    failure: Failure | None
    seconds: dict[str, float]


class _Found(Exception):
    """Not an error: it carries the answer out of the checks."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def replay(run_dir: Path, home: Path, report: Report = silent) -> ReplayResult:
    """Verify and recompute a run.

    Args:
        run_dir: folder with the journal.
        home: home folder with the core inputs.
        report: told how many blocks were verified and recomputed.

    Raises:
        DataError: there is no journal.
        EnvironmentFailure: the journal cannot be read, or was written by a newer version.
        UsageError: the run is of a mode that is not recomputed from stored inputs.
    """
    return _Replay(run_dir, home, report).run()


class _Replay:
    """One replay; what is established on the way stays for the result."""

    def __init__(self, run_dir: Path, home: Path, report: Report) -> None:
        self._run_dir = run_dir
        self._home = home
        self._report = report
        self._head = Head(0, b"")
        self._genesis_hash = b""
        self._compared_n = 0
        self._same_code = True
        self._seconds: dict[str, float] = {}

    def run(self) -> ReplayResult:
        failure = None
        try:
            journal = self._open()
            try:
                self._check(journal)
            finally:
                journal.close()
        except _Found as found:
            failure = found.failure
        root = run_root(self._genesis_hash, self._head.block_hash, self._head.seq_n) if self._genesis_hash else ""
        return ReplayResult(
            run_id=self._run_dir.resolve().name,
            parity=failure is None,
            blocks=self._compared_n,
            journal_head=self._head.block_hash.hex(),
            run_root=root,
            same_code=self._same_code,
            failure=failure,
            seconds=self._seconds,
        )

    def _open(self) -> SqliteJournal:
        try:
            return SqliteJournal.open(self._run_dir / JOURNAL_NAME)
        except TruncatedJournal as e:
            raise _failed(FailureClass.TRUNCATED, e.got) from e
        except VerificationError as e:
            raise _failed(FailureClass.CHAIN_BREAK, e.got) from e

    def _check(self, journal: SqliteJournal) -> None:
        self._head = journal.head()
        genesis = self._genesis(journal)
        inputs = self._inputs(genesis)
        started = time.perf_counter()
        try:
            bad = self._verify(journal, inputs)
        except VerificationError as e:  # damaged pages
            raise _failed(FailureClass.CHAIN_BREAK, e.got) from e
        finally:
            self._seconds["verify"] = time.perf_counter() - started
        started = time.perf_counter()
        try:
            self._recompute(journal, inputs, bad)
        finally:
            self._seconds["recompute"] = time.perf_counter() - started

    def _genesis(self, journal: SqliteJournal) -> Genesis:
        content = journal.genesis()
        try:
            genesis = parse_genesis(content, self._run_dir)
        except VerificationError as e:
            raise _failed(FailureClass.CODE_DRIFT, e.got) from e
        self._genesis_hash = genesis.hash
        self._same_code = genesis.core_digest == compiled_source_digest()
        if genesis.canonical() != content:
            raise _failed(FailureClass.CODE_DRIFT, "this version writes the genesis with other bytes")
        if journal.owner != (genesis.account_id, genesis.mode_id):
            raise _failed(FailureClass.CHAIN_BREAK, f"the journal says account and mode {journal.owner}, its genesis differs")
        if genesis.profile.digest != genesis.policy_digest:
            raise _failed(
                FailureClass.POLICY_CHANGED, f"the profile has the digest {genesis.profile.digest}, the genesis another"
            )
        if genesis.mode_id != MODE_BACKTEST:
            raise UsageError(
                f"a run of mode {MODE_NAMES.get(genesis.mode_id, genesis.mode_id)}",
                expected="a backtest, whose inputs are stored by content address",
                action="replay a backtest",
            )
        self._check_mark(genesis, content)
        return genesis

    def _check_mark(self, genesis: Genesis, content: bytes) -> None:
        mark = self._run_dir / RUN_MARK
        try:
            copy = mark.read_bytes()
        except OSError as e:
            raise _failed(FailureClass.CHAIN_BREAK, f"{RUN_MARK} cannot be read: {e.strerror or e}") from e
        if copy == content:
            return
        try:
            same_policy = Genesis.model_validate_json(copy).profile == genesis.profile
        except ValueError:
            same_policy = True
        kind = FailureClass.CHAIN_BREAK if same_policy else FailureClass.POLICY_CHANGED
        raise _failed(kind, f"{RUN_MARK} is not the genesis of the journal")

    def _inputs(self, genesis: Genesis) -> RunInputs:
        started = time.perf_counter()
        try:
            bars, close_t = load_bars(self._home, genesis.bars_digest)
            forecasts = load_forecasts(self._home, genesis.forecasts_digest)
        except InputMissing as e:
            raise _failed(FailureClass.INPUT_MISSING, e.got) from e
        except InputChanged as e:
            raise _failed(FailureClass.INPUT_CHANGED, e.got) from e
        self._seconds["inputs"] = time.perf_counter() - started
        return RunInputs(genesis, bars, close_t, forecasts)

    def _verify(self, journal: SqliteJournal, inputs: RunInputs) -> BadBlock | None:
        policy_digest = bytes.fromhex(inputs.genesis.policy_digest)
        verifier = ChainVerifier(self._genesis_hash, journal.owner, policy_digest, forecast_hashes(inputs.forecasts))
        for blocks in batches(journal.read(), VERIFY_BLOCKS_N):
            found = verifier.follow(blocks)
            if isinstance(found, BadBlock):
                return found
            self._report("verify chain", verifier.head.seq_n, self._head.seq_n)
        return None if verifier.head == self._head else BadBlock(verifier.head.seq_n + 1, "the chain ends before its head")

    def _recompute(self, journal: SqliteJournal, inputs: RunInputs, bad: BadBlock | None) -> None:
        """Compare every block; with a bad one known, go as far as that block to name what changed in it."""
        recomputed = self._recomputed(inputs, bad)
        last_n = bad.seq_n if bad else None
        for stored in journal.read(1, last_n):
            block = next(recomputed, None)
            if block is None:
                raise self._diverged(bad, Failure(
                    kind=FailureClass.STATE_DIVERGENCE, block=stored.seq_n, record="block", stored="present", recomputed="absent",
                    detail=f"the journal has block {stored.seq_n}, the recomputation ends before it",
                ))  # fmt: skip
            if stored != block:
                raise self._diverged(bad, first_difference(stored, block))
            self._compared_n = stored.seq_n
        if bad is not None:  # the recomputed block equals the stored one, or there is no stored one
            raise _failed(FailureClass.CHAIN_BREAK, bad.what, block=bad.seq_n, record=bad.table)
        missing = next(recomputed, None)
        if missing is not None:
            raise _failed(
                FailureClass.TRUNCATED, f"the journal ends at block {self._head.seq_n}, the recomputation goes on",
                block=missing.seq_n, record="block", stored="absent", recomputed="present",
            )  # fmt: skip

    def _recomputed(self, inputs: RunInputs, bad: BadBlock | None) -> Iterator[Block]:
        def forward(_stage: str, done: int, total: int) -> None:
            self._report("recompute", done, total)

        try:
            for blocks in iterate_blocks(inputs, forward):
                yield from blocks
        except InvariantError as e:
            raise self._diverged(bad, Failure(
                kind=FailureClass.STATE_DIVERGENCE, block=self._compared_n + 1, detail=f"the core stopped: {e.got}"
            )) from e  # fmt: skip

    def _diverged(self, bad: BadBlock | None, failure: Failure) -> _Found:
        """Give a difference its class: a broken chain first, then changed code, then what the difference itself shows."""
        kind, detail = failure.kind, failure.detail
        if bad is not None:
            kind, detail = FailureClass.CHAIN_BREAK, f"{bad.what}; {detail}"
        elif not self._same_code:
            kind, detail = FailureClass.CODE_DRIFT, f"{detail}; the core's source is not the one that made the run"
        return _Found(failure.model_copy(update={"kind": kind, "detail": detail}))


def _failed(
    kind: FailureClass, detail: str, block: int = 0, record: str = "", stored: str = "", recomputed: str = ""
) -> _Found:
    return _Found(Failure(kind=kind, detail=detail, block=block, record=record, stored=stored, recomputed=recomputed))


def first_difference(stored: Block, recomputed: Block) -> Failure:
    """Return the first difference of two blocks, from the records outwards to the block hash."""
    place = _payload_difference(stored.payload, recomputed.payload)
    if place is None:
        place = _envelope_difference(stored, recomputed)
    kind = FailureClass.INPUT_CHANGED if place.record == "inputs_digest" else FailureClass.STATE_DIVERGENCE
    where = f"{place.record}{f' row {place.row}' if place.row else ''}{f' field {place.field}' if place.field else ''}"
    seq_n = recomputed.seq_n
    return place.model_copy(update={"kind": kind, "block": seq_n, "detail": f"block {seq_n} differs in {where}"})


def _place(record: str, row: int, field: str, stored: str, recomputed: str) -> Failure:
    return Failure(
        kind=FailureClass.STATE_DIVERGENCE, detail="", record=record, row=row, field=field, stored=stored, recomputed=recomputed
    )


def _payload_difference(stored: bytes, recomputed: bytes) -> Failure | None:
    if stored == recomputed:
        return None
    ours = decode_payload(recomputed)
    try:
        theirs = decode_payload(stored)
    except (ValueError, TypeError) as e:
        return _place("payload", 0, "", f"malformed: {e}", f"{len(recomputed)} bytes")
    for record in RECORD_TYPES:
        found = _table_difference(record, theirs.get(record.name), ours.get(record.name))
        if found is not None:
            return found
    return _place("payload", 0, "", "sections in another order", "")


def _table_difference(record: RecordType, stored: Rows | None, recomputed: Rows | None) -> Failure | None:
    stored_n = 0 if stored is None else len(stored)
    recomputed_n = 0 if recomputed is None else len(recomputed)
    names: tuple[str, ...] = record.dtype.names or ()
    if stored is not None and recomputed is not None:
        for theirs, ours in zip(stored, recomputed, strict=False):
            for name in names:
                if theirs[name] != ours[name]:
                    shown = (_shown(record, name, int(theirs[name])), _shown(record, name, int(ours[name])))
                    return _place(record.name, int(ours[names[0]]), name, *shown)
    if stored_n != recomputed_n:
        return _place(record.name, 0, "", f"{stored_n} rows", f"{recomputed_n} rows")
    return None


def _shown(record: RecordType, name: str, value: int) -> str:
    label = record.names.get(name, {}).get(value)
    return f"{value} {label}" if label else str(value)


def _envelope_difference(stored: Block, recomputed: Block) -> Failure:
    if isinstance(stored.header, bytes) and len(stored.header) == HEADER.size:
        values = zip(_HEADER_FIELDS, HEADER.unpack(stored.header), HEADER.unpack(recomputed.header), strict=True)
        for name, theirs, ours in values:
            if theirs != ours:
                return _place("header", 0, name, str(theirs), str(ours))
    order = ("header", "inputs_digest", "records_digest", "block_hash", "seq_n", "at_t", "kind_id")
    name = next(name for name in order if getattr(stored, name) != getattr(recomputed, name))
    return _place(name, 0, "", _text(getattr(stored, name)), _text(getattr(recomputed, name)))


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
