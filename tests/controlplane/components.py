"""The command line of every component."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from controlplane.certificates import LOOPBACK
from controlplane.layout import Layout

NODE_ANNOTATION: Final = "kwok.x-k8s.io/node"
STAGES: Final = Path(__file__).with_name("stages.yaml")
SERVICE_RANGE: Final = "10.96.0.0/16"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerOptions:
    """What differs between the API servers of one control plane and another."""

    emulated_version: str | None = None
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    audit_policy: Path | None = None
    admission_configuration: Path | None = None
    service_accounts: bool = True
    extra_flags: Sequence[str] = ()

    def flags(self, audit_log: Path) -> list[str]:
        """The flags that say so."""
        flags = _emulated(self.emulated_version)
        if not self.service_accounts:
            flags.append("--disable-admission-plugins=ServiceAccount")
        if self.feature_gates:
            gates = ",".join(f"{gate}={str(on).lower()}" for gate, on in self.feature_gates.items())
            flags.append(f"--feature-gates={gates}")
        if self.audit_policy is not None:
            flags += [f"--audit-policy-file={self.audit_policy}", f"--audit-log-path={audit_log}"]
        if self.admission_configuration is not None:
            flags.append(f"--admission-control-config-file={self.admission_configuration}")
        return [*flags, *self.extra_flags]


def etcd(layout: Layout) -> list[str]:
    """A single etcd that does not wait for the disk: its data is thrown away anyway."""
    client, peer = layout.http("etcd"), layout.http("etcd-peer")
    return [
        str(layout.programs["etcd"]),
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(layout: Layout, name: str, options: ApiServerOptions) -> list[str]:
    """An API server with the authorizers and admission plugins of a real cluster."""
    return [
        str(layout.programs["kube-apiserver"]),
        *_secure_serving(layout, name),
        f"--advertise-address={LOOPBACK}",
        # The others refuse to publish a loopback address as the endpoint of a Service.
        "--endpoint-reconciler-type=none",
        f"--etcd-servers={layout.http('etcd')}",
        f"--client-ca-file={layout.authority}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={layout.pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={layout.pki / 'service-accounts.key'}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        *options.flags(layout.audit_log(name)),
    ]


def controller_manager(layout: Layout, emulated_version: str | None, *, type_checking: bool = True) -> list[str]:
    """The controllers, each with a ServiceAccount of its own as on a real cluster."""
    name = "kube-controller-manager"
    return [
        str(layout.programs[name]),
        *_secure_serving(layout, name),
        *_client(layout, name),
        *_emulated(emulated_version),
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={layout.pki / 'service-accounts.key'}",
        f"--root-ca-file={layout.authority}",
        # A busy machine must not make the simulated nodes look dead.
        "--node-monitor-grace-period=5m",
        *(() if type_checking else ("--controllers=*,-validatingadmissionpolicy-status-controller",)),
    ]


def scheduler(layout: Layout, emulated_version: str | None) -> list[str]:
    """The real scheduler."""
    name = "kube-scheduler"
    return [
        str(layout.programs[name]),
        *_secure_serving(layout, name),
        *_client(layout, name),
        *_emulated(emulated_version),
    ]


def kwok(layout: Layout) -> list[str]:
    """Plays the kubelets of the nodes that carry the annotation, and provisions volumes."""
    return [
        str(layout.programs["kwok"]),
        f"--kubeconfig={layout.kubeconfig('kwok')}",
        f"--config={STAGES}",
        f"--manage-nodes-with-annotation-selector={NODE_ANNOTATION}=fake",
        "--manage-all-nodes=false",
        f"--node-ip={LOOPBACK}",
        f"--server-address={LOOPBACK}:{layout.ports['kwok']}",
        "--node-lease-duration-seconds=40",
    ]


def _secure_serving(layout: Layout, name: str) -> list[str]:
    return [
        f"--bind-address={LOOPBACK}",
        f"--secure-port={layout.ports[name]}",
        f"--tls-cert-file={layout.pki / 'serving.crt'}",
        f"--tls-private-key-file={layout.pki / 'serving.key'}",
    ]


def _client(layout: Layout, name: str) -> list[str]:
    # The default limits protect a shared API server; here they would only make the tests wait.
    limits = ["--kube-api-qps=500", "--kube-api-burst=1000"]
    return [f"--kubeconfig={layout.kubeconfig(name)}", "--leader-elect=false", *limits]


def _emulated(version: str | None) -> list[str]:
    return [] if version is None else [f"--emulated-version={version}"]
