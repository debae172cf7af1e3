"""Our generic top-level names are ours alone in the locked environment (docs/adr/0002)."""

from __future__ import annotations

from importlib.metadata import packages_distributions

import pytest


@pytest.mark.parametrize("name", ["runtime", "workbench", "pipelines", "reports"])
def test_no_locked_package_installs_one_of_our_names(name: str) -> None:
    owners = set(packages_distributions().get(name, []))
    assert owners <= {"ballast"}
