"""Replay: the stored chain verified, then every block computed again from its inputs and compared byte by byte.

1. open: the journal's schema, its genesis and its anchor (`adapters/journal_sqlite.py`)
2. inputs: bars and forecasts by content address, the policy by its digest
3. chain: bytes -> row hashes -> records digests -> block hashes, from the genesis to the head (`verify.py`)
4. lineage: bars, clusters, features and forecasts computed again from the lake and the models (`lineage.py`)
5. recomputation: the same `iterate_blocks` that made the run; the first block that differs is taken apart
6. summary: `run.json` against the run root, the head, the blocks and the final value that the steps before established

Level `chain` leaves out 4 and 5, level `decisions`, the default, leaves out 4. A replay from a block on begins at the nearest
snapshot before it (`adapters/snapshots.py`); the chain is verified from the genesis all the same.

A failure has one class, from what was established first. A changed row breaks the chain at its block; the block is then
computed again all the same, to name the field. What comes out otherwise from sound inputs is laid to the source when that is
another one, then to the platform when that is, and only then to the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from runtime.adapters import snapshots
from runtime.adapters.inputs import InputChanged, StoredInputs
from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.adapters.projections import batches
from runtime.core.codes import MODE_BACKTEST, MODE_NAMES
from runtime.core.digest import Block, RowHasher, run_root
from runtime.desk import Desk
from runtime.difference import Failure, FailureClass, Tally, first_difference, summary_difference
from runtime.engine import BlockChain, StageSeconds, Sweep, blocks_of, iterate_blocks
from runtime.errors import InvariantError, UsageError, VerificationError
from runtime.event import Event
from runtime.evidence import Found, check_genesis, failed, open_journal, read_genesis, stored_inputs, unreadable
from runtime.genesis import Genesis
from runtime.home import RUN_SUMMARY
from runtime.jit import deciding_source_digest
from runtime.lineage import installed_tracer
from runtime.machine import made_on, this_platform
from runtime.ports import Head
from runtime.progress import Report, silent
from runtime.verify import BadBlock, ChainVerifier, JournaledForecasts, forecast_hashes

VERIFY_BLOCKS_N: Final = 4_096


class Level(StrEnum):
    """How far a replay goes."""

    CHAIN = "chain"
    DECISIONS = "decisions"
    LINEAGE = "lineage"


class ReplayResult(BaseModel):
    """Outcome of a replay. `seconds` describes this execution only.

    Attributes:
        parity: nothing was found at the level asked for.
        blocks: blocks compared with what the core computes.
        first_block: the first of them.
        snapshot: digest of the snapshot it began at: parity holds given that snapshot. Empty: from the genesis.
        same_code: the source that decides is the one that made the run.
        platform: what differs from the platform that made the run; empty when nothing does, or it is not on record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    level: Level = Level.DECISIONS
    parity: bool
    blocks: int
    first_block: int = 1
    snapshot: str = ""
    journal_head: str
    run_root: str
    same_code: bool
    platform: tuple[str, ...] = ()
    failure: Failure | None
    seconds: dict[str, float]


def replay(
    run_dir: Path,
    home: Path,
    report: Report = silent,
    *,
    level: Level = Level.DECISIONS,
    from_block: int = 1,
    at_t: int | None = None,
    keep_snapshots: bool = False,
) -> ReplayResult:
    """Verify and recompute a run.

    Args:
        run_dir: folder with the journal.
        home: home folder with the core inputs.
        report: told how many blocks were verified and recomputed.
        level: how far to go.
        from_block: compare from this block on at the latest, beginning at the nearest snapshot before it.
        at_t: the same, from the first block at or after this time, seconds UTC.
        keep_snapshots: store snapshots of the run while it is replayed from its genesis.

    Raises:
        DataError: the folder is no run.
        EnvironmentFailure: the journal cannot be read, or was written by a newer version; no tracer is installed.
        UsageError: it has no such block, or the lineage is asked of a chain that carries its own inputs.
    """
    return _Replay(run_dir, home, report, level, from_block, at_t, keep_snapshots).run()


class _Replay:
    """One replay; what is established on the way stays for the result."""

    def __init__(
        self, run_dir: Path, home: Path, report: Report, level: Level, from_block: int, at_t: int | None, keep_snapshots: bool
    ) -> None:
        self._run_dir = run_dir
        self._home = home
        self._report = report
        self._level = level
        self._from_block = from_block
        self._at_t = at_t
        self._keep_snapshots = keep_snapshots
        self._head = Head(0, b"")
        self._genesis_hash = b""
        self._tally = Tally()
        self._snapshot: snapshots.Snapshot | None = None
        self._compared_n = 0
        self._same_code = True
        made = made_on(run_dir)
        self._platform = made.differences(this_platform()) if made else ()
        self._seconds: dict[str, float] = {}

    def run(self) -> ReplayResult:
        failure = None
        try:
            journal = open_journal(self._run_dir)
            try:
                self._check(journal)
            finally:
                journal.close()
        except Found as found:
            failure = found.failure
        except InputChanged as e:  # since it was opened
            failure = failed(FailureClass.INPUT_CHANGED, e.got).failure
        before_n = self._snapshot.seq_n if self._snapshot else 0
        return ReplayResult(
            run_id=self._run_dir.resolve().name,
            level=self._level,
            parity=failure is None,
            blocks=max(self._compared_n - before_n, 0),
            first_block=before_n + 1,
            snapshot=self._snapshot.digest if self._snapshot else "",
            journal_head=self._head.block_hash.hex(),
            run_root=self._run_root(),
            same_code=self._same_code,
            platform=self._platform,
            failure=failure,
            seconds=self._seconds,
        )

    def _run_root(self) -> str:
        return run_root(self._genesis_hash, self._head.block_hash, self._head.seq_n) if self._genesis_hash else ""

    def _check(self, journal: SqliteJournal) -> None:
        self._head = journal.head()
        genesis = self._genesis(journal)
        if genesis.mode_id != MODE_BACKTEST:
            self._check_live(journal, genesis)
            return
        started = time.perf_counter()
        inputs = stored_inputs(self._home, genesis)
        self._seconds["inputs"] = time.perf_counter() - started
        started = time.perf_counter()
        try:
            bad = self._verify(journal, inputs)
        except InputChanged:
            raise
        except VerificationError as e:  # damaged pages
            raise failed(FailureClass.CHAIN_BREAK, e.got) from e
        finally:
            self._seconds["verify"] = time.perf_counter() - started
        if self._level is Level.CHAIN:
            if bad is not None:
                raise failed(FailureClass.CHAIN_BREAK, bad.what, block=bad.seq_n, record=bad.table)
            self._check_summary()
            return
        if self._level is Level.LINEAGE and bad is None:  # a broken chain is named by its block first
            self._trace(inputs)
        started = time.perf_counter()
        try:
            self._snapshot = self._find_snapshot(journal, inputs.genesis)
            self._recompute_from_snapshot(journal, inputs, bad)
        finally:
            self._seconds["recompute"] = time.perf_counter() - started
        self._check_summary()

    def _check_live(self, journal: SqliteJournal, genesis: Genesis) -> None:
        """Verify and recompute a paper or live chain up to the head it had when it was opened: it may be growing."""
        if self._level is Level.LINEAGE:
            raise UsageError(
                f"the lineage of a {MODE_NAMES[genesis.mode_id]} run",
                expected="a backtest: its inputs come from a dataset and a study",
                action="replay with --level decisions; `ballast divergence` compares the run with a backtest of the same period",
            )
        started = time.perf_counter()
        forecasts = JournaledForecasts()
        verifier = ChainVerifier(genesis.hash, journal.owner, bytes.fromhex(genesis.policy_digest), forecasts)
        bad = self._follow(journal, verifier)
        self._seconds["verify"] = time.perf_counter() - started
        if self._level is Level.CHAIN:
            if bad is not None:
                raise failed(FailureClass.CHAIN_BREAK, bad.what, block=bad.seq_n, record=bad.table)
            return
        started = time.perf_counter()
        try:
            self._recompute_live(journal, genesis, bad)
        finally:
            self._seconds["recompute"] = time.perf_counter() - started

    def _recompute_live(self, journal: SqliteJournal, genesis: Genesis, bad: BadBlock | None) -> None:
        desk = Desk(genesis)
        for stored in journal.read(1, bad.seq_n if bad else self._head.seq_n):
            try:
                block = desk.apply(Event.decode(stored.inputs))
            except (ValueError, TypeError, InvariantError) as e:
                what = e.got if isinstance(e, InvariantError) else str(e)
                kind = FailureClass.ARITHMETIC if isinstance(e.__cause__, ArithmeticError) else FailureClass.STATE_DIVERGENCE
                raise self._diverged(
                    bad, Failure(kind=kind, block=self._compared_n + 1, detail=f"the core stopped: {what}")
                ) from e
            if stored != block:
                raise self._diverged(bad, first_difference(stored, block))
            self._compared_n = stored.seq_n
            if stored.seq_n % VERIFY_BLOCKS_N == 0:
                self._report("recompute", stored.seq_n, self._head.seq_n)
        if bad is not None:
            raise failed(FailureClass.CHAIN_BREAK, bad.what, block=bad.seq_n, record=bad.table)

    def _trace(self, inputs: StoredInputs) -> None:
        """Follow bars, features and forecasts back to the lake and the models."""
        started = time.perf_counter()
        try:
            found = installed_tracer()(self._home, inputs.read(), self._report)
        finally:
            self._seconds["lineage"] = time.perf_counter() - started
        if found is not None:
            raise self._diverged(None, found.failure) if found.computed else Found(found.failure)

    def _check_summary(self) -> None:
        """Compare the summary, which lists and reports show, with what was verified."""
        verified = self._tally.facts(self._run_root(), self._head)
        try:
            content = (self._run_dir / RUN_SUMMARY).read_bytes()
        except OSError as e:
            raise failed(FailureClass.SUMMARY_CHANGED, unreadable(RUN_SUMMARY, e), record=RUN_SUMMARY) from e
        failure = summary_difference(RUN_SUMMARY, content, verified)
        if failure is not None:
            raise Found(failure)

    def _find_snapshot(self, journal: SqliteJournal, genesis: Genesis) -> snapshots.Snapshot | None:
        """Return where to begin: the nearest snapshot whose block is the journal's, `None` for the genesis."""
        first_n = self._from_block
        if self._at_t is not None:
            first_n = next((block.seq_n for block in journal.read() if block.at_t >= self._at_t), self._head.seq_n + 1)
        if first_n < 1 or first_n > max(self._head.seq_n, 1):
            raise UsageError(
                f"block {first_n} of a run of {self._head.seq_n} blocks",
                expected="a block, or a time, that the run has",
                action='ballast sql RUN "SELECT min(at_t), max(at_t), max(seq_n) FROM block"',
            )
        tables = RowHasher(b"", lambda _instrument, _at_t: b"").hashes
        found = snapshots.nearest(self._run_dir, genesis.hash, first_n - 1, tables) if first_n > 1 else None
        if found is None:
            return None
        block = next(journal.read(found.seq_n, found.seq_n), None)
        return found if block is not None and block.block_hash == found.block_hash else None

    def _recompute_from_snapshot(self, journal: SqliteJournal, inputs: StoredInputs, bad: BadBlock | None) -> None:
        """Recompute; on a difference after a snapshot, find out which of the two is wrong: the journal or the snapshot."""
        snapshot = self._snapshot
        try:
            self._recompute(journal, inputs, bad)
        except Found:
            if snapshot is None or bad is not None:
                raise
            self._snapshot = None
            self._recompute(journal, inputs, bad)
            raise failed(
                FailureClass.STATE_DIVERGENCE,
                f"the journal is what the core computes; the snapshot {snapshot.digest} is not the state that its block left",
                block=snapshot.seq_n,
                record="snapshot",
            ) from None

    def _genesis(self, journal: SqliteJournal) -> Genesis:
        content = journal.genesis()
        genesis = read_genesis(content, self._run_dir)
        self._genesis_hash = genesis.hash
        self._tally.initial_pv_e8 = sum(int(deposit.amount_e8) for deposit in genesis.deposits)
        self._same_code = genesis.core_digest == deciding_source_digest()
        check_genesis(genesis, content, journal.owner, self._run_dir)
        return genesis

    def _verify(self, journal: SqliteJournal, inputs: StoredInputs) -> BadBlock | None:
        policy_digest = bytes.fromhex(inputs.genesis.policy_digest)
        verifier = ChainVerifier(self._genesis_hash, journal.owner, policy_digest, forecast_hashes(inputs.forecasts))
        return self._follow(journal, verifier)

    def _follow(self, journal: SqliteJournal, verifier: ChainVerifier) -> BadBlock | None:
        """Verify the chain up to the head it had when it was opened; return the first bad block."""
        for blocks in batches(journal.read(1, self._head.seq_n), VERIFY_BLOCKS_N):
            found = verifier.follow(blocks)
            if isinstance(found, BadBlock):
                return found
            self._tally.take(found.tables)
            self._report("verify chain", verifier.head.seq_n, self._head.seq_n)
        return None if verifier.head == self._head else BadBlock(verifier.head.seq_n + 1, "the chain ends before its head")

    def _recompute(self, journal: SqliteJournal, inputs: StoredInputs, bad: BadBlock | None) -> None:
        """Compare every block; with a bad one known, go as far as that block to name what changed in it."""
        self._compared_n = self._snapshot.seq_n if self._snapshot else 0
        recomputed = self._recomputed(inputs, bad)
        last_n = bad.seq_n if bad else None
        for stored in journal.read(self._compared_n + 1, last_n):
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
            raise failed(FailureClass.CHAIN_BREAK, bad.what, block=bad.seq_n, record=bad.table)
        missing = next(recomputed, None)
        if missing is not None:
            raise failed(
                FailureClass.TRUNCATED, f"the journal ends at block {self._head.seq_n}, the recomputation goes on",
                block=missing.seq_n, record="block", stored="absent", recomputed="present",
            )  # fmt: skip

    def _recomputed(self, inputs: StoredInputs, bad: BadBlock | None) -> Iterator[Block]:
        def forward(_stage: str, done: int, total: int) -> None:
            self._report("recompute", done, total)

        try:
            if self._snapshot is not None:
                for blocks in blocks_of(*snapshots.resume(inputs, self._snapshot), forward):
                    yield from blocks
            elif self._keep_snapshots:
                yield from self._keeping_snapshots(inputs, forward)
            else:
                for blocks in iterate_blocks(inputs, forward):
                    yield from blocks
        except snapshots.ForgottenHash as e:
            raise failed(FailureClass.STATE_DIVERGENCE, e.got, block=self._compared_n + 1, record="snapshot") from e
        except InvariantError as e:
            kind = FailureClass.STATE_DIVERGENCE
            if isinstance(e.__cause__, ArithmeticError):  # overflow or a division by zero
                kind = FailureClass.ARITHMETIC
            raise self._diverged(bad, Failure(
                kind=kind, block=self._compared_n + 1, detail=f"the core stopped: {e.got}"
            )) from e  # fmt: skip

    def _keeping_snapshots(self, inputs: StoredInputs, report: Report) -> Iterator[Block]:
        """Recompute, and store the state behind every filling of the buffers once its blocks were compared."""
        sweep = Sweep(inputs)
        chain = BlockChain(inputs, sweep.bars, sweep.forecasts, sweep.clusters, StageSeconds())
        for blocks in blocks_of(sweep, chain, report):
            yield from blocks  # the comparison of the last one is done when the next is asked for
            snapshots.store(self._run_dir, snapshots.take(sweep, chain))

    def _diverged(self, bad: BadBlock | None, failure: Failure) -> Found:
        """Give a difference its class: a broken chain, then another source, another platform, then what the difference shows."""
        kind, detail = failure.kind, failure.detail
        if bad is not None:
            kind, detail = FailureClass.CHAIN_BREAK, f"{bad.what}; {detail}"
        elif not self._same_code:
            kind, detail = FailureClass.CODE_DRIFT, f"{detail}; the core's source is not the one that made the run"
        elif self._platform:
            kind = FailureClass.PLATFORM_DRIFT
            detail = f"{detail}; the run was made on another platform: {'; '.join(self._platform)}"
        return Found(failure.model_copy(update={"kind": kind, "detail": detail}))
