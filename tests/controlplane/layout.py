"""Where the files and the ports of one control plane are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from controlplane.certificates import LOOPBACK
from controlplane.ports import free_ports

SINGLE_COMPONENTS: Final = ("etcd", "etcd-peer", "kube-controller-manager", "kube-scheduler", "kwok")


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder, the programs and the ports, and everything that follows from them."""

    folder: Path
    programs: Mapping[str, Path]
    ports: Mapping[str, int]
    api_servers: Sequence[str]

    @classmethod
    def choose(cls, folder: Path, programs: Mapping[str, Path], api_servers: int) -> Self:
        """Choose free ports for that many API servers and everything that there is one of."""
        names = [api_server_name(number) for number in range(api_servers)]
        users = [*SINGLE_COMPONENTS, *names]
        return cls(folder, programs, dict(zip(users, free_ports(len(users)), strict=True)), names)

    @property
    def pki(self) -> Path:
        """The folder of the certificates and keys."""
        return self.folder / "pki"

    @property
    def authority(self) -> Path:
        """The certificate of the authority that signed everything."""
        return self.pki / "ca.crt"

    def http(self, component: str) -> str:
        """The address of a component that serves in the clear."""
        return f"http://{LOOPBACK}:{self.ports[component]}"

    def https(self, component: str) -> str:
        """The address of a component that serves with the serving certificate."""
        return f"https://{LOOPBACK}:{self.ports[component]}"

    @property
    def api_server_urls(self) -> list[str]:
        """Where the API servers listen, the first one first."""
        return [self.https(name) for name in self.api_servers]

    def kubeconfig(self, user: str) -> Path:
        """The kubeconfig of a component, or of the administrator."""
        return self.folder / f"{user}.kubeconfig"

    def log(self, component: str) -> Path:
        """What a component writes to standard output and standard error."""
        return self.folder / f"{component}.log"

    def audit_log(self, api_server: str) -> Path:
        """Where an API server writes its audit log."""
        return self.folder / f"{api_server}.audit.log"


def api_server_name(number: int) -> str:
    """``kube-apiserver`` for the first, then ``kube-apiserver-2`` and so on."""
    return "kube-apiserver" if number == 0 else f"kube-apiserver-{number + 1}"
