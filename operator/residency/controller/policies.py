"""Putting the compiled policies into the API server, and putting them back when somebody changes them.

Server-side apply alone cannot do it: it leaves fields that others added, and one more ``matchCondition``
switches a guard off. So what exists is replaced: the API server turns a replacement that changes nothing into
no write at all, which also tells whether anything had been changed.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
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

    async def ensure(self, compiled: CompiledPolicies, *, known_revision: str = "") -> bool:
        """Make the cluster's policies what was compiled, in order; say whether anything had to be written.

        ``known_revision`` was in force before this process knew anything: what is missing of it was deleted.
        """
        if compiled.revision != self._revision:
            self._versions.clear()
        was_complete = compiled.revision in (self._revision, known_revision)
        found = await self._find({kind(body) for body in compiled.objects})
        written = False
        for body in compiled.objects:
            live = found.get((kind(body), name_of(body)))
            if live is not None and self._versions.get(key(body)) == live["metadata"]["resourceVersion"]:
                continue
            written |= await self._ensure(body, live, was_complete)
        self._revision = compiled.revision
        return written

    async def refusal(self, compiled: CompiledPolicies, *, known_revision: str = "") -> str:
        """Ask the API server whether it would take these; empty when it would, else its reason.

        Asked of all before any is written, so that what is in force is never a mixture.
        """
        if compiled.revision in (self._revision, known_revision):
            return ""
        for body in compiled.objects:
            try:
                await self.client.apply(POLICIES[kind(body)], body, dry_run=True)
            except ApiError as error:
                if not error.invalid:
                    raise
                return f"the API server refuses {kind(body)} {name_of(body)}: {error}"
        return ""

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

    async def _ensure(self, body: Object, live: Object | None, was_complete: bool) -> bool:
        for attempt in range(ATTEMPTS):
            if attempt:
                live = await self._reread(body)
            try:
                return await self._write(body, live, was_complete)
            except ApiError as error:
                # Gone, or written by somebody else, since it was read.
                if not (error.conflict or error.not_found) or attempt + 1 == ATTEMPTS:
                    raise
        return False

    async def _reread(self, body: Object) -> Object | None:
        try:
            return await self.client.get(POLICIES[kind(body)], name_of(body), metadata_only=True)
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def _write(self, body: Object, live: Object | None, was_complete: bool) -> bool:
        if live is None:
            stored = await self.client.apply(POLICIES[kind(body)], body)
            self._remember(body, stored, "deleted" if was_complete else "")
            return True
        stored = await self.client.replace(POLICIES[kind(body)], replacement(body, live))
        changed: bool = stored["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]
        ours = revision(live) == revision(body) or key(body) in self._versions
        self._remember(body, stored, "edited" if changed and ours else "")
        return changed

    def _remember(self, body: Object, stored: Object, cause: str) -> None:
        self._versions[key(body)] = stored["metadata"]["resourceVersion"]
        if cause:
            self.metrics.repairs.labels(policy=name_of(body), kind=kind(body), cause=cause).inc()
            log.warning("policy restored", extra={"policy": name_of(body), "policy_kind": kind(body), "cause": cause})


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
