"""All classifications compiled into a few admission policies with fixed names, as plain objects ready to be applied."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from residency.api.names import REVISION, Mode, PolicyName
from residency.core.judge import Catalogue
from residency.core.surroundings import NOTHING_KNOWN, Surroundings
from residency.policy.bindings import guard_annotations, guard_bindings
from residency.policy.cel import DoesNotFit
from residency.policy.classifications import guard_classifications
from residency.policy.defaults import default_namespaces
from residency.policy.namespaces import guard_namespaces
from residency.policy.nodes import guard_nodes
from residency.policy.objects import ANNOTATED, CLASSIFIED, Frame, Pair, Settings
from residency.policy.pods import guard_pods, place_pods
from residency.policy.storage import guard_claims, guard_storage_classes, guard_volumes
from residency.policy.templates import guard_templates, place_daemonsets
from residency.policy.variables import Tables

# etcd takes 1.5 MiB; what the API server adds (managedFields) needs room too.
LARGEST_OBJECT = 1_000_000


@dataclass(frozen=True, slots=True)
class CompiledPolicies:
    """Policies and bindings in the order in which they are to be applied, and the revision of all of them.

    Only those that speak of it carry it, which are policies on pods. All others carry a revision of their own, so that
    what a change leaves as it was is not written again, nor compiled anew by every API server.

    Those that the canary proves come last of their kind. An API server may use them while it still compiles others,
    so whoever applies them writes these two again when all are there (``residency.controller.rollout``).
    """

    revision: str
    objects: tuple[dict[str, Any], ...]

    @property
    def size(self) -> int:
        """Bytes of all objects as JSON."""
        return sum(len(json.dumps(item)) for item in self.objects)


def compile_policies(
    catalogue: Catalogue, settings: Settings, surroundings: Surroundings = NOTHING_KNOWN
) -> CompiledPolicies:
    """Compile a catalogue, for a cluster that is like this.

    Raises:
        DoesNotFit: the result is too large for the API server; the message says what would help.
    """
    tables = Tables.of(catalogue, surroundings)
    blank = _objects(tables, catalogue, Frame(settings, revision=""))
    revision = hashlib.sha256(json.dumps(blank, sort_keys=True).encode()).hexdigest()[:12]
    objects = [_marked(item, revision) for item in _objects(tables, catalogue, Frame(settings, revision))]
    for item in objects:
        size = len(json.dumps(item))
        if size > LARGEST_OBJECT:
            raise DoesNotFit(
                f"{len(catalogue)} classifications compile to a policy of {size} bytes, at most "
                f"{LARGEST_OBJECT} are possible: "
                "delete classifications that are not in use, or shorten their lists"
            )
    return CompiledPolicies(revision, tuple(objects))


def _marked(item: dict[str, Any], revision: str) -> dict[str, Any]:
    """Give an object that says nothing of the revision one that is its own."""
    spec = json.dumps(item["spec"], sort_keys=True)
    if revision in spec:
        return item
    annotations = item["metadata"]["annotations"] | {REVISION: hashlib.sha256(spec.encode()).hexdigest()[:12]}
    return item | {"metadata": item["metadata"] | {"annotations": annotations}}


def _objects(tables: Tables, catalogue: Catalogue, frame: Frame) -> list[dict[str, Any]]:
    """Bindings first, so that a policy is in force once it is there; pods last, because the canary is one."""
    names = PolicyName
    pairs = [
        guard_namespaces(frame, catalogue),
        guard_classifications(frame),
        guard_nodes(frame, catalogue),
        guard_bindings(frame, catalogue),
        guard_annotations(frame, catalogue),
        guard_volumes(frame, catalogue),
        guard_storage_classes(frame, catalogue),
        *_telling(tables, catalogue, frame, Mode.WARN),
        *_telling(tables, catalogue, frame, Mode.AUDIT),
        guard_claims(frame, tables, names.GUARD_CLAIMS, CLASSIFIED),
        guard_templates(frame, tables, names.GUARD_TEMPLATES, CLASSIFIED),
        guard_templates(frame, tables, names.GUARD_ANNOTATED_TEMPLATES, ANNOTATED),
        guard_pods(frame, tables, names.GUARD_ANNOTATED_PODS, ANNOTATED),
        guard_pods(frame, tables, names.GUARD_PODS, CLASSIFIED),
        default_namespaces(frame, catalogue),
        place_daemonsets(frame, tables, names.PLACE_DAEMONSETS, CLASSIFIED),
        place_daemonsets(frame, tables, names.PLACE_ANNOTATED_DAEMONSETS, ANNOTATED),
        place_pods(frame, tables, names.PLACE_ANNOTATED_PODS, ANNOTATED),
        place_pods(frame, tables, names.PLACE_PODS, CLASSIFIED),
    ]
    return [pair.binding for pair in pairs] + [pair.policy for pair in pairs]


def _telling(tables: Tables, catalogue: Catalogue, frame: Frame, mode: Mode) -> Iterator[Pair]:
    """The guards of a lower mode; the set of objects is always the same, what nothing uses matches nothing."""
    names = PolicyName
    of_mode = {
        Mode.WARN: (names.WARN_BINDINGS, names.WARN_CLAIMS, names.WARN_TEMPLATES, names.WARN_PODS),
        Mode.AUDIT: (names.AUDIT_BINDINGS, names.AUDIT_CLAIMS, names.AUDIT_TEMPLATES, names.AUDIT_PODS),
    }
    annotated_of_mode = {
        Mode.WARN: (names.WARN_ANNOTATED_TEMPLATES, names.WARN_ANNOTATED_PODS),
        Mode.AUDIT: (names.AUDIT_ANNOTATED_TEMPLATES, names.AUDIT_ANNOTATED_PODS),
    }
    bindings, claims, templates, pods = of_mode[mode]
    of_classified = (
        guard_bindings(frame, catalogue, bindings, mode),
        guard_claims(frame, tables, claims, CLASSIFIED, mode),
        guard_templates(frame, tables, templates, CLASSIFIED, mode),
        guard_pods(frame, tables, pods, CLASSIFIED, mode),
    )
    templates, pods = annotated_of_mode[mode]
    of_annotated = (
        guard_templates(frame, tables, templates, ANNOTATED, mode),
        guard_pods(frame, tables, pods, ANNOTATED, mode),
    )
    # What a namespace is lowered to is its own classification's affair; elsewhere annotations count for themselves.
    by_classification = mode in tables.modes.used
    in_use = by_classification or mode in tables.surroundings.lowered
    yield from of_classified if in_use else map(frame.idle, of_classified)
    yield from of_annotated if by_classification else map(frame.idle, of_annotated)


__all__ = ["CompiledPolicies", "DoesNotFit", "Settings", "Surroundings", "compile_policies"]
