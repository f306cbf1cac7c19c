"""The command line of every component."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from controlplane.certificates import LOOPBACK

NODE_ANNOTATION: Final = "kwok.x-k8s.io/node"
SERVICE_RANGE: Final = "10.96.0.0/16"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticManifests:
    """Folders with admission policies that the API server reads from disk (Kubernetes 1.36 and later)."""

    validating: Path | None = None
    mutating: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerOptions:
    """What differs between the API servers of one test and another."""

    emulated_version: str | None = None
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    audit_policy: Path | None = None
    admission_configuration: Path | None = None
    service_accounts: bool = True
    extra_flags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files and the ports of one control plane are."""

    folder: Path
    binaries: Mapping[str, Path]
    etcd_port: int
    etcd_peer_port: int
    controller_manager_port: int
    scheduler_port: int
    kwok_port: int
    api_server_ports: Sequence[int]

    @property
    def pki(self) -> Path:
        """The folder of the certificates and keys."""
        return self.folder / "pki"

    @property
    def authority(self) -> Path:
        """The certificate of the authority that signed everything."""
        return self.pki / "ca.crt"

    @property
    def etcd_url(self) -> str:
        """Where etcd serves its clients."""
        return f"http://{LOOPBACK}:{self.etcd_port}"

    @property
    def api_server_urls(self) -> list[str]:
        """Where the API servers listen, the first one first."""
        return [f"https://{LOOPBACK}:{port}" for port in self.api_server_ports]

    def kubeconfig(self, user: str) -> Path:
        """The kubeconfig of a component, or of the administrator."""
        return self.folder / f"{user}.kubeconfig"


def etcd(layout: Layout) -> list[str]:
    """A single etcd that does not wait for the disk: its data is thrown away anyway."""
    peer = f"http://{LOOPBACK}:{layout.etcd_peer_port}"
    return [
        str(layout.binaries["etcd"]),
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={layout.etcd_url}",
        f"--advertise-client-urls={layout.etcd_url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(layout: Layout, name: str, port: int, options: ApiServerOptions) -> list[str]:
    """An API server with the admission plugins of a real cluster."""
    pki = layout.pki
    flags = [
        str(layout.binaries["kube-apiserver"]),
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--secure-port={port}",
        # The others refuse to publish a loopback address as the endpoint of a Service.
        "--endpoint-reconciler-type=none",
        f"--etcd-servers={layout.etcd_url}",
        f"--tls-cert-file={pki / 'serving.crt'}",
        f"--tls-private-key-file={pki / 'serving.key'}",
        f"--client-ca-file={layout.authority}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
    ]
    if not options.service_accounts:
        # Without a controller manager no namespace gets the ServiceAccount that pods need.
        flags.append("--disable-admission-plugins=ServiceAccount")
    if options.emulated_version is not None:
        flags.append(f"--emulated-version={options.emulated_version}")
    if options.feature_gates:
        gates = ",".join(f"{gate}={str(on).lower()}" for gate, on in options.feature_gates.items())
        flags.append(f"--feature-gates={gates}")
    if options.audit_policy is not None:
        flags += [
            f"--audit-policy-file={options.audit_policy}",
            f"--audit-log-path={audit_log(layout, name)}",
        ]
    if options.admission_configuration is not None:
        flags.append(f"--admission-control-config-file={options.admission_configuration}")
    return [*flags, *options.extra_flags]


def audit_log(layout: Layout, name: str) -> Path:
    """Where an API server writes its audit log."""
    return layout.folder / f"{name}.audit.log"


def controller_manager(layout: Layout) -> list[str]:
    """The controllers, each with a ServiceAccount of its own as on a real cluster."""
    pki = layout.pki
    return [
        str(layout.binaries["kube-controller-manager"]),
        *_secure_serving(layout, layout.controller_manager_port),
        f"--kubeconfig={layout.kubeconfig('kube-controller-manager')}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        f"--root-ca-file={layout.authority}",
        # A busy machine must not make the simulated nodes look dead.
        "--node-monitor-grace-period=5m",
        *_impatient(),
    ]


def scheduler(layout: Layout) -> list[str]:
    """The real scheduler."""
    return [
        str(layout.binaries["kube-scheduler"]),
        *_secure_serving(layout, layout.scheduler_port),
        f"--kubeconfig={layout.kubeconfig('kube-scheduler')}",
        "--leader-elect=false",
        *_impatient(),
    ]


def kwok(layout: Layout) -> list[str]:
    """Plays the kubelets of the nodes that carry the annotation."""
    return [
        str(layout.binaries["kwok"]),
        f"--kubeconfig={layout.kubeconfig('kwok')}",
        f"--config={Path(__file__).with_name('stages.yaml')}",
        f"--manage-nodes-with-annotation-selector={NODE_ANNOTATION}=fake",
        "--manage-all-nodes=false",
        f"--node-ip={LOOPBACK}",
        f"--server-address={LOOPBACK}:{layout.kwok_port}",
        "--node-lease-duration-seconds=40",
    ]


def _secure_serving(layout: Layout, port: int) -> list[str]:
    return [
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        f"--tls-cert-file={layout.pki / 'serving.crt'}",
        f"--tls-private-key-file={layout.pki / 'serving.key'}",
    ]


def _impatient() -> list[str]:
    # The defaults protect a shared API server; here they would only make the tests wait.
    return ["--kube-api-qps=500", "--kube-api-burst=1000"]
