"""Making objects what their manifests say, and nothing twice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pillarbox.manifests import kinds
from pillarbox.manifests.definitions import Definition, definition
from pillarbox.manifests.kinds import ConditionGate, Gate
from pillarbox.rollout.cluster import FIELD_MANAGER, Cluster
from pillarbox.rollout.errors import ApiError, RolloutError
from pillarbox.rollout.health import job_state
from pillarbox.rollout.objects import (
    DEPLOYMENT,
    MANAGED_BY,
    Object,
    ObjectRef,
    meaning,
    owned,
    ref,
)
from pillarbox.rollout.secrets import reveal, values
from pillarbox.rollout.states import Action, JobState
from pillarbox.secrets import Keyring, Scrubber
from pillarbox.system import gpg
from pillarbox.system.differences import differences
from pillarbox.system.errors import PillarboxError, raise_all

if TYPE_CHECKING:
    from pillarbox.manifests import Manifest

#: Requests that validate and compare are independent of each other.
_PARALLEL = 8
#: The field manager of replicas that we gave up, until an autoscaler sets them.
_HEIR = "pillarbox-replicas"
#: Whose a field is, in the words of the API server.
_OTHER = re.compile(r'conflict with "([^"]*)"')


@dataclass(frozen=True)
class Prepared:
    """A manifest ready for the API server. ``object`` may hold secrets in clear and must not be printed or stored."""

    manifest: Manifest
    object: Object = field(repr=False)
    ref: ObjectRef


class TakenField(NamedTuple):
    """A field that another field manager had set otherwise."""

    field: str
    manager: str

    def __str__(self) -> str:
        return f"{self.field} from {self.manager}"


@dataclass(frozen=True)
class LiveChange:
    """What applying one object does.

    ``fields`` are the dotted paths that change. ``before`` is what we last applied to it, if anything. ``taken`` are
    what other field managers had set otherwise.
    """

    ref: ObjectRef
    action: Action
    fields: tuple[str, ...] = ()
    prepared: Prepared | None = None
    before: Object | None = field(default=None, repr=False)
    taken: tuple[TakenField, ...] = ()

    @property
    def gate(self) -> Gate | ConditionGate | None:
        """What a wave waits for after it."""
        return self.prepared.manifest.gate if self.prepared else None

    @property
    def writes(self) -> bool:
        """Whether the cluster is written to at all."""
        return self.action is not Action.UNCHANGED

    @property
    def rolls(self) -> bool:
        """Whether pods are replaced or started."""
        if not self.ref.type.runs_pods:
            return False
        return self.action in (Action.CREATE, Action.RERUN) or any(
            name.startswith("spec.template") for name in self.fields
        )

    def as_dict(self) -> dict[str, object]:
        """The change without any object, for reports."""
        return {
            "kind": self.ref.kind,
            "namespace": self.ref.namespace,
            "name": self.ref.name,
            "action": self.action.value,
            "fields": list(self.fields),
            "taken": [str(one) for one in self.taken],
        }


def prepare(
    cluster: Cluster, manifests: Sequence[Manifest], deployment: str, keyring: Keyring
) -> tuple[tuple[Prepared, ...], Scrubber]:
    """Manifests as they are sent: secrets opened, ownership labels set, and the scope of their kind checked.

    Raises :class:`RolloutError` (or several) naming the file of each manifest that cannot be sent.
    """
    prepared, errors, revealed = [], [], []
    coming = [found for manifest in manifests if (found := definition(manifest.object))]
    for manifest in manifests:
        try:
            _check_scope(cluster, manifest, coming)
            obj = _complete(dict(manifest.object), deployment)
            if kinds.of(obj) is kinds.SECRET:
                obj = reveal(obj, keyring)
                revealed.append(obj)
            elif any(gpg.blocks(obj)):
                raise RolloutError(
                    f"{ref(obj)} holds an encrypted secret; only a Secret may",
                    hint="Put the value under kubernetes:control:secret and refer to it with secret: {name, key}.",
                )
            prepared.append(Prepared(manifest, obj, ref(obj)))
        except PillarboxError as error:
            error.file = error.file or manifest.filename
            errors.append(error)
    raise_all(errors)
    _unique(prepared)
    return tuple(prepared), Scrubber(value for secret in revealed for value in values(secret))


def survey(cluster: Cluster, prepared: Sequence[Prepared], scrub: Scrubber) -> tuple[LiveChange, ...]:
    """What applying each object would do, found by the API server's own dry run; writes nothing.

    Raises every refusal at once, each naming file, object, field and the server's message.
    """
    coming = {item.ref.name for item in prepared if item.ref.type is kinds.NAMESPACE}
    there = {item["metadata"]["name"] for item in cluster.list("v1", "Namespace")[0]}
    moving: list[Definition] = []

    def one(item: Prepared) -> LiveChange | PillarboxError:
        defined_here = any(found.defines(item.ref.api_version, item.ref.kind) for found in moving)
        try:
            if defined_here and not cluster.serves(item.ref.api_version, item.ref.kind):
                return LiveChange(item.ref, Action.CREATE, prepared=item)
            return _examine(cluster, item, item.ref.namespace in coming - there)
        except ApiError as error:
            return _unjudged(cluster, item) if defined_here else refusal(item, error, scrub)
        except PillarboxError as error:
            error.file = error.file or item.manifest.filename
            return error

    definitions = [item for item in prepared if definition(item.object)]
    others = [item for item in prepared if not definition(item.object)]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        results = list(pool.map(one, definitions))
        for item, result in zip(definitions, results, strict=True):
            if isinstance(result, LiveChange) and result.writes and (found := definition(item.object)):
                moving.append(found)
        results += pool.map(one, others)
    raise_all([result for result in results if isinstance(result, PillarboxError)])
    changes = {result.ref: result for result in results if isinstance(result, LiveChange)}
    return tuple(changes[item.ref] for item in prepared)


def write(cluster: Cluster, change: LiveChange, scrub: Scrubber, for_now: Object | None = None) -> Object | None:
    """Carry out one change; the object as it is then. An unchanged object causes no request. ``for_now`` is applied in
    place of what the change leads to, which is left to a later call."""
    if change.action is Action.UNCHANGED:
        return None
    if change.action is Action.DELETE:
        cluster.delete(change.ref)
        return None
    assert change.prepared is not None
    if change.action is Action.RERUN:
        cluster.delete(change.ref)
        if not cluster.gone(change.ref):
            raise RolloutError(f"{change.ref} was deleted to run again, and does not go")
    try:
        return send(cluster, for_now or change.prepared.object)
    except ApiError as error:
        raise refusal(change.prepared, error, scrub) from error


def send(cluster: Cluster, obj: Object) -> Object:
    """Apply ``obj``. Replicas that were ours and that it leaves out stay as many as they are, and are ours no more."""
    if kinds.of(obj).runs_pods and (left := _replicas_left(cluster.get(ref(obj)), obj)) is not None:
        # What nobody owns any more falls back to a default, so somebody else has to own it first.
        cluster.apply({**_identity(obj), "spec": {"replicas": left}}, manager=_HEIR)
    return cluster.apply(obj)


def refusal(item: Prepared, error: ApiError, scrub: Scrubber) -> ApiError:
    """The server's refusal of one manifest, worded for whoever wrote the model."""
    fields = "; ".join(f"{name}: {message}" if name else message for name, message in error.causes)
    hint = None
    if "immutable" in error.message or "updates to statefulset spec" in error.message:
        hint = "Kubernetes cannot change this field of an existing object; delete the object, or undo the change."
    return ApiError(
        scrub(f"{item.ref}: the API server refuses it ({error.reason}): {fields or error.message}"),
        status=error.status,
        reason=error.reason,
        causes=error.causes,
        file=item.manifest.filename,
        hint=hint,
    )


def _check_scope(cluster: Cluster, manifest: Manifest, coming: Sequence[Definition]) -> None:
    """Raise :class:`RolloutError` where the cluster has no such kind, or has it with another scope."""
    api_version, kind = manifest.object["apiVersion"], manifest.kind
    found = next((item for item in coming if item.serves(api_version, kind)), None)
    if found is None or cluster.serves(api_version, kind):
        namespaced = cluster.namespaced(api_version, kind)
    else:
        namespaced = found.namespaced
    if namespaced != bool(manifest.namespace):
        scope = "Namespaced" if namespaced else "Cluster"
        raise RolloutError(
            f"{ref(manifest.object)}: in the cluster, a {kind} has the scope {scope}", hint=f"Write scope: {scope}."
        )


def _complete(obj: Object, deployment: str) -> Object:
    metadata = dict(obj["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), MANAGED_BY: "pillarbox", DEPLOYMENT: deployment}
    return _protocols({**obj, "metadata": metadata})


def _protocols(value: object) -> Object:
    """Ports with their default protocol spelled out: server-side apply merges ports by it, and wants it named."""

    def walk(item: object, parent: str) -> object:
        if isinstance(item, Mapping):
            filled = {key: walk(deeper, str(key)) for key, deeper in item.items()}
            if parent == "ports" and ("containerPort" in filled or "port" in filled):
                filled.setdefault("protocol", "TCP")
            return filled
        if isinstance(item, list):
            return [walk(deeper, parent) for deeper in item]
        return item

    walked = walk(value, "")
    assert isinstance(walked, dict)
    return walked


def _unique(prepared: Sequence[Prepared]) -> None:
    seen: dict[tuple[str, str, str, str], Prepared] = {}
    for item in prepared:
        other = seen.setdefault(item.ref.same, item)
        if other is not item:
            raise RolloutError(
                f"{item.ref} is also in {other.manifest.filename}: two manifests claim one object",
                file=item.manifest.filename,
            )


def _examine(cluster: Cluster, item: Prepared, namespace_coming: bool) -> LiveChange:
    if namespace_coming:
        # The server cannot validate objects of a namespace that only this very run creates.
        cluster.try_create(item.object, "default")
        return LiveChange(item.ref, Action.CREATE, prepared=item)
    live = cluster.get(item.ref)
    if item.ref.type is kinds.JOB:
        state = job_state(live)
        if state in (JobState.COMPLETE, JobState.RUNNING):
            return LiveChange(item.ref, Action.UNCHANGED, prepared=item)
        if state is JobState.FAILED:
            cluster.try_create(item.object, item.ref.namespace)
            return LiveChange(item.ref, Action.RERUN, prepared=item)
    left = _replicas_left(live, item.object)
    sent = item.object if left is None else {**item.object, "spec": {**item.object["spec"], "replicas": left}}
    after, taken = _try(cluster, sent)
    if live is None:
        return LiveChange(item.ref, Action.CREATE, prepared=item)
    fields = tuple(differences(meaning(live), meaning(after)))
    action = Action.UPDATE if fields else Action.UNCHANGED
    return LiveChange(item.ref, action, fields, item, owned(live, FIELD_MANAGER), taken)


def _try(cluster: Cluster, obj: Object) -> tuple[Object, tuple[TakenField, ...]]:
    """What the object would be, and which fields that takes from whom."""
    try:
        return cluster.apply(obj, dry_run=True, force=False), ()
    except ApiError as error:
        found = [(name.lstrip("."), _OTHER.match(message)) for name, message in error.causes]
        if error.reason != "Conflict" or not found:
            raise
    taken = tuple(TakenField(name, match[1]) for name, match in found if match and match[1] != _HEIR)
    return cluster.apply(obj, dry_run=True), taken


def _replicas_left(live: Object | None, obj: Object) -> int | None:
    """How many replicas a live object has, where we applied them and ``obj`` leaves them to others."""
    if live is None or "replicas" in (obj.get("spec") or {}):
        return None
    found: int | None = ((owned(live, FIELD_MANAGER) or {}).get("spec") or {}).get("replicas")
    return found


def _identity(obj: Object) -> Object:
    named = {key: obj["metadata"][key] for key in ("name", "namespace") if key in obj["metadata"]}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": named}


def _unjudged(cluster: Cluster, item: Prepared) -> LiveChange:
    """What the server cannot judge yet, because the definition of the kind changes in this very run."""
    live = cluster.get(item.ref)
    if live is None:
        return LiveChange(item.ref, Action.CREATE, prepared=item)
    before = owned(live, FIELD_MANAGER)
    return LiveChange(item.ref, Action.UPDATE, tuple(differences(before, item.object)), item, before)
