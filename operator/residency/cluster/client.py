"""A small asynchronous Kubernetes client: raw JSON in and out, typed decoding where it pays.

The official client's models cost a millisecond and 100 KB a pod; its transport, credentials and TLS
are what is used here.
"""

import asyncio
import asyncio.trsock
import contextlib
import copy
import socket
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException

from residency.api import names
from residency.cluster.connection import Connection, connect
from residency.cluster.errors import ApiError, ConfigurationError, Silent, Unreachable
from residency.cluster.resources import PODS, Resource

Object = dict[str, Any]
"""One Kubernetes object as JSON has it."""

ItemT = TypeVar("ItemT")

PAGE: Final = 500
TIMEOUT: Final = aiohttp.ClientTimeout(total=20, sock_connect=3)
MUCH: Final = 250_000
"""Bytes that a watch brings at once only when more are waiting: asyncio holds back a little more than that."""
READS_AT_ONCE: Final = 32
# Metadata without the rest: enough to see who exists, and in which version.
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata{kind};g=meta.k8s.io;v=v1,application/json"


class ListMeta(msgspec.Struct, rename="camel"):
    """How a list goes on, and of when it is."""

    continue_: str = msgspec.field(default="", name="continue")
    resource_version: str = ""


class Page(msgspec.Struct, Generic[ItemT]):
    """A list, or one page of it."""

    metadata: ListMeta
    items: list[ItemT] | None


class Stream:
    """The answer to a watch: bytes as they arrive, for as long as the API server sends any."""

    def __init__(self, response: aiohttp.ClientResponse, address: str, gather: float = 0.0) -> None:
        self._response = response
        self._address = address
        self._gather = gather
        self._at_once = 1

    async def read(self) -> bytes:
        """Wait for something to arrive and return all of it; nothing when the API server has ended the answer.

        Raises `Silent` when nothing came for as long as was allowed, `Unreachable` when the connection broke.
        """
        if self._at_once:
            self._at_once -= 1
        elif self._gather:
            await self._wait_for_more()
        try:
            data = await self._response.content.readany()
        except TimeoutError as error:
            raise Silent(f"{self._address}: nothing was sent for too long") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{self._address}: {type(error).__name__}: {error}") from error
        if len(data) >= MUCH:
            self._at_once = READS_AT_ONCE
        return data

    async def _wait_for_more(self) -> None:
        """Leave what arrives in the kernel for a moment.

        Every small piece that is taken on its own costs a turn of the event loop, of TLS and of HTTP: at 500 events
        a second several times as much as all that is done with an event. Pausing the transport would not do: with TLS
        asyncio goes on reading, piece by piece, and only does not hand it over.
        """
        connection = self._response.connection
        transport = connection.transport if connection is not None else None
        endpoint = transport.get_extra_info("socket") if transport is not None else None
        if endpoint is None:
            return
        _wake_at(endpoint, MUCH)
        try:
            await asyncio.sleep(self._gather)
        finally:
            _wake_at(endpoint, 1)

    def close(self) -> None:
        """Close the connection, whatever is still on its way."""
        self._response.close()


def _wake_at(endpoint: asyncio.trsock.TransportSocket, size: int) -> None:
    """Let the kernel tell of what has arrived once it is so much, or the connection has ended."""
    # It may be closed meanwhile.
    with contextlib.suppress(OSError):
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


class Client:
    """Requests to one API server, or to whatever answers at the configured address."""

    def __init__(self, connection: Connection, endpoint: str = "") -> None:
        """Use ``endpoint`` instead of the configured address; its certificate still has to fit."""
        self._endpoint = endpoint
        self._retired: RESTClientObject | None = None
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
        if self._retired is not None:
            await self._retired.close()

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
        decoder: msgspec.json.Decoder[Page[Any]] = msgspec.json.Decoder(Page[item])
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

    async def read(self, resource: Resource, query: Mapping[str, str], *, namespace: str = "") -> bytes:
        """Read a list, or a page of it, as the API server sends it."""
        return await self._call("GET", resource.path(namespace=namespace), query=query)

    async def watch(
        self, resource: Resource, query: Mapping[str, str], *, namespace: str = "", silence: float, gather: float = 0.0
    ) -> Stream:
        """Open a watch, which the caller closes.

        ``silence`` is for how long nothing may arrive on it, ``gather`` how long to wait before a further look.
        """
        url = self._url(resource.path(namespace=namespace), {**query, "watch": "true"})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT.sock_connect, sock_read=silence)
        response = await self._open("GET", url, timeout=timeout)
        if response.status != HTTPStatus.OK:
            raise _error(response, await self._body(response))
        return Stream(response, self.address, gather)

    # Writing

    async def create(self, resource: Resource, body: Object, *, namespace: str = "", dry_run: bool = False) -> Object:
        """Create an object, or only ask what would happen."""
        query = {"dryRun": "All"} if dry_run else {}
        return _object(await self._call("POST", resource.path(namespace=namespace), query=query, body=body))

    async def evict(self, name: str, *, namespace: str, uid: str, dry_run: bool = False) -> None:
        """Evict a pod, if it is still the one with this uid; or only ask whether that would be done."""
        how = {"dryRun": ["All"]} if dry_run else {}
        body: Object = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}, **how},
        }
        path = PODS.path(name, namespace=namespace, subresource="eviction")
        await self._call("POST", path, query={"dryRun": "All"} if dry_run else {}, body=body)

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

    async def delete(self, resource: Resource, name: str, *, namespace: str = "") -> None:
        """Delete an object."""
        await self._call("DELETE", resource.path(name, namespace=namespace))

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
        response = await self._open(method, self._url(path, query or {}), body, content, accept)
        data = await self._body(response)
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise _error(response, data)
        return data

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        wanted = urlencode({key: value for key, value in query.items() if value})
        return f"{self.address}{path}" + (f"?{wanted}" if wanted else "")

    async def _open(
        self,
        method: str,
        url: str,
        body: Object | None = None,
        content: str = "application/json",
        accept: str = "application/json",
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> aiohttp.ClientResponse:
        """Send a request, twice where the credentials may be old, and return when the answer begins."""
        used = self._rest
        response = await self._send(method, url, body, content, accept, timeout)
        if response.status == HTTPStatus.UNAUTHORIZED:
            # A kubeconfig's credentials are read once by the official client; look whether they were renewed.
            response.close()
            await self._reconnect(used)
            response = await self._send(method, url, body, content, accept, timeout)
        return response

    async def _send(
        self, method: str, url: str, body: Object | None, content: str, accept: str, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {"Content-Type": content, "Accept": accept, "User-Agent": names.FIELD_MANAGER}
        try:
            if token := await self.connection.authorization():
                headers["authorization"] = token
            async with asyncio.timeout(TIMEOUT.total):
                answer = await self._rest.request(  # type: ignore[no-untyped-call]  # untyped there
                    method, url, headers=headers, body=body, _request_timeout=timeout
                )
        except (TimeoutError, aiohttp.ClientError, OSError, ConfigException) as error:
            # The last one: a token that is being renewed and not written yet.
            raise self._unreachable(error) from error
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self.address}: {type(error).__name__}: {error}")

    async def _reconnect(self, used: RESTClientObject) -> None:
        try:
            connection = await connect()
        except ConfigurationError as error:
            # It could be used when this process began: somebody is about to renew it.
            raise Unreachable(str(error)) from error
        if self._rest is not used:
            return  # somebody else who was refused has been quicker
        # Others may be in the middle of a request: theirs may end before the next renewal.
        older, self._retired = self._retired, used
        self._use(connection)
        if older is not None:
            await older.close()


def _object(data: bytes) -> Object:
    decoded: Object = msgspec.json.decode(data)
    return decoded


def _error(response: aiohttp.ClientResponse, data: bytes) -> ApiError:
    """Read a Kubernetes ``Status``; what stands between us and the API server may answer otherwise."""
    after = response.headers.get("Retry-After", "")
    pause = float(after) if after.isascii() and after.isdigit() else 0.0
    try:
        answer = _object(data)
        causes = tuple(str(cause.get("reason", "")) for cause in (answer.get("details") or {}).get("causes") or ())
        return ApiError(response.status, str(answer.get("reason", "")), str(answer.get("message", "")), pause, causes)
    except (msgspec.DecodeError, AttributeError):
        return ApiError(response.status, "", data.decode(errors="replace")[:200], pause)
