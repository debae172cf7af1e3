"""The daemon's settings: defaults, file, environment, options, in that order; every mistake named; no secret accepted."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from runtime.errors import DataError, UsageError
from runtime.ops.lock import runtime_path
from runtime.settings import KRAKEN_URL, SETTINGS_NAME, VARIABLES, RuntimeSettings


def write(home: Path, text: str) -> None:
    runtime_path(home).mkdir(exist_ok=True)
    (runtime_path(home) / SETTINGS_NAME).write_text(text, "utf-8")


def load(home: Path, environment: dict[str, str] | None = None, **options: object) -> RuntimeSettings:
    return RuntimeSettings.load(home, options, environment or {})


def test_without_anything_it_is_kraken_and_paper_money(home: Path) -> None:
    found = load(home)
    assert found == RuntimeSettings()
    assert (found.venue, found.simulated, found.port) == (KRAKEN_URL, False, 0)
    assert found.start_cash.amounts_e8() == (10_000 * 10**8, 0, 0)


def test_options_win_over_the_environment_and_that_over_the_file(home: Path) -> None:
    write(home, 'venue = "http://127.0.0.1:1"\naccount_id = 2\nport = 5\n[start_cash]\nUSD = "0.00000001"\nCAD = "12.5"\n')
    environment = {VARIABLES["venue"]: "http://localhost:2/", VARIABLES["account_id"]: "3"}
    assert load(home).account_id == 2
    assert load(home, environment).account_id == 3
    found = load(home, environment, venue="http://[::1]:3", account_id=None)
    assert (found.venue, found.account_id, found.port, found.simulated) == ("http://[::1]:3", 3, 5, True)
    assert found.start_cash.amounts_e8() == (1, 1_250_000_000, 0)
    assert load(home, environment).venue == "http://localhost:2"


def test_the_digest_is_of_the_settings_and_nothing_else(home: Path) -> None:
    plain = load(home).digest
    write(home, "port = 0 # said, and the same\n")
    assert load(home).digest == plain
    for change in (
        "port = 1",
        "account_id = 2",
        "[trading]\nbar_grace_ms = 1",
        "[log]\nfiles_n = 2",
        '[start_cash]\nUSD = "1"',
    ):
        write(home, change)
        assert load(home).digest != plain, change


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("venue = 3", "venue: Input should be a valid string"), ("nonsense = 1", "nonsense: Extra inputs"), ("port = 70000", "port: "),
        ('port = "1"', "port: Input should be a valid integer"), ("port = = 1", "Invalid"), ("[trading]\nbar_grace_ms = -1", "trading.bar_grace_ms: "),
        ("account_id = 0", "account_id: "), ('profile = "../x"', "profile: must be NAME"), ("[start_cash]\nUSD = 10000", "start_cash.USD: "),
        ('[start_cash]\nUSD = "-1"', "start_cash.USD: "), ('[start_cash]\nUSD = "1.123456789"', "start_cash.USD: "), ("[start_cash]\nEUR = '1'", "start_cash.EUR: "),
        ('[log]\nlevel = "LOUD"', "log.level: "), ("\udcff", "can't decode"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named(home: Path, text: str, said: str) -> None:
    runtime_path(home).mkdir()
    (runtime_path(home) / SETTINGS_NAME).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as refused:
        load(home)
    assert said in refused.value.got
    assert SETTINGS_NAME in refused.value.got


@pytest.mark.parametrize(
    "venue",
    ["http://api.kraken.com", "ftp://127.0.0.1", "https://me:secret@api.kraken.com", "https://api.kraken.com/0", "https://api.kraken.com?key=1", "api.kraken.com",
     "https://", "http://127.0.0.1:port", "http://127.0.0.1 evil", "http://127.0.0.1.example.org", "https://api.kraken.com#x", "https://a\x1b[2Jb", "http://[::1"],
)  # fmt: skip
def test_an_address_that_is_none_or_carries_a_secret_or_is_plain_to_elsewhere(home: Path, venue: str) -> None:
    with pytest.raises(UsageError, match="--venue"):
        load(home, venue=venue)


@pytest.mark.parametrize(("name", "value"), [("account_id", "one"), ("port", "-1"), ("venue", "x"), ("profile", "A b")])
def test_a_mistake_in_the_environment_names_the_variable(home: Path, name: str, value: str) -> None:
    with pytest.raises(UsageError, match=VARIABLES[name]):
        load(home, {VARIABLES[name]: value})


def test_the_reference_shows_every_setting_with_its_default(repository: Path) -> None:
    page = (repository / "docs/reference/runtime-settings.md").read_text("utf-8")
    shown = tomllib.loads(page.split("```toml\n")[1].split("```")[0])
    assert RuntimeSettings.model_validate(shown) == RuntimeSettings()
    assert shown == RuntimeSettings().model_dump(), "every setting, none twice"
