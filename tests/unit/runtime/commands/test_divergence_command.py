"""`ballast divergence`: verdict, causes, orders, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime import event as ev
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.cli import main
from runtime.commands.divergence import _outcome
from runtime.console import iso_time
from runtime.core import codes as c
from runtime.divergence.attribution import Outcome
from runtime.files import write_bytes
from runtime.home import RUN_MARK
from tests.support.forge import forge
from tests.support.paper import clerk, paper_inputs
from tests.support.paper_desk import PaperDesk, Plant

Out = pytest.CaptureFixture[str]
INPUTS = paper_inputs(hours=200)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder with a paper run that was halted for a while and paid the maker's fee."""
    after = {
        60: lambda at_t: [ev.control(at_t, c.SWITCH_HALT, 1, clerk())],
        90: lambda at_t: [ev.control(at_t, c.SWITCH_HALT, 0, clerk())],
    }
    plant = Plant(fill=lambda fill: fill._replace(liquidity_id=c.MAKER), after=after)
    genesis = INPUTS.genesis
    run_dir = tmp_path / "runs" / f"paper-{genesis.hash.hex()[:12]}"
    journal = SqliteJournal.create(run_dir / JOURNAL_NAME, genesis.canonical(), account_id=1, mode_id=c.MODE_PAPER)
    journal.append(PaperDesk(INPUTS, plant).run())
    journal.close()
    write_bytes(run_dir / RUN_MARK, genesis.canonical())
    monkeypatch.setenv("BALLAST_HOME", str(tmp_path))
    return tmp_path


def test_every_cause_and_the_sum_are_shown(home: Path, capsys: Out) -> None:
    """The table ends in the difference; the JSON has the same numbers."""
    assert main(["divergence", "paper"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("DIVERGENCE EXPLAINED: TRUE\n")
    for word in (
        "parity          TRUE",
        "data",
        "restart",
        "operator",
        "latency",
        "fill",
        "fee",
        "mark",
        "sum",
        "unexplained     0.00000000",
    ):
        assert word in shown
    assert main(["divergence", "paper", "--json", "--limit", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    causes = {cause["cause"]: int(cause["amount_e8"]) for cause in found["causes"]}
    assert causes["fee"] > 0
    assert causes["operator"] != 0
    assert sum(causes.values()) == int(found["paper_value_e8"]) - int(found["backtest_value_e8"])
    whole, rest = divmod(causes["fee"], 10**8)
    assert f"+{whole:,}.{rest:08d}" in shown
    assert found["explained"] is True


def test_all_orders_are_shown_on_demand_and_their_absence_is_told(home: Path, capsys: Out) -> None:
    """Orders of one run only, unfilled ones, equal ones; a period without any."""
    assert main(["divergence", "paper", "--limit", "0"]) == 0
    shown = capsys.readouterr().out
    assert "no order" in shown
    nothing = Outcome(decided_t=1, wanted_e8=1, filled_e8=0, price_e8=0, fee_e8=0, first_fill_t=0, last_fill_t=0)
    assert _outcome(nothing)[0] == "unfilled"
    first = iso_time(int(INPUTS.close_t[0]))
    assert main(["divergence", "paper", "--to", first]) == 0
    assert "0 orders, the same in both runs" in capsys.readouterr().out


def test_a_period_is_a_day_or_two_times(home: Path, capsys: Out) -> None:
    """Only the blocks of the period are compared."""
    first_t = int(INPUTS.close_t[0])
    day = iso_time(first_t + 2 * 86_400)[:10]
    assert main(["divergence", "paper", "--day", day, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert iso_time(found["since_t"])[:10] == iso_time(found["until_t"])[:10] == day
    assert main(["divergence", "paper", "--from", day, "--to", f"{day}T06:00", "--no-bars"]) == 0
    assert main(["divergence", "paper", "--day", day, "--to", day]) == 2
    assert main(["divergence", "paper", "--from", day, "--to", day]) == 2
    assert main(["divergence", "paper", "--day", "2030-01-01"]) == 2
    assert "without a block" in capsys.readouterr().err


def test_a_changed_journal_is_not_explained(home: Path, capsys: Out) -> None:
    """Exit code 5 and the place."""
    (run_dir,) = (home / "runs").iterdir()
    forge(run_dir / JOURNAL_NAME, "UPDATE block SET payload = zeroblob(length(payload)) WHERE seq_n = 90")
    assert main(["divergence", "paper"]) == 5
    shown = capsys.readouterr().out
    assert shown.startswith("DIVERGENCE EXPLAINED: FALSE\n")
    assert "block 90" in shown


def test_a_backtest_has_no_divergence(own_home: Path, capsys: Out) -> None:
    """There is nothing to compare it with."""
    assert own_home.is_dir()
    assert main(["divergence", "ml"]) == 2
    assert "expected a paper run" in capsys.readouterr().err.replace("expected: ", "expected ")
