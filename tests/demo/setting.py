"""What the story needs before it begins: the cluster, the chart, a controller, classifications, applications."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from controlplane import ControlPlane, RequestError
from demo import examples
from demo.examples import Workload
from demo.view import View
from e2e.installation import Controller, Installation

# As a Pod that is restarted keeps its name, so does this controller: it need not wait for its own Lease.
IDENTITY: Final = "residency-controller-0"
TRIGGERED: Final = "{name}-now"
READY_SECONDS: Final = 120.0


@dataclass(slots=True)
class Setting:
    """A cluster with Residency in it."""

    cluster: ControlPlane
    installation: Installation
    controller: Controller

    def restart_controller(self) -> None:
        """Start the controller again, as the kubelet does."""
        self.controller = start_controller(self.installation)

    def wait_until_in_force(self) -> int:
        """Wait until all example classifications are in force; how many that are."""
        names = [each["metadata"]["name"] for each in examples.documents(examples.CLASSIFICATIONS)]
        for name in names:
            self.installation.wait_ready(name, READY_SECONDS)
        return len(names)

    def apply_applications(self) -> list[Workload]:
        """Apply the example namespaces and applications, and run every CronJob once."""
        self.cluster.kubectl("apply", "-f", str(examples.NAMESPACES))
        self._wait_for_service_accounts([each["metadata"]["name"] for each in examples.documents(examples.NAMESPACES)])
        self.cluster.kubectl("apply", "-f", str(examples.APPLICATIONS))
        applied = examples.applications()
        for each in applied:
            if each.kind == "CronJob":
                job = TRIGGERED.format(name=each.name)
                self.cluster.kubectl("-n", each.namespace, "create", "job", job, f"--from=cronjob/{each.name}")
        return applied

    def _wait_for_service_accounts(self, namespaces: Sequence[str]) -> None:
        # A pod that nobody creates again if it is refused needs it to be there.
        def problem() -> str | None:
            try:
                for name in namespaces:
                    self.cluster.request("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default")
            except RequestError as error:
                return str(error)
            return None

        self.cluster.wait_for(problem)


@contextmanager
def prepared(view: View) -> Iterator[Setting]:
    """Start everything that Residency consists of; stop it in the end, whatever happens."""
    with ControlPlane(report=view.note) as cluster:
        view.done("etcd, kube-apiserver, controller manager, scheduler and kwok are ready")
        installation = Installation(cluster, cluster.folder)
        try:
            with ThreadPoolExecutor(1) as aside:
                nodes = aside.submit(_furnish, cluster)
                installation.install()
                cluster.kubectl("apply", "-f", str(examples.CLASSIFICATIONS))
                nodes.result()
            view.done("nodes are Ready, the chart is installed with helm, classifications are applied")
            setting = Setting(cluster, installation, start_controller(installation))
            count = setting.wait_until_in_force()
            view.done(f"the controller, with the chart's ServiceAccount, has brought {count} of them in force")
            yield setting
        finally:
            installation.close()


def start_controller(installation: Installation) -> Controller:
    """Start a controller with the rights of the chart's ServiceAccount."""
    return installation.controller("--identity", IDENTITY)


def _furnish(cluster: ControlPlane) -> None:
    cluster.add_pools()
    cluster.add_storage_class()
