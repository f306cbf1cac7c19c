"""Where the API server is and who we are there: in-cluster, or a kubeconfig.

The official client is only partly typed, hence the ignored calls.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from residency.cluster.errors import ConfigurationError

SERVICE_NAME = "kubernetes.default.svc"
"""Every API server's certificate has this name, whatever its address is."""


@dataclass(frozen=True)
class Connection:
    """One loaded way to the cluster."""

    configuration: Configuration
    in_cluster: bool

    @property
    def host(self) -> str:
        """The configured URL of the API server."""
        return str(self.configuration.host).rstrip("/")

    @property
    def server_name(self) -> str:
        """The name to expect in the certificate of an API server reached by its own address."""
        if self.in_cluster:
            return SERVICE_NAME
        return self.configuration.tls_server_name or urlsplit(self.host).hostname or SERVICE_NAME

    async def authorization(self) -> str | None:
        """Read the current ``Authorization`` header; in a pod the token is re-read every minute.

        The client's own hook for that also puts the configured host back, which is why requests to
        other addresses carry their whole URL and never change the configuration.
        """
        settings = await self.configuration.auth_settings()
        return settings["BearerToken"]["value"] if "BearerToken" in settings else None


async def connect() -> Connection:
    """Load what KUBECONFIG names, else the service account of this pod, else ~/.kube/config."""
    kubeconfig = os.environ.get("KUBECONFIG", "")
    configuration = Configuration()
    if not kubeconfig and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _in_cluster(configuration)
    path = Path(kubeconfig or "~/.kube/config").expanduser()
    if not path.is_file():
        raise ConfigurationError(
            f"no way to a cluster: {path} is not a file and this is not a pod; set KUBECONFIG to a kubeconfig"
        )
    try:
        # Never written back: a controller has no business in somebody's kubeconfig.
        await load_kube_config(  # type: ignore[no-untyped-call]
            str(path), client_configuration=configuration, persist_config=False
        )
    except Exception as error:  # the loader lets YAML, key and value errors through as they come
        raise ConfigurationError(f"kubeconfig {path} cannot be used: {_line(error)}") from error
    return Connection(configuration, in_cluster=False)


def _in_cluster(configuration: Configuration) -> Connection:
    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise ConfigurationError(f"the service account of this pod cannot be used: {_line(error)}") from error
    return Connection(configuration, in_cluster=True)


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
