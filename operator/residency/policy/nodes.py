"""The policy on nodes: who may set the facts that placements speak of."""

from residency.api.names import PolicyName
from residency.core import messages
from residency.core.judge import Catalogue, asked_keys
from residency.policy.cel import message
from residency.policy.facts import FIRST_CHANGED, USER_AND_OBJECT, Attested
from residency.policy.objects import Frame, Pair, rule


def guard_nodes(frame: Frame, catalogue: Catalogue) -> Pair:
    """Refuse to set, change or take away a fact without the right to attest.

    Kubelets are kept from their own node's facts by NodeRestriction already; this is for everybody else who may write
    nodes or their status. The facts are those of Residency and every other label that a classification asks for.
    """
    shown = f'variables.changed.size() == 1 ? {FIRST_CHANGED} : {FIRST_CHANGED} + " and others"'
    text = message(messages.NODE_FACTS, keys=f"({shown})", **USER_AND_OBJECT)
    routes = rule("", "v1", ["CREATE", "UPDATE"], ["nodes", "nodes/status"])
    return Attested("", "nodes", asked_keys(catalogue)).guard(frame, PolicyName.GUARD_NODES, [routes], text)
