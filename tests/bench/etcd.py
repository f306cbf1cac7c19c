"""What an API server has stored, read and written behind its back: a hundred thousand objects in seconds.

Through etcd's JSON gateway, over one kept-alive connection. The API server learns of it as of any other change: its own
watch of etcd tells it.
"""

import base64
import http.client
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

TOGETHER: Final = 60
"""Objects in one transaction: etcd takes 128 changes, and 1.5 MB."""

Entry = tuple[str, bytes]
"""A key and its value."""


class Etcd:
    """One connection to an etcd."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def read(self, key: str) -> bytes:
        """Read one value."""
        (found,) = self._ask("/v3/kv/range", {"key": _encoded(key.encode())})["kvs"]
        return base64.b64decode(found["value"])

    def put(self, key: str, value: bytes) -> None:
        """Write one value."""
        self._ask("/v3/kv/put", _pair(key, value))

    def delete(self, key: str) -> None:
        """Delete one key."""
        self._ask("/v3/kv/deleterange", {"key": _encoded(key.encode())})

    def fill(self, entries: Iterable[Entry]) -> int:
        """Write many values, in transactions; return how many they were."""
        written = 0
        for some in _batches(entries, TOGETHER):
            self._ask("/v3/kv/txn", {"success": [{"requestPut": _pair(*entry)} for entry in some]})
            written += len(some)
        return written

    @property
    def version(self) -> str:
        """The version of its server."""
        self._connection.request("GET", "/version")
        return str(json.loads(self._connection.getresponse().read())["etcdserver"])

    def _ask(self, path: str, body: object) -> dict[str, Any]:
        self._connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        data = response.read()
        if response.status != http.client.OK:
            raise OSError(f"etcd answered {response.status} to {path}: {data.decode(errors='replace')[:300]}")
        answer: dict[str, Any] = json.loads(data)
        return answer


def _pair(key: str, value: bytes) -> dict[str, str]:
    return {"key": _encoded(key.encode()), "value": _encoded(value)}


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _batches(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    remaining = iter(entries)
    while some := list(islice(remaining, size)):
        yield some
