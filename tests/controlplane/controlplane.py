"""A real Kubernetes control plane on this machine: starting it, using it, breaking it, stopping it."""

import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from controlplane import admission, build, commands, components, kubeconfig
from controlplane.binaries import Report
from controlplane.certificates import Authority, write_service_account_keys
from controlplane.client import Client, tls
from controlplane.components import ApiServerOptions, Layout, StaticManifests
from controlplane.errors import ControlPlaneError, RequestError
from controlplane.pools import DEFAULT_POOLS, Pool, node_is_usable
from controlplane.ports import free_ports
from controlplane.process import POLL_SECONDS, Component, Watchdog, kill_all

START_SECONDS: Final = 90.0
NODES_SECONDS: Final = 60.0
ADMINISTRATORS: Final = "system:masters"
# The users that RBAC knows these components by; kwok is no part of Kubernetes.
COMPONENT_USERS: Final = {
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kwok": ("kwok", (ADMINISTRATORS,)),
}
TOKEN_SECONDS: Final = 24 * 3600
STORAGE_PROVISIONER: Final = "kwok.x-k8s.io/volume"


class ControlPlane:
    """etcd, API servers, controller manager, scheduler and simulated kubelets, on the loopback address.

    To be used in a ``with`` statement. Every one has ports and a folder of its own, so that several
    can run at once, and whatever happens to this process, none of its processes stays behind.

    :param apiservers: how many API servers share the one etcd, as on a highly available cluster.
    :param emulated_version: serve the APIs of an older Kubernetes, such as ``"1.35"``.
    :param feature_gates: feature gates of the API servers.
    :param audit_policy: a Policy of ``audit.k8s.io/v1``; the API servers then write `audit_logs`.
    :param static_manifests: folders with admission policies that are in force before all others.
    :param apiserver_flags: further flags of the API servers.
    :param controller_manager: whether to run kube-controller-manager; without it pods need no
        ServiceAccount.
    :param scheduler: whether to run kube-scheduler.
    :param kwok: whether to simulate nodes.
    :param report: is told what is going on; by default it is written to standard error.
    """

    def __init__(
        self,
        *,
        apiservers: int = 1,
        emulated_version: str | None = None,
        feature_gates: Mapping[str, bool] | None = None,
        audit_policy: Mapping[str, Any] | None = None,
        static_manifests: StaticManifests | None = None,
        apiserver_flags: Sequence[str] = (),
        controller_manager: bool = True,
        scheduler: bool = True,
        kwok: bool = True,
        report: Report = build.to_stderr,
    ) -> None:
        if apiservers < 1:
            raise ValueError(f"apiservers is {apiservers}; at least 1 is needed")
        self._apiservers = apiservers
        self._emulated_version = emulated_version
        self._feature_gates = feature_gates or {}
        self._audit_policy = audit_policy
        self._static_manifests = static_manifests
        self._apiserver_flags = apiserver_flags
        self._controller_manager = controller_manager
        self._scheduler = scheduler
        self._kwok = kwok
        self._report = report
        self._components: dict[str, Component] = {}
        self._watchdog: Watchdog | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # Its life

    def start(self) -> None:
        """Start everything and return when a pod could be created; find or build the programs first."""
        programs = build.ensure(self._report)
        self.folder = Path(tempfile.mkdtemp(prefix="residency-control-plane-"))
        self._watchdog = Watchdog(self.folder)
        try:
            self._prepare(programs)
            self._start_components()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything and remove its folder; does nothing when it is stopped already."""
        if self._watchdog is None:
            return
        kill_all(list(self._components.values()))
        shutil.rmtree(self.folder, ignore_errors=True)
        self._watchdog.release()
        self._watchdog = None

    @property
    def component_names(self) -> tuple[str, ...]:
        """``etcd``, ``kube-apiserver``, ``kube-apiserver-2``, ... as far as they were asked for."""
        return tuple(self._components)

    def start_component(self, name: str) -> None:
        """Start a component that was stopped, and wait until it is ready."""
        self._component(name).start().wait_until_ready(START_SECONDS)

    def stop_component(self, name: str) -> None:
        """Stop a component as the machine's administrator would, with SIGTERM."""
        self._component(name).terminate()

    def kill_component(self, name: str) -> None:
        """End a component with SIGKILL, as the kernel or a failing machine would."""
        self._component(name).kill()

    def pid(self, name: str) -> int:
        """The process id of a component."""
        return self._component(name).pid

    def log(self, name: str) -> Path:
        """The log file of a component; it lasts as long as the control plane."""
        return self._component(name).log

    # Its doors

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of a cluster administrator, for the first API server."""
        return self._layout.kubeconfig("admin")

    @property
    def url(self) -> str:
        """Where the first API server listens."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """Where the API servers listen."""
        return self._layout.api_server_urls

    @property
    def ca_file(self) -> Path:
        """The authority that signed the API servers' certificates."""
        return self._layout.authority

    @property
    def audit_logs(self) -> list[Path]:
        """The audit log of every API server; none without an audit policy."""
        if self._audit_policy is None:
            return []
        return [components.audit_log(self._layout, name) for name in self._api_server_names()]

    @property
    def audit_log(self) -> Path | None:
        """The audit log of the first API server, None without an audit policy."""
        return next(iter(self.audit_logs), None)

    def request(self, method: str, path: str, body: object = None, *, apiserver: int = 0) -> Any:
        """Send a request to an API server as administrator; much quicker than starting kubectl.

        A PATCH is sent as a merge patch. What is refused raises `RequestError`.
        """
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        client = Client(self.urls[apiserver], self._admin_tls)
        return client.request(method, path, body, content_type=content_type)

    def kubectl(
        self, *arguments: str, input: str | None = None, check: bool = True, kubeconfig: Path | None = None
    ) -> str:
        """Run kubectl, as administrator or with another kubeconfig, and return what it prints.

        A failure raises `CommandError`; with ``check=False`` what it wrote to standard error is
        returned with the rest instead.
        """
        return self._command("kubectl", arguments, input, check, kubeconfig)

    def helm(
        self, *arguments: str, input: str | None = None, check: bool = True, kubeconfig: Path | None = None
    ) -> str:
        """Run helm, in the same way as `kubectl`."""
        return self._command("helm", arguments, input, check, kubeconfig)

    def program(self, name: str) -> Path:
        """Where kubectl, helm or a component lies."""
        return self._layout.binaries[name]

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a token of that ServiceAccount, valid for a day."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        token = self.request("POST", path, body)["status"]["token"]
        return self._new_kubeconfig(f"{namespace}.{name}", kubeconfig.token_user(token))

    def user_kubeconfig(self, user: str, groups: Iterable[str] = (), *, apiserver: int = 0) -> Path:
        """A kubeconfig with a client certificate for that user in those groups."""
        credentials = self._authority.client(user, groups)
        return self._new_kubeconfig(user, kubeconfig.certificate_user(credentials), apiserver)

    # Its nodes and volumes

    def add_pool(self, pool: Pool) -> None:
        """Add simulated nodes and wait until pods can be bound to them."""
        self.add_pools([pool])

    def add_pools(self, pools: Iterable[Pool] = DEFAULT_POOLS) -> None:
        """Add several pools, waiting once."""
        if not self._kwok:
            raise ControlPlaneError(
                "nodes are simulated by kwok, and this control plane was started without it"
            )
        names = set()
        for pool in pools:
            for manifest in pool.manifests():
                self.request("POST", "/api/v1/nodes", manifest)
            names.update(pool.node_names)
        self.wait_for(lambda: self._nodes_not_usable(names), NODES_SECONDS)

    def add_storage_class(
        self, name: str = "standard", *, default: bool = True, wait_for_pod: bool = False
    ) -> None:
        """Add a storage class whose volumes are simulated; ``wait_for_pod`` binds at the first consumer."""
        annotations = {"storageclass.kubernetes.io/is-default-class": str(default).lower()}
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name, "annotations": annotations},
            "provisioner": STORAGE_PROVISIONER,
            "volumeBindingMode": "WaitForFirstConsumer" if wait_for_pod else "Immediate",
        }
        self.request("POST", "/apis/storage.k8s.io/v1/storageclasses", body)

    def wait_for(self, problem: Callable[[], str | None], timeout: float = 30.0) -> None:
        """Wait until the function returns None; the last problem it returned is the error's text."""
        deadline = time.monotonic() + timeout
        while (found := problem()) is not None:
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"not so after {timeout:.0f} s: {found}")
            time.sleep(POLL_SECONDS)

    # How it is put together

    def _prepare(self, programs: Mapping[str, Path]) -> None:
        etcd, etcd_peer, controller_manager, scheduler, kwok, *api_servers = free_ports(5 + self._apiservers)
        self._layout = Layout(
            self.folder, programs, etcd, etcd_peer, controller_manager, scheduler, kwok, api_servers
        )
        self._authority = Authority()
        pki = self._layout.pki
        pki.mkdir()
        self._layout.authority.write_bytes(self._authority.certificate)
        self._authority.serving("control-plane").write(pki, "serving")
        self._authority.client("admin", [ADMINISTRATORS]).write(pki, "admin")
        write_service_account_keys(pki)
        self._admin_tls = tls(self._layout.authority, pki / "admin.crt", pki / "admin.key")
        self._serving_tls = tls(self._layout.authority)
        self._write_kubeconfig("admin", "admin", [ADMINISTRATORS])
        for name, (user, groups) in COMPONENT_USERS.items():
            self._write_kubeconfig(name, user, groups)

    def _start_components(self) -> None:
        layout = self._layout
        self._add("etcd", components.etcd(layout), layout.etcd_url, "/readyz")
        options = self._api_server_options()
        names = self._api_server_names()
        for name, port, url in zip(names, layout.api_server_ports, layout.api_server_urls, strict=True):
            self._add(
                name, components.api_server(layout, name, port, options), url, "/readyz", self._admin_tls
            )
        self._wait_until_all_are_ready()
        if self._controller_manager:
            url = f"https://127.0.0.1:{layout.controller_manager_port}"
            command = components.controller_manager(layout)
            self._add("kube-controller-manager", command, url, "/healthz", self._serving_tls)
        if self._scheduler:
            url = f"https://127.0.0.1:{layout.scheduler_port}"
            self._add("kube-scheduler", components.scheduler(layout), url, "/readyz", self._serving_tls)
        if self._kwok:
            self._add("kwok", components.kwok(layout), f"http://127.0.0.1:{layout.kwok_port}", "/readyz")
        self._wait_until_all_are_ready()
        if self._controller_manager:
            self.wait_for(self._no_service_account_yet)

    def _api_server_names(self) -> list[str]:
        return ["kube-apiserver"] + [f"kube-apiserver-{number}" for number in range(2, self._apiservers + 1)]

    def _api_server_options(self) -> ApiServerOptions:
        audit_policy = admission_configuration = None
        if self._audit_policy is not None:
            audit_policy = self.folder / "audit-policy.yaml"
            audit_policy.write_text(yaml.safe_dump(dict(self._audit_policy)))
        if self._static_manifests is not None:
            admission_configuration = self.folder / "admission.yaml"
            admission_configuration.write_text(
                yaml.safe_dump(admission.configuration(self._static_manifests))
            )
        return ApiServerOptions(
            emulated_version=self._emulated_version,
            feature_gates=self._feature_gates,
            audit_policy=audit_policy,
            admission_configuration=admission_configuration,
            service_accounts=self._controller_manager,
            extra_flags=self._apiserver_flags,
        )

    def _add(
        self, name: str, command: Sequence[str], url: str, path: str, context: ssl.SSLContext | None = None
    ) -> None:
        client = Client(url, context)
        log = self.folder / f"{name}.log"
        if self._watchdog is None:
            raise ControlPlaneError(f"{name} cannot be started: the control plane is stopped")
        component = Component(name, command, log, lambda: client.problem(path), self._watchdog.group)
        self._components[name] = component.start()

    def _wait_until_all_are_ready(self) -> None:
        for component in self._components.values():
            component.wait_until_ready(START_SECONDS)

    def _component(self, name: str) -> Component:
        try:
            return self._components[name]
        except KeyError:
            there = ", ".join(self._components)
            raise ControlPlaneError(f"there is no component {name!r}; there are {there}") from None

    def _no_service_account_yet(self) -> str | None:
        try:
            self.request("GET", "/api/v1/namespaces/default/serviceaccounts/default")
        except RequestError as refusal:
            return str(refusal)
        return None

    def _nodes_not_usable(self, names: set[str]) -> str | None:
        nodes = self.request("GET", "/api/v1/nodes")["items"]
        usable = {node["metadata"]["name"] for node in nodes if node_is_usable(node)}
        waiting = sorted(names - usable)
        return f"nodes not Ready: {', '.join(waiting)}" if waiting else None

    def _write_kubeconfig(self, name: str, user: str, groups: Iterable[str]) -> None:
        credentials = kubeconfig.certificate_user(self._authority.client(user, groups))
        path = self._layout.kubeconfig(name)
        kubeconfig.write(path, self.url, self._authority.certificate, credentials)

    def _new_kubeconfig(self, name: str, user: dict[str, Any], apiserver: int = 0) -> Path:
        folder = Path(
            tempfile.mkdtemp(prefix=f"{name.replace(':', '.').replace('/', '.')}-", dir=self.folder)
        )
        return kubeconfig.write(
            folder / "kubeconfig", self.urls[apiserver], self._authority.certificate, user
        )

    def _command(
        self, name: str, arguments: Sequence[str], stdin: str | None, check: bool, kubeconfig: Path | None
    ) -> str:
        command = [str(self.program(name)), *arguments]
        return commands.run(command, kubeconfig or self.kubeconfig, self.folder, stdin, check=check)
