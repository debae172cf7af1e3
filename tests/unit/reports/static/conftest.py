"""Studies to report on, made once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.static.inputs import Inputs
from reports.static.study_report import render
from tests.unit.reports.static.make_study import make_inputs, make_study


@pytest.fixture(scope="session")
def flat_inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Return a SIMULATED study whose ML run stayed flat."""
    home = tmp_path_factory.mktemp("flat")
    return make_inputs(home, make_study(home))


@pytest.fixture(scope="session")
def trading_inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Return a study on data called real whose ML run traded; it was not replayed."""
    home = tmp_path_factory.mktemp("trading")
    return make_inputs(home, make_study(home, ml_trades=True, simulated=False), replayed=False)


@pytest.fixture(scope="session")
def flat_page(flat_inputs: Inputs) -> str:
    """Return the report of the flat study."""
    return render(flat_inputs)


@pytest.fixture(scope="session")
def trading_page(trading_inputs: Inputs) -> str:
    """Return the report of the trading study."""
    return render(trading_inputs)


@pytest.fixture
def study_on_disk(tmp_path: Path) -> tuple[Path, Path]:
    """Return home and study folder of a small study."""
    return tmp_path, make_study(tmp_path, assets_n=2, days_n=120, folds_n=1)
