"""Which API servers there are: each has policy caches of its own."""

from typing import Any

from residency.cluster.client import Client
from residency.cluster.resources import ENDPOINT_SLICES


async def api_servers(client: Client) -> tuple[str, ...]:
    """Read the addresses that the API servers publish; none where the cluster keeps them to itself."""
    slices = await client.find(ENDPOINT_SLICES, namespace="default", labels="kubernetes.io/service-name=kubernetes")
    return tuple(sorted({url for item in slices for url in _urls(item)}))


def _urls(item: dict[str, Any]) -> list[str]:
    ports = [
        port["port"] for port in item.get("ports") or () if port.get("port") and port.get("name") in ("https", "", None)
    ]
    hosts = [
        f"[{address}]" if ":" in address else address
        for endpoint in item.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint["addresses"]
    ]
    return [f"https://{host}:{port}" for host in hosts for port in ports]
