"""A bundle is used whole, signed and computable, or not at all: every refusal planted once.

It is over 400 lines because every refusal has its planted case here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.canonical import canonical_json, sha256_hex
from runtime.errors import UsageError
from runtime.inference.forecaster import last_bars
from runtime.ops.bundles import manifest as m
from runtime.ops.bundles import read, vectors
from runtime.ops.bundles.keys import SigningKey, trusted_keys
from runtime.ops.bundles.read import read_bundle
from runtime.ops.bundles.refusal import BundleRefused, Reason
from runtime.ops.bundles.tail import decode_tail, encode_tail
from tests.support.bundles import make_bundle, signing_key, trend_forecaster
from tests.support.panels import make_panel


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a home folder and the bundle in it; no test changes either."""
    home = tmp_path_factory.mktemp("home")
    return home, make_bundle(home)


@pytest.fixture
def bundle(original: tuple[Path, Path], tmp_path: Path) -> Path:
    """Return a copy of the bundle that a test may damage."""
    return Path(shutil.copytree(original[1], tmp_path / original[1].name, symlinks=True))


def refused(original: tuple[Path, Path], bundle: Path) -> BundleRefused:
    with pytest.raises(BundleRefused) as caught:
        read_bundle(bundle, trusted_keys(original[0]))
    assert caught.value.got.startswith(f"{caught.value.reason}: ")
    assert caught.value.expected
    assert caught.value.action
    assert caught.value.exit_code == 5
    return caught.value


def resign(bundle: Path, change: Callable[[dict[str, object]], None], key: SigningKey | None = None) -> None:
    """Change a manifest, bring the digests of its files up to date, and sign it again: what a careless or evil signer could do."""
    raw = json.loads((bundle / m.MANIFEST_NAME).read_bytes())
    for file in raw["files"]:
        content = (bundle / file["path"]).read_bytes()
        file |= {"bytes_n": len(content), "sha256": sha256_hex(content)}
    change(raw)
    content = canonical_json(raw)
    (bundle / m.MANIFEST_NAME).write_bytes(content)
    (bundle / m.SIGNATURE_NAME).write_text((key or signing_key()).sign(content) + "\n")


def test_an_untouched_bundle_is_ready_to_forecast(original: tuple[Path, Path]) -> None:
    home, path = original
    loaded = read_bundle(path, trusted_keys(home))
    panel = make_panel(1_200, 4)
    assert path.name == loaded.manifest.folder_name
    assert loaded.forecasts_n == 16, "two assets have too few bars there: that belongs to the test"
    assert loaded.tail.symbols == panel.symbols
    assert loaded.tail.close.tobytes() == last_bars(panel, len(loaded.tail.open_t)).close.tobytes()
    assert loaded.manifest.seed_until_t == panel.open_t[-1] + 3_600
    ours, theirs = loaded.forecaster.forecast(panel), trend_forecaster(panel.symbols).forecast(panel)
    assert ours is not None
    assert theirs is not None
    assert (ours[0].tobytes(), ours[1]) == (theirs[0].tobytes(), theirs[1])
    assert loaded.note.manifest_digest == sha256_hex((path / m.MANIFEST_NAME).read_bytes())
    assert (loaded.note.bundle_hash, loaded.genesis_bundle.bundle_hash) == (loaded.description.digest,) * 2
    loaded.require_fits(panel.symbols, 3_600)
    loaded.require_mode("paper")
    with pytest.raises(BundleRefused, match="paper only"):
        loaded.require_mode("live")
    with pytest.raises(BundleRefused, match="incompatible"):
        loaded.require_fits(panel.symbols[::-1], 3_600)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name", [m.DESCRIPTION_NAME, m.RULE_NAME, m.TAIL_NAME, m.VECTORS_NAME, m.PROFILE_NAME, "evidence/replay.json"]
)
def test_one_changed_bit_of_any_file_is_refused(original: tuple[Path, Path], bundle: Path, name: str) -> None:
    flip(bundle / name, (bundle / name).stat().st_size // 2)
    assert refused(original, bundle).reason is Reason.ALTERED


def test_no_bit_of_a_bundle_can_change(original: tuple[Path, Path], bundle: Path) -> None:
    """Every byte of the small files, and a seeded sample of the large ones; no answer but a refusal, and none by accident."""
    trusted = trusted_keys(original[0])
    draw = np.random.Generator(np.random.PCG64(20))
    tried = 0
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        content = path.read_bytes()
        everywhere = path.name == m.SIGNATURE_NAME
        at = range(len(content)) if everywhere else draw.integers(0, len(content), 40).tolist()
        for n in at:
            for bit in range(8) if everywhere else (int(draw.integers(8)),):
                changed = bytearray(content)
                changed[n] ^= 1 << bit
                path.write_bytes(changed)
                with pytest.raises(BundleRefused):
                    read.open_sealed(bundle, trusted)
                tried += 1
        path.write_bytes(content)
    assert tried > 1_200
    assert read_bundle(bundle, trusted).forecasts_n


def test_a_changed_manifest_is_refused(original: tuple[Path, Path], bundle: Path) -> None:
    path = bundle / m.MANIFEST_NAME
    path.write_bytes(path.read_bytes().replace(b'"grid_h":4', b'"grid_h":8'))
    assert refused(original, bundle).reason is Reason.ALTERED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"admits":["paper"]', b'"admits":["live"]'),
        (b'"format_n":1', b'"format_n":2'),
        (b'"grid_h":4', b'"grid_h":4,"surprise":1'),
        (b'"grid_h":4', b'"grid_h": 4'),
        (b'"grid_h":4', b'"grid_h":"four"'),
    ],
)
def test_nothing_of_a_manifest_is_interpreted_before_its_signature_holds(
    original: tuple[Path, Path], bundle: Path, old: bytes, new: bytes
) -> None:
    path = bundle / m.MANIFEST_NAME
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    assert refused(original, bundle).reason is Reason.ALTERED


@pytest.mark.parametrize("signer", [1, None, "", "x" * 64, "0" * 63, ["0" * 64]])
def test_a_manifest_that_names_no_key_is_malformed(original: tuple[Path, Path], bundle: Path, signer: object) -> None:
    resign(bundle, set_in("signer", value=signer))
    assert refused(original, bundle).reason is Reason.MALFORMED


def test_a_changed_signature_is_refused(original: tuple[Path, Path], bundle: Path) -> None:
    (bundle / m.SIGNATURE_NAME).write_text("0" * 128 + "\n")
    assert refused(original, bundle).reason is Reason.ALTERED
    (bundle / m.SIGNATURE_NAME).write_text("not hex")
    assert refused(original, bundle).reason is Reason.ALTERED
    (bundle / m.SIGNATURE_NAME).write_text("0" * 4_000)
    assert refused(original, bundle).reason is Reason.ALTERED


def test_a_byte_more_is_an_alteration(original: tuple[Path, Path], bundle: Path) -> None:
    with (bundle / m.TAIL_NAME).open("ab") as f:
        f.write(b"x")
    assert refused(original, bundle).reason is Reason.ALTERED


def test_an_unsigned_bundle_is_refused(original: tuple[Path, Path], bundle: Path) -> None:
    (bundle / m.SIGNATURE_NAME).unlink()
    assert refused(original, bundle).reason is Reason.UNSIGNED


def test_a_bundle_signed_by_a_stranger_is_refused(original: tuple[Path, Path], bundle: Path) -> None:
    stranger = signing_key("stranger")
    resign(bundle, lambda raw: raw.update(signer=stranger.public_key), stranger)
    assert refused(original, bundle).reason is Reason.UNKNOWN_KEY
    assert read_bundle(bundle, {stranger.public_key: next(iter(trusted_keys(original[0]).values()))}).forecasts_n


def test_a_strangers_signature_under_a_trusted_name_is_refused(original: tuple[Path, Path], bundle: Path) -> None:
    resign(bundle, lambda raw: None, signing_key("stranger"))
    assert refused(original, bundle).reason is Reason.ALTERED


@pytest.mark.parametrize("name", [m.MANIFEST_NAME, m.TAIL_NAME, "evidence/replay.json"])
def test_a_missing_file_is_refused(original: tuple[Path, Path], bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    assert refused(original, bundle).reason is Reason.MISSING


def test_a_file_that_was_cut_off_is_refused(original: tuple[Path, Path], bundle: Path) -> None:
    os.truncate(bundle / m.TAIL_NAME, 1_000)
    assert refused(original, bundle).reason is Reason.TRUNCATED
    os.truncate(bundle / m.MANIFEST_NAME, 1_000)
    assert refused(original, bundle).reason is Reason.MALFORMED


@pytest.mark.parametrize("name", ["extra.txt", "evidence/extra.json", ".hidden", "models/../x.txt"])
def test_a_file_that_the_manifest_does_not_name_is_refused(original: tuple[Path, Path], bundle: Path, name: str) -> None:
    (bundle / "models").mkdir()
    (bundle / name).write_text("x")
    assert refused(original, bundle).reason is Reason.UNEXPECTED


def test_links_and_whatever_is_no_plain_file_are_refused(original: tuple[Path, Path], bundle: Path, tmp_path: Path) -> None:
    (bundle / m.TAIL_NAME).rename(tmp_path / "elsewhere")
    (bundle / m.TAIL_NAME).symlink_to(tmp_path / "elsewhere")
    assert refused(original, bundle).reason is Reason.UNEXPECTED
    (bundle / m.TAIL_NAME).unlink()
    os.mkfifo(bundle / m.TAIL_NAME)
    assert refused(original, bundle).reason is Reason.UNEXPECTED
    (bundle / m.TAIL_NAME).unlink()
    (tmp_path / "elsewhere").rename(bundle / m.TAIL_NAME)
    (bundle / "evidence").rename(tmp_path / "evidence")
    (bundle / "evidence").symlink_to(tmp_path / "evidence")
    assert refused(original, bundle).reason is Reason.UNEXPECTED
    (bundle / "evidence").unlink()
    (tmp_path / "evidence").rename(bundle / "evidence")
    (bundle / "folder").mkdir()
    assert refused(original, bundle).reason is Reason.UNEXPECTED
    (bundle / "folder").rmdir()
    assert read_bundle(bundle, trusted_keys(original[0])).forecasts_n, "what was put back is whole again"


def test_the_folder_itself_must_be_one(original: tuple[Path, Path], bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle)
    for path in (tmp_path / "nothing", tmp_path / "link", bundle / m.TAIL_NAME):
        with pytest.raises(UsageError, match="no folder"):
            read_bundle(path, trusted_keys(original[0]))


@pytest.mark.parametrize(
    "path",
    ["../outside.json", "/etc/passwd", "models/../../x.txt", "evidence/sub/x.json", "tail", "a.exe", "Models/x.txt", "a\n.txt"],
)
def test_a_path_out_of_the_folder_is_refused(original: tuple[Path, Path], bundle: Path, path: str) -> None:
    def escape(raw: dict[str, object]) -> None:
        files = raw["files"]
        assert isinstance(files, list)
        files[0] = {"path": path, "bytes_n": 1, "sha256": "0" * 64}

    resign(bundle, escape)
    assert refused(original, bundle).reason is Reason.MALFORMED


def test_a_huge_file_is_refused_before_it_is_read(original: tuple[Path, Path], bundle: Path) -> None:
    with (bundle / m.TAIL_NAME).open("r+b") as f:
        f.truncate(10 * 2**30)  # sparse: nothing of it is on the disk
    assert refused(original, bundle).reason is Reason.TOO_LARGE
    with (bundle / m.MANIFEST_NAME).open("r+b") as f:
        f.truncate(10 * 2**30)
    assert refused(original, bundle).reason is Reason.TOO_LARGE


def test_too_many_files_or_bytes_are_refused(
    original: tuple[Path, Path], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(m, "FILES_MAX", 3)
    assert refused(original, bundle).reason is Reason.TOO_LARGE
    monkeypatch.undo()
    monkeypatch.setattr(m, "TOTAL_BYTES_MAX", 1_000)
    assert refused(original, bundle).reason is Reason.TOO_LARGE


def set_in(*path: str, value: object) -> Callable[[dict[str, object]], None]:
    def change(raw: dict[str, object]) -> None:
        here = raw
        for name in path[:-1]:
            inner = here[name]
            assert isinstance(inner, dict)
            here = inner
        here[path[-1]] = value

    return change


INCOMPATIBLE = {
    "format 2": set_in("format_n", value=2),
    "ballast >=7": set_in("compatibility", "app", value=">=7,<8"),
    "deciding source": set_in("compatibility", "core_digest", value="0" * 64),
}
MALFORMED = {
    "version range": set_in("compatibility", "app", value="whatever"),
    "extra": set_in("surprise", value=1),
    "bundle hash": set_in("bundle_hash", value="0" * 64),
    "name and kind": set_in("name", value="other"),
    "feature set": set_in("feature_set_hash", value="0" * 64),
    "models": set_in("model_hashes", value=["0" * 64]),
    "assets": set_in("symbols", value=["BTC", "ETH"]),
    "seed": set_in("seed_until_t", value=0),
    "policy": set_in("policy", "policy_digest", value="0" * 64),
    "evidence": set_in("evidence", value=[{"name": "other", "asked": True, "found": "", "file": "evidence/replay.json"}]),
    "twice": lambda raw: raw["files"].append(raw["files"][0]),  # type: ignore[attr-defined]  # parsed JSON
}


@pytest.mark.parametrize("said", INCOMPATIBLE)
def test_a_bundle_of_another_version_is_refused(original: tuple[Path, Path], bundle: Path, said: str) -> None:
    resign(bundle, INCOMPATIBLE[said])
    found = refused(original, bundle)
    assert found.reason is Reason.INCOMPATIBLE
    assert said in found.got


@pytest.mark.parametrize("said", MALFORMED)
def test_a_manifest_that_contradicts_itself_is_refused_whoever_signed_it(
    original: tuple[Path, Path], bundle: Path, said: str
) -> None:
    resign(bundle, MALFORMED[said])
    found = refused(original, bundle)
    assert found.reason is Reason.MALFORMED
    assert said.lower() in found.got.lower()


def test_a_manifest_must_be_canonical(original: tuple[Path, Path], bundle: Path) -> None:
    raw = json.loads((bundle / m.MANIFEST_NAME).read_bytes())
    content = json.dumps(raw, indent=1).encode()
    (bundle / m.MANIFEST_NAME).write_bytes(content)
    (bundle / m.SIGNATURE_NAME).write_text(signing_key().sign(content) + "\n")
    assert "canonical" in refused(original, bundle).got
    for text in (b"[" * 100_000, b"[]", b"\xff", b"{}"):
        (bundle / m.MANIFEST_NAME).write_bytes(text)
        assert refused(original, bundle).reason is Reason.MALFORMED


def test_a_required_file_cannot_be_left_out_by_a_signer(original: tuple[Path, Path], bundle: Path) -> None:
    (bundle / m.VECTORS_NAME).rename(bundle / "evidence" / "vectors.json")
    raw = json.loads((bundle / m.MANIFEST_NAME).read_bytes())
    for file in raw["files"]:
        if file["path"] == m.VECTORS_NAME:
            file["path"] = "evidence/vectors.json"
    raw["files"].sort(key=lambda file: file["path"])
    content = canonical_json(raw)
    (bundle / m.MANIFEST_NAME).write_bytes(content)
    (bundle / m.SIGNATURE_NAME).write_text(signing_key().sign(content) + "\n")
    assert refused(original, bundle).reason is Reason.MISSING


# ---- what cannot be computed here ------------------------------------------------------------------------------


def test_a_check_vector_that_comes_out_otherwise_is_refused(original: tuple[Path, Path], bundle: Path) -> None:
    path = bundle / m.VECTORS_NAME
    raw = json.loads(path.read_bytes())
    for name in ("rows_sha256", "feature_digest", "clusters_sha256"):
        changed = [dict(vector) for vector in raw]
        changed[3][name] = "0" * 64
        path.write_bytes(canonical_json(changed))
        resign(bundle, lambda raw: None)
        found = refused(original, bundle)
        assert found.reason is Reason.UNCOMPUTABLE
        assert name in found.got
    for text in (canonical_json(raw[1:]), canonical_json([])):
        path.write_bytes(text)
        resign(bundle, lambda raw: None)
        assert refused(original, bundle).reason is Reason.UNCOMPUTABLE
    path.write_bytes(b'[{"at_t": "x"}]')
    resign(bundle, lambda raw: None)
    assert refused(original, bundle).reason is Reason.MALFORMED


def test_other_seed_bars_than_those_the_vectors_are_about_are_refused(original: tuple[Path, Path], bundle: Path) -> None:
    path = bundle / m.TAIL_NAME
    panel = decode_tail(path.read_bytes())
    panel.close[-1, 0] *= 1.0000001  # a midnight, which the rule looks at
    path.write_bytes(encode_tail(panel))
    resign(bundle, lambda raw: None)
    assert refused(original, bundle).reason is Reason.UNCOMPUTABLE


def test_vectors_about_bars_that_are_not_there_prove_nothing(original: tuple[Path, Path], bundle: Path) -> None:
    panel = decode_tail((bundle / m.TAIL_NAME).read_bytes())
    empty = replace(panel, **{name: np.full_like(panel.close, np.nan) for name in ("open", "high", "low", "close", "volume")})
    said = vectors.encode_vectors(vectors.make_vectors(trend_forecaster(panel.symbols), empty))
    (bundle / m.TAIL_NAME).write_bytes(encode_tail(empty))
    (bundle / m.VECTORS_NAME).write_bytes(said)
    resign(bundle, lambda raw: None)
    found = refused(original, bundle)
    assert found.reason is Reason.UNCOMPUTABLE
    assert "some forecast" in found.expected


@pytest.mark.parametrize(
    ("old", "new"), [(b'"carry_ppm":100000', b'"carry_ppm":200000'), (b'"kind":"trend"', b'"extra":1,"kind":"trend"')]
)
def test_a_rule_that_this_code_does_not_know_is_refused(
    original: tuple[Path, Path], bundle: Path, old: bytes, new: bytes
) -> None:
    path = bundle / m.RULE_NAME
    path.write_bytes(path.read_bytes().replace(old, new))
    resign(bundle, lambda raw: None)
    assert refused(original, bundle).reason is Reason.UNCOMPUTABLE


@pytest.mark.parametrize("name", [m.RULE_NAME, m.PROFILE_NAME, m.DESCRIPTION_NAME])
def test_contents_of_another_form_are_refused(original: tuple[Path, Path], bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b'{"no": "such"}')
    resign(bundle, lambda raw: None)
    assert refused(original, bundle).reason in {Reason.MALFORMED, Reason.UNCOMPUTABLE}


def test_a_file_that_vanishes_while_it_is_read_is_refused(
    original: tuple[Path, Path], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = read._scan

    def scan(path: Path) -> dict[str, int]:
        found = scanned(path)
        (path / m.TAIL_NAME).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(read, "_scan", scan)
    assert refused(original, bundle).reason is Reason.MISSING
