"""Paper accounts: each a run folder with one chain, found by its account id, made whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.core.codes import MODE_PAPER
from runtime.errors import DataError, EnvironmentFailure, GateError
from runtime.files import partial_folder, publish_folder, write_bytes
from runtime.genesis import JOURNALED, Bundle, Deposit, Genesis
from runtime.home import RUN_MARK, runs_path
from runtime.jit import deciding_source_digest
from runtime.machine import PLATFORM_NAME, this_platform
from runtime.policy import PairRules, RiskProfile

PREFIX: Final = "paper-"
SOURCE_VENUE: Final = "kraken"
SOURCE_LOCAL: Final = "local-kraken"


class Market(NamedTuple):
    """What a new account trades.

    Attributes:
        symbols: instrument i is symbols[i].
        pairs: their rules at the venue.
        interval_t: seconds of a bar.
        universe_version, dataset_hash: what the bundle was made from.
    """

    symbols: tuple[str, ...]
    pairs: tuple[PairRules, ...]
    interval_t: int
    universe_version: str
    dataset_hash: str


class Account(NamedTuple):
    """A paper account: its run folder and its genesis."""

    folder: Path
    genesis: Genesis

    @property
    def run_id(self) -> str:
        """Name of the run."""
        return self.folder.name


def accounts(home: Path) -> list[Account]:
    """Return the paper accounts of a home folder, by account id and name.

    Raises:
        DataError: a folder that is named like one has no readable genesis.
    """
    folder = runs_path(home)
    found = [Account(path, read_genesis(path)) for path in sorted(folder.glob(f"{PREFIX}*")) if path.is_dir()]
    return sorted((a for a in found if a.genesis.mode_id == MODE_PAPER), key=lambda a: (a.genesis.account_id, a.run_id))


def read_genesis(folder: Path) -> Genesis:
    """Return the genesis of a run folder, whose journal is asked by whoever relies on it.

    Raises:
        DataError: it is missing or damaged.
    """
    path = folder / RUN_MARK
    try:
        return Genesis.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as e:
        raise DataError(
            f"{path} is no genesis: {e if isinstance(e, OSError) else e.errors(include_url=False)[0]['msg']}",
            expected="the file as the daemon wrote it",
            action="restore the run folder from a backup, or move it away",
        ) from e


def find_account(home: Path, account_id: int, *, simulated: bool) -> Account | None:
    """Return the paper account of an id, `None` when there is none yet.

    Raises:
        GateError: it was begun on the other kind of venue, or there is more than one.
    """
    found = [account for account in accounts(home) if account.genesis.account_id == account_id]
    if len(found) > 1:
        raise GateError(
            f"{len(found)} chains of account {account_id}: {', '.join(a.run_id for a in found)}",
            expected="one chain for an account",
            action=f"move all but the right one out of {runs_path(home)}, or choose another --account",
        )
    if not found:
        return None
    if found[0].genesis.simulated != simulated:
        words = {True: "a simulated venue", False: "the venue's public address"}
        raise GateError(
            f"account {account_id} ({found[0].run_id}) was begun on {words[found[0].genesis.simulated]}",
            expected=f"the same kind of venue, not {words[simulated]}: one chain tells one story",
            action="choose another --account for this venue; a new one is made by itself",
        )
    return found[0]


def new_genesis(
    account_id: int,
    market: Market,
    bundle: Bundle,
    profile: RiskProfile,
    amounts_e8: Sequence[int],
    begin_t: int,
    *,
    simulated: bool,
) -> Genesis:
    """Return the genesis of a new paper account.

    Args:
        account_id: whose chain.
        market: what it trades.
        bundle: what makes the first forecasts.
        profile: what governs first.
        amounts_e8: cash it begins with, by quote id.
        begin_t: when it begins, seconds UTC: its last closed bar.
        simulated: whether the venue is anything but the venue's public address.

    Raises:
        GateError: no cash in any currency that it trades in.
    """
    deposits = tuple(Deposit(quote_id=i, amount_e8=str(amount)) for i, amount in enumerate(amounts_e8) if amount > 0)
    if not {d.quote_id for d in deposits} & {pair.quote_id for pair in market.pairs}:
        raise GateError(
            "no start cash in a currency that the bundle trades in",
            expected="an amount above zero in the quote currency of at least one pair",
            action="set [start_cash] in HOME/runtime/settings.toml",
        )
    return Genesis(
        account_id=account_id,
        mode_id=MODE_PAPER,
        source=SOURCE_LOCAL if simulated else SOURCE_VENUE,
        simulated=simulated,
        symbols=market.symbols,
        interval_t=market.interval_t,
        first_t=begin_t // market.interval_t * market.interval_t,
        last_t=begin_t // market.interval_t * market.interval_t,
        universe_version=market.universe_version,
        dataset_hash=market.dataset_hash,
        bars_digest=JOURNALED,
        forecasts_digest=JOURNALED,
        clusters_digest=JOURNALED,
        bundle=bundle,
        profile=profile,
        policy_digest=profile.digest,
        pairs=market.pairs,
        deposits=deposits,
        core_digest=deciding_source_digest(),
    )


def create_account(home: Path, genesis: Genesis) -> Account:
    """Make the folder of a new paper account with an empty chain; it gets its name when it is whole.

    Raises:
        EnvironmentFailure: the folder cannot be written.
    """
    target = runs_path(home) / f"{PREFIX}{genesis.hash.hex()[:12]}"
    try:
        with partial_folder(target) as folder:
            write_bytes(folder / RUN_MARK, genesis.canonical())
            write_bytes(folder / PLATFORM_NAME, this_platform().model_dump_json(indent=2).encode())
            SqliteJournal.create(
                folder / JOURNAL_NAME, genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id
            ).close()
            publish_folder(folder, target)
    except OSError as e:
        raise EnvironmentFailure(
            f"cannot make {target}: {e.strerror or e}",
            expected="a writable folder with free space",
            action="check permissions and disk, or choose another folder with --home",
        ) from e
    return Account(target, genesis)


def open_journal(account: Account) -> SqliteJournal:
    """Open the chain of an account for writing.

    Raises:
        DataError: the genesis beside the journal is not the one in it.
        Otherwise as `SqliteJournal.open`.
    """
    journal = SqliteJournal.open(account.folder / JOURNAL_NAME, writable=True)
    if journal.genesis() != account.genesis.canonical():
        journal.close()
        raise DataError(
            f"{account.folder / RUN_MARK} is not the genesis of the journal beside it",
            expected="both as the daemon wrote them",
            action="restore the run folder from a backup",
        )
    return journal
