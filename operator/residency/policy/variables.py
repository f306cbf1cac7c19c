"""The variables that the compiled policies share: what is asked of a pod, and how its terms come out.

Every policy on pods or templates declares ``spec`` (the pod spec as it came) and ``own`` (its annotation, as a
list of none or one) itself, and then these. Variables are evaluated when first used, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from residency.api.classification import StorageException
from residency.api.names import CANARY, CLASSIFICATION, FACT_PREFIX, Mode
from residency.core import messages
from residency.core.judge import Catalogue
from residency.core.placement import MAX_TERMS, Classification, Placement, Storage
from residency.core.surroundings import NOTHING_KNOWN, Surroundings
from residency.policy import rules
from residency.policy.algebra import Algebra, operators_of
from residency.policy.cel import Table, literal
from residency.policy.modes import CEILING, Modes

Variables = list[tuple[str, str]]

LABEL = f"namespaceObject.?metadata.?labels[?{literal(CLASSIFICATION)}].optMap(v, [v]).orValue([])"
"""What the namespace is labelled as, as a list of none or one."""
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
REQUIRED_OF_SPEC = f"variables.spec.?affinity.?nodeAffinity.?{REQUIRED}"
TERMS_OF_SPEC = f"{REQUIRED_OF_SPEC}.?nodeSelectorTerms.orValue([])"
TOLERATIONS_OF_SPEC = "variables.spec.?tolerations.orValue([])"
IMPLICIT = f"!{REQUIRED_OF_SPEC}.hasValue()"
"""Whether a pod has no required node affinity."""


@dataclass(frozen=True)
class Tables:
    """The catalogue as constants: alternatives, tolerations and texts by the name of the classification."""

    algebra: Algebra
    modes: Modes
    alternatives: Table
    tolerations: Table
    texts: Table
    storage: Table | None
    """None where no classification demands anything of storage."""
    surroundings: Surroundings

    @classmethod
    def of(cls, catalogue: Catalogue, surroundings: Surroundings = NOTHING_KNOWN) -> "Tables":
        """Raises DoesNotFit where a single classification is too long."""
        ordered = sorted(catalogue.items())
        return cls(
            Algebra(operators_of(catalogue)),
            Modes.of(catalogue),
            Table("alternatives", {name: _alternatives(c.placement) for name, c in ordered}),
            Table("tolerations", {name: _tolerations(c.placement) for name, c in ordered}),
            Table("texts", {name: _texts(c) for name, c in ordered}),
            Table("storage", stored) if (stored := _stored(catalogue)) else None,
            surroundings,
        )


def reasons(catalogue: Catalogue) -> Table:
    """For policies that look at no pod: the title and the legal reference of each classification."""
    return Table("reasons", {name: [messages.titled(name, c.title), c.why] for name, c in sorted(catalogue.items())})


def _alternatives(placement: Placement) -> list[list[list[list[str]]]]:
    """Only one that is empty, where there is an empty one: every pod satisfies it."""
    alternatives = placement.alternatives if all(placement.alternatives) else ((),)
    return [[[[r.key], [str(r.operator)], list(r.values)] for r in alternative] for alternative in alternatives]


def _tolerations(placement: Placement) -> list[list[str]]:
    return [[t.key, t.operator, t.value, t.effect] for t in placement.tolerations]


def _stored(catalogue: Catalogue) -> dict[str, list[list[str]]]:
    """What is demanded of storage: the names of StorageClasses, CSI drivers, exceptions."""
    return {
        name: [list(c.storage.classes), list(c.storage.drivers), _exceptions(c.storage)]
        for name, c in sorted(catalogue.items())
        if c.storage is not None
    }


def _exceptions(storage: Storage) -> list[str]:
    allowed = {
        StorageException.STATIC_VOLUMES: storage.static_volumes,
        StorageException.DATA_SOURCES: storage.data_sources,
    }
    return [str(exception) for exception, holds in allowed.items() if holds]


def _texts(classification: Classification) -> Mapping[str, str]:
    placement = classification.placement
    return {
        "title": messages.titled(classification.name, classification.title),
        "why": classification.why,
        "requires": messages.requires(placement.alternatives[0]),
        "tolerates": messages.tolerates(t.to_dict() for t in placement.tolerations),
        **_storage_texts(classification.storage),
        **dict(classification.allows),
    }


def _storage_texts(storage: Storage | None) -> dict[str, str]:
    if storage is None:
        return {}
    return {"classes": messages.classes(storage.classes), "mounts": messages.mounts(storage.drivers)}


def annotation_of(thing: str) -> str:
    """The classification annotation of anything with metadata, as a list of none or one."""
    return f"{thing}.?metadata.?annotations[?{literal(CLASSIFICATION)}].optMap(v, [v]).orValue([])"


def asked(tables: Tables, mode: Mode = Mode.ENFORCE) -> Variables:
    """Which classifications of a mode are asked for, the namespace's first, and what they ask."""
    found = tables.alternatives.find("n")
    requirement = rules.written(("r[0][0]", "r[1][0]", "r[2]"))
    return [
        ("label", LABEL),
        ("canary", f"{literal(CANARY)} in variables.label"),
        ("ceiling", CEILING),
        ("names", tables.modes.names(mode, "variables.label", "variables.own")),
        *tables.alternatives.variables(),
        ("unknown", f"variables.names.filter(n, !({found}).hasValue())"),
        # As requirements stand in a pod, so that they can be compared with its own and written into it as they are.
        ("asked", f"variables.names.map(n, ({found}).orValue([]).map(a, a.map(r, {requirement})))"),
    ]


def terms(tables: Tables, implicit: str, *, to_write: bool) -> Variables:
    """The pod's terms, whether they imply what is asked, and how they come out where they do not.

    ``implicit`` says that the pod is to be read as if it had no required node affinity, ``to_write`` that what comes
    out goes into a patch.
    """
    given = TERMS_OF_SPEC
    alone = tables.algebra.cross("variables.terms", "c")
    both = tables.algebra.cross("variables.alone[0]", "variables.asked[1]")
    return [
        ("implicit", implicit),
        ("selector", "variables.spec.?nodeSelector.orValue({})"),
        ("terms", f"variables.implicit ? [dyn({{}})] : dyn({rules.plain(given) if to_write else given})"),
        ("kept", tables.algebra.kept("variables.terms", "variables.asked")),
        # The terms crossed with each classification by itself, and with all.
        ("alone", f"variables.asked.map(c, {alone})"),
        (
            "placed",
            "variables.names.size() == 0 ? variables.terms : "
            f"variables.names.size() == 1 ? variables.alone[0] : {both}",
        ),
        ("named", 'variables.spec.?nodeName.orValue("")'),
        (
            "placeable",
            f'variables.unknown.size() == 0 && variables.named == "" && (variables.kept || '
            f"({rules.living('variables.placed')} && variables.placed.size() <= {MAX_TERMS}))",
        ),
    ]


def admitted() -> Variables:
    """Whether the guard lets a pod pass that is under a classification; first by the short way, that of nearly all.

    Their terms end, to the letter, with all that an alternative of the one classification asks.
    """
    own = "t.matchExpressions"
    ends = f"{own}.slice({own}.size() - a.size(), {own}.size()) == a"
    carries = f"variables.asked[0].exists(a, a.size() > 0 && {own}.size() >= a.size() && {ends})"
    return [
        ("given", TERMS_OF_SPEC),
        (
            "admitted",
            'variables.named == "" && ((variables.names.size() == 1 && variables.given.size() > 0 && '
            f"variables.given.all(t, has({own}) && {carries})) || (variables.unknown.size() == 0 && variables.kept))",
        ),
    ]


def free() -> Variables:
    """Whether a pod can be placed by the short way, that of nearly all pods: it says nothing of any key that counts.

    Then no term is satisfied, every alternative can be met together with every term, and nothing has to be judged.
    Terms of its own are only ever appended to, where there is one alternative.
    """
    demanding = "variables.asked[0].size() > 0 && variables.asked[0][0].size() > 0"
    unselected, unsaid = (
        f"variables.asked[0].all(a, a.all(r, !(r.key in variables.{keys})))" for keys in ("selector", "keysOfTerms")
    )
    appendable = (
        f"variables.asked[0].size() == 1 && {TERMS_OF_SPEC}.size() <= {MAX_TERMS} && "
        f"{TERMS_OF_SPEC}.all(t, has(t.matchExpressions))"
    )
    return [
        ("keysOfTerms", f"{TERMS_OF_SPEC}.map(t, {rules.expressions('t')}.map(e, e.key)).flatten()"),
        (
            "free",
            f'variables.names.size() == 1 && variables.named == "" && {demanding} && '
            f"(variables.selector.size() == 0 || {unselected}) && "
            f"(variables.implicit || ({appendable} && {unsaid}))",
        ),
    ]


def tolerations(tables: Tables) -> Variables:
    """The tolerations that are asked for."""
    found = f"({tables.tolerations.find('n')}).orValue([])"
    return [
        *tables.tolerations.variables(),
        ("tolerated", f"variables.names.map(n, {found})"),
        (
            "needed",
            "variables.tolerated.size() == 0 ? [] : variables.tolerated.size() == 1 ? variables.tolerated[0] : "
            "variables.tolerated[0] + variables.tolerated[1].filter(x, !(x in variables.tolerated[0]))",
        ),
    ]


def lacking(tolerations_of_pod: str, needed: str = "variables.needed") -> str:
    """Which of the needed tolerations a pod does not have."""
    return f"{needed}.filter(x, !{tolerations_of_pod}.exists(p, {rules.covers('p', 'x')}))"


def speaking(tables: Tables) -> Variables:
    """Who asks for what, in words, for each of the names."""
    return [
        *tables.texts.variables(),
        ("texts", f"variables.names.map(n, ({tables.texts.find('n')}).orValue({{}}))"),
        (
            "subjects",
            'variables.names.map(n, n in variables.label ? "namespace " + namespaceObject.metadata.name : '
            f"{literal(messages.ANNOTATION_SUBJECT)})",
        ),
    ]


def denial(tables: Tables, path: str) -> Variables:
    """What is wrong, as text: evaluated only on a refusal. ``path`` is CEL for where the pod spec stands."""
    asks = {
        "asks_selector": f'{path} + ".nodeSelector asks " + variables.short + "=" + variables.selector[variables.key]',
        "asks_affinity": f'{path} + ".affinity.nodeAffinity asks " + variables.short + " " + '
        "variables.asking.operator + "
        f'(variables.asking.?values.orValue([]).size() == 0 ? "" : " " + {rules.listing("variables.asking.values")})',
    }
    algebra = tables.algebra
    unkept = f"!variables.terms.all(t, {rules.empty('t')} || {algebra.satisfied('t', 'variables.asked[0]')})"
    key_dead = f"!{algebra.key_lives('variables.leading', 'variables.preferred', 'r')}"
    of_key = "variables.preferred.filter(r, r.key == variables.key)[0]"
    alone_dead = f"!{algebra.key_lives(rules.term_of('o'), 'variables.preferred', of_key)}"
    refused = (
        "variables.preferred.exists(r, r.key == variables.key && "
        f"!{algebra.accepts('r', 'variables.selector[variables.key]')})"
    )
    return [
        *speaking(tables),
        ("contradicted", f"variables.alone.map(alone, {rules.living('alone')}).indexOf(false)"),
        ("leading", f"variables.implicit ? dyn({{}}) : variables.terms.filter(t, !{rules.empty('t')})[0]"),
        ("preferred", "variables.asked[variables.contradicted][0]"),
        ("key", f"variables.preferred.filter(r, {key_dead})[0].key"),
        ("unprefixed", f'variables.key.replace({literal(FACT_PREFIX)}, "")'),
        ("short", rules.cut("variables.unprefixed")),
        ("said", f"{rules.expressions('variables.leading')}.filter(e, e.key == variables.key)"),
        ("opposed", f"variables.said.filter(o, {alone_dead})"),
        ("asking", "variables.opposed.size() > 0 ? variables.opposed[0] : variables.said[0]"),
        (
            "asks",
            f"variables.key in variables.selector && {refused} ? {asks['asks_selector']} : {asks['asks_affinity']}",
        ),
        ("unkept", f"variables.names.size() > 1 && !({unkept}) ? 1 : 0"),
    ]
