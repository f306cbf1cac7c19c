"""The few requests that the control plane itself makes, without a client library."""

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from controlplane.errors import RequestError

TIMEOUT: Final = 30.0
HEALTH_TIMEOUT: Final = 5.0
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"


class Client:
    """Talks JSON to one HTTP server on the loopback address."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        self.url = url
        handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
        self._opener = urllib.request.build_opener(*handlers)

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send a request; the decoded answer, or `RequestError` with the server's message.

        The body of a PATCH is a merge patch.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": MERGE_PATCH if method == "PATCH" else JSON}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            raise RequestError(f"{method} {path}", error.code, _message(text)) from None

    def problem(self, path: str) -> str | None:
        """Why a health endpoint does not answer 200, or None when it does."""
        try:
            with self._opener.open(self.url + path, timeout=HEALTH_TIMEOUT):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return f"{path} answers {error.code}"
        except OSError as error:
            return f"{path}: {getattr(error, 'reason', error)}"


def tls(authority: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Trust only that authority; show the client certificate when there is one."""
    context = ssl.create_default_context(cafile=str(authority))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def _message(text: str) -> str:
    try:
        status = json.loads(text)
    except ValueError:
        return text
    return str(status.get("message", text)) if isinstance(status, dict) else text
