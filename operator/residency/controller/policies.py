"""Putting the compiled policies into the API server, and putting them back when somebody changes them.

Server-side apply alone cannot do it: it leaves fields that others added, and one more ``matchCondition``
switches a guard off. So what differs is replaced: the API server turns a replacement that changes nothing into
no write at all, which also tells whether anything had been changed.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from residency.api import names
from residency.cluster.client import Client, Object
from residency.cluster.errors import ApiError
from residency.cluster.resources import POLICIES, name_of
from residency.policy.compile import CompiledPolicies
from residency.reporting.metrics import Metrics

log = logging.getLogger(__name__)

ATTEMPTS: Final = 5

FILLED_IN: Final[Mapping[str, Any]] = {
    "matchPolicy": "Equivalent",
    "namespaceSelector": {},
    "objectSelector": {},
    "scope": "*",
}
"""What the API server adds to a spec; anything else beside ours was somebody."""

Key = tuple[str, str]
"""Kind and name."""


@dataclass
class Policies:
    """The compiled policies in the cluster."""

    client: Client
    metrics: Metrics
    _versions: dict[Key, str] = field(default_factory=dict)
    """The resourceVersion of each as we last saw it to be right."""
    _revision: str = ""
    _was_complete: bool = False
    """Whether all of the revision was there before, so that what is missing was deleted."""

    async def ensure(self, compiled: CompiledPolicies, *, known_revision: str = "") -> None:
        """Make the cluster's policies what was compiled.

        ``known_revision`` was in force before this process knew anything: what is missing of it was deleted.

        Raises:
            ApiError: `invalid` where the API server does not take one of them, whoever sends it.
        """
        if compiled.revision != self._revision:
            self._versions.clear()
        self._was_complete = compiled.revision in (self._revision, known_revision)
        found = await self._find({kind(body) for body in compiled.objects})
        for together in _in_order(compiled.objects):
            # The API server compiles each anew, which takes it up to a second: not one after the other.
            await asyncio.gather(*(self._ensure(body, found.get(key(body))) for body in together))
        self._revision = compiled.revision

    def knows(self, kind_: str, name: str, version: str) -> bool:
        """Whether this version of a policy is the one that we wrote, or found to be right."""
        return self._versions.get((kind_, name)) == version

    async def _find(self, kinds: Iterable[str]) -> Mapping[Key, Object]:
        return {(kind_, name_of(item)): item for kind_ in sorted(kinds) for item in await self._of_kind(kind_)}

    async def _of_kind(self, kind_: str) -> Sequence[Object]:
        try:
            return await self.client.find(POLICIES[kind_], metadata_only=True)
        except ApiError as error:
            if not error.not_found:
                raise
            served = f"{kind_} in {POLICIES[kind_].api_version}"
            text = f"this API server does not serve {served}; Kubernetes 1.36 and newer do"
            raise ApiError(error.status, error.reason, text) from error

    async def _ensure(self, body: Object, live: Object | None) -> None:
        if live is not None and self.knows(*key(body), live["metadata"]["resourceVersion"]):
            return
        for attempt in range(ATTEMPTS):
            try:
                await self._put_right(body, await self._read(body) if live or attempt else None)
                break
            except ApiError as error:
                # Gone, or written by somebody else, since it was read.
                if not (error.conflict or error.not_found) or attempt + 1 == ATTEMPTS:
                    raise

    async def _read(self, body: Object) -> Object | None:
        try:
            return await self.client.get(POLICIES[kind(body)], name_of(body))
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def _put_right(self, body: Object, live: Object | None) -> None:
        if live is None:
            self._note(body, await self.client.apply(POLICIES[kind(body)], body), self._was_complete and "deleted")
        elif same(body["spec"], live["spec"]) and revision(live) == revision(body):
            self._note(body, live)
        else:
            stored = await self.client.replace(POLICIES[kind(body)], replacement(body, live))
            changed = stored["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]
            ours = revision(live) == revision(body) or key(body) in self._versions
            self._note(body, stored, changed and ours and "edited")

    def _note(self, body: Object, stored: Object, cause: str | bool = "") -> None:
        self._versions[key(body)] = stored["metadata"]["resourceVersion"]
        if cause:
            self.metrics.repairs.labels(policy=name_of(body), kind=kind(body), cause=cause).inc()
            fields = {"policy": name_of(body), "policy_kind": kind(body), "cause": cause}
            log.warning("policy restored", extra=fields)


def _in_order(objects: Sequence[Object]) -> Iterator[Sequence[Object]]:
    """Bindings first; then the policies; and last of all those that the canary proves, the last of each kind."""
    bindings = [body for body in objects if kind(body).endswith("Binding")]
    policies = [body for body in objects if not kind(body).endswith("Binding")]
    last = list({kind(body): body for body in policies}.values())
    yield bindings
    yield [body for body in policies if body not in last]
    yield last


def same(ours: Any, live: Any) -> bool:
    """Whether a live spec says what ours says, and beside it only what the API server fills in."""
    if isinstance(ours, Mapping) and isinstance(live, Mapping):
        added = live.keys() - ours.keys()
        return all(key_ in FILLED_IN and live[key_] == FILLED_IN[key_] for key_ in added) and all(
            key_ in live and same(ours[key_], live[key_]) for key_ in ours
        )
    if isinstance(ours, Sequence) and isinstance(live, Sequence) and not isinstance(ours, str):
        return len(ours) == len(live) and all(map(same, ours, live))
    return bool(ours == live)


def replacement(body: Object, live: Object) -> Object:
    """Make the whole object to write: our spec, with the metadata it has and ours over it."""
    ours, theirs = body["metadata"], live["metadata"]
    metadata = {key_: value for key_, value in theirs.items() if key_ != "managedFields"}
    for part in ("labels", "annotations"):
        metadata[part] = (theirs.get(part) or {}) | (ours.get(part) or {})
    return body | {"metadata": metadata}


def kind(body: Mapping[str, Any]) -> str:
    """Read the kind of a compiled object."""
    return str(body["kind"])


def key(body: Mapping[str, Any]) -> Key:
    """Identify a compiled object."""
    return kind(body), name_of(body)


def revision(item: Mapping[str, Any]) -> str:
    """Read the revision that a policy claims to be of."""
    return str((item["metadata"].get("annotations") or {}).get(names.REVISION, ""))
