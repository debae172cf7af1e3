"""How a job makes the provider it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runtime.errors import UsageError
from runtime.progress import Report
from workbench.data.providers import BarProvider
from workbench.data.providers.calls import CallLedger
from workbench.data.providers.registry import ProviderOptions, create
from workbench.data.sync.jobs import Asked


def open_provider(
    asked: Asked, interval: str, ledger: CallLedger, sleep: Callable[[float], None], report: Report
) -> BarProvider:
    """Return the provider that was asked for, for one interval; nothing is sent yet.

    Raises:
        UsageError: there is no such provider, or it lacks an option or takes none of that kind.
        EnvironmentFailure: it is registered and cannot be imported.
    """
    given, path = asked.options, asked.options.get("path")
    options = ProviderOptions(
        argument=given.get("exchange", ""),
        path=Path(path) if path else None,
        venue=given.get("venue"),
        interval=interval,
        assets=asked.symbols,
        quote=given.get("quote"),
        url=given.get("url"),
        ledger=ledger,
        sleep=sleep,
        report=report,
    )
    try:
        return create(asked.kind, options)
    except UsageError as e:  # the registry speaks of the option of `ballast data import`
        raise UsageError(e.got.replace("--source", "--provider"), expected=e.expected, action=e.action) from e
