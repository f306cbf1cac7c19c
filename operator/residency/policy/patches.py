"""What the mutating policies write, as CEL lists of JSON patch operations.

Where nothing is to be written the patch ends with a ``test`` that fails, which the API server takes as "leave it":
that spares it decoding the object again, the dearest part of a mutation. ApplyConfiguration is refused by the
API server here, because selectors and tolerations are atomic lists.
"""

from residency.api.names import PLACED_BY, PLACED_TERMS, PLACED_TOLERATIONS
from residency.policy import rules
from residency.policy.cel import literal
from residency.policy.variables import (
    REQUIRED,
    REQUIRED_OF_SPEC,
    TERMS_OF_SPEC,
    TOLERATIONS_OF_SPEC,
    Variables,
    lacking,
)

UNTOLERATING = "(variables.ownTolerations && variables.missing.size() > 0)"
"""Whether a DaemonSet has tolerations of its own that do not suffice."""
NOTHING = '[JSONPatch{op: "test", path: "/metadata", value: dyn("")}]'


def _add(path: str, value: str) -> str:
    return f'JSONPatch{{op: "add", path: {literal(path)}, value: dyn({value})}}'


def _remove(path: str) -> str:
    return f'JSONPatch{{op: "remove", path: {literal(path)}}}'


def _annotation_path(key: str) -> str:
    return "/metadata/annotations/" + key.replace("/", "~1")


def annotate(key: str, value: str) -> str:
    """Set an annotation on the object."""
    whole = _add("/metadata/annotations", f"{{{literal(key)}: {value}}}")
    return f"(has(object.metadata.annotations) ? [{_add(_annotation_path(key), value)}] : [{whole}])"


def require(spec_path: str, terms: str) -> str:
    """Set the required node affinity below a pod spec, making what is missing above it."""
    affinity = f"{spec_path}/affinity"
    required = f'{{"nodeSelectorTerms": {terms}}}'
    node_affinity = f"{{{literal(REQUIRED)}: {required}}}"
    whole = _add(affinity, f'{{"nodeAffinity": {node_affinity}}}')
    without = _add(f"{affinity}/nodeAffinity", node_affinity)
    within = _add(f"{affinity}/nodeAffinity/{REQUIRED}", required)
    return (
        f"[!has(variables.spec.affinity) ? {whole} : !has(variables.spec.affinity.nodeAffinity) ? {without} : {within}]"
    )


_AS_OBJECT = '{"key": x[0], "operator": x[1], "value": x[2], "effect": x[3]}'


def tolerate(spec_path: str, missing: str) -> str:
    """Add tolerations below a pod spec."""
    each = _add(f"{spec_path}/tolerations/-", _AS_OBJECT)
    whole = _add(f"{spec_path}/tolerations", f"{missing}.map(x, {_AS_OBJECT})")
    return f"({missing}.size() == 0 ? [] : has(variables.spec.tolerations) ? {missing}.map(x, {each}) : [{whole}])"


def place_pod(revision: str) -> str:
    """Place a pod: terms, tolerations and the note of who did it; only that note on a canary."""
    canary = annotate(PLACED_BY, literal(f"revision {revision}"))
    note = annotate(PLACED_BY, 'variables.names.join(",")')
    alternatives = require("/spec", 'variables.asked[0].map(a, {"matchExpressions": dyn(a)})')
    free_terms = f"(variables.implicit ? {alternatives} : {_append('variables.asked[0][0]')})"
    judged_terms = f"(variables.kept ? [] : {require('/spec', 'variables.placed')})"
    nothing = "!variables.placeable || (variables.kept && variables.missing.size() == 0)"
    tolerations = tolerate("/spec", "variables.missing")
    return (
        f"variables.free ? {note} + {free_terms} + {tolerations} : variables.canary ? {canary} : "
        f"{nothing} ? {NOTHING} : {note} + {judged_terms} + {tolerations}"
    )


def _append(requirements: str) -> str:
    """Append to every term of a pod."""
    path = (
        f'{literal(f"/spec/affinity/nodeAffinity/{REQUIRED}/nodeSelectorTerms/")} + string(i) + "/matchExpressions/-"'
    )
    each = f'JSONPatch{{op: "add", path: {path}, value: dyn(r)}}'
    return f"lists.range({TERMS_OF_SPEC}.size()).map(i, {requirements}.map(r, {each})).flatten()"


def place_daemonset() -> str:
    """Write terms and tolerations into a DaemonSet's template, each only where the list there is not the author's own.

    What was written is recorded in an annotation each; where nothing is needed any more, what was written is taken out.
    What would be refused, but is edited in another respect, is left alone: were anything written, it would be judged.
    """
    path = "/spec/template/spec"
    tolerations = f"variables.needed.map(x, {_AS_OBJECT})"
    refused = f"(variables.misplaced || !variables.placeable || {UNTOLERATING})"
    leave = (
        "variables.names.size() == 0 || variables.canary || (variables.ownTerms && !variables.kept) || "
        f"(!variables.changed && {refused}) || "
        "(!variables.rewriteTerms && !variables.rewriteTolerations)"
    )
    notes = f"(has(object.metadata.annotations) ? [] : [{_add('/metadata/annotations', '{}')}])"
    write_terms = (
        f"{_note(PLACED_TERMS, rules.canonical_terms('variables.placed'))} + {require(path, 'variables.placed')}"
    )
    unwrite_terms = (
        f"[{_remove(f'{path}/affinity/nodeAffinity/{REQUIRED}')}, {_remove(_annotation_path(PLACED_TERMS))}]"
    )
    write_tolerations = (
        f"[{_add(f'{path}/tolerations', tolerations)}] + "
        f"{_note(PLACED_TOLERATIONS, rules.canonical_tolerations(tolerations))}"
    )
    unwrite_tolerations = f"[{_remove(f'{path}/tolerations')}, {_remove(_annotation_path(PLACED_TOLERATIONS))}]"
    return (
        f"{leave} ? {NOTHING} : {notes} + "
        f"(!variables.rewriteTerms ? [] : variables.bare ? {unwrite_terms} : {write_terms}) + "
        f"(!variables.rewriteTolerations ? [] : variables.needed.size() == 0 ? {unwrite_tolerations} : "
        f"{write_tolerations})"
    )


def _note(key: str, value: str) -> str:
    return f"[{_add(_annotation_path(key), value)}]"


def daemonset_variables() -> Variables:
    """What of a DaemonSet's template is its author's own, and which tolerations it lacks."""
    notes = "object.metadata.?annotations"
    own_terms = (
        f"{REQUIRED_OF_SPEC}.hasValue() && "
        f"{rules.canonical_terms(f'{REQUIRED_OF_SPEC}.?nodeSelectorTerms.orValue([])')} != "
        f'{notes}[?{literal(PLACED_TERMS)}].orValue("-")'
    )
    own_tolerations = (
        f"{TOLERATIONS_OF_SPEC}.size() > 0 && "
        f'{rules.canonical_tolerations(TOLERATIONS_OF_SPEC)} != {notes}[?{literal(PLACED_TOLERATIONS)}].orValue("")'
    )
    return [
        ("ownTerms", own_terms),
        ("ownTolerations", own_tolerations),
        ("missing", lacking(TOLERATIONS_OF_SPEC)),
    ]


def rewriting() -> Variables:
    """Whether a DaemonSet's template is to be rewritten. Needs the variables of terms and tolerations."""
    changed = f"{rules.canonical_terms('variables.placed')} != {rules.canonical_terms(TERMS_OF_SPEC)}"
    wanted = rules.canonical_tolerations(f"variables.needed.map(x, {_AS_OBJECT})")
    present = rules.canonical_tolerations(TOLERATIONS_OF_SPEC)
    return [
        # What cannot be placed is left without Residency's terms, so that the guard speaks of the author's words alone.
        ("bare", "variables.kept || !variables.placeable"),
        (
            "rewriteTerms",
            f"!variables.ownTerms && (variables.bare ? {REQUIRED_OF_SPEC}.hasValue() : {changed})",
        ),
        ("rewriteTolerations", f"!variables.ownTolerations && {wanted} != {present}"),
    ]
