"""What the policies on facts share: nodes and StorageClasses are labelled with them, and setting one needs a right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from residency.api.names import Fact, PolicyName, Right
from residency.policy import rules
from residency.policy.cel import literal
from residency.policy.objects import Frame, Pair

FIRST_CHANGED = rules.cut("variables.changed[0]")
_DELETED = 'request.operation == "DELETE"'
_NAME = f"({_DELETED} ? oldObject : object).metadata.name"
USER_AND_OBJECT = {"user": rules.cut("request.userInfo.username"), "name": rules.cut(_NAME)}
"""Fields of every message on facts."""

_NEW, _OLD = "object.metadata.?labels[?k]", "oldObject.metadata.?labels[?k]"
_CHANGED = f'(request.operation == "CREATE" ? {_NEW}.hasValue() : {_NEW} != {_OLD})'


@dataclass(frozen=True, slots=True)
class Attested:
    """A kind of objects with facts, and the labels beside Residency's own that count as such."""

    group: str
    resource: str
    asked: Iterable[str]

    def guard(
        self,
        frame: Frame,
        name: PolicyName,
        resource_rules: Sequence[dict[str, Any]],
        text: str,
        besides: str = "false",
        gone: str = "false",
    ) -> Pair:
        """Refuse to change a fact without the right to attest.

        So is what ``besides`` says (CEL) of an object that is made or changed, and ``gone`` of one that is deleted.
        """
        facts = literal(sorted({*map(str, Fact), *self.asked}))
        changed = f"({_DELETED} ? [] : {facts}.filter(k, {_CHANGED}))"
        right = literal(str(Right.ATTEST))
        may = f"authorizer.group({literal(self.group)}).resource({literal(self.resource)})"
        return frame.validating(
            name,
            None,
            (("facts-changed", f"{_DELETED} ? {gone} : ({besides} || {facts}.exists(k, {_CHANGED}))"),),
            list(resource_rules),
            (("changed", changed),),
            f"{may}.name({_NAME}).check({right}).allowed()",
            text,
        )
