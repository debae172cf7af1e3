"""A process that writes a journal and is meant to die of it: a server forks a fresh writer for every order it reads.

    python -m tests.support.crash_writer INPUTS ACKNOWLEDGE_FD

`INPUTS` is a pickled `RunInputs`. Orders come on stdin, one JSON object per line; the answer is the writer's process id. The line
`reap` waits for that writer to end and answers with its status; until then the id stays its own. The writer makes the journal, or
opens it and folds the run up to its head, and goes on with the real engine, as a live run would (one block per append) or as a
backtest does (chunks). After each append it writes the block's number to the pipe, `DONE` when it has closed the journal.

Under `LD_PRELOAD` of power_loss.c it logs what it does to the disk, too.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from runtime.adapters import journal_sqlite
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.core.digest import Block
from runtime.engine import BlockChain, RunInputs, StageSeconds, Sweep, iterate_blocks

ACKNOWLEDGE: Final = struct.Struct("<q")
DONE: Final = -1
FAILED: Final = -2


@dataclass(frozen=True)
class Order:
    """What a writer shall do.

    Attributes:
        folder: run folder, made when missing.
        seed: of the chunk sizes; 0 is one block per append.
        disk, log: folder to watch and log to write, under power_loss.c.
        fault: a defect to plant, to see that it is found; see `_plant`.
    """

    folder: str
    seed: int = 0
    disk: str = ""
    log: str = ""
    fault: str = ""


def blocks_after(inputs: RunInputs, head_n: int, seed: int) -> Iterator[list[Block]]:
    """Fold a run up to block `head_n` and yield the blocks after it, in the portions in which they are journaled."""
    rng = np.random.Generator(np.random.PCG64(seed))
    sweep = Sweep(inputs)
    chain = BlockChain(inputs, sweep.bars, sweep.forecasts, sweep.clusters, StageSeconds())
    fan_out = len(inputs.genesis.symbols) + 1  # an event makes its own block and at most a fill per symbol
    while not sweep.finished:
        events_n = max((head_n - chain.seq_n) // fan_out, 1 if seed == 0 else int(rng.integers(1, 65)))
        sweep.advance(sweep.done + events_n)
        blocks = [block for block in chain.extend(sweep.out) if block.seq_n > head_n]
        if seed:
            yield blocks
        else:
            yield from ([block] for block in blocks)


def write(inputs: RunInputs, order: Order, acknowledge: Callable[[int], None]) -> None:
    """Write a journal to its end; acknowledge each append, and the creation as block 0."""
    path, genesis = Path(order.folder) / JOURNAL_NAME, inputs.genesis
    if path.exists():
        journal = SqliteJournal.open(path, writable=True)
    else:
        journal = SqliteJournal.create(path, genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id)
    _plant(journal, order.fault)
    acknowledge(journal.head().seq_n)
    for blocks in blocks_after(inputs, journal.head().seq_n, order.seed):
        if order.fault == "acknowledge first" and blocks:
            acknowledge(blocks[-1].seq_n)
        journal.append(blocks)
        if blocks:
            acknowledge(blocks[-1].seq_n)
    journal.close()


def _plant(journal: SqliteJournal, fault: str) -> None:
    """Make a journal that breaks its word."""
    if fault == "no sync":
        journal._connection.execute("PRAGMA synchronous = OFF")
    elif fault == "anchor first":
        check = journal_sqlite.check_links

        def anchored(*arguments: object) -> object:
            journal._head = check(*arguments)
            journal._write_anchor()
            return journal._head

        journal_sqlite.check_links = anchored  # type: ignore[assignment]


def serve(inputs: RunInputs, pipe: int) -> None:
    """Fork a writer per order until stdin ends."""
    list(iterate_blocks(inputs))  # compiled code is loaded once, here
    shim = ctypes.CDLL(None)
    print("ready", flush=True)
    writer = 0
    for line in sys.stdin:
        if line == "reap\n":
            _, status = os.waitpid(writer, 0)
            print(status, flush=True)
            continue
        order = Order(**json.loads(line))
        writer = os.fork()
        if writer:
            print(writer, flush=True)
            continue
        _run(inputs, order, pipe, shim)


def _run(inputs: RunInputs, order: Order, pipe: int, shim: ctypes.CDLL) -> None:
    """Carry out an order in a process of its own, which ends here."""
    last, code = FAILED, 1
    try:
        if order.log and shim.power_loss_start(order.disk.encode(), order.log.encode()) < 0:
            raise OSError(f"cannot log to {order.log}")

        def acknowledge(seq_n: int) -> None:
            if order.log:
                shim.power_loss_acknowledge(ctypes.c_int64(seq_n))
            os.write(pipe, ACKNOWLEDGE.pack(seq_n))

        write(inputs, order, acknowledge)
        last, code = DONE, 0
    except BaseException:  # noqa: BLE001  the process ends here whatever happened; the parent fails on its status
        traceback.print_exc()
    os.write(pipe, ACKNOWLEDGE.pack(last))
    os._exit(code)


if __name__ == "__main__":
    serve(pickle.loads(Path(sys.argv[1]).read_bytes()), int(sys.argv[2]))  # noqa: S301  our own file
