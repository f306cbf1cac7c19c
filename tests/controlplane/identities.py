"""Who may talk to one control plane: certificates, keys and kubeconfigs."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from controlplane import kubeconfig
from controlplane.certificates import Authority, write_service_account_keys
from controlplane.client import tls
from controlplane.layout import Layout

ADMINISTRATORS: Final = "system:masters"
# The users that RBAC knows these components by; kwok is no part of Kubernetes.
USERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "admin": ("admin", (ADMINISTRATORS,)),
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kwok": ("kwok", (ADMINISTRATORS,)),
}


class Identities:
    """Makes the authority and everybody's credentials, and writes them where the layout says."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._authority = Authority()
        pki = layout.pki
        pki.mkdir()
        layout.authority.write_bytes(self._authority.certificate)
        self._authority.serving("control-plane").write(pki, "serving")
        self._authority.client(*USERS["admin"]).write(pki, "admin")
        write_service_account_keys(pki)
        for name, (user, groups) in USERS.items():
            self._write(layout.kubeconfig(name), self._certificate_user(user, groups), 0)
        self.anonymous = tls(layout.authority)
        self.administrator = tls(layout.authority, pki / "admin.crt", pki / "admin.key")

    def user(self, name: str, groups: Iterable[str], apiserver: int) -> Path:
        """A kubeconfig with a new client certificate."""
        return self._write(self._new_file(name), self._certificate_user(name, groups), apiserver)

    def token(self, name: str, token: str, apiserver: int) -> Path:
        """A kubeconfig with a bearer token."""
        return self._write(self._new_file(name), {"token": token}, apiserver)

    def _certificate_user(self, name: str, groups: Iterable[str]) -> kubeconfig.User:
        return kubeconfig.certificate_user(self._authority.client(name, groups))

    def _write(self, path: Path, user: kubeconfig.User, apiserver: int) -> Path:
        url = self._layout.api_server_urls[apiserver]
        return kubeconfig.write(path, url, self._authority.certificate, user)

    def _new_file(self, name: str) -> Path:
        readable = "".join(character if character.isalnum() else "-" for character in name)
        folder = tempfile.mkdtemp(prefix=f"{readable}-", dir=self._layout.folder)
        return Path(folder) / "kubeconfig"
