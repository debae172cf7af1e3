from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from runtime.cli import main
from runtime.errors import EnvironmentFailure, UsageError
from workbench.data.providers import read_series
from workbench.data.providers.registry import GROUP, Available, ProviderOptions, available, create

SHIPPED = ["ccxt", "coinapi", "files", "kraken", "kraken-archive", "simulated"]

PLUGIN = '''
"""A provider of another package."""
import numpy as np
from workbench.data.bars import Bars
from workbench.data.providers import Page, SeriesRef

class Mine:
    name, closed = "mine", True
    def __init__(self, options): self.options = options
    def series(self): return [SeriesRef("binance-spot", "1h", "BTCUSDT", "mine", "x")]
    def pages(self, ref, since_t=None, until_t=None):
        t = 1_704_067_200 + 3_600 * np.arange(48)
        x = np.full(48, 100.0)
        yield Page(Bars(t, x, x, x, x, x), int(t[-1]) + 3_600)

def make(options):
    """Bars of my own."""
    return Mine(options)
'''


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, entries: str, code: str = PLUGIN) -> None:
    """Make an installed distribution: a module and the metadata that `pip install` would write."""
    (folder / f"{package}.py").write_text(code, encoding="utf-8")
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


def listed(name: str) -> Available:
    return next(a for a in available() if a.name == name)


def test_the_shipped_providers_are_registered() -> None:
    found = available()
    assert [a.name for a in found] == SHIPPED
    assert all(a.package == "ballast" and a.summary and not a.problem for a in found)


def test_nothing_heavy_is_imported_for_the_list() -> None:
    for name in ("ccxt", "workbench.data.providers.exchange"):
        sys.modules.pop(name, None)
    available()
    assert "workbench.data.providers.exchange" not in sys.modules


def test_a_provider_of_another_package_is_listed_made_and_imported_from(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch, "ballast_test_plugin", "mine = ballast_test_plugin:make")
    assert listed("mine") == Available("mine", "Bars of my own.", (), "unknown", "ballast_test_plugin", "")
    provider = create("mine:with argument", ProviderOptions(interval="1h"))
    assert len(read_series(provider, *provider.series())) == 48
    assert main(["data", "import", "--source", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == "mine"


def test_a_provider_that_cannot_be_imported_says_so_and_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "ballast_broken_plugin", "broken = ballast_broken_plugin:make", "import nothing_like_it\n")
    assert "cannot be imported" in listed("broken").problem
    assert listed("files").problem == ""
    with pytest.raises(EnvironmentFailure, match="the provider broken of ballast_broken_plugin cannot be imported"):
        create("broken", ProviderOptions())


def test_a_package_cannot_take_the_place_of_another_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "ballast_greedy_plugin", "kraken = ballast_greedy_plugin:make")
    with pytest.raises(EnvironmentFailure, match="2 packages register the provider kraken: ballast"):
        create("kraken", ProviderOptions())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("carrier-pigeon", ProviderOptions(), "--source carrier-pigeon"),
        ("files", ProviderOptions(), "--source files without PATH"),
        ("files", ProviderOptions(path=Path(), assets=("BTC",)), "--source files with --symbol"),
        ("simulated", ProviderOptions(interval="1d"), "--source simulated with --interval 1d"),
        ("kraken:x", ProviderOptions(), "--source kraken:x with kraken:NAME"),
        ("kraken", ProviderOptions(path=Path(), venue="kraken-spot"), "--source kraken with PATH, --venue"),
        ("ccxt", ProviderOptions(), "--source ccxt without ccxt:NAME"),
        ("kraken-archive", ProviderOptions(since_t=5), "--source kraken-archive with --since without PATH"),
    ],
)
def test_options_without_effect_and_missing_ones_are_refused(name: str, options: ProviderOptions, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        create(name, options)
    assert caught.value.got == words


def test_credentials_are_told_present_or_missing_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BALLAST_COINAPI_KEY", "planted-secret-4711")
    assert listed("coinapi").credentials == "present"
    for arguments in ([], ["--json"]):
        assert main(["data", "providers", *arguments]) == 0
        out, err = capsys.readouterr()
        assert "present" in out
        assert "planted-secret-4711" not in out + err
    monkeypatch.setenv("BALLAST_COINAPI_KEY", "")
    assert listed("coinapi").credentials == "missing"
