"""Putting the compiled policies into the API server, and putting them back when somebody changes them.

Server-side apply alone cannot do it: it leaves fields that others added, and one more ``matchCondition``
switches a guard off. So what differs is replaced: the API server turns a replacement that changes nothing into
no write at all, which also tells whether anything had been changed.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from residency.api import names
from residency.cluster.client import Client, Object
from residency.cluster.errors import ApiError
from residency.cluster.resources import POLICIES, name_of
from residency.reporting.metrics import Metrics

log = logging.getLogger(__name__)

T = TypeVar("T")

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
    _written: dict[Key, tuple[str, str]] = field(default_factory=dict)
    """The resourceVersion of each as we last saw it to be right, and the revision that this was."""
    _wanted: dict[Key, dict[str, Object]] = field(default_factory=dict)
    """What each may be, by revision."""
    _found: Mapping[Key, Object] = field(default_factory=dict)
    _revision: str = ""
    _was_complete: bool = False
    """Whether all of the revision was there before, so that what is missing was deleted."""

    async def look(self, revision_: str, bodies: Iterable[Object], *, was_complete: bool) -> None:
        """Read what is there of these, which are or precede this revision."""
        self._was_complete = was_complete
        self._wanted = {}
        for body in bodies:
            self._wanted.setdefault(key(body), {})[revision(body)] = body
        if revision_ != self._revision:
            self._revision = revision_
            # What was right is so still where it has not changed.
            self._written = {k: seen for k, seen in self._written.items() if seen[1] in self._wanted.get(k, ())}
        self._found = await self._find({kind_ for kind_, _ in self._wanted})

    def are(self, bodies: Iterable[Object]) -> bool:
        """Whether all of these were there, and said to be of their revision."""
        return all(key(body) in self._found and revision(self._found[key(body)]) == revision(body) for body in bodies)

    async def ensure(self, bodies: Iterable[Object]) -> bool:
        """Make the cluster's policies what these say; return whether anything had to be written.

        Raises:
            ApiError: `invalid` where the API server does not take one of them, whoever sends it.
        """
        # The API server compiles each anew, which takes it up to a second: not one after the other.
        return any(await together([self._ensure(body) for body in bodies]))

    def knows(self, kind_: str, name: str, version: str) -> bool:
        """Whether this version of a policy is the one that we wrote, or found to be right."""
        return self._written.get((kind_, name), ("", ""))[0] == version != ""

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

    async def _ensure(self, body: Object) -> bool:
        found = self._found.get(key(body))
        if found and self._written.get(key(body)) == (found["metadata"]["resourceVersion"], revision(body)):
            return False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._put_right(body, await self._read(body))
            except ApiError as error:
                # Gone, or written by somebody else, since it was read.
                if not (error.conflict or error.not_found) or attempt == ATTEMPTS:
                    raise
        return False

    async def _read(self, body: Object) -> Object | None:
        try:
            return await self.client.get(POLICIES[kind(body)], name_of(body))
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def _put_right(self, body: Object, live: Object | None) -> bool:
        if live is None:
            stored = await self.client.apply(POLICIES[kind(body)], body)
            if self._was_complete:
                self._count(body, "deleted")
        elif same(body["spec"], live["spec"]) and revision(live) == revision(body):
            stored = live
        else:
            stored = await self.client.replace(POLICIES[kind(body)], replacement(body, live))
        changed: bool = live is None or version(stored) != version(live)
        if live is not None and changed and self._was_edited(live, key(body)):
            self._count(body, "edited")
        self._written[key(body)] = (version(stored), revision(body))
        return changed

    def _was_edited(self, live: Object, key_: Key) -> bool:
        expected = self._wanted[key_].get(revision(live))
        if expected is None:
            # Another revision is how a change begins; but what we have seen right does not go back by itself.
            return key_ in self._written
        return not same(expected["spec"], live["spec"])

    def _count(self, body: Object, cause: str) -> None:
        self.metrics.repairs.labels(policy=name_of(body), kind=kind(body), cause=cause).inc()
        fields = {"policy": name_of(body), "policy_kind": kind(body), "cause": cause}
        log.warning("policy restored", extra=fields)


async def together(works: Sequence[Coroutine[Any, Any, T]]) -> Sequence[T]:
    """Do all at once; when one fails, none goes on behind its back."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
    """Read the kind."""
    return str(body["kind"])


def key(body: Mapping[str, Any]) -> Key:
    """Identify a policy or binding."""
    return kind(body), name_of(body)


def version(item: Mapping[str, Any]) -> str:
    """Read the resourceVersion."""
    return str(item["metadata"]["resourceVersion"])


def revision(item: Mapping[str, Any]) -> str:
    """Read the revision that a policy claims to be of."""
    return str((item["metadata"].get("annotations") or {}).get(names.REVISION, ""))
