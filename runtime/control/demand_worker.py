"""The process that explains: reads tasks from stdin, one JSON line each, and prints a reply for each, until stdin ends.

Its stdin is a pipe of the daemon: it ends with it, whatever happens to either.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict

from runtime.errors import BallastError, DataError, VerificationError

if TYPE_CHECKING:
    from runtime.control.decision_models import Contributions, GateOut, Gates
    from runtime.inference.forecaster import Forecaster
    from runtime.inference.panel import BarPanel
    from runtime.ops.explain import Decision

NICENESS: Final = 5
BARS_NAME: Final = "bars.sqlite"


class Task(BaseModel):
    """What to explain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["gates", "contributions"]
    home: str
    run_dir: str
    signal_id: int
    seq_n: int
    symbol: str
    gate_id: int
    forecast_t: int = 0
    feature_digest: str = ""
    bundle_hash: str = ""
    bundle_id: str = ""
    symbols: tuple[str, ...] = ()
    interval_t: int = 3_600
    prob_ppm: tuple[int, int, int] = (0, 0, 0)


class Failed(BaseModel):
    """Why there is no answer."""

    kind: str
    got: str
    expected: str
    action: str


class Reply(BaseModel):
    """The JSON of an answer, or why there is none."""

    answer: str = ""
    failed: Failed | None = None


def gates(task: Task) -> Gates:
    """Recompute the block of a decision and return every gate of it.

    Raises:
        BallastError: as `runtime.ops.explain.explain_block`.
    """
    from runtime.control.decision_models import Gates
    from runtime.ops.explain import explain_block

    found = explain_block(Path(task.run_dir), Path(task.home), task.seq_n, task.symbol)
    decision = next((d for d in found.decisions if d.symbol == task.symbol), None)
    if decision is None:
        raise DataError(
            f"block {found.block} ({found.event}) decided nothing about {task.symbol} that can be walked through",
            expected="a decision on closed bars", action="read the risk events of the decision: they hold what its gate compared",
        )  # fmt: skip
    return Gates(
        signal_id=task.signal_id, seq_n=task.seq_n, same_records=found.same_records, applies=bool(decision.gates),
        outlook_before=decision.outlook_before, wanted_e8=str(decision.wanted_e8), sized_e8=str(decision.sized_e8),
        outcome=decision.outcome, gates=tuple(_lines(decision, task.gate_id)),
    )  # fmt: skip


def _lines(decision: Decision, deciding_id: int) -> list[GateOut]:
    from runtime.control.decision_models import GateOut
    from runtime.control.words import compared
    from runtime.core.codes import GATE_NAMES

    codes = {name: code for code, name in GATE_NAMES.items()}
    found: list[GateOut] = []
    decided = False
    for line in decision.gates:
        said, _, detail = line.verdict.partition(":")
        verdict: Literal["pass", "cut", "refuse"] = (
            "refuse" if said.startswith("REFUSE") else "cut" if said.startswith("cut") else "pass"
        )
        gate_id = codes[line.gate]
        deciding = not decided and deciding_id != 0 and gate_id == deciding_id and verdict != "pass"
        decided = decided or deciding
        found.append(
            GateOut(
                gate_id=gate_id, gate=line.gate, scale=line.scale, limit=str(line.limit), value=str(line.value),
                words=compared(gate_id, line.scale, line.limit, line.value), verdict=verdict, deciding=deciding,
                detail=detail.strip() if verdict == "pass" else line.verdict if verdict == "cut" else "",
            )
        )  # fmt: skip
    return found


def contributions(task: Task) -> Contributions:
    """Return what made the forecast of a decision, from bars whose features have the journaled digest.

    Raises:
        DataError: the bundle or the bars are not there any more.
        VerificationError: the features computed again are not those that were journaled.
    """
    from runtime.control import decision_models as d
    from runtime.inference import contributions as shap

    forecaster = _forecaster(task.home, task.bundle_id)
    panel = kept_bars(Path(task.run_dir) / BARS_NAME, task, forecaster.window_n)
    made = forecaster.forecast(panel)
    digest = made[1].hex() if made is not None else "none"
    if digest != task.feature_digest:
        raise VerificationError(
            f"features computed again have the digest {digest}", expected=task.feature_digest,
            action="the bars kept are not those of the decision: replay the run",
        )  # fmt: skip
    horizons = []
    for found, prob in zip(shap.contributions(forecaster, panel, task.symbol), task.prob_ppm, strict=True):
        rows = zip(found.features, found.inputs, found.values, strict=True)
        parts = [d.Contribution(feature=name, value=value, amount=amount) for name, value, amount in rows]
        parts.sort(key=lambda part: (-abs(part.amount), part.feature))
        horizons.append(
            d.Horizon(
                horizon=found.name, horizon_h=found.horizon_h, unit=found.unit, base=found.base, score=found.score,
                prob_ppm=prob, contributions=tuple(parts),
            )
        )  # fmt: skip
    return d.Contributions(
        signal_id=task.signal_id, symbol=task.symbol, forecast_t=task.forecast_t, feature_digest=digest, verified=True,
        bundle_hash=task.bundle_hash, horizons=tuple(horizons),
    )  # fmt: skip


@lru_cache(maxsize=2)
def _forecaster(home: str, digest: str) -> Forecaster:
    """Return the forecaster of a verified bundle; a digest stands for its content, so it is read once."""
    from runtime.ops.bundles.keys import trusted_keys
    from runtime.ops.bundles.read import read_bundle

    return read_bundle(bundle_here(Path(home), digest), trusted_keys(Path(home))).forecaster


def bundle_here(home: Path, digest: str) -> Path:
    """Return the folder of a bundle, by its hash or its manifest's digest; nothing in it is verified yet.

    Raises:
        DataError: it is not here.
    """
    from runtime.ops.bundles.store import bundle_of

    path = bundle_of(home, digest)
    if path is None:
        raise DataError(
            f"bundle {digest[:12]} is not here", expected="a promoted or staged bundle of this home",
            action="`ballast bundle show` lists what is here; stage it with `ballast bundle activate`",
        )  # fmt: skip
    return path


def kept_bars(path: Path, task: Task, rows_n: int) -> BarPanel:
    """Return the bars that a forecast was made from, of a copy: the file belongs to the trading loop.

    Raises:
        DataError: there is no such file, or it is not a tail of these bars.
    """
    from runtime.adapters.bar_tail import BarTail

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / BARS_NAME
        try:
            with (
                closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
        except sqlite3.Error as e:
            raise DataError(
                f"the bars {path.name} cannot be read: {e}", expected="the bars that the daemon keeps",
                action="wait until the daemon has bars",
            ) from e  # fmt: skip
        tail = BarTail(copy, task.symbols, task.interval_t)
        try:
            return tail.panel(task.forecast_t - task.interval_t, rows_n)
        finally:
            tail.close()


def reply(task: Task) -> Reply:
    """Explain, or say why not."""
    try:
        answer = gates(task) if task.kind == "gates" else contributions(task)
    except BallastError as e:
        return Reply(failed=Failed(kind=e.kind, got=e.got, expected=e.expected, action=e.action))
    return Reply(answer=answer.model_dump_json())


def main() -> int:
    """Answer tasks until there are no more."""
    os.nice(NICENESS)
    for line in sys.stdin.buffer:
        sys.stdout.write(reply(Task.model_validate_json(line)).model_dump_json() + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
