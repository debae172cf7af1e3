"""The optional servers: pinned images, loopback ports, no secret in the file."""

from __future__ import annotations

import re
from pathlib import Path

import yaml


def test_images_are_pinned_ports_are_loopback_and_secrets_are_files(repository: Path) -> None:
    config = yaml.safe_load((repository / "compose.yaml").read_text("utf-8"))
    assert set(config["services"]) == {"postgres", "mlflow"}
    for name, service in config["services"].items():
        tag = service["image"].rpartition(":")[2]
        assert re.search(r"\d+\.\d+", tag), f"{name} is not pinned to a version"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        literal = [key for key in service.get("environment", {}) if "PASSWORD" in key and not key.endswith("_FILE")]
        assert literal == []
    assert all(set(secret) == {"file"} for secret in config["secrets"].values())
    assert "secrets/" in (repository / ".gitignore").read_text("utf-8").splitlines()
