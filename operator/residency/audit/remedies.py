"""What to do about each outcome, in one sentence."""

from collections.abc import Mapping
from typing import Final

from residency.api.names import Outcome

REMEDIES: Final[Mapping[Outcome, str]] = {
    Outcome.MISPLACED: "Restart the workload (kubectl rollout restart) to have it placed anew, or put the facts right.",
    Outcome.UNPINNED: "Restart the workload (kubectl rollout restart) to have it kept where it may be.",
    Outcome.UNKNOWN: "Attest the facts of the node, or create the classification.",
    Outcome.NOT_LOCATED: "Delete the pod, and keep classified pods off virtual nodes.",
    Outcome.UNPLACEABLE: "Change what the pod asks for, attest the facts of more nodes, or allow more.",
    Outcome.INTRUDER: "Move it to other nodes, or have its namespace excluded from Residency.",
}
"""Of those that deviate."""
