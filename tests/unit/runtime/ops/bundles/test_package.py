"""What a promotion writes: the same bytes each time, bars in one form, nothing that could not forecast."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import DataError, EnvironmentFailure
from runtime.ops.bundles import manifest as m
from runtime.ops.bundles import package
from runtime.ops.bundles.package import app_range, write_bundle
from runtime.ops.bundles.refusal import ACTIONS, BundleRefused, Reason
from runtime.ops.bundles.tail import TAG, decode_tail, encode_tail
from tests.support.bundles import contents_of, make_bundle, signing_key, trend_forecaster
from tests.support.panels import first_bars, make_panel


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a home folder and the bundle in it; no test changes either."""
    home = tmp_path_factory.mktemp("home")
    return home, make_bundle(home)


def test_the_same_contents_give_the_same_bytes(original: tuple[Path, Path], tmp_path: Path) -> None:
    again = make_bundle(tmp_path)
    assert again.name == original[1].name
    for path in sorted(original[1].rglob("*")):
        if path.is_file():
            assert (again / path.relative_to(original[1])).read_bytes() == path.read_bytes()


def test_seed_bars_have_one_form(original: tuple[Path, Path]) -> None:
    content = (original[1] / m.TAIL_NAME).read_bytes()
    panel = decode_tail(content)
    assert np.isnan(panel.close).any(), "missing bars belong to the test"
    other_nan = panel.close.view("<u8") | 1
    strange = replace(panel, close=np.where(np.isnan(panel.close), other_nan.view("<f8"), panel.close))
    assert encode_tail(strange) == content, "every NaN alike"
    endless = panel.close.copy()
    endless[0, 0] = np.inf
    nan_at = content.index(b"\0\0\0\0\0\0\xf8\x7f")
    broken = [
        b"", TAG, content[:-1], content + b"\0" * 8, b"x" + content, content.replace(b'"rows_n"', b'"ROWS_n"'),
        content[:nan_at] + b"\1" + content[nan_at + 1 :], encode_tail(replace(panel, close=endless)),
    ]  # fmt: skip
    for text in broken:
        with pytest.raises(BundleRefused, match="malformed"):
            decode_tail(text)


def test_a_bundle_needs_a_window_of_seed_bars_and_a_forecast_on_them(tmp_path: Path) -> None:
    panel = make_panel(1_200, 4)
    with pytest.raises(DataError, match="seed bars"):
        write_bundle(tmp_path, contents_of(trend_forecaster(panel.symbols), first_bars(panel, 887)), signing_key())
    rare = trend_forecaster(panel.symbols, grid_h=24 * 60)
    with pytest.raises(DataError, match="without any forecast"):
        write_bundle(tmp_path, contents_of(rare, panel), signing_key())
    assert not list(tmp_path.iterdir())


def test_a_bundle_runs_with_the_releases_of_one_minor_version() -> None:
    assert app_range("0.1.0") == ">=0.1.0,<0.2"
    assert app_range("2.7.1") == ">=2.7.1,<2.8"


def test_refusals_travel_between_processes() -> None:
    assert set(ACTIONS) == set(Reason)
    found = pickle.loads(pickle.dumps(BundleRefused(Reason.ALTERED, "a", expected="b")))  # noqa: S301  our own bytes
    assert (found.reason, found.got, found.expected, found.action) == (
        Reason.ALTERED,
        "altered: a",
        "b",
        ACTIONS[Reason.ALTERED],
    )


def test_a_full_disk_leaves_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package, "publish_folder", full)
    with pytest.raises(EnvironmentFailure, match="No space left"):
        make_bundle(tmp_path)
    assert not list((tmp_path / "bundles").iterdir())
