"""Kubeconfig files that carry their certificates with them."""

import base64
from pathlib import Path
from typing import Any

import yaml

from controlplane.certificates import Credentials, write_private


def write(path: Path, url: str, authority: bytes, user: dict[str, Any]) -> Path:
    """Write a kubeconfig with one cluster, one user and one context."""
    cluster = {"server": url, "certificate-authority-data": _encode(authority)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "residency", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "residency", "context": {"cluster": "residency", "user": "user"}}],
        "current-context": "residency",
    }
    write_private(path, yaml.safe_dump(content, sort_keys=False).encode())
    return path


def certificate_user(credentials: Credentials) -> dict[str, Any]:
    """The user entry of somebody who shows a client certificate."""
    return {
        "client-certificate-data": _encode(credentials.certificate),
        "client-key-data": _encode(credentials.key),
    }


def token_user(token: str) -> dict[str, Any]:
    """The user entry of somebody who shows a bearer token."""
    return {"token": token}


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
