"""A small asynchronous Kubernetes client: raw JSON in and out, typed decoding where it pays.

The official client's models cost a millisecond and 100 KB a pod; its transport, credentials and TLS
are what is used here.
"""

import copy
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from kubernetes.aio.client.rest import RESTClientObject

from residency.api import names
from residency.cluster.connection import Connection, connect
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import Resource

Object = dict[str, Any]
"""One Kubernetes object as JSON has it."""

ItemT = TypeVar("ItemT")

PAGE: Final = 500
TIMEOUT: Final = aiohttp.ClientTimeout(total=20, sock_connect=3)
# Metadata without the rest: enough to see who exists, and in which version.
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata{kind};g=meta.k8s.io;v=v1,application/json"


class _ListMeta(msgspec.Struct, rename="camel"):
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, Generic[ItemT]):
    metadata: _ListMeta
    items: list[ItemT] | None


class Client:
    """Requests to one API server, or to whatever answers at the configured address."""

    def __init__(self, connection: Connection, endpoint: str = "") -> None:
        """Use ``endpoint`` instead of the configured address; its certificate still has to fit."""
        self._endpoint = endpoint
        self._use(connection)

    def _use(self, connection: Connection) -> None:
        self.connection = connection
        configuration = connection.configuration
        if self._endpoint:
            configuration = copy.copy(configuration)
            configuration.tls_server_name = connection.server_name
        self._rest = RESTClientObject(configuration)

    @property
    def address(self) -> str:
        """The URL that this client sends to."""
        return self._endpoint or self.connection.host

    def at(self, endpoint: str) -> "Client":
        """Make a client for one API server with the same identity; the caller closes it."""
        return Client(self.connection, endpoint)

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()

    # Reading

    async def get(self, resource: Resource, name: str, *, namespace: str = "", metadata_only: bool = False) -> Object:
        """Read one object."""
        accept = _METADATA_ONLY.format(kind="") if metadata_only else "application/json"
        return _object(await self._call("GET", resource.path(name, namespace=namespace), accept=accept))

    async def find(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> Sequence[Object]:
        """Read all objects, in pages."""
        accept = _METADATA_ONLY.format(kind="List") if metadata_only else "application/json"
        return await self._pages(resource, dict[str, Any], namespace, labels, fields, accept)

    async def find_as(
        self,
        item: type[ItemT],
        resource: Resource,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
    ) -> Sequence[ItemT]:
        """Read all objects, in pages, keeping only the fields that ``item`` declares."""
        return await self._pages(resource, item, namespace, labels, fields, "application/json")

    async def _pages(
        self, resource: Resource, item: Any, namespace: str, labels: str, fields: str, accept: str
    ) -> list[Any]:
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields}
        decoder: msgspec.json.Decoder[_Page[Any]] = msgspec.json.Decoder(_Page[item])
        path = resource.path(namespace=namespace)
        items: list[Any] = []
        while True:
            try:
                page = decoder.decode(await self._call("GET", path, query=query, accept=accept))
            except ApiError as error:
                if not error.expired or "limit" not in query:
                    raise
                # The API server has compacted the list's beginning away: once more, in one piece.
                items.clear()
                query.pop("limit")
                query.pop("continue", None)
                continue
            items += page.items or ()
            if not page.metadata.continue_:
                return items
            query["continue"] = page.metadata.continue_

    # Writing

    async def create(self, resource: Resource, body: Object, *, namespace: str = "", dry_run: bool = False) -> Object:
        """Create an object, or only ask what would happen."""
        query = {"dryRun": "All"} if dry_run else {}
        return _object(await self._call("POST", resource.path(namespace=namespace), query=query, body=body))

    async def apply(self, resource: Resource, body: Object, *, namespace: str = "") -> Object:
        """Apply server-side, with force: what the body says is ours.

        Unlike a POST this carries the name in the path, so RBAC's ``resourceNames`` hold for creation.
        """
        path = resource.path(body["metadata"]["name"], namespace=namespace)
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        content = "application/apply-patch+yaml"
        return _object(await self._call("PATCH", path, query=query, body=body, content=content))

    async def replace(self, resource: Resource, body: Object, *, namespace: str = "") -> Object:
        """Replace an object; its ``resourceVersion`` says what is being replaced."""
        path = resource.path(body["metadata"]["name"], namespace=namespace)
        return _object(await self._call("PUT", path, query={"fieldManager": names.FIELD_MANAGER}, body=body))

    async def merge(
        self, resource: Resource, name: str, patch: Object, *, namespace: str = "", subresource: str = ""
    ) -> Object:
        """Merge-patch an object or one of its subresources."""
        path = resource.path(name, namespace=namespace, subresource=subresource)
        query = {"fieldManager": names.FIELD_MANAGER}
        content = "application/merge-patch+json"
        return _object(await self._call("PATCH", path, query=query, body=patch, content=content))

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        wanted = urlencode({key: value for key, value in (query or {}).items() if value})
        url = f"{self.address}{path}" + (f"?{wanted}" if wanted else "")
        status, data = await self._send(method, url, body, content, accept)
        if status == HTTPStatus.UNAUTHORIZED:
            # A kubeconfig's credentials are read once by the official client; look whether they were renewed.
            await self._reconnect()
            status, data = await self._send(method, url, body, content, accept)
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise _error(status, data)
        return data

    async def _send(self, method: str, url: str, body: Object | None, content: str, accept: str) -> tuple[int, bytes]:
        headers = {"Content-Type": content, "Accept": accept, "User-Agent": names.FIELD_MANAGER}
        try:
            if token := await self.connection.authorization():
                headers["authorization"] = token
            response = await self._rest.request(  # type: ignore[no-untyped-call]  # untyped there
                method, url, headers=headers, body=body, _request_timeout=TIMEOUT
            )
            return int(response.status), bytes(await response.read())
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{self.address}: {type(error).__name__}: {error}") from error

    async def _reconnect(self) -> None:
        old = self._rest
        self._use(await connect())
        await old.close()


def _object(data: bytes) -> Object:
    decoded: Object = msgspec.json.decode(data)
    return decoded


def _error(status: int, data: bytes) -> ApiError:
    """Read a Kubernetes ``Status``; what stands between us and the API server may answer otherwise."""
    try:
        answer = _object(data)
        return ApiError(status, str(answer.get("reason", "")), str(answer.get("message", "")))
    except (msgspec.DecodeError, AttributeError):
        return ApiError(status, "", data.decode(errors="replace")[:200])
