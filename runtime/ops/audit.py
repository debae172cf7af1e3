"""Audit exports: a run as one reproducible archive that carries its own verifier, and the run of that verifier.

The archive is a ZIP without compression (compressed bytes would depend on the compressor's version): fixed order, times
and modes, so that equal runs give equal bytes. Its members are described in docs/reference/canonical-bytes.md and in the
archive's own README.md. The chain is verified while it is written: a run that does not verify is not exported.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from runtime.adapters.anchor import ANCHOR_NAME, read_anchor
from runtime.adapters.inputs import load_bars, load_clusters, load_forecasts
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.projections import batches, parse_genesis
from runtime.canonical import canonical_json
from runtime.core.codes import EV_BARS, EV_CLUSTERS, EV_DEPOSIT, EV_FILL, MODE_BACKTEST, MODE_NAMES
from runtime.core.digest import HEADER, Block, run_root
from runtime.core.records import EVENT, RECORD_TYPES
from runtime.engine import RunInputs
from runtime.errors import DataError, UsageError, VerificationError
from runtime.files import TEMPORARY_PREFIX, atomic_path
from runtime.ops import verify_export
from runtime.ports import Head
from runtime.progress import Report, silent
from runtime.verify import BadBlock, ChainVerifier, VerifiedRows, forecast_hashes

VERIFIER: Final = Path(verify_export.__file__)
README: Final = VERIFIER.with_name("export_readme.md")
SUFFIX: Final = ".audit.zip"
BATCH_BLOCKS_N: Final = 4_096
"""Blocks per batch: memory does not grow with the length of the journal."""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time a ZIP can hold; every member has it."""
_COPY_BYTES: Final = 1 << 20

Rows = npt.NDArray[np.void]


class ExportSummary(BaseModel):
    """What was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    file: str
    bytes_n: int
    sha256: str
    run_root: str
    blocks: int
    records: int


class Source(NamedTuple):
    """What an export is made from.

    Attributes:
        inputs: genesis, bars, forecasts and clusters of the run.
        blocks: its blocks in order.
        head: the last block.
        anchor: content of the anchor file.
        events: EVENT [blocks]; None: a backtest, whose events follow from its inputs and records.
    """

    inputs: RunInputs
    blocks: Iterator[Block]
    head: Head
    anchor: bytes
    events: Rows | None = None


def _require_free(target: Path) -> None:
    """Refuse to write over anything but an earlier export: a slip of `--out` must not cost a journal.

    Raises:
        UsageError: something else has this name.
    """
    if not (target.exists() or target.is_symlink()) or (zipfile.is_zipfile(target) and target.name.endswith(SUFFIX)):
        return
    raise UsageError(
        f"{target} exists and is no audit export", expected=f"a new name, or an earlier export (*{SUFFIX})",
        action="choose another name with --out, or remove it yourself",
    )  # fmt: skip


def export_run(run_dir: Path, home: Path, out: Path | None = None, report: Report = silent) -> ExportSummary:
    """Write the audit export of a run.

    Args:
        run_dir: folder with the journal.
        home: home folder with the core inputs.
        out: the file to write; `<run id>.audit.zip` in the current folder by default.
        report: told how many blocks are done.

    Raises:
        DataError: the journal or an input is missing.
        UsageError: a mode whose events are not stored yet, or another file has that name.
        VerificationError: the journal or an input is not what its hashes say.
        EnvironmentFailure: the file cannot be written.
    """
    run_id = run_dir.resolve().name
    target = out if out is not None else Path(f"{run_id}{SUFFIX}")
    _require_free(target)
    journal = SqliteJournal.open(run_dir / JOURNAL_NAME)
    try:
        genesis = parse_genesis(journal.genesis(), run_dir)
        if genesis.mode_id != MODE_BACKTEST:
            raise UsageError(
                f"a run of mode {MODE_NAMES.get(genesis.mode_id, genesis.mode_id)}",
                expected="a backtest, whose inputs are stored by content address",
                action="export a backtest",
            )
        bars, close_t = load_bars(home, genesis.bars_digest)
        forecasts, clusters = load_forecasts(home, genesis.forecasts_digest), load_clusters(home, genesis.clusters_digest)
        inputs = RunInputs(genesis, bars, close_t, forecasts, clusters)
        read_anchor(run_dir / ANCHOR_NAME)
        source = Source(inputs, journal.read(), journal.head(), (run_dir / ANCHOR_NAME).read_bytes())
        records_n = write_export(target, source, report)
    finally:
        journal.close()
    with target.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    return ExportSummary(
        run_id=run_id,
        file=str(target),
        bytes_n=target.stat().st_size,
        sha256=digest,
        run_root=run_root(genesis.hash, source.head.block_hash, source.head.seq_n),
        blocks=source.head.seq_n,
        records=records_n,
    )


def write_export(target: Path, source: Source, report: Report = silent) -> int:
    """Write an archive and return the number of records in it.

    Raises:
        VerificationError: the blocks do not verify, or do not follow from the inputs.
        EnvironmentFailure: the file cannot be written.
    """
    with atomic_path(target) as temporary:
        folder = temporary.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-members-{target.name}")
        try:
            folder.mkdir()
            rows_n = _write_chain(folder, source, report)
            _write_inputs(folder, source.inputs)
            _write_texts(folder, source, rows_n)
            _pack(folder, temporary)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return sum(rows_n.values())


# ---- members ----------------------------------------------------------------------------------------------------


def _write_chain(folder: Path, source: Source, report: Report) -> dict[str, int]:
    """Write blocks, events, rows and row hashes while the chain is verified; return the rows per record type."""
    genesis = source.inputs.genesis
    lookup = forecast_hashes(source.inputs.forecasts)
    policy = bytes.fromhex(genesis.policy_digest)
    verifier = ChainVerifier(genesis.hash, (genesis.account_id, genesis.mode_id), policy, lookup)
    events = _Events(source)
    rows_n = {record.name: 0 for record in RECORD_TYPES}
    for name in ("rows", "hashes"):
        (folder / name).mkdir()
    with ExitStack() as stack:

        def create(name: str) -> BinaryIO:
            return stack.enter_context((folder / name).open("wb"))

        block_file, event_file = create("blocks.bin"), create("events.bin")
        files = [(r.name, create(f"rows/{r.name}.bin"), create(f"hashes/{r.name}.bin")) for r in RECORD_TYPES]
        for blocks in batches(source.blocks, BATCH_BLOCKS_N):
            found = verifier.follow(blocks)
            if isinstance(found, BadBlock):
                raise _not_exported(found.what)
            event_file.write(events.of(blocks, found).tobytes())
            block_file.write(_block_rows(blocks, found))
            for name, rows, hashes in files:
                rows.write(found.tables[name].tobytes())
                hashes.write(b"".join(found.row_hashes[name]))
                rows_n[name] += len(found.tables[name])
            report("export", verifier.head.seq_n, source.head.seq_n)
    if verifier.head != source.head:
        raise _not_exported(f"the chain ends at block {verifier.head.seq_n}, its head is block {source.head.seq_n}")
    return rows_n


def _block_rows(blocks: Sequence[Block], found: VerifiedRows) -> bytes:
    """Return the fixed-width rows of blocks: header, three digests, number of rows of each record type."""
    first_n = blocks[0].seq_n
    counts = np.zeros((len(blocks), len(RECORD_TYPES)), "<i8")
    for k, record in enumerate(RECORD_TYPES):
        counts[:, k] = np.bincount(found.block_seq_n[record.name] - first_n, minlength=len(blocks))
    return b"".join(
        block.header + block.inputs_digest + block.records_digest + block.block_hash + counts[i].tobytes()
        for i, block in enumerate(blocks)
    )


class _Events:
    """The events of blocks: given, or for a backtest made again from inputs and records; proven by the inputs digests."""

    def __init__(self, source: Source) -> None:
        inputs = source.inputs
        self._given = source.events
        self._interval_t = inputs.genesis.interval_t
        self._bar_of = {t: n for n, t in enumerate(inputs.close_t.tolist())}
        self._forecast_of = {t: n for n, t in enumerate(inputs.forecasts.at_t.tolist())}
        self._bars = np.ascontiguousarray(inputs.bars)
        self._forecasts = np.ascontiguousarray(inputs.forecasts.rows)
        self._feature_digests = inputs.forecasts.feature_digests
        self._clusters = np.ascontiguousarray(inputs.clusters.rows)
        self._clusters_n = 0
        self._blocks_n = 0

    def of(self, blocks: Sequence[Block], found: VerifiedRows) -> Rows:
        """Return EVENT [blocks] of the next blocks.

        Raises:
            VerificationError: an event with its inputs is not what the block's inputs digest covers.
        """
        first = self._blocks_n
        self._blocks_n += len(blocks)
        events = self._made(blocks, found) if self._given is None else self._given[first : self._blocks_n]
        if len(events) != len(blocks):
            raise _not_exported(f"{len(blocks)} blocks with {len(events)} events")
        numbers = zip(*(events[name].tolist() for name in ("bar_n", "forecast_n", "cluster_n")), strict=True)
        for block, event, (bar_n, forecast_n, cluster_n) in zip(blocks, events, numbers, strict=True):
            content = event.tobytes()
            content += self._bars[bar_n].tobytes() if bar_n >= 0 else b""
            if forecast_n >= 0:
                content += self._forecasts[forecast_n].tobytes() + self._feature_digests[forecast_n]
            content += self._clusters[cluster_n].tobytes() if cluster_n >= 0 else b""
            if hashlib.sha256(content).digest() != block.inputs_digest:
                raise _not_exported(f"the inputs of block {block.seq_n} do not match its inputs digest")
        return events

    def _made(self, blocks: Sequence[Block], found: VerifiedRows) -> Rows:
        events = np.zeros(len(blocks), EVENT)
        for name in ("bar_n", "forecast_n", "cluster_n"):
            events[name] = -1
        fills, entries = iter(found.tables["order_fill"]), iter(found.tables["cash_ledger"])
        entries_of = found.block_seq_n["cash_ledger"].tolist()
        deposits = dict(zip(entries_of, entries, strict=True))
        for event, block in zip(events, blocks, strict=True):
            _, at_t, kind_id, *_ = HEADER.unpack(block.header)
            event["kind_id"], event["at_t"] = kind_id, at_t
            if kind_id == EV_BARS:
                event["bar_n"] = self._bar_of.get(at_t, -1)
                event["forecast_n"] = self._forecast_of.get(at_t, -1)
                event["value_n"] = at_t - self._interval_t
            elif kind_id == EV_FILL:
                fill = next(fills, None)
                for name in ("instrument_id", "quote_id", "order_id", "liquidity_id", "qty_e8", "price_e8", "reference_e8"):
                    event[name] = 0 if fill is None else fill[name]
            elif kind_id == EV_DEPOSIT and block.seq_n in deposits:
                event["quote_id"] = deposits[block.seq_n]["quote_id"]
                event["amount_e8"] = deposits[block.seq_n]["delta_e8"]
            elif kind_id == EV_CLUSTERS:
                event["cluster_n"] = self._clusters_n
                self._clusters_n += 1
                event["value_n"] = self._clusters_n
        return events


def _write_inputs(folder: Path, inputs: RunInputs) -> None:
    (folder / "inputs").mkdir()
    arrays: dict[str, npt.NDArray[np.int64] | Rows] = {
        "close_t": inputs.close_t,
        "bars": inputs.bars,
        "forecast_t": inputs.forecasts.at_t,
        "forecasts": inputs.forecasts.rows,
        "cluster_t": inputs.clusters.at_t,
        "clusters": inputs.clusters.rows,
    }
    for name, array in arrays.items():
        (folder / "inputs" / f"{name}.bin").write_bytes(np.ascontiguousarray(array).tobytes())
    (folder / "inputs" / "feature_digests.bin").write_bytes(b"".join(inputs.forecasts.feature_digests))


def _write_texts(folder: Path, source: Source, rows_n: dict[str, int]) -> None:
    genesis, head = source.inputs.genesis, source.head
    for name, content in (
        ("README.md", README.read_bytes()),
        ("layout.json", canonical_json(verify_export.layout())),
        ("verify_export.py", VERIFIER.read_bytes()),
        ("genesis.json", genesis.canonical()),
        ("head.json", source.anchor),
    ):
        (folder / name).write_bytes(content)
    members: list[dict[str, object]] = []
    for name in verify_export.MEMBERS:
        if name != "manifest.json":
            with (folder / name).open("rb") as f:
                digest = hashlib.file_digest(f, "sha256").hexdigest()
            members.append({"name": name, "bytes_n": (folder / name).stat().st_size, "sha256": digest})
    manifest = canonical_json({
        "format": verify_export.FORMAT,
        "genesis_hash": genesis.hash.hex(),
        "policy_digest": genesis.policy_digest,
        "journal_head": head.block_hash.hex(),
        "run_root": run_root(genesis.hash, head.block_hash, head.seq_n),
        "blocks_n": head.seq_n,
        "records_n": rows_n,
        "account_id": genesis.account_id,
        "mode_id": genesis.mode_id,
        "members": members,
    })  # fmt: skip
    (folder / "manifest.json").write_bytes(manifest)


def _pack(folder: Path, target: Path) -> None:
    """Put the members into one ZIP, byte for byte the same for the same content."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as z:
        for name in verify_export.MEMBERS:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            info.file_size = (folder / name).stat().st_size  # decides whether the member needs the ZIP64 form
            with (folder / name).open("rb") as f, z.open(info, "w") as member:
                shutil.copyfileobj(f, member, _COPY_BYTES)


def _not_exported(what: str) -> VerificationError:
    return VerificationError(
        f"the run cannot be exported: {what}",
        expected="a run whose chain and inputs verify",
        action="keep it as evidence and run `ballast replay` on it: it names the first difference",
    )


# ---- verification -----------------------------------------------------------------------------------------------


def run_bundled_verifier(path: Path, *, run_root: str = "", any_verifier: bool = False) -> bytes:
    """Run the verifier that an archive carries, in a bare interpreter, and return its JSON.

    A verifier is a program, and one out of a stranger's archive could say or do anything: unless `any_verifier` is set,
    only one that is byte for byte this installation's own is started.

    Args:
        path: the archive.
        run_root: the run root known from elsewhere; empty: not compared.
        any_verifier: start it even when it is not ours.

    Raises:
        DataError: there is no such file, or it is no archive.
        VerificationError: the archive carries another verifier.
    """
    program = _bundled_program(path)
    if not any_verifier and program != VERIFIER.read_bytes():
        raise VerificationError(
            f"{path} carries another verifier than this installation (SHA-256 {hashlib.sha256(program).hexdigest()})",
            expected=f"the one with SHA-256 {hashlib.sha256(VERIFIER.read_bytes()).hexdigest()}",
            action="an archive of another version: verify it there, or read its verifier and then use --any-verifier",
        )
    with tempfile.TemporaryDirectory(prefix="ballast-audit-") as folder:
        script = Path(folder) / "verify_export.py"
        script.write_bytes(program)
        command = [sys.executable, "-I", "-S", str(script), str(path.resolve()), "--json", "--run-root", run_root]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  our own program, see above
    if not done.stdout:
        raise VerificationError(
            f"the verifier of {path} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-400:]}",
            expected="one JSON object",
            action="keep the archive as evidence; run its verify_export.py by hand to see more",
        )
    return done.stdout


def _bundled_program(path: Path) -> bytes:
    action = "name an archive of `ballast audit export`, or export the run again"
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise DataError(f"{path} is no archive", expected="a file made by `ballast audit export`", action=action)
    try:
        with zipfile.ZipFile(path) as z:
            return z.read("verify_export.py")
    except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as e:
        raise VerificationError(
            f"{path} carries no whole verifier: {e}", expected="the member verify_export.py, undamaged", action=action
        ) from e
