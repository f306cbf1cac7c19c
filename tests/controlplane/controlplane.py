"""A real Kubernetes control plane on this machine: starting it, using it, breaking it, stopping it."""

import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from controlplane import build, commands, components
from controlplane.admission import StaticManifests
from controlplane.binaries import Report
from controlplane.client import Client
from controlplane.components import ApiServerOptions
from controlplane.errors import ControlPlaneError, RequestError
from controlplane.identities import Identities
from controlplane.layout import Layout
from controlplane.pools import DEFAULT_POOLS, Pool, node_is_usable
from controlplane.process import POLL_SECONDS, Component, Watchdog, kill_all

START_SECONDS: Final = 120.0
NODES_SECONDS: Final = 60.0
TOKEN_SECONDS: Final = 24 * 3600
STORAGE_PROVISIONER: Final = "kwok.x-k8s.io/volume"


@dataclass(kw_only=True, eq=False)
class ControlPlane:
    """etcd, API servers, controller manager, scheduler and simulated kubelets, on the loopback address.

    To be used in a ``with`` statement. Every one has ports and a folder of its own, so that several
    can run at once, and whatever happens to this process, none of its processes stays behind.
    """

    apiservers: int = 1
    """How many API servers share the one etcd, as on a highly available cluster."""
    emulated_version: str | None = None
    """Serve the APIs of an older Kubernetes, such as ``"1.35"``."""
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    """Feature gates of the API servers."""
    audit_policy: Mapping[str, Any] | None = None
    """A Policy of ``audit.k8s.io/v1``; the API servers then write `audit_logs`."""
    static_manifests: StaticManifests | None = None
    """Folders with admission policies that are in force before all others."""
    apiserver_flags: Sequence[str] = ()
    """Further flags of the API servers."""
    controller_manager: bool = True
    """Whether to run kube-controller-manager; without it pods need no ServiceAccount."""
    type_checking: bool = True
    """Whether it looks for wrong types in admission policies: that costs about as much as all that the API server does
    with a policy that is new, and only writes into its status."""
    scheduler: bool = True
    """Whether to run kube-scheduler."""
    kwok: bool = True
    """Whether to simulate nodes and volumes."""
    report: Report = build.to_stderr
    """Is told what is going on while the programs are looked for and built."""

    folder: Path = field(init=False)
    """Where everything is written; removed in the end."""
    _layout: Layout = field(init=False, repr=False)
    _identities: Identities = field(init=False, repr=False)
    _components: dict[str, Component] = field(init=False, repr=False, default_factory=dict)
    _watchdog: Watchdog | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.apiservers < 1:
            raise ValueError(f"apiservers is {self.apiservers}; at least 1 is needed")

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
        """Find or build the programs, start everything, and return when a pod could be created."""
        if self._watchdog is not None:
            raise ControlPlaneError("the control plane runs already")
        programs = build.ensure(self.report)
        self.folder = Path(tempfile.mkdtemp(prefix="residency-control-plane-"))
        self._watchdog = Watchdog(self.folder)
        try:
            self._layout = Layout.choose(self.folder, programs, self.apiservers)
            self._identities = Identities(self._layout)
            self._start_components()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything and remove its folder; does nothing when it is stopped already."""
        if self._watchdog is None:
            return
        kill_all(self._components.values())
        self._components.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._watchdog.release()
        self._watchdog = None

    @property
    def group(self) -> int:
        """The process group for whatever must not outlive the control plane, nor whoever started it."""
        if self._watchdog is None:
            raise ControlPlaneError("the control plane is stopped")
        return self._watchdog.group

    @property
    def components(self) -> dict[str, int]:
        """The process ids of ``etcd``, ``kube-apiserver``, ``kube-apiserver-2``, ... that run."""
        return {name: component.pid for name, component in self._components.items() if component.running}

    def start_component(self, name: str) -> None:
        """Start a component that was stopped, and wait until all that run are ready again."""
        self._component(name).start()
        self._wait_until_ready()

    def stop_component(self, name: str) -> None:
        """Stop a component as an administrator would, with SIGTERM."""
        self._component(name).terminate()

    def kill_component(self, name: str) -> None:
        """End a component with SIGKILL, as the kernel or a failing machine would."""
        self._component(name).kill()

    def log(self, name: str) -> Path:
        """The log file of a component; it lasts as long as the control plane."""
        return self._component(name).log

    def check(self) -> None:
        """Raise an error with the last log lines of a component that ended by itself."""
        for component in self._components.values():
            component.check()

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
    def etcd_url(self) -> str:
        """Where etcd listens, for whoever wants to change what the API servers have stored behind their backs."""
        return self._layout.http("etcd")

    @property
    def ca_file(self) -> Path:
        """The authority that signed the API servers' certificates."""
        return self._layout.authority

    @property
    def audit_logs(self) -> list[Path]:
        """The audit log of every API server; none without an audit policy."""
        if self.audit_policy is None:
            return []
        return [self._layout.audit_log(name) for name in self._layout.api_servers]

    @property
    def audit_log(self) -> Path | None:
        """The audit log of the first API server, None without an audit policy."""
        return next(iter(self.audit_logs), None)

    def program(self, name: str) -> Path:
        """Where kubectl, helm or a component lies."""
        return self._layout.programs[name]

    def request(self, method: str, path: str, body: object = None, *, apiserver: int = 0) -> Any:
        """Send a request to an API server as administrator; much quicker than starting kubectl.

        A PATCH is sent as a merge patch. What is refused raises `RequestError`.
        """
        client = Client(self.urls[apiserver], self._identities.administrator)
        return client.request(method, path, body)

    def kubectl(
        self, *arguments: str, input: str | None = None, check: bool = True, kubeconfig: Path | None = None
    ) -> str:
        """Run kubectl, as administrator or with another kubeconfig, and return what it prints.

        A failure raises `CommandError`; with ``check=False`` what it wrote to standard error is
        returned after the rest instead.
        """
        return self._run("kubectl", arguments, input, check, kubeconfig)

    def helm(
        self, *arguments: str, input: str | None = None, check: bool = True, kubeconfig: Path | None = None
    ) -> str:
        """Run helm, in the same way as `kubectl`."""
        return self._run("helm", arguments, input, check, kubeconfig)

    def service_account_kubeconfig(self, namespace: str, name: str, *, apiserver: int = 0) -> Path:
        """A kubeconfig with a token of that ServiceAccount, valid for a day."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        token = self.request("POST", path, body)["status"]["token"]
        return self._identities.token(f"{namespace}-{name}", token, apiserver)

    def user_kubeconfig(self, user: str, groups: Iterable[str] = (), *, apiserver: int = 0) -> Path:
        """A kubeconfig with a client certificate for that user in those groups."""
        return self._identities.user(user, groups, apiserver)

    # Its nodes and volumes

    def add_pool(self, pool: Pool) -> None:
        """Add simulated nodes and wait until pods can be bound to them."""
        self.add_pools([pool])

    def add_pools(self, pools: Iterable[Pool] = DEFAULT_POOLS) -> None:
        """Add several pools, waiting once."""
        if not self.kwok:
            raise ControlPlaneError("nodes are simulated by kwok, and this control plane runs without it")
        names: set[str] = set()
        for pool in pools:
            for manifest in pool.manifests():
                self.request("POST", "/api/v1/nodes", manifest)
            names.update(pool.node_names)
        self.wait_for(lambda: self._nodes_not_usable(names), NODES_SECONDS)

    def add_storage_class(self, name: str = "standard", *, default: bool = True, wait_for_pod: bool = False) -> None:
        """Add a storage class of simulated volumes; ``wait_for_pod`` binds them at the first consumer."""
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
            self.check()
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"waited {timeout:.0f} s in vain: {found}")
            time.sleep(POLL_SECONDS)

    # How it is put together

    def _start_components(self) -> None:
        layout, identities = self._layout, self._identities
        self._start("etcd", components.etcd(layout), layout.http("etcd"))
        options = self._api_server_options()
        for name in layout.api_servers:
            command = components.api_server(layout, name, options)
            self._start(name, command, layout.https(name), tls=identities.administrator)
        self._wait_until_ready()
        if self.controller_manager:
            name = "kube-controller-manager"
            command = components.controller_manager(layout, self.emulated_version, type_checking=self.type_checking)
            self._start(name, command, layout.https(name), "/healthz", identities.anonymous)
        if self.scheduler:
            name = "kube-scheduler"
            command = components.scheduler(layout, self.emulated_version)
            self._start(name, command, layout.https(name), tls=identities.anonymous)
        if self.kwok:
            self._start("kwok", components.kwok(layout), layout.http("kwok"))
        self._wait_until_ready()
        if self.controller_manager:
            self.wait_for(self._no_service_account_yet)

    def _api_server_options(self) -> ApiServerOptions:
        static = self.static_manifests
        return ApiServerOptions(
            emulated_version=self.emulated_version,
            feature_gates=self.feature_gates,
            audit_policy=self._written("audit-policy", self.audit_policy),
            admission_configuration=self._written("admission", static.configuration() if static else None),
            # Without a controller manager no namespace gets the ServiceAccount that pods need.
            service_accounts=self.controller_manager,
            extra_flags=self.apiserver_flags,
        )

    def _written(self, name: str, content: Mapping[str, Any] | None) -> Path | None:
        if content is None:
            return None
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(content)))
        return path

    def _start(
        self,
        name: str,
        command: Sequence[str],
        url: str,
        path: str = "/readyz",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        client = Client(url, tls)
        self._components[name] = Component(
            name=name,
            command=command,
            log=self._layout.log(name),
            ready=lambda: client.problem(path),
            group=self.group,
        )
        self._components[name].start()

    def _wait_until_ready(self) -> None:
        for component in self._components.values():
            component.wait_until_ready(START_SECONDS)

    def _component(self, name: str) -> Component:
        if name not in self._components:
            there = ", ".join(self._components)
            raise ControlPlaneError(f"there is no component {name!r}; there are {there}")
        return self._components[name]

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

    def _run(self, name: str, arguments: Sequence[str], stdin: str | None, check: bool, kubeconfig: Path | None) -> str:
        command = [str(self.program(name)), *arguments]
        return commands.run(command, kubeconfig or self.kubeconfig, self.folder, stdin, check=check)
