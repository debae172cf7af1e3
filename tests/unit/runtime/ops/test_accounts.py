"""Paper accounts: made whole, found again, and never mixed with another venue's."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime import event as events
from runtime.adapters.journal_sqlite import JOURNAL_NAME
from runtime.core.codes import CAD, MODE_PAPER, USD
from runtime.desk import Desk
from runtime.errors import DataError, EnvironmentFailure, GateError
from runtime.genesis import Bundle, Genesis
from runtime.home import RUN_MARK, find_run, list_runs, runs_path
from runtime.ops import accounts as module
from runtime.ops.accounts import Account, Market, accounts, create_account, find_account, new_genesis, open_journal
from runtime.ops.idle import idle_accounts
from runtime.policy import PairRules, load_profile
from tests.unit.runtime.ops.test_paper_days import DAY_0, HOUR_T, bar, session

BUNDLE = Bundle(name="trend", bundle_hash="1" * 64, feature_set_hash="2" * 64, model_hashes=())
MARKET = Market(("BTC", "ETH"), (PairRules(), PairRules(tick_e8=10)), HOUR_T, "V1", "3" * 64)


def genesis(account_id: int = 1, *, simulated: bool = False, amounts: tuple[int, ...] = (10**12, 0, 5)) -> Genesis:
    profile = load_profile("conservative")
    return new_genesis(account_id, MARKET, BUNDLE, profile, amounts, DAY_0 + 61, simulated=simulated)


def test_a_genesis_says_what_the_account_is() -> None:
    found = genesis()
    assert (found.mode_id, found.source, found.simulated, found.first_t) == (MODE_PAPER, "kraken", False, DAY_0)
    assert [(d.quote_id, d.amount_e8) for d in found.deposits] == [(0, str(10**12)), (2, "5")]
    assert {found.bars_digest, found.forecasts_digest, found.clusters_digest} == {"0" * 64}
    assert (genesis(simulated=True).source, genesis(simulated=True).simulated) == ("local-kraken", True)
    assert genesis().canonical() == genesis().canonical(), "no clock, path or host in it"


def test_cash_in_a_currency_that_it_trades_in() -> None:
    with pytest.raises(GateError, match="no start cash"):
        genesis(amounts=(0, 10**12, 0))
    assert (USD, CAD) == (0, 1)


def test_an_account_is_made_whole_and_found_by_its_id(home: Path) -> None:
    assert find_account(home, 1, simulated=False) is None
    made = create_account(home, genesis())
    assert made.run_id == f"paper-{genesis().hash.hex()[:12]}"
    assert sorted(p.name for p in made.folder.iterdir()) == [RUN_MARK, "head.json", JOURNAL_NAME, "platform.json"]
    assert find_account(home, 1, simulated=False) == made
    assert find_account(home, 2, simulated=False) is None
    assert find_run(home, "paper") == made.folder
    journal = open_journal(made)
    assert (journal.head().seq_n, journal.owner, journal.genesis()) == (0, (1, MODE_PAPER), genesis().canonical())
    journal.close()


def test_a_killed_creation_leaves_no_account(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "publish_folder", dies)
    with pytest.raises(KeyboardInterrupt):
        create_account(home, genesis())
    assert list_runs(home) == []
    assert list(runs_path(home).iterdir()) == []
    assert accounts(home) == []


def test_no_place_for_an_account(home: Path) -> None:
    runs_path(home).write_text("a file in the way")
    with pytest.raises(EnvironmentFailure, match="cannot make"):
        create_account(home, genesis())


@pytest.mark.parametrize("simulated", [True, False])
def test_one_chain_tells_one_story(home: Path, simulated: bool) -> None:
    create_account(home, genesis(simulated=simulated))
    with pytest.raises(GateError, match="was begun on"):
        find_account(home, 1, simulated=not simulated)


def test_two_chains_of_one_account_are_refused(home: Path) -> None:
    create_account(home, genesis())
    create_account(home, genesis(amounts=(10**12, 0, 0)))
    create_account(home, genesis(2))
    with pytest.raises(GateError, match="2 chains of account 1"):
        find_account(home, 1, simulated=False)
    assert find_account(home, 2, simulated=False) is not None


def test_a_damaged_genesis_is_named(home: Path) -> None:
    made = create_account(home, genesis())
    (made.folder / RUN_MARK).write_bytes(b"{}")
    with pytest.raises(DataError, match="is no genesis"):
        accounts(home)
    (made.folder / RUN_MARK).unlink()
    with pytest.raises(DataError, match="is no genesis"):
        find_account(home, 1, simulated=False)


def test_a_genesis_beside_another_journal_is_refused(home: Path) -> None:
    made = create_account(home, genesis())
    other = Account(made.folder, genesis(2))
    with pytest.raises(DataError, match="is not the genesis of the journal"):
        open_journal(other)
    open_journal(made).close()  # the lock was given back


# ---- what the journals tell while nothing runs -----------------------------------------------------------------


def written(home: Path, taken: list[events.Event], account_id: int = 1) -> Account:
    made = create_account(home, genesis(account_id))
    desk = Desk(made.genesis)
    journal = open_journal(made)
    journal.append([desk.apply(event) for event in taken])
    journal.close()
    return made


def test_an_idle_account_tells_how_it_ended(home: Path) -> None:
    hours = [bar(hour) for hour in range(24)]
    written(home, [session(), *hours, session(at_t=DAY_0 + 86_400, started=False)])
    written(home, [session(), bar(0), events.heartbeat(DAY_0 + HOUR_T, 0)], 2)
    create_account(home, genesis(3))
    stopped, crashed, new = idle_accounts(home)
    assert (stopped.account_id, stopped.ended, stopped.completed_days_n, stopped.seq_n) == (1, "stopped", 1, 26)
    assert (crashed.ended, crashed.completed_days_n, crashed.last_t) == ("not stopped", 0, DAY_0 + HOUR_T)
    assert (new.ended, new.seq_n, new.last_t) == ("never begun", 0, 0)


def test_an_idle_account_that_cannot_be_read_says_why(home: Path) -> None:
    made = written(home, [session(), bar(0)])
    (made.folder / JOURNAL_NAME).write_bytes(b"no journal")
    (found,) = idle_accounts(home)
    assert found.problem
    assert found.account_id == 1
