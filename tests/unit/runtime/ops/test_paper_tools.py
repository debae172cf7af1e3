"""The tools for runs work on a paper run: it has no summary and no stored inputs, its blocks carry everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime import event as ev
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.journaled import event_of, governed, memberships_of
from runtime.adapters.projections import parse_genesis, project
from runtime.adapters.views import connect
from runtime.core import codes as c
from runtime.core.digest import decode_payload
from runtime.errors import VerificationError
from runtime.event import Event, Note
from runtime.files import write_bytes
from runtime.genesis import Genesis
from runtime.home import RUN_MARK
from runtime.ops.check import check_run
from runtime.ops.explain import explain_block
from runtime.policy import ProfileVersion
from runtime.run_list import describe_runs
from tests.support.forge import forge
from tests.support.paper import clerk, paper_inputs
from tests.support.paper_desk import PaperDesk, Plant

SWITCHED = 120
"""Hour after which another profile governs."""


def other_caps(genesis: Genesis) -> Note:
    """Return the note of a profile with other caps, which gates must not apply to earlier blocks."""
    profile = genesis.profile
    caps = {"total_cap_ppm": profile.total_cap_ppm // 2, "cluster_cap_ppm": profile.cluster_cap_ppm // 2}
    changed = profile.model_copy(update={"version": 2, **caps})
    return Note(actor="ada", reason="smaller", profile=ProfileVersion.seal(changed, "smaller"))


@pytest.fixture(scope="module")
def paper_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with one paper run: acknowledgements, a restart with catch-up, quotes, a kill and another profile."""
    home = tmp_path_factory.mktemp("paper")
    inputs = paper_inputs(hours=300)
    after = {
        20: lambda at_t: [ev.heartbeat(at_t, 3), ev.quote(at_t, 1, 10**9, 10**9 + 1, moved=True)],
        **{hour: lambda at_t: [ev.quote(at_t, 1, 10**9, 10**9 + 1, moved=True)] for hour in range(200, 300, 7)},
        60: lambda at_t: [ev.control(at_t, c.SWITCH_KILL, c.KILL_OPERATOR, clerk("drill"))],
        64: lambda at_t: [ev.control(at_t, c.SWITCH_KILL, 0, clerk("over"))],
        SWITCHED: lambda at_t: [ev.policy(at_t, other_caps(inputs.genesis))],
    }
    blocks = PaperDesk(inputs, Plant(after=after, down=(150, 158))).run()
    run_dir = home / "runs" / f"paper-{inputs.genesis.hash.hex()[:12]}"
    genesis = inputs.genesis
    journal = SqliteJournal.create(run_dir / JOURNAL_NAME, genesis.canonical(), account_id=1, mode_id=c.MODE_PAPER)
    journal.append(blocks)
    journal.close()
    write_bytes(run_dir / RUN_MARK, genesis.canonical())
    return home


@pytest.fixture(scope="module")
def paper_run(paper_home: Path) -> Path:
    """Return the folder of the run."""
    (run_dir,) = (paper_home / "runs").iterdir()
    return run_dir


def test_a_run_without_a_summary_is_no_damaged_run(paper_home: Path) -> None:
    """It is listed with its blocks and times."""
    (row,) = describe_runs(paper_home)
    assert (row.damaged, row.mode_id) == (False, c.MODE_PAPER)
    assert row.blocks > 300
    assert row.first_t < row.last_t


def test_every_gate_holds_also_across_a_change_of_profile(paper_home: Path, paper_run: Path) -> None:
    """All gates but the study's run and hold."""
    result = check_run(paper_run, paper_home)
    assert result.valid, {gate.name: gate.first for gate in result.gates if gate.violations > 0}
    assert result.skipped == ["prediction_out_of_sample"]


def test_the_gates_see_the_profile_of_the_block(paper_home: Path, paper_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first profile for all blocks the caps of the later hours are wrong."""
    monkeypatch.setattr("runtime.ops.check.governed", lambda _genesis, _blocks: ())
    broken = {gate.name for gate in check_run(paper_run, paper_home).gates if gate.violations > 0}
    assert broken >= {"total_cap", "clusters_complete"}


def test_tables_and_views_show_what_the_blocks_brought(paper_home: Path, paper_run: Path) -> None:
    """Predictions come from the blocks that brought them."""
    connection = connect(paper_run, paper_home)
    try:
        found = connection.execute("SELECT count(*), min(block_seq_n) FROM model_prediction").fetchone()
        signals = connection.execute(
            "SELECT count(*) FROM trade_signal s WHERE forecast_t <> 0 AND NOT EXISTS (SELECT 1 FROM model_prediction p "
            "WHERE p.instrument_id = s.instrument_id AND p.at_t = s.forecast_t AND p.prob_main_ppm = s.prob_ppm)"
        ).fetchone()
        kinds = {row[0] for row in connection.execute("SELECT DISTINCT kind FROM v_block").fetchall()}
    finally:
        connection.close()
    assert found is not None
    assert found[0] > 100
    assert found[1] > 0
    assert signals == (0,)
    assert kinds >= {"SESSION", "POLICY", "CONTROL", "QUOTE", "HEARTBEAT", "ORDER", "FILL", "BARS"}


def test_each_kind_of_block_can_be_explained(paper_home: Path, paper_run: Path) -> None:
    """The core's own records come out again, and decisions have their gates."""
    journal = SqliteJournal.open(paper_run / JOURNAL_NAME)
    blocks = list(journal.read())
    journal.close()
    chosen = {block.kind_id: block.seq_n for block in blocks}
    entry = next(
        b.seq_n
        for b in blocks
        if (decode_payload(b.payload).get("trade_signal", [{"action_id": 0}]))[0]["action_id"] == c.ENTER
    )
    after_switch = next(b.seq_n for b in reversed(blocks) if "trade_signal" in decode_payload(b.payload))
    for seq_n in (1, *chosen.values(), entry, after_switch):
        assert explain_block(paper_run, paper_home, seq_n).same_records
    assert any(decision.gates for decision in explain_block(paper_run, paper_home, entry).decisions)
    profile = Event.decode(next(b for b in blocks if b.kind_id == c.EV_POLICY).inputs).note_of()
    assert profile is not None
    assert profile.profile is not None
    late = [r for r in explain_block(paper_run, paper_home, after_switch).records if r.table == "trade_signal"]
    assert late[0].parents["policy"] == profile.profile.policy_digest


def test_a_quote_that_moved_is_explained_as_a_decision(paper_home: Path, paper_run: Path) -> None:
    """A held instrument is marked at the middle and decided anew; the walk ends in the core's own state."""
    journal = SqliteJournal.open(paper_run / JOURNAL_NAME)
    quotes = [block for block in journal.read() if block.kind_id == c.EV_QUOTE]
    journal.close()
    found = [explain_block(paper_run, paper_home, block.seq_n, "S01") for block in quotes]
    assert any(e.decisions and e.decisions[0].position["mark_e8"] == 10**9 for e in found)
    assert all(e.same_records for e in found)


def test_a_changed_input_is_found_before_tables_are_made(paper_home: Path, paper_run: Path, tmp_path: Path) -> None:
    """Projections refuse a block whose forecasts were changed."""
    copy = tmp_path / "runs" / paper_run.name
    copy.mkdir(parents=True)
    for name in (JOURNAL_NAME, RUN_MARK, "head.json"):
        write_bytes(copy / name, (paper_run / name).read_bytes())
    forge(copy / JOURNAL_NAME, "UPDATE block SET inputs = zeroblob(length(inputs)) WHERE seq_n = 90")
    with pytest.raises(VerificationError, match="90"):
        project(copy, tmp_path)


def test_blocks_without_a_readable_event_are_named(paper_run: Path) -> None:
    """What reads a journal's inputs says which block cannot be read."""
    journal = SqliteJournal.open(paper_run / JOURNAL_NAME)
    blocks = list(journal.read())
    genesis = parse_genesis(journal.genesis(), paper_run)
    journal.close()
    cut = [b._replace(inputs=b.inputs[:-1]) if b.kind_id == c.EV_POLICY else b for b in blocks]
    (seq_n,) = (b.seq_n for b in blocks if b.kind_id == c.EV_POLICY)
    with pytest.raises(VerificationError, match=f"block {seq_n} carries no event"):
        governed(genesis, cut)
    with pytest.raises(VerificationError, match=f"block {seq_n} carries no event"):
        event_of(cut[seq_n - 1]._replace(inputs=b"short"))
    assert [g.first_n for g in governed(genesis, blocks)] == [1, seq_n]
    assert len(memberships_of(blocks).at_t) == sum(b.kind_id == c.EV_CLUSTERS for b in blocks)
