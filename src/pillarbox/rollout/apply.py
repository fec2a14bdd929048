"""Making objects what their manifests say, and nothing twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pillarbox.rollout.cluster import FIELD_MANAGER, Cluster
from pillarbox.rollout.errors import ApiError, RolloutError
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


@dataclass(frozen=True)
class Prepared:
    """A manifest ready for the API server. ``object`` may hold secrets in clear and must not be printed or stored."""

    manifest: Manifest
    object: Object = field(repr=False)
    ref: ObjectRef


@dataclass(frozen=True)
class LiveChange:
    """What applying one object does.

    ``fields`` are the dotted paths that change. ``before`` is what we last applied to it, if anything.
    """

    ref: ObjectRef
    action: Action
    fields: tuple[str, ...] = ()
    prepared: Prepared | None = None
    before: Object | None = field(default=None, repr=False)

    @property
    def writes(self) -> bool:
        """Whether the cluster is written to at all."""
        return self.action is not Action.UNCHANGED

    @property
    def rolls(self) -> bool:
        """Whether pods are replaced or started."""
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
        }


def prepare(
    cluster: Cluster, manifests: Sequence[Manifest], deployment: str, keyring: Keyring
) -> tuple[tuple[Prepared, ...], Scrubber]:
    """Manifests as they are sent: secrets opened, namespace and ownership labels set.

    Raises :class:`RolloutError` (or several) naming the file of each manifest that cannot be sent.
    """
    prepared, errors, revealed = [], [], []
    for manifest in manifests:
        try:
            obj = _complete(cluster, dict(manifest.object), deployment)
            if obj["kind"] == "Secret":
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
    coming = {item.ref.name for item in prepared if item.ref.kind == "Namespace"}
    there = {item["metadata"]["name"] for item in cluster.list("v1", "Namespace")[0]}

    def one(item: Prepared) -> LiveChange | PillarboxError:
        try:
            return _examine(cluster, item, item.ref.namespace in coming - there)
        except ApiError as error:
            return refusal(item, error, scrub)
        except PillarboxError as error:
            error.file = error.file or item.manifest.filename
            return error

    with ThreadPoolExecutor(_PARALLEL) as pool:
        results = list(pool.map(one, prepared))
    raise_all([result for result in results if isinstance(result, PillarboxError)])
    return tuple(result for result in results if isinstance(result, LiveChange))


def write(cluster: Cluster, change: LiveChange, scrub: Scrubber) -> Object | None:
    """Carry out one change; the object as it is then. An unchanged object causes no request."""
    if change.action is Action.UNCHANGED:
        return None
    if change.action is Action.DELETE:
        cluster.delete(change.ref)
        return None
    assert change.prepared is not None
    if change.action is Action.RERUN:
        _clear(cluster, change.ref)
    try:
        return cluster.apply(change.prepared.object)
    except ApiError as error:
        raise refusal(change.prepared, error, scrub) from error


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


def job_state(live: Mapping[str, object] | None) -> JobState:
    """How far a live Job is; ``None`` is one that is not there."""
    if live is None:
        return JobState.ABSENT
    status = live.get("status") or {}
    assert isinstance(status, Mapping)
    for condition in status.get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            return JobState.COMPLETE if condition["type"] == "Complete" else JobState.FAILED
    return JobState.RUNNING


def _complete(cluster: Cluster, obj: Object, deployment: str) -> Object:
    metadata = dict(obj["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), MANAGED_BY: "pillarbox", DEPLOYMENT: deployment}
    if not metadata.get("namespace") and cluster.namespaced(obj["apiVersion"], obj["kind"]):
        metadata["namespace"] = "default"
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
    if item.ref.kind == "Job":
        state = job_state(live)
        if state in (JobState.COMPLETE, JobState.RUNNING):
            return LiveChange(item.ref, Action.UNCHANGED, prepared=item)
        if state is JobState.FAILED:
            cluster.try_create(item.object, item.ref.namespace)
            return LiveChange(item.ref, Action.RERUN, prepared=item)
    after = cluster.apply(item.object, dry_run=True)
    if live is None:
        return LiveChange(item.ref, Action.CREATE, prepared=item)
    fields = tuple(differences(meaning(live), meaning(after)))
    action = Action.UPDATE if fields else Action.UNCHANGED
    return LiveChange(item.ref, action, fields, item, owned(live, FIELD_MANAGER))


def _clear(cluster: Cluster, job: ObjectRef) -> None:
    cluster.delete(job)
    listed, version = cluster.list(job.api_version, job.kind, job.namespace, fields=f"metadata.name={job.name}")
    while listed:
        for event, _ in cluster.watch(
            job.api_version, job.kind, job.namespace, fields=f"metadata.name={job.name}", since=version, seconds=30
        ):
            if event == "DELETED":
                break
        listed, version = cluster.list(job.api_version, job.kind, job.namespace, fields=f"metadata.name={job.name}")
