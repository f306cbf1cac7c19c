"""Bringing compiled policies into force, in steps that the canary can prove.

An API server takes changes up by going through all policies, compiling one after the other what is new, for seconds
where there is much; what it comes to late may be newer than what it came to early. So one policy seen to be of a
revision proves nothing of the others. Therefore the two that the canary shows are written twice. First, after all
others, with a provisional revision; when that is seen, the others have all reached the API server, and any look that
it begins from then on finds them. Then with the final one: where that is seen, everything is in force.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from residency.cluster.client import Object
from residency.controller.canary import Canary, Proof
from residency.controller.policies import Policies, kind
from residency.policy.compile import CompiledPolicies

Interrupted = Callable[[], bool]


@dataclass
class Rollout:
    """Brings one revision after the other into force."""

    policies: Policies
    canary: Canary
    _settled: str = ""
    """The revision of which everything was seen in force."""

    async def put_in_force(
        self, compiled: CompiledPolicies, *, was_in_force: bool, interrupted: Interrupted = lambda: False
    ) -> Proof:
        """Write what is not as it should be, and see all of it in force.

        ``was_in_force`` says that this revision was before this process began: what is missing of it was deleted.

        Raises:
            ApiError: `invalid` where the API server does not take one of them, whoever sends it.
        """
        bindings, others, shown = steps(compiled.objects)
        provisional = provisional_of(compiled.revision)
        first = [as_revision(body, compiled.revision, provisional) for body in shown]
        was_complete = was_in_force or self._settled == compiled.revision
        await self.policies.look(compiled.revision, [*compiled.objects, *first], was_complete=was_complete)
        # Bindings first, so that a policy is in force once it is there.
        if await self.policies.ensure(bindings) | await self.policies.ensure(others):
            self._settled = ""
        elif self.policies.are(shown):
            # Whoever wrote the final revision had seen the provisional one.
            self._settled = compiled.revision
        if self._settled != compiled.revision:
            await self.policies.ensure(first)
            proof = await self.canary.prove(provisional, interrupted)
            if not proof.holds:
                return proof
            self._settled = compiled.revision
        await self.policies.ensure(shown)
        return await self.canary.prove(compiled.revision, interrupted)


def provisional_of(revision: str) -> str:
    """What the policies that the canary shows are written with first."""
    return f"{revision}_provisional"


def steps(objects: Sequence[Object]) -> tuple[Sequence[Object], Sequence[Object], Sequence[Object]]:
    """Bindings, policies, and the policies that the canary shows: the last of each kind."""
    bindings = [body for body in objects if kind(body).endswith("Binding")]
    policies = [body for body in objects if not kind(body).endswith("Binding")]
    shown = list({kind(body): body for body in policies}.values())
    return bindings, [body for body in policies if body not in shown], shown


def as_revision(body: Object, revision: str, other: str) -> Object:
    """Write the same policy with another revision, which is a hash and so stands for nothing else."""
    written: Object = json.loads(json.dumps(body).replace(revision, other))
    return written
