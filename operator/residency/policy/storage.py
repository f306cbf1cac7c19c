"""Storage in CEL: ``residency.core.storage``, rule by rule; and the policies on claims, volumes and StorageClasses.

What is said of volumes goes into the policies on pods and templates, since a policy of its own would cost every pod;
where no classification demands anything of storage nothing of it is compiled into them.

A classification's demand is a list of three lists: names of StorageClasses, CSI drivers, exceptions. It is empty where
nothing is demanded.
"""

from residency.api.classification import StorageException
from residency.api.names import STORAGE_CLASS_ANNOTATION, VOLUME_BINDERS, Mode, PolicyName, Right
from residency.core import messages
from residency.core.judge import Catalogue
from residency.core.storage import CLAIM, HARMLESS, SNAPSHOT
from residency.core.surroundings import ALL_CLAIMS
from residency.policy import denials, rules
from residency.policy.cel import Table, literal, message
from residency.policy.facts import FIRST_CHANGED, USER_AND_OBJECT, Attested
from residency.policy.objects import ANNOTATED, Frame, Pair, Scope, rule
from residency.policy.variables import Tables, Variables, asked, speaking

_STATIC, _SOURCES = literal(str(StorageException.STATIC_VOLUMES)), literal(str(StorageException.DATA_SOURCES))

_CLAIM = "variables.claim"
_DEMAND = "variables.demand"
_VOLUME = "variables.volume"


# Claims and volumes, as the judge sees them


def _class_of(claim: str) -> str:
    """The class that a claim or a template for one names, as an optional; the annotation overrules the field."""
    annotation = f"{claim}.?metadata.?annotations[?{literal(STORAGE_CLASS_ANNOTATION)}]"
    return f"{annotation}.or({claim}.?spec.?storageClassName)"


def _sources_of(claim: str) -> str:
    return f"[?{claim}.?spec.?dataSource, ?{claim}.?spec.?dataSourceRef]"


def _near(source: str) -> str:
    # The API server writes null where no group is said.
    kind, group = f"{source}.kind", f'({source}.?apiGroup.orValue(null) == null ? "" : {source}.apiGroup)'
    snapshot_group, snapshot = map(literal, SNAPSHOT)
    return (
        f'(({group} == "" && {kind} == {literal(CLAIM)}) || ({group} == {snapshot_group} && {kind} == {snapshot})) && '
        f'{source}.?namespace.orValue("") == ""'
    )


def _class_fits(claim: str, demand: str, default: str | None) -> str:
    named = f'c in {demand}[0] || (c == "" && {_STATIC} in {demand}[2])'
    otherwise = "false" if default is None else f"{literal(default)} in {demand}[0]"
    return f"{_class_of(claim)}.optMap(c, {named}).orValue({otherwise})"


def _volume_name_of(claim: str) -> str:
    return f'{claim}.?spec.?volumeName.orValue("")'


def _volume_fits(chosen: str, demand: str) -> str:
    return f'({chosen} == "" || {_STATIC} in {demand}[2])'


def _claim_fits(claim: str, demand: str, default: str | None, chosen: str = "") -> str:
    sources = f"({_SOURCES} in {demand}[2] || {_sources_of(claim)}.all(d, {_near('d')}))"
    chosen = chosen or _volume_name_of(claim)
    return f"({_class_fits(claim, demand, default)} && {_volume_fits(chosen, demand)} && {sources})"


def _template_of(volume: str) -> str:
    return f"{volume}.?ephemeral.?volumeClaimTemplate.orValue({{}})"


def _mounts_well(volume: str, demand: str, default: str | None) -> str:
    """Whether a volume is allowed: by its type, which is the only key of it beside its name."""
    foreign = (
        f"{literal(ALL_CLAIMS)} in variables.foreign || {volume}.persistentVolumeClaim.claimName in variables.foreign"
    )
    return (
        f"{volume}.all(k, k in {literal(('name', *HARMLESS))} || "
        f'(k == "persistentVolumeClaim" && !({foreign})) || '
        f'(k == "ephemeral" && {_claim_fits(_template_of(volume), demand, default)}) || '
        f'(k == "csi" && {volume}.csi.driver in {demand}[1]))'
    )


# Variables of the policies on pods and templates


def storing(tables: Tables, scope: Scope, claims: str = "") -> Variables:
    """Whether the volumes are allowed (``stored``); ``claims`` is CEL for templates of claims, if there can be any."""
    if tables.storage is None:
        return []
    default = tables.surroundings.default_class
    allowed = f"variables.volumes.all(v, {_mounts_well('v', 's', default)})"
    made = f" && variables.claims.all(t, {_claim_fits('t', 's', default)})" if claims else ""
    return [
        *([("claims", claims)] if claims else []),
        *_demanded(tables.storage),
        *_foreign(tables, scope),
        ("volumes", "variables.spec.?volumes.orValue([])"),
        ("failing", f"variables.storage.map(s, s.size() == 0 || ({allowed}{made})).indexOf(false)"),
        ("stored", "variables.failing < 0"),
    ]


def _demanded(table: Table) -> Variables:
    return [
        *table.variables(),
        ("storage", f"variables.names.map(n, ({table.find('n')}).orValue([]))"),
    ]


def _foreign(tables: Tables, scope: Scope) -> Variables:
    """The claims of this namespace that must not be mounted. Where nothing is classified nobody has looked for any."""
    if scope.label_operator == ANNOTATED.label_operator or not tables.surroundings.foreign_claims:
        return [("foreign", '[""]')]
    table = Table("foreign", {n: list(c) for n, c in sorted(tables.surroundings.foreign_claims.items())})
    demanding = "variables.names.size() > 0 && variables.names[0] in variables.label && variables.storage[0].size() > 0"
    found = table.find("namespaceObject.metadata.name")
    return [*table.variables(), ("foreign", f'{demanding} ? ({found}).orValue([""]) : [""]')]


def storage_denial(tables: Tables, path: str, claims: str = "") -> Variables:
    """What is wrong with the storage of a pod or template: evaluated only on a refusal."""
    if tables.storage is None:
        return []
    default = tables.surroundings.default_class
    where = f'{path} + ".volumes[" + {rules.shown(f"{_VOLUME}.name")} + "]"'
    if claims:
        bad_claim = f"variables.claims.filter(t, !{_claim_fits('t', _DEMAND, default)})[0]"
        claim = f"variables.badVolumes.size() > 0 ? {_template_of(_VOLUME)} : {bad_claim}"
        name = rules.shown(f'{_CLAIM}.?metadata.?name.orValue("")')
        claim_path = (
            'variables.badVolumes.size() > 0 ? variables.where + ".ephemeral" : '
            f'"spec.volumeClaimTemplates[" + {name} + "]"'
        )
    else:
        claim, claim_path = _template_of(_VOLUME), 'variables.where + ".ephemeral"'
    return [
        ("demand", "variables.storage[variables.failing]"),
        ("badVolumes", f"variables.volumes.filter(v, !{_mounts_well('v', _DEMAND, default)})"),
        ("volume", "variables.badVolumes[0]"),
        ("where", where),
        ("claim", claim),
        ("claimPath", claim_path),
        ("chosen", _volume_name_of(_CLAIM)),
        *_claim_refused(default),
        ("mounts", f"has({_VOLUME}.persistentVolumeClaim)"),
        ("volumeType", f'{_VOLUME}.map(k, k).filter(k, k != "name")[0]'),
        ("volumeRefused", _volume_refused()),
    ]


ELSEWHERE = (
    f"(variables.badVolumes.size() == 0 || has({_VOLUME}.ephemeral) ? variables.claimRefused : variables.volumeRefused)"
)
"""Why a pod or template is refused whose storage is not allowed."""


def _volume_refused() -> str:
    path = "variables.where"
    claim = {"path": path, "claim": rules.shown(f"{_VOLUME}.persistentVolumeClaim.claimName")}
    every = f"{literal(ALL_CLAIMS)} in variables.foreign"
    asks_claim = f"{every} ? {message(messages.MOUNTS_ANY_CLAIM, **claim)} : {message(messages.MOUNTS_CLAIM, **claim)}"
    asks_driver = message(messages.MOUNTS_DRIVER, path=path, driver=rules.shown(f"{_VOLUME}.csi.driver"))
    asks_type = message(messages.MOUNTS_TYPE, path=path, type=rules.shown("variables.volumeType"))
    text = "variables.texts[variables.failing]"
    return message(
        messages.VOLUME,
        asks=f'(variables.mounts ? ({asks_claim}) : variables.volumeType == "csi" ? {asks_driver} : {asks_type})',
        allows=f'(variables.mounts ? {text}["classes"] : {text}["mounts"])',
        fix=f"(variables.mounts ? {literal(messages.FIX_MOUNT)} : {literal(messages.FIX_VOLUME)})",
        **denials.class_fields("variables.failing"),
    )


def _claim_refused(default: str | None) -> Variables:
    """The message on ``variables.claim``, which the classification at ``variables.failing`` does not allow."""
    path = "variables.claimPath"
    none = message(messages.ASKS_NO_CLASS, path=path)
    if default is not None:
        none = message(messages.ASKS_DEFAULT, path=path, default=literal(messages.shown(default)))
    named = f'(c == "" ? {literal(messages.NO_CLASS)} : "StorageClass " + {rules.shown("c")})'
    asks_class = message(messages.ASKS_CLASS, path=path, storage_class=named)
    source = {"path": path, "kind": rules.shown("variables.far.kind"), "name": rules.shown("variables.far.name")}
    far_namespace = rules.shown("variables.farNamespace")
    of_class, of_volume = _class_fits(_CLAIM, _DEMAND, default), _volume_fits("variables.chosen", _DEMAND)

    def by_trouble(class_: str, volume: str, source: str) -> str:
        return f'(variables.trouble == "class" ? {class_} : variables.trouble == "volume" ? {volume} : {source})'

    asks = by_trouble(
        "variables.asksClass",
        message(messages.ASKS_VOLUME, path=path, volume=rules.shown("variables.chosen")),
        f'(variables.farNamespace == "" ? {message(messages.ASKS_SOURCE, **source)} : '
        f"{message(messages.ASKS_FAR_SOURCE, **source, namespace=far_namespace)})",
    )
    allows = literal(messages.ALLOWS_NEW_VOLUMES), literal(messages.ALLOWS_SOURCES)
    fixes = map(literal, (messages.FIX_CLASS, messages.FIX_VOLUME_NAME, messages.FIX_SOURCE))
    text = message(
        messages.STORAGE_CLAIM,
        asks=asks,
        allows=by_trouble('variables.texts[variables.failing]["classes"]', *allows),
        fix=by_trouble(*fixes),
        **denials.class_fields("variables.failing"),
    )
    return [
        ("trouble", f'!({of_class}) ? "class" : !{of_volume} ? "volume" : "source"'),
        ("asksClass", f"{_class_of(_CLAIM)}.optMap(c, {asks_class}).orValue({none})"),
        ("far", f"{_sources_of(_CLAIM)}.filter(d, !({_near('d')}))[0]"),
        ("farNamespace", 'variables.far.?namespace.orValue("")'),
        ("claimRefused", text),
    ]


# Policies


def guard_claims(frame: Frame, tables: Tables, name: PolicyName, scope: Scope, mode: Mode = Mode.ENFORCE) -> Pair:
    """Refuse a claim whose volume would be elsewhere, also one that becomes so later.

    Of a claim that exists only a new class or a volume that somebody chooses is judged; the class may also come by
    an annotation, and that through the status.
    """
    binder = f"request.userInfo.username in {literal(VOLUME_BINDERS)}"
    of_class = f"{_class_of('dyn(object)')} != {_class_of('dyn(oldObject)')}"
    of_volume = f"{_volume_name_of('dyn(object)')} != {_volume_name_of('dyn(oldObject)')}"
    chosen = f'request.operation == "CREATE" || ({of_volume} && !({binder})) ? {_volume_name_of("dyn(object)")} : ""'
    variables: Variables = [("own", "[]"), *asked(tables, mode), *speaking(tables)]
    expression = "variables.unknown.size() == 0"
    text = denials.unknown_classification()
    if tables.storage is not None:
        fits = _claim_fits(_CLAIM, "s", None, "variables.chosen")
        variables += [
            *_demanded(tables.storage),
            ("claim", "dyn(object)"),
            ("claimPath", literal(messages.CLAIM_PATH)),
            ("chosen", chosen),
            ("failing", f"variables.storage.map(s, s.size() == 0 || {fits}).indexOf(false)"),
            ("demand", "variables.storage[variables.failing]"),
            *_claim_refused(None),
        ]
        expression += " && variables.failing < 0"
        text = f"(variables.unknown.size() > 0 ? {text} : variables.claimRefused)"
    judged = f'request.operation == "CREATE" || {of_class} || ({of_volume} && !({binder}))'
    routes = rule("", "v1", ["CREATE", "UPDATE"], ["persistentvolumeclaims", "persistentvolumeclaims/status"])
    return frame.validating(
        name,
        scope,
        # Also of one that is about to be deleted: it may be held there, and get a volume all the same.
        (("judged-part-changed", judged),),
        [routes],
        variables,
        f"variables.canary || ({expression})",
        text,
        mode,
    )


def guard_volumes(frame: Frame, catalogue: Catalogue) -> Pair:
    """Refuse to take a volume that may hold classified data from its claim without the right to declassify.

    Its class counts too, since another class would take it out of this policy's sight. A claim's uid is part of it: a
    namespace may be deleted and made again under the same name.
    """
    stored = [c.storage for c in catalogue.values() if c.storage is not None and c.mode is Mode.ENFORCE]
    classes = sorted({name for storage in stored for name in storage.classes})
    # What is made by hand has no class.
    guarded = [*classes, *([""] if any(storage.static_volumes for storage in stored) else [])]
    old, new = "oldObject.spec.?claimRef", "object.spec.?claimRef"
    kept = " && ".join(f'{new}.?{key}.orValue("") == {old}.?{key}.orValue("")' for key in ("namespace", "name"))
    uid = f'({old}.?uid.orValue("") == "" || {new}.?uid.orValue("") == {old}.?uid.orValue(""))'
    old_class, new_class = (f'({_class_of(thing)}).orValue("")' for thing in ("dyn(oldObject)", "dyn(object)"))
    released = f"{old}.hasValue() && !({kept} && {uid} && {new_class} == {old_class})"
    right = literal(str(Right.DECLASSIFY))
    may = f'authorizer.group("").resource("persistentvolumes").name(object.metadata.name).check({right})'
    claim = f'{old}.?namespace.orValue("") + "/" + {old}.?name.orValue("")'
    text = message(
        messages.VOLUME_RELEASED,
        name=rules.shown("object.metadata.name"),
        claim=rules.shown(f"({claim})"),
        storage_class=f'({old_class} == "" ? {literal(messages.storage_class(""))} : '
        f'"StorageClass " + {rules.shown(old_class)})',
    )
    return frame.validating(
        PolicyName.GUARD_VOLUMES,
        None,
        (
            ("not-the-binder", f"!(request.userInfo.username in {literal(VOLUME_BINDERS)})"),
            ("released", f"{old_class} in {literal(guarded)} && {released}"),
        ),
        [rule("", "v1", ["UPDATE"], ["persistentvolumes", "persistentvolumes/status"])],
        (),
        f"{may}.allowed()",
        text,
    )


def guard_storage_classes(frame: Frame, catalogue: Catalogue) -> Pair:
    """Refuse to set, change or take away a fact of a StorageClass without the right to attest.

    Nor may one be made anew whose name is allowed already, since what is compiled are names, nor be changed in what
    Kubernetes lets change of it and says where its volumes are, nor be deleted: the volumes of a class that is not
    there are not kept with their claims any more.
    """
    stored = [c.storage for c in catalogue.values() if c.storage is not None]
    asked = {requirement.key for storage in stored for requirement in storage.requirements}
    allowed = sorted({name for storage in stored for name in storage.classes})
    moved = " || ".join(f"object.?{field} != oldObject.?{field}" for field in ("allowedTopologies", "mountOptions"))
    known, gone = (f'{thing}.metadata.?name.orValue("") in {literal(allowed)}' for thing in ("object", "oldObject"))
    again = f'({known} && (request.operation == "CREATE" || {moved}))'
    several = '(variables.changed.size() == 1 ? "" : " and others")'
    shown = (
        f'variables.changed.size() > 0 ? "set " + {FIRST_CHANGED} + {several} + " of" : '
        '{"CREATE": "make", "DELETE": "delete", "UPDATE": "change the topologies or mount options of"}'
        "[request.operation]"
    )
    text = message(messages.STORAGE_FACTS, deed=f"({shown})", **USER_AND_OBJECT)
    routes = rule("storage.k8s.io", "v1", ["CREATE", "UPDATE", "DELETE"], ["storageclasses"])
    attested = Attested("storage.k8s.io", "storageclasses", asked)
    return attested.guard(frame, PolicyName.GUARD_STORAGE_CLASSES, [routes], text, again, gone)
