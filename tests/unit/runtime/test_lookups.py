"""Lookups that runs rarely miss: forecasts by time, forecasts off the grid, the function that follows lineages, published folders."""

from __future__ import annotations

import dataclasses
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from runtime import lineage
from runtime.core.digest import forecast_hash
from runtime.core.records import FORECAST, INSTRUMENTS
from runtime.engine import Schedule
from runtime.errors import EnvironmentFailure, InvariantError
from runtime.files import publish_folder
from runtime.inference.bundle import Forecasts
from runtime.verify import FORECAST_WINDOW_N, forecast_hashes
from tests.support.markets import random_inputs


def many_forecasts(count: int) -> Forecasts:
    rows = np.zeros((count, INSTRUMENTS), FORECAST)
    rows["prob_main_ppm"] = np.arange(count * INSTRUMENTS).reshape(count, INSTRUMENTS)
    return Forecasts(("A",), 100 + 10 * np.arange(count), rows, [bytes([n % 251]) * 32 for n in range(count)])


def test_forecasts_are_found_in_any_order_through_windows() -> None:
    forecasts = many_forecasts(4 * FORECAST_WINDOW_N + 3)
    found = forecast_hashes(forecasts)
    rng = np.random.default_rng(4)
    order = [*range(0, len(forecasts.at_t), FORECAST_WINDOW_N // 2), *rng.integers(0, len(forecasts.at_t), 40).tolist()]
    for n in order:
        for s in (0, INSTRUMENTS - 1):
            expected = forecast_hash(forecasts.rows[n, s].tobytes(), forecasts.feature_digests[n])
            assert found(s, int(forecasts.at_t[n])) == expected


@pytest.mark.parametrize(("instrument", "at_t"), [(0, 99), (0, 105), (0, 130), (-1, 100), (INSTRUMENTS, 100)])
def test_a_forecast_that_is_not_there_is_no_lookup(instrument: int, at_t: int) -> None:
    with pytest.raises(LookupError):
        forecast_hashes(many_forecasts(3))(instrument, at_t)


@pytest.mark.parametrize("moved_t", [1, 10**6])
def test_a_forecast_off_the_grid_of_bars_is_refused(moved_t: int) -> None:
    inputs = random_inputs(1, hours=40)
    forecasts = dataclasses.replace(inputs.forecasts, at_t=inputs.forecasts.at_t + moved_t)
    with pytest.raises(InvariantError, match="not closing times of bars"):
        Schedule(dataclasses.replace(inputs, forecasts=forecasts))


def entry(value: str) -> EntryPoint:
    return EntryPoint("lineage", value, lineage.GROUP)


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "0 packages follow lineages: none"), (["a:f", "b:f"], "2 packages follow lineages: a:f, b:f"),
     (["no_such_package:f"], "no_such_package:f cannot be loaded"), (["math:no_such_function"], "math:no_such_function cannot be loaded")],
)  # fmt: skip
def test_without_exactly_one_function_lineages_are_not_followed(
    values: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "entry_points", lambda group: [entry(value) for value in values])
    with pytest.raises(EnvironmentFailure, match=message):
        lineage.installed_tracer()


def test_the_installed_function_follows_lineages() -> None:
    assert callable(lineage.installed_tracer())


def test_a_first_publication_that_fails_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, target = tmp_path / "made", tmp_path / "target"
    made.mkdir()

    def refuse(self: Path, other: Path) -> Path:
        raise OSError("no room") if self == made else FileNotFoundError()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="no room"):
            publish_folder(made, target)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
