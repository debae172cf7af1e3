"""The key that signs lives in the keyring, or in a file of ours alone; trusted keys are files named after themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest

from runtime.errors import EnvironmentFailure, UsageError, VerificationError
from runtime.ops.bundles import keys
from runtime.ops.bundles.keys import TrustedKey, is_signed, signing_key, trust, trust_path, trusted_keys


class MemoryKeyring(keyring.backend.KeyringBackend):
    """A keyring that lasts as long as a test."""

    priority = 1

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password


class LockedKeyring(MemoryKeyring):
    def get_password(self, service: str, username: str) -> str | None:
        raise keyring.errors.KeyringLocked("the collection is locked")


class ForgetfulKeyring(MemoryKeyring):
    def set_password(self, service: str, username: str, password: str) -> None:
        pass


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryKeyring]:
    """Put a keyring of the test's own in place of the system's."""
    monkeypatch.delenv(keys.KEY_FILE_VARIABLE, raising=False)
    monkeypatch.setattr(keys, "SAFE_KEYRINGS", (__name__,))  # stands for the operating system's
    before, mine = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


def test_a_key_is_made_once_and_kept_in_the_keyring(memory: MemoryKeyring) -> None:
    first, second = signing_key(), signing_key()
    assert (first.made, second.made, first.store) == (True, False, "keyring")
    assert first.public_key == second.public_key
    signature = first.sign(b"content")
    assert is_signed(second.public_key, signature, b"content")
    assert not is_signed(second.public_key, signature, b"contents")
    assert not is_signed(second.public_key, "zz", b"content")
    assert not is_signed("zz", signature, b"content")
    (secret,) = memory.entries.values()
    assert secret not in repr(first)
    assert secret not in str(first)


def test_a_keyring_that_is_not_the_operating_systems_counts_as_a_file(
    monkeypatch: pytest.MonkeyPatch, memory: MemoryKeyring
) -> None:
    monkeypatch.setattr(keys, "SAFE_KEYRINGS", ("keyring.backends.macOS",))
    assert signing_key().store == "file"
    assert signing_key().store == "file"


def test_of_a_chain_the_first_keyring_counts(memory: MemoryKeyring) -> None:
    class Chain(MemoryKeyring):
        backends = (memory,)

    keyring.set_keyring(Chain())
    assert signing_key().store == "keyring"


@pytest.mark.parametrize("backend", [keyring.backends.fail.Keyring, LockedKeyring, ForgetfulKeyring])
def test_without_a_keyring_nothing_is_signed_and_the_way_out_is_named(backend: type[keyring.backend.KeyringBackend]) -> None:
    keyring.set_keyring(backend())
    with pytest.raises(EnvironmentFailure, match="no keyring") as caught:
        signing_key()
    assert "--key-file" in caught.value.action
    assert caught.value.exit_code == 6


def test_what_the_keyring_holds_must_be_a_key(memory: MemoryKeyring) -> None:
    memory.set_password(keys.SERVICE, keys.ENTRY, "password1")
    with pytest.raises(VerificationError, match="not one") as caught:
        signing_key()
    assert "password1" not in str(caught.value)


def test_a_key_file_is_made_for_us_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: MemoryKeyring) -> None:
    path = tmp_path / "keys" / "signing"
    first = signing_key(path)
    assert (first.made, first.store) == (True, "file")
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv(keys.KEY_FILE_VARIABLE, str(path))
    assert signing_key().public_key == first.public_key
    assert not signing_key().made
    assert not memory.entries, "the keyring was not asked"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "signing"
    signing_key(path)
    path.chmod(mode)
    with pytest.raises(EnvironmentFailure, match="yours alone"):
        signing_key(path)


def test_a_key_file_that_is_a_link_a_folder_or_no_key_is_refused(tmp_path: Path) -> None:
    path, link = tmp_path / "signing", tmp_path / "link"
    signing_key(path)
    link.symlink_to(path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for wrong in (link, tmp_path, tmp_path / "pipe"):
        with pytest.raises(EnvironmentFailure, match="cannot use the key file"):
            signing_key(wrong)
    path.write_text("no key")
    with pytest.raises(VerificationError, match="64 hex"):
        signing_key(path)
    path.write_text("")
    with pytest.raises(EnvironmentFailure, match="cannot use the key file"):
        signing_key(path / "below")


def test_trust_is_one_file_for_each_key(tmp_path: Path) -> None:
    key = TrustedKey(public_key=signing_key().public_key, store="elsewhere", label="Ada")
    assert not trusted_keys(tmp_path)
    assert trust(tmp_path, key)
    assert not trust(tmp_path, key)
    assert trusted_keys(tmp_path) == {key.public_key: key}
    (trust_path(tmp_path) / f"{key.public_key}.json").unlink()
    assert not trusted_keys(tmp_path)


@pytest.mark.parametrize("plant", ["note.txt", f"{'a' * 64}.json"])
def test_a_strange_file_among_the_trusted_keys_stops_everything(tmp_path: Path, plant: str) -> None:
    key = TrustedKey(public_key=signing_key().public_key, store="keyring", label="")
    trust(tmp_path, key)
    content = (trust_path(tmp_path) / f"{key.public_key}.json").read_bytes()
    (trust_path(tmp_path) / plant).write_bytes(content)
    with pytest.raises(VerificationError, match="not a trusted key"):
        trusted_keys(tmp_path)
    (trust_path(tmp_path) / plant).write_bytes(b"damaged")
    with pytest.raises(VerificationError, match="not a trusted key"):
        trusted_keys(tmp_path)
    (trust_path(tmp_path) / plant).rename(trust_path(tmp_path) / f".partial-1-{plant}")
    assert set(trusted_keys(tmp_path)) == {key.public_key}, "what a killed process left half-written is no key yet"


def test_a_link_among_the_trusted_keys_is_not_followed(tmp_path: Path) -> None:
    key = TrustedKey(public_key=signing_key().public_key, store="keyring", label="")
    trust(tmp_path, key)
    path = trust_path(tmp_path) / f"{key.public_key}.json"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VerificationError, match="not a trusted key"):
        trusted_keys(tmp_path)


def test_what_is_no_key_cannot_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    def refuse(data: bytes) -> None:
        raise ValueError("not a point")

    monkeypatch.setattr(ed25519.Ed25519PublicKey, "from_public_bytes", refuse)
    with pytest.raises(UsageError, match="no Ed25519"):
        trust(tmp_path, TrustedKey(public_key="f" * 64, store="elsewhere", label=""))
