"""The policy on nodes: who may set the facts that placements speak of."""

from residency.api.names import Fact, PolicyName, Right
from residency.core import messages
from residency.core.judge import Catalogue
from residency.policy import rules
from residency.policy.cel import literal, message
from residency.policy.objects import Frame, Pair, rule


def guard_nodes(frame: Frame, catalogue: Catalogue) -> Pair:
    """Refuse to set, change or take away a fact without the right to attest.

    Kubelets are kept from their own node's facts by NodeRestriction already; this is for everybody else who may write
    nodes or their status. The facts are those of Residency and every other label that a classification asks for.
    """
    facts = sorted({*map(str, Fact), *_asked_keys(catalogue)})
    new, old = "object.metadata.?labels[?k]", "oldObject.metadata.?labels[?k]"
    changed = f'(request.operation == "CREATE" ? {new}.hasValue() : {new} != {old})'
    may = f'authorizer.group("").resource("nodes").name(object.metadata.name).check({literal(str(Right.ATTEST))})'
    first = rules.cut("variables.changed[0]")
    shown = f'variables.changed.size() == 1 ? {first} : {first} + " and others"'
    text = message(
        messages.NODE_FACTS,
        user=rules.cut("request.userInfo.username"),
        name=rules.cut("object.metadata.name"),
        keys=f"({shown})",
    )
    return frame.validating(
        PolicyName.GUARD_NODES,
        None,
        (("facts-changed", f"{literal(facts)}.exists(k, {changed})"),),
        [rule("", "v1", ["CREATE", "UPDATE"], ["nodes", "nodes/status"])],
        (("changed", f"{literal(facts)}.filter(k, {changed})"),),
        f"{may}.allowed()",
        text,
    )


def _asked_keys(catalogue: Catalogue) -> set[str]:
    return {
        requirement.key
        for classification in catalogue.values()
        for alternative in classification.placement.alternatives
        for requirement in alternative
    }
