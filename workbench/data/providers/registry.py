"""Providers by name: every installed package may register one under the entry point group `ballast.providers`.

    [project.entry-points."ballast.providers"]
    mine = "my_package.bars:make"       # def make(options: ProviderOptions) -> BarProvider

A provider that takes an argument is named with it: `ccxt:binance`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final, Protocol

from runtime.errors import EnvironmentFailure, UsageError
from runtime.progress import Report, silent
from workbench.data.providers import BarProvider
from workbench.data.providers.address import checked_address
from workbench.data.providers.calls import CallLedger, pause
from workbench.data.universe.versions import Universe

GROUP: Final = "ballast.providers"


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """What a person asked of a provider; None and empty = not given.

    Attributes:
        argument: what follows the colon of its name (`ccxt:binance`).
        path: file or folder.
        venue: name of the venue in the universe.
        interval: bar length by name.
        assets: of the universe.
        quote: quote currency.
        since_t: first opening time wanted, seconds UTC.
        url: base address instead of the provider's own.
        ledger: keeps rate budgets and call counts.
        universe: default version v1.
        sleep: waits between calls.
        report: told how far it is.
    """

    argument: str = ""
    path: Path | None = None
    venue: str | None = None
    interval: str | None = None
    assets: tuple[str, ...] = ()
    quote: str | None = None
    since_t: int | None = None
    url: str | None = None
    ledger: CallLedger | None = None
    universe: Universe | None = None
    sleep: Callable[[float], None] = pause
    report: Report = silent


CHOICES: Final = ("argument", "path", "venue", "interval", "assets", "quote", "since_t", "url")
"""Options that choose what is read; one that would have no effect is refused."""


class Factory(Protocol):
    """What an entry point names: any function of the options."""

    def __call__(self, options: ProviderOptions) -> BarProvider:
        """Return the provider; nothing is sent or read yet."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A factory that says what it is: what the shipped providers register.

    Attributes:
        summary: one sentence for a list.
        make: the function of the options.
        takes: which choices have an effect.
        needs: which choices it cannot do without.
        credentials: tells whether its key is there, without a call and without the key; None = it needs none.
    """

    summary: str
    make: Callable[[ProviderOptions], BarProvider]
    takes: frozenset[str]
    needs: frozenset[str] = frozenset()
    credentials: Callable[[], bool] | None = None

    def __call__(self, options: ProviderOptions) -> BarProvider:
        """Return the provider."""
        return self.make(options)


@dataclass(frozen=True, slots=True)
class Available:
    """One registered provider.

    Attributes:
        name: what `--source` takes.
        summary: one sentence.
        needs: the options it cannot do without.
        credentials: `none needed`, `present`, `missing` or `unknown`.
        package: the distribution that registers it.
        problem: why it cannot be used; empty when it can.
    """

    name: str
    summary: str
    needs: tuple[str, ...]
    credentials: str
    package: str
    problem: str


def available() -> list[Available]:
    """Return every registered provider by name; one that cannot be imported is listed with its problem."""
    found = []
    for name, entries in sorted(_registered().items()):
        package = ", ".join(_package(e) for e in entries)
        try:
            factory = _load(name)
        except (EnvironmentFailure, UsageError) as e:
            found.append(Available(name, "", (), "unknown", package, e.got))
            continue
        if isinstance(factory, Kind):
            present = "none needed" if factory.credentials is None else "present" if factory.credentials() else "missing"
            found.append(Available(name, factory.summary, tuple(sorted(factory.needs)), present, package, ""))
        else:
            summary = (factory.__doc__ or "").strip().splitlines()
            found.append(Available(name, summary[0] if summary else "", (), "unknown", package, ""))
    return found


def create(name: str, options: ProviderOptions) -> BarProvider:
    """Return the provider of a name, such as `files` or `ccxt:binance`. Nothing is sent or read yet.

    Raises:
        UsageError: no such provider, options that it does not take or lacks, or a secret in the address.
        EnvironmentFailure: it is registered and cannot be imported.
    """
    if options.url:
        checked_address(options.url)
    plain, _, argument = name.partition(":")
    if argument:
        options = replace(options, argument=argument)
    factory = _load(plain)
    if isinstance(factory, Kind):
        given = {c for c in CHOICES if getattr(options, c) not in (None, "", ())}
        idle, missing = sorted(given - factory.takes), sorted(factory.needs - given)
        if idle or missing:
            raise UsageError(
                f"--source {name}"
                + (f" with {_spoken(idle, plain)}" if idle else "")
                + (f" without {_spoken(missing, plain)}" if missing else ""),
                expected="; ".join(
                    f"{verb} {_spoken(sorted(names), plain)}"
                    for verb, names in (("it needs", factory.needs), ("it takes", factory.takes - factory.needs))
                    if names
                )
                or "no options",
                action="change the options (`ballast data providers` lists what each source needs)",
            )
    return factory(options)


SPOKEN: Final[Mapping[str, str]] = {
    "path": "PATH", "assets": "--symbol", "since_t": "--since", "venue": "--venue", "interval": "--interval", "quote": "--quote",
    "url": "--url",
}  # fmt: skip


def _spoken(names: list[str], source: str) -> str:
    return ", ".join(SPOKEN.get(n, f"{source}:NAME") for n in names)


def _registered() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        same = found.setdefault(entry.name, [])
        if all(e.value != entry.value for e in same):  # one package may be seen twice on the path
            same.append(entry)
    return found


def _load(name: str) -> Factory:
    registered = _registered()
    if name not in registered:
        raise UsageError(
            f"--source {name}",
            expected="one of " + ", ".join(sorted(registered)) if registered else f"a package that registers {GROUP}",
            action="choose another source" if registered else "install the project (for this repository: make install)",
        )
    entries = registered[name]
    if len(entries) > 1:
        raise EnvironmentFailure(
            f"{len(entries)} packages register the provider {name}: {', '.join(_package(e) for e in entries)}",
            expected="one",
            action="uninstall all but one",
        )
    try:
        factory: Factory = entries[0].load()
    except (ImportError, AttributeError) as e:
        raise EnvironmentFailure(
            f"the provider {name} of {_package(entries[0])} cannot be imported: {e}",
            expected=f"a function at {entries[0].value}",
            action="repair or uninstall that package",
        ) from e
    return factory


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
