"""Every class of failure, each from a real run damaged on disk, through the command: nothing is replaced in the code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.adapters.inputs import store_bars, store_clusters, store_forecasts
from runtime.adapters.journal_sqlite import SqliteJournal
from runtime.cli import main
from runtime.difference import FailureClass
from runtime.engine import BlockChain, StageSeconds, Sweep, iterate_blocks
from runtime.errors import InvariantError
from runtime.genesis import Genesis
from runtime.home import runs_path
from runtime.machine import PLATFORM_NAME
from tests.support.checks import BUSY, store_run
from tests.support.forge import forge
from tests.support.markets import random_inputs
from tests.support.replays import change_state, rechain

Out = pytest.CaptureFixture[str]
OVERFLOWING_E8 = 4 * 10**18


def genesis_of(run_dir: Path) -> Genesis:
    return Genesis.model_validate_json((run_dir / "genesis.json").read_bytes())


def input_file(home: Path, run_dir: Path) -> Path:
    return home / "inputs" / f"{genesis_of(run_dir).bars_digest}.parquet"


def lose_the_bars(home: Path, run_dir: Path) -> Path:
    input_file(home, run_dir).unlink()
    return run_dir


def change_the_bars(home: Path, run_dir: Path) -> Path:
    path = input_file(home, run_dir)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return run_dir


def change_the_policy(_home: Path, run_dir: Path) -> Path:
    genesis = genesis_of(run_dir)
    profile = genesis.profile.model_copy(update={"base_ppm": genesis.profile.base_ppm + 1})
    (run_dir / "genesis.json").write_bytes(genesis.model_copy(update={"profile": profile}).canonical())
    return run_dir


def change_a_model(home: Path, _run_dir: Path) -> Path:
    text = b"tree"
    inputs = random_inputs(1, 60, 3)
    bundle = inputs.genesis.bundle.model_copy(update={"model_hashes": (hashlib.sha256(text).hexdigest(),)})
    run_dir = store_run(home, dataclasses.replace(inputs, genesis=inputs.genesis.model_copy(update={"bundle": bundle})))
    path = home / "studies" / "some" / "models" / f"{bundle.model_hashes[0]}.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"another tree")
    return run_dir


def overflow(home: Path, _run_dir: Path) -> Path:
    """Store a run that stopped, as one does, before a price that no product of the core holds."""
    inputs = random_inputs(1, 300, 4, BUSY, wildness=1.5)
    bars = inputs.bars.copy()
    for name in ("open_e8", "high_e8", "low_e8", "close_e8"):
        bars[name][250:, :4] = OVERFLOWING_E8
    genesis = inputs.genesis.model_copy(
        update={
            "bars_digest": store_bars(home, bars, inputs.close_t),
            "forecasts_digest": store_forecasts(home, inputs.forecasts),
            "clusters_digest": store_clusters(home, inputs.clusters),
            "core_digest": genesis_of(_run_dir).core_digest,
        }
    )
    inputs = dataclasses.replace(inputs, bars=bars, genesis=genesis)
    with pytest.raises(InvariantError, match="exceeds int64"):
        list(iterate_blocks(inputs))
    sweep = Sweep(inputs)
    chain = BlockChain(inputs, sweep.bars, sweep.forecasts, sweep.clusters, StageSeconds())
    sweep.advance(200)
    run_dir = runs_path(home) / f"test-{genesis.hash.hex()[:12]}"
    journal = SqliteJournal.create(run_dir / "journal.sqlite", genesis.canonical(), account_id=1, mode_id=1)
    journal.append(chain.extend(sweep.out))
    journal.close()
    (run_dir / "genesis.json").write_bytes(genesis.canonical())
    return run_dir


def break_the_chain(_home: Path, run_dir: Path) -> Path:
    forge(run_dir / "journal.sqlite", f"UPDATE block SET records_digest = x'{'00' * 32}' WHERE seq_n = 300")
    return run_dir


def forge_a_history(home: Path, run_dir: Path) -> Path:
    rechain(run_dir, home, change_state)
    return run_dir


def forge_under_other_code(home: Path, run_dir: Path) -> Path:
    other = genesis_of(run_dir).model_copy(update={"core_digest": "0" * 64})
    (run_dir / "genesis.json").write_bytes(other.canonical())
    return forge_a_history(home, run_dir)


def forge_on_another_platform(home: Path, run_dir: Path) -> Path:
    path = run_dir / PLATFORM_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"numba": "0.1"}))
    return forge_a_history(home, run_dir)


def cut_off(_home: Path, run_dir: Path) -> Path:
    forge(run_dir / "journal.sqlite", "DELETE FROM block WHERE seq_n > 100")
    return run_dir


def change_the_summary(_home: Path, run_dir: Path) -> Path:
    path = run_dir / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"final_pv_e8": "1"}))
    return run_dir


DAMAGES: dict[FailureClass, tuple[Callable[[Path, Path], Path], str]] = {
    FailureClass.INPUT_MISSING: (lose_the_bars, "no core input"),
    FailureClass.INPUT_CHANGED: (change_the_bars, "was changed"),
    FailureClass.POLICY_CHANGED: (change_the_policy, "is not the genesis of the journal"),
    FailureClass.MODEL_CHANGED: (change_a_model, "is not the model that the genesis names"),
    FailureClass.ARITHMETIC: (overflow, "exceeds int64"),
    FailureClass.CHAIN_BREAK: (break_the_chain, "block 300 has a hash that does not follow from its content"),
    FailureClass.STATE_DIVERGENCE: (forge_a_history, "block 321 differs in portfolio_hourly_state row"),
    FailureClass.CODE_DRIFT: (forge_under_other_code, "the core's source is not the one that made the run"),
    FailureClass.PLATFORM_DRIFT: (forge_on_another_platform, "numba 0.1 then, "),
    FailureClass.TRUNCATED: (cut_off, ""),
    FailureClass.SUMMARY_CHANGED: (change_the_summary, "run.json says another final_pv_e8"),
}


@pytest.mark.parametrize("kind", FailureClass)
def test_every_class_from_a_damaged_run(kind: FailureClass, own_home: Path, own_run: Path, capsys: Out) -> None:
    damage, words = DAMAGES[kind]
    assert main(["replay", str(own_run), "--home", str(own_home)]) == 0
    run_dir = damage(own_home, own_run)
    capsys.readouterr()
    assert main(["replay", str(run_dir), "--home", str(own_home), "--json"]) == 5
    result = json.loads(capsys.readouterr().out)
    assert result["failure"]["kind"] == kind
    assert words in result["failure"]["detail"]
    assert main(["replay", str(run_dir), "--home", str(own_home)]) == 5
    out = capsys.readouterr().out
    assert out.startswith("REPLAY PARITY: FALSE\n")
    assert f"failure         {kind.value}" in out


def test_the_how_to_explains_every_class() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "replay-a-run.md").read_text()
    assert [kind for kind in FailureClass if f"| `{kind.value}` |" not in page] == []


def test_another_platform_alone_is_no_failure(own_home: Path, own_run: Path, capsys: Out) -> None:
    path = own_run / PLATFORM_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor": "abacus"}))
    assert main(["replay", str(own_run), "--home", str(own_home)]) == 0
    assert "platform        processor abacus then, " in capsys.readouterr().out
    path.write_text("{")
    assert main(["replay", str(own_run), "--home", str(own_home)]) == 0
    assert "platform" not in capsys.readouterr().out
