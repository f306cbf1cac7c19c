"""Kubeconfig files that carry their certificates with them."""

import base64
from pathlib import Path

import yaml

from controlplane.certificates import Credentials, write_private

User = dict[str, str]
"""The user entry of a kubeconfig: how somebody shows who they are."""


def write(path: Path, url: str, authority: bytes, user: User) -> Path:
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


def certificate_user(credentials: Credentials) -> User:
    """Somebody who shows a client certificate."""
    return {
        "client-certificate-data": _encode(credentials.certificate),
        "client-key-data": _encode(credentials.key),
    }


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
