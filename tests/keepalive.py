"""A connection that is kept open: what thousands of requests are sent through, one after another."""

import base64
import http.client
import json
import ssl
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import yaml


class Answer(NamedTuple):
    """An HTTP status, the decoded JSON body, and what the API server says beside it."""

    status: int
    body: dict[str, Any]
    warnings: tuple[str, ...] = ()
    """What kubectl would show as warnings."""
    audit_id: str = ""
    """Under what the audit log has the request."""

    @property
    def message(self) -> str:
        """What a Status says; empty for other objects."""
        return str(self.body.get("message", ""))


class KeepAlive:
    """One HTTP/1.1 connection to an API server, with the credentials of a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if "token" in user:
            self._headers["Authorization"] = f"Bearer {user['token']}"
        else:
            _load_certificate(context, user)
        address = urlsplit(cluster["server"])
        self._connection = http.client.HTTPSConnection(address.netloc, context=context, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def send(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Answer:
        """Send a request; every status is an answer, only a broken connection is an error."""
        data = None if body is None else json.dumps(body).encode()
        response = self._request(method, path, data, content_type)
        answer = json.loads(response.read() or b"{}")
        # Go writes UTF-8, http.client reads Latin-1.
        warnings = tuple(one.encode("latin-1").decode() for one in response.headers.get_all("Warning", ()))
        return Answer(response.status, answer, warnings, response.headers.get("Audit-Id", ""))

    def exchange(
        self, method: str, path: str, data: bytes | None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Send what is written already and leave the answer as it came: for those who measure."""
        response = self._request(method, path, data, content_type)
        return response.status, response.read()

    def _request(self, method: str, path: str, data: bytes | None, content_type: str) -> http.client.HTTPResponse:
        self._connection.request(method, path, data, self._headers | {"Content-Type": content_type})
        return self._connection.getresponse()


def _load_certificate(context: ssl.SSLContext, user: dict[str, str]) -> None:
    with tempfile.NamedTemporaryFile() as both:
        both.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        both.flush()
        context.load_cert_chain(both.name)
