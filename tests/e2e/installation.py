"""Residency installed on a control plane: the chart, and the controller as a process with its token."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from controlplane import ControlPlane, RequestError

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "charts" / "residency"
NAMESPACE: Final = "residency-system"
ACCOUNT: Final = "residency-controller"
CLASSIFICATIONS: Final = "/apis/residency.dev/v1alpha1/dataclassifications"
ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"

Object = dict[str, Any]
T = TypeVar("T")


def wait_for(what: Callable[[], T | None], seconds: float = 60, *, saying: str = "") -> T:
    """Wait until the function returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain{': ' if saying else ''}{saying}")
        time.sleep(0.1)
    return found


class Controller:
    """One controller process, in the process group of a control plane: it ends with that, whatever happens."""

    def __init__(self, group: int, kubeconfig: Path, log: Path, *flags: str, own_namespace: str = NAMESPACE) -> None:
        self.log = log
        self._group = group
        self._command = [
            sys.executable,
            *("-m", "residency", "controller"),
            *("--namespace", own_namespace, "--http-address", "127.0.0.1:0", *flags),
        ]
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("POD_")}
        self._environment = inherited | {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Controller":
        """Start it and wait until it listens."""
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=output, process_group=self._group
            )
        self.port = wait_for(self._port, 30, saying="the controller to listen")
        return self

    def stop(self) -> int:
        """Ask it to stop, as the kubelet does, and return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """Kill it without warning."""
        return self._end(signal.SIGKILL)

    def wait(self, seconds: float = 20) -> int:
        """Wait until it ends by itself."""
        return self._running.wait(seconds)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    @property
    def leads(self) -> bool:
        """Whether it says that it leads."""
        return self.metric("residency_leader") == 1

    def get(self, path: str) -> tuple[int, str]:
        """Ask its HTTP server."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Sum the samples of a metric that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    @property
    def lines(self) -> Sequence[Object]:
        """What it has logged."""
        return list(self._parsed())

    @property
    def last_lines(self) -> str:
        """The end of its log, for a test that fails."""
        return self.log.read_text(errors="replace")[-3000:]

    def _parsed(self) -> Iterator[Object]:
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)

    def _port(self) -> int | None:
        if not self.alive:
            raise AssertionError(f"the controller has ended:\n{self.last_lines}")
        return next((line["port"] for line in self._parsed() if line.get("message") == "listening"), None)

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "the controller was never started"
        return self._process

    def _end(self, number: signal.Signals) -> int:
        if self.alive:
            self._running.send_signal(number)
        return self.wait()


class Installation:
    """The chart on a control plane, and controllers that run with its ServiceAccount's rights."""

    def __init__(self, cluster: ControlPlane, folder: Path, *flags: str) -> None:
        self.cluster = cluster
        self.folder = folder
        self.flags = flags
        self.controllers: list[Controller] = []
        """All that were ever started."""

    def install(self, *settings: str) -> None:
        """Install the chart."""
        self.cluster.helm(
            *("upgrade", "--install", "residency", str(CHART)),
            *("--namespace", NAMESPACE, "--create-namespace", *settings),
        )
        # There is nobody to pull the image: the Deployment would only make pods that kwok pretends to run.
        self.cluster.kubectl("-n", NAMESPACE, "scale", "deployment", "residency-controller", "--replicas=0")

    def controller(self, *flags: str) -> Controller:
        """Start a controller with the token of the chart's ServiceAccount."""
        kubeconfig = self.cluster.service_account_kubeconfig(NAMESPACE, ACCOUNT)
        log = self.folder / f"controller-{len(self.controllers)}.log"
        controller = Controller(self.cluster.group, kubeconfig, log, *self.flags, *flags)
        self.controllers.append(controller)
        return controller.start()

    @property
    def running(self) -> Controller:
        """A controller that runs; a new one where none does."""
        alive = (controller for controller in self.controllers if controller.alive)
        return next(alive, None) or self.controller()

    def close(self) -> None:
        """End all controllers."""
        for controller in self.controllers:
            controller.kill()

    # What people do

    def classify(self, name: str, spec: Mapping[str, Any]) -> Object:
        """Create a classification, or replace its spec."""
        body = {
            "apiVersion": "residency.dev/v1alpha1",
            "kind": "DataClassification",
            "metadata": {"name": name},
            "spec": dict(spec),
        }
        try:
            return self._object("POST", CLASSIFICATIONS, body)
        except RequestError as error:
            if error.status != 409:
                raise
        while True:  # the controller writes its status between any two requests
            live = self.classification(name)
            try:
                return self._object("PUT", f"{CLASSIFICATIONS}/{name}", live | {"spec": dict(spec)})
            except RequestError as error:
                if error.status != 409:
                    raise

    def classification(self, name: str) -> Object:
        """Read a classification."""
        return self._object("GET", f"{CLASSIFICATIONS}/{name}")

    def condition(self, name: str, type_: str = "Ready") -> Object:
        """Read a condition that speaks of the spec as it is now; empty where there is none yet."""
        live = self.classification(name)
        conditions = live.get("status", {}).get("conditions", [])
        current = [c for c in conditions if c["observedGeneration"] == live["metadata"]["generation"]]
        return next((c for c in current if c["type"] == type_), {})

    def wait_ready(self, name: str, seconds: float = 60) -> Object:
        """Wait until a classification as it is now is in force."""
        return self.wait_condition(name, "Ready", "True", seconds=seconds)

    def wait_condition(self, name: str, type_: str, status: str, reason: str = "", seconds: float = 60) -> Object:
        """Wait for a condition."""
        last: Object = {}

        def reached() -> Object | None:
            last.clear()
            last.update(self.condition(name, type_))
            wanted = last.get("status") == status and reason in ("", last.get("reason"))
            return dict(last) if wanted else None

        try:
            return wait_for(reached, seconds)
        except AssertionError as error:
            logs = "\n".join(controller.last_lines for controller in self.controllers if controller.alive)
            raise AssertionError(f"{name} is not {type_}={status} {reason}: {last}\n{logs}") from error

    def namespace(self, name: str, classification: str = "") -> None:
        """Create a namespace, classified or not."""
        labels = {"residency.dev/classification": classification} if classification else {}
        self._object("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})

    def delete(self, path: str) -> None:
        """Delete an object."""
        self.cluster.request("DELETE", path)

    def exists(self, path: str) -> bool:
        """Whether an object is there."""
        try:
            self.cluster.request("GET", path)
        except RequestError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _object(self, method: str, path: str, body: object = None) -> Object:
        answer: Object = self.cluster.request(method, path, body)
        return answer
