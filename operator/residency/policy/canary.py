"""The canary: a pod that is always refused, in words that say which revision refused it and which one placed it.

Dry-run in the canary namespace, it passes through the same mutating and validating policies as every classified
pod, at the API server it is sent to: seen to be in force, not assumed.
"""

import re
from dataclasses import dataclass
from typing import Any

from residency.api.names import PLACED_BY
from residency.policy.cel import literal

_SEEN = re.compile(r"Residency canary: guard revision (?P<guard>\w*), placed by revision (?P<placer>\w*)")


@dataclass(frozen=True, slots=True)
class Seen:
    """The revisions that an API server showed; ``placer`` is "nothing" where no mutating policy touched the pod."""

    guard: str
    placer: str


def in_force(revision: str) -> str:
    """CEL for the guard's words on a canary."""
    placed_by = f'object.metadata.?annotations[?{literal(PLACED_BY)}].orValue("revision nothing")'
    return f"{literal(f'Residency canary: guard revision {revision}, placed by ')} + {placed_by}"


def canary_pod() -> dict[str, Any]:
    """The pod to be created, dry-run, in the canary namespace; it satisfies the restricted pod security standard."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "canary", "image": "canary", "securityContext": security}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "residency-canary-"},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "serviceAccountName": "default",
        },
    }


def seen(message: str) -> Seen | None:
    """Read the revisions from the API server's refusal; None where it does not speak of a canary."""
    found = _SEEN.search(message)
    return Seen(found["guard"], found["placer"]) if found else None
