"""One's own profiles: append-only, chained, and every tampering found when they are loaded."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from runtime.adapters.clock import ManualClock, SystemClock
from runtime.errors import BallastError, DataError, EnvironmentFailure, GateError, UsageError, VerificationError
from runtime.files import create_bytes
from runtime.policy import PRESETS, ProfileVersion, parse_version
from runtime.profiles.leaves import change
from runtime.profiles.store import append_version, find_version, origin_of, own_names, profiles_path, versions

NOW_T = 1_795_000_000


def put(home: Path, assignment: str, *, name: str = "mine", at_t: int = NOW_T, derive: str | None = None) -> ProfileVersion:
    origin = origin_of(home, name, derive)
    return append_version(
        home, origin, change(origin.profile, [assignment], "me", name), f"why {assignment}", ManualClock(at_t)
    )


@pytest.fixture
def chain(tmp_path: Path) -> list[ProfileVersion]:
    return [
        put(tmp_path, "base_ppm=1%", derive="conservative"),
        put(tmp_path, "base_ppm=2%", at_t=NOW_T + 10),
        put(tmp_path, "base_ppm=3%", at_t=NOW_T + 20),
    ]


def file(home: Path, number: int, name: str = "mine") -> Path:
    return profiles_path(home) / name / f"v{number:03d}.json"


def test_versions_form_a_chain_from_a_preset(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    assert versions(tmp_path, "mine") == chain
    assert [v.profile.version for v in chain] == [1, 2, 3]
    assert [v.profile.created_t for v in chain] == [NOW_T, NOW_T + 10, NOW_T + 20]
    assert chain[0].derived_from == "conservative@1"
    assert chain[0].previous_digest == PRESETS["conservative"].entry_digest
    assert [v.previous_digest for v in chain[1:]] == [v.entry_digest for v in chain[:-1]]
    assert [v.profile.base_ppm for v in chain] == [10_000, 20_000, 30_000]
    assert len({v.policy_digest for v in chain}) == 3
    assert sorted(path.name for path in (profiles_path(tmp_path) / "mine").iterdir()) == [f"v00{k}.json" for k in (1, 2, 3)]


def test_versions_are_found_by_name_and_number(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    assert find_version(tmp_path, "mine") == chain[2]
    assert find_version(tmp_path, "mine@2") == find_version(tmp_path, "mine", 2) == chain[1]
    assert find_version(tmp_path, "balanced") == PRESETS["balanced"]
    for name, version in (("mine@4", None), ("mine", 4), ("mine@0", None), ("mine@x", None), ("yours", None), ("../x", None)):
        with pytest.raises(UsageError):
            find_version(tmp_path, name, version)


def test_one_profile_may_begin_as_another_version(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    made = put(tmp_path, "base_ppm=4%", name="other", derive="mine@1")
    assert (made.derived_from, made.previous_digest, made.profile.version) == ("mine@1", chain[0].entry_digest, 1)
    assert own_names(tmp_path) == ["mine", "other"]


@pytest.mark.parametrize(
    ("name", "derive", "message"),
    [
        ("conservative", None, "preset of this release"),
        ("balanced", "conservative", "preset of this release"),
        ("Mine", "conservative", "profile name 'Mine'"),
        ("../up", "conservative", "profile name"),
        ("new", None, "--from for a new profile"),
        ("mine", "conservative", "--from only for a new name"),
        ("new", "nothing", "profile 'nothing'"),
    ],
)
def test_names_and_origins_are_checked(
    tmp_path: Path, chain: list[ProfileVersion], name: str, derive: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        origin_of(tmp_path, name, derive)
    assert chain


def test_a_version_must_change_something(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    with pytest.raises(GateError, match="has these values already"):
        put(tmp_path, "base_ppm=3%")
    assert versions(tmp_path, "mine") == chain


def test_time_never_runs_backwards_in_a_chain(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    assert put(tmp_path, "base_ppm=4%", at_t=5).profile.created_t == chain[-1].profile.created_t


def test_a_version_is_never_replaced(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    before = file(tmp_path, 3).read_bytes()
    with pytest.raises(GateError, match="somebody else"):
        append_version(tmp_path, chain[1], change(chain[1].profile, ["base_ppm=9%"], "me", "mine"), "late", ManualClock(NOW_T))
    assert file(tmp_path, 3).read_bytes() == before


def test_of_many_writers_at_once_one_succeeds(tmp_path: Path) -> None:
    put(tmp_path, "base_ppm=1%", derive="conservative")
    origin = origin_of(tmp_path, "mine", None)
    results: list[str] = []
    barrier = threading.Barrier(6)

    def write(k: int) -> None:
        wanted = change(origin.profile, [f"base_ppm={k + 2}%"], "me", "mine")
        barrier.wait()
        try:
            append_version(tmp_path, origin, wanted, "race", ManualClock(NOW_T))
        except BallastError as e:
            results.append(e.kind)
        else:
            results.append("made")

    threads = [threading.Thread(target=write, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["gate"] * 5 + ["made"]
    assert len(versions(tmp_path, "mine")) == 2


# ---- tampering ----------------------------------------------------------------------------------------------------


def reseal(home: Path, number: int, **fields: int) -> None:
    """Rewrite one version with digests that fit it, as somebody with time would."""
    old = parse_version(file(home, number).read_bytes(), "x")
    profile = old.profile.model_copy(update=fields)
    file(home, number).write_bytes(ProfileVersion.seal(profile, old.note, old.previous_digest, old.derived_from).canonical())


def test_a_changed_value_is_found(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    path = file(tmp_path, 2)
    path.write_bytes(path.read_bytes().replace(b'"base_ppm":20000', b'"base_ppm":20001'))
    with pytest.raises(VerificationError, match="policy_digest"):
        find_version(tmp_path, "mine@3")
    assert chain


def test_a_version_rewritten_with_fitting_digests_breaks_the_chain(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    reseal(tmp_path, 2, base_ppm=20_001)
    with pytest.raises(VerificationError, match=r"v003\.json continues"):
        versions(tmp_path, "mine")
    assert chain


def test_a_removed_version_is_found(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    file(tmp_path, 2).unlink()
    with pytest.raises(VerificationError, match="version 2 is missing"):
        versions(tmp_path, "mine")
    assert chain


def test_swapped_renamed_and_foreign_files_are_found(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    second, third = file(tmp_path, 2).read_bytes(), file(tmp_path, 3).read_bytes()
    file(tmp_path, 2).write_bytes(third)
    file(tmp_path, 3).write_bytes(second)
    with pytest.raises(VerificationError, match="holds mine@3"):
        versions(tmp_path, "mine")
    file(tmp_path, 2).write_bytes(second)
    file(tmp_path, 3).write_bytes(third)
    (profiles_path(tmp_path) / "mine").rename(profiles_path(tmp_path) / "thine")
    with pytest.raises(VerificationError, match="holds mine@1"):
        versions(tmp_path, "thine")
    put(tmp_path, "base_ppm=1%", name="clean", derive="conservative")
    (profiles_path(tmp_path) / "clean" / "v2.json").write_text("{}")
    with pytest.raises(DataError, match="in a profile's folder"):
        versions(tmp_path, "clean")
    assert chain


def test_a_time_before_its_predecessor_is_found(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    reseal(tmp_path, 3, created_t=NOW_T)
    with pytest.raises(VerificationError, match="was written at"):
        versions(tmp_path, "mine")
    assert chain


def test_a_preset_cannot_be_shadowed(tmp_path: Path) -> None:
    (profiles_path(tmp_path) / "conservative").mkdir(parents=True)
    with pytest.raises(VerificationError, match="name of a preset"):
        find_version(tmp_path, "conservative")


def test_an_empty_folder_and_leftovers(tmp_path: Path, chain: list[ProfileVersion]) -> None:
    (profiles_path(tmp_path) / "mine" / ".partial-1-v004.json").write_text("half")
    assert versions(tmp_path, "mine") == chain
    (profiles_path(tmp_path) / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        versions(tmp_path, "empty")


# ---- clock and files ----------------------------------------------------------------------------------------------


def test_the_system_clock_is_this_centurys() -> None:
    assert 1_700_000_000 < SystemClock().now_t() < 4_100_000_000


def test_a_file_is_created_once(tmp_path: Path) -> None:
    create_bytes(tmp_path / "a" / "x", b"1")
    with pytest.raises(FileExistsError):
        create_bytes(tmp_path / "a" / "x", b"2")
    assert (tmp_path / "a" / "x").read_bytes() == b"1"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match="cannot create"):
        create_bytes(tmp_path / "file" / "x", b"1")
