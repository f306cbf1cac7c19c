"""A real Prometheus that scrapes a controller and an API server, with the chart's rules."""

import base64
import contextlib
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from controlplane import ControlPlane
from controlplane.ports import free_ports
from e2e.installation import CHART, NAMESPACE, Controller, wait_for

RULES: Final = CHART / "files" / "rules" / "residency.yaml"
MONITORING: Final = "system:monitoring"
"""The group that may read /metrics on every cluster."""

Json = dict[str, Any]


class Prometheus:
    """A Prometheus on this machine."""

    def __init__(self, group: int, program: Path, folder: Path, scraped: Sequence[Json]) -> None:
        """It ends with the process group of a control plane, whatever happens."""
        self._group = group
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self._log = folder / "prometheus.log"
        configuration = folder / "prometheus.yaml"
        often = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        configuration.write_text(
            yaml.safe_dump({"global": often, "rule_files": [str(RULES)], "scrape_configs": list(scraped)})
        )
        self._command = [
            str(program),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]

    @contextlib.contextmanager
    def running(self) -> "Iterator[Prometheus]":
        """Run it for a while."""
        with self._log.open("wb") as output:
            process = subprocess.Popen(self._command, stdout=output, stderr=output, process_group=self._group)
            try:
                wait_for(self._ready, 30, saying=f"Prometheus to be ready, see {self._log}")
                yield self
            finally:
                process.kill()
                process.wait()

    def query(self, expression: str) -> list[Json]:
        """What an expression is now."""
        found: list[Json] = self.ask("query", query=expression)["result"]
        return found

    def ask(self, what: str, **parameters: str) -> Any:
        """Ask its API; an error raises."""
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5):
                return True
        except OSError:
            return False


def controller_job(controller: Controller) -> Json:
    """Scrape a controller, as the chart's ServiceMonitor has it scraped: its namespace is said of every series."""
    target = {"targets": [f"127.0.0.1:{controller.port}"], "labels": {"namespace": NAMESPACE}}
    return {"job_name": "residency", "honor_labels": True, "static_configs": [target]}


def api_server_job(cluster: ControlPlane, folder: Path) -> Json:
    """Scrape the API server, with a certificate that may do nothing else."""
    kubeconfig = yaml.safe_load(cluster.user_kubeconfig("prometheus", [MONITORING]).read_text())
    return {
        "job_name": "apiserver",
        "scheme": "https",
        "tls_config": {"ca_file": str(cluster.ca_file), **_files(kubeconfig["users"][0]["user"], folder)},
        "static_configs": [{"targets": [urllib.parse.urlsplit(cluster.url).netloc]}],
    }


def _files(user: Mapping[str, str], folder: Path) -> Json:
    paths = {}
    for ours, theirs in (("cert_file", "client-certificate-data"), ("key_file", "client-key-data")):
        path = folder / ours
        path.write_bytes(base64.b64decode(user[theirs]))
        paths[ours] = str(path)
    return paths
