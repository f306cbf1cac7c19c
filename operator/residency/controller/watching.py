"""kopf, watching the few small resources that matter; whatever happens there only wakes the loop.

No handler decides, writes or returns anything: a watch may lose events (kopf's do, after a 410), and then the
next regular pass finds what it missed. kopf runs in a thread with an event loop of its own, because at its
end it cancels every task that was started in its loop after it, and in the main thread it takes the process's
signals.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from residency.api import names
from residency.cluster.connection import connect
from residency.cluster.resources import CLASSIFICATIONS, NAMESPACES, POLICIES, STORAGE_CLASSES, Resource

log = logging.getLogger(__name__)

PAUSE = 5.0
"""Seconds before watching again what could not be watched."""

Wake = Callable[[], None]
Known = Callable[[str, str, str], bool]
"""Whether a version of a policy, by kind and name, is known to be right."""


class Watcher:
    """Watches in a thread until stopped; ``ended`` is done when it no longer watches, for whatever reason."""

    def __init__(self, wake: Wake, known: Known) -> None:
        self._wake = wake
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watching", daemon=True)
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    async def stop(self, timeout: float) -> None:
        """Stop watching, but do not wait for ever."""
        self._stop.set()
        await asyncio.wait([self.ended], timeout=timeout)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while self._fails():
                self._stop.wait(PAUSE)
        except BaseException as problem:
            error = problem
        self._tell(lambda: _finish(self.ended, error))

    def _fails(self) -> bool:
        """Watch until told to stop; whether that ended in an error of the API server's, or in one of kopf's."""
        try:
            kopf.run(
                registry=self._registry(),
                settings=_settings(),
                clusterwide=True,
                standalone=True,
                stop_flag=self._stop,
            )
        except Exception as problem:
            # One error in one watch ends all of kopf. What is missed meanwhile the next regular pass finds.
            log.warning("the watches failed, and begin again", extra={"error": f"{type(problem).__name__}: {problem}"})
            return not self._stop.is_set()
        return False

    def _tell(self, what: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            log.debug("the main loop has ended before the watches")

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_login)
        seen: dict[str, object] = {}

        async def classification_changed(event: Mapping[str, Any], **_: Any) -> None:
            """Wake for what people do; our own writing of the status is not worth a pass."""
            essence = _essence(event)
            uid = event["object"]["metadata"].get("uid", "")
            if event["type"] == "DELETED":
                seen.pop(uid, None)
            elif seen.get(uid) == essence:
                return
            else:
                seen[uid] = essence
            self._tell(self._wake)

        async def something_changed(**_: Any) -> None:
            self._tell(self._wake)

        _on_event(registry, CLASSIFICATIONS, classification_changed)
        _on_event(registry, NAMESPACES, something_changed)
        _on_event(registry, STORAGE_CLASSES, something_changed)
        for kind, resource in POLICIES.items():
            _on_event(registry, resource, self._policy_handler(kind))
        return registry

    def _policy_handler(self, kind: str) -> Callable[..., Any]:
        async def policy_changed(event: Mapping[str, Any], **_: Any) -> None:
            """Wake for what others do; what we wrote ourselves is right."""
            metadata = event["object"]["metadata"]
            version = "" if event["type"] == "DELETED" else metadata.get("resourceVersion", "")
            if not self._known(kind, metadata["name"], version):
                self._tell(self._wake)

        return policy_changed


async def _login(**_: Any) -> kopf.ConnectionInfo:
    """Read the credentials afresh, each time that the API server did not take the last ones."""
    connection = await connect()
    scheme, _blank, token = (await connection.authorization() or "").partition(" ")
    configuration = connection.configuration
    return kopf.ConnectionInfo(
        server=connection.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        proxy_url=configuration.proxy,
        trust_env=True,
    )


def _finish(ended: "asyncio.Future[None]", error: BaseException | None) -> None:
    if ended.done():
        return
    if isinstance(error, Exception):
        ended.set_exception(error)
    else:
        ended.set_result(None)


def _on_event(registry: kopf.OperatorRegistry, resource: Resource, handler: Callable[..., Any]) -> None:
    group, _, version = resource.api_version.rpartition("/")
    kopf.on.event(group, version, resource.plural, registry=registry)(handler)


def _essence(event: Mapping[str, Any]) -> object:
    metadata = event["object"]["metadata"]
    return metadata.get("generation"), metadata.get("deletionTimestamp"), metadata.get("finalizers")


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # The resources are fixed; their changes are not watched, so no right to watch CRDs is needed.
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.process.ultimate_exiting_timeout = None
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 60
    # The API server tells of a namespace that loses the label as of a deletion: nothing is missed.
    settings.watching.label_selectors["", "v1", NAMESPACES.plural] = names.CLASSIFICATION
    for resource in POLICIES.values():
        group, _, version = resource.api_version.rpartition("/")
        settings.watching.label_selectors[group, version, resource.plural] = f"{names.MANAGED_BY}=residency"
    # Silent connections die unnoticed behind some load balancers.
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 270
    settings.watching.connect_timeout = 5
    return settings
