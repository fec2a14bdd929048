"""One rollout: validate everything, then wave by wave apply, wait for health, go back where it does not come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pillarbox.manifests import kinds
from pillarbox.manifests.definitions import definition
from pillarbox.manifests.kinds import ConditionGate, Gate, Kind
from pillarbox.manifests.references import references
from pillarbox.manifests.releases import CONTRACT, EXPAND, ReleaseMark, marked
from pillarbox.manifests.workloads import PHASE
from pillarbox.rollout import gates, memory, policies
from pillarbox.rollout.apply import LiveChange, Prepared, TakenField, prepare, send, survey, write
from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.gates import Verdict
from pillarbox.rollout.objects import Object, ObjectRef, selector
from pillarbox.rollout.prune import Orphan, orphans
from pillarbox.rollout.secrets import reveal
from pillarbox.rollout.states import Action, StepResult
from pillarbox.rollout.store import GoodStore
from pillarbox.rollout.waves import waves
from pillarbox.secrets import Keyring, Scrubber
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import SILENT, Progress, elapsed
from pillarbox.system.waiting import until

if TYPE_CHECKING:
    from pillarbox.manifests import Manifest

_PARALLEL = 16
#: Seconds within which an API server serves a kind that it has established.
_SERVED = 30.0
#: Seconds that the finalizers of a custom resource are waited for.
_FINALIZERS = 60.0
#: Seconds beyond its own grace period within which a host reports that a pod has ended.
_GRACE = 30.0


@dataclass(frozen=True)
class RolloutStep:
    """What came of one object."""

    ref: ObjectRef
    action: Action
    result: StepResult
    wave: int
    seconds: float = 0.0
    reason: str = ""
    log: str = ""
    fields: tuple[str, ...] = ()
    rolls: bool = False
    runs_pods: bool = False
    taken: tuple[TakenField, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The step as plain data."""
        return {
            "kind": self.ref.kind,
            "namespace": self.ref.namespace,
            "name": self.ref.name,
            "action": self.action.value,
            "result": self.result.value,
            "wave": self.wave,
            "seconds": round(self.seconds, 1),
            "rolls": self.rolls,
            "runs_pods": self.runs_pods,
            **({"reason": self.reason} if self.reason else {}),
            **({"log": self.log} if self.log else {}),
            **({"fields": list(self.fields)} if self.fields else {}),
            **({"taken": [str(one) for one in self.taken]} if self.taken else {}),
        }


@dataclass(frozen=True)
class RolloutOutcome:
    """A rollout's end. ``succeeded`` is true only when everything is applied and healthy."""

    succeeded: bool
    dry_run: bool
    steps: tuple[RolloutStep, ...]
    kept: tuple[Orphan, ...] = ()
    error: str = ""

    @property
    def writes(self) -> int:
        """How many objects were written (or would be)."""
        return sum(
            1
            for step in self.steps
            if step.action is not Action.UNCHANGED and step.result is not StepResult.NOT_REACHED
        )

    @property
    def unhealthy(self) -> tuple[RolloutStep, ...]:
        """What did not come up."""
        return tuple(step for step in self.steps if step.result is StepResult.FAILED)

    def as_dict(self) -> dict[str, object]:
        """The outcome as plain data."""
        return {
            "succeeded": self.succeeded,
            "dry_run": self.dry_run,
            "writes": self.writes,
            "steps": [step.as_dict() for step in self.steps],
            "kept": [{"object": str(item.ref), "reason": item.kept} for item in self.kept],
            **({"error": self.error} if self.error else {}),
        }


def roll_out(
    cluster: Cluster,
    manifests: Sequence[Manifest],
    *,
    deployment: str,
    keyring: Keyring,
    store: GoodStore,
    progress: Progress = SILENT,
    dry_run: bool = False,
    data_too: bool = False,
    before_expand: Callable[[], None] = lambda: None,
    cut_off: Callable[[RolloutOutcome], None] = lambda outcome: None,
) -> RolloutOutcome:
    """Make ``deployment`` in ``cluster`` what ``manifests`` say.

    Nothing is written before every object has passed the API server's own validation. A wave starts when the one
    before it is healthy; if it does not become healthy, what it changed is put back, and no later wave starts. What
    the model no longer has is deleted at the end (data only with ``data_too``), and until then NetworkPolicies go on
    allowing what they did. ``before_expand`` is called once, before the first Job that expands a schema; an error that
    it raises ends the rollout there.

    Raises :class:`PillarboxError` when nothing was written: the manifests are refused, a schema forbids going back,
    the cluster is out of reach. What fails later is in the outcome. On Ctrl-C and the like, ``cut_off`` gets what
    was done so far, before the interrupt goes on.
    """
    ordered = waves(manifests)
    with progress.phase(f"checking {len(manifests)} objects against {cluster.server}"):
        floors = memory.refuse_return(cluster, manifests)
        prepared, scrub = prepare(cluster, manifests, deployment, keyring)
        changes = {change.ref: change for change in survey(cluster, prepared, scrub)}
        left = orphans(cluster, [item.ref for item in prepared], deployment, data_too=data_too)
    by_manifest = {id(item.manifest): item for item in prepared}
    plan = tuple(tuple(changes[by_manifest[id(m)].ref] for m in wave) for wave in ordered)
    run = _Run(cluster, plan, left, floors, keyring, store, scrub, progress, before_expand)
    if dry_run:
        return run.preview()
    try:
        return run.carry_out()
    except BaseException:
        cut_off(RolloutOutcome(False, False, tuple(run.steps), run.kept))
        raise


class _Run:
    def __init__(
        self,
        cluster: Cluster,
        plan: tuple[tuple[LiveChange, ...], ...],
        left: tuple[Orphan, ...],
        floors: memory.Floors,
        keyring: Keyring,
        store: GoodStore,
        scrub: Scrubber,
        progress: Progress,
        before_expand: Callable[[], None],
    ) -> None:
        self.before_expand: Callable[[], None] | None = before_expand
        self.cluster = cluster
        self.plan = plan
        self.left = left
        self.floors = floors
        self.keyring = keyring
        self.store = store
        self.scrub = scrub
        self.progress = progress
        self.steps: list[RolloutStep] = []
        self.kept = tuple(orphan for orphan in left if orphan.kept)

    def preview(self) -> RolloutOutcome:
        for number, wave in enumerate(self.plan):
            self.steps += [_step(change, StepResult.OK, number) for change in wave]
        gone = [orphan for orphan in self.left if not orphan.kept]
        self.steps += [_step(LiveChange(orphan.ref, Action.DELETE), StepResult.OK, len(self.plan)) for orphan in gone]
        return RolloutOutcome(True, True, tuple(self.steps), self.kept)

    def carry_out(self) -> RolloutOutcome:
        for number, wave in enumerate(self.plan):
            error = self._wave(number, wave)
            if error:
                for later, rest in enumerate(self.plan[number + 1 :], number + 1):
                    self.steps += [_step(change, StepResult.NOT_REACHED, later) for change in rest if change.writes]
                return RolloutOutcome(False, False, tuple(self.steps), self.kept, error)
        # What no workload uses has no health of its own: it was good if all came up.
        for change in (change for wave in self.plan for change in wave if change.gate is None):
            self._keep(change)
        self._prune()
        self._narrow()
        return RolloutOutcome(True, False, tuple(self.steps), self.kept)

    def _wave(self, number: int, wave: tuple[LiveChange, ...]) -> str:
        """Apply one wave and wait for it; an error's text, or nothing."""
        writing = [change for change in wave if change.writes]
        label = f"wave {number} of {len(self.plan) - 1}" if number else "wave 0: configuration"
        if writing:
            self.progress.step(f"{label}: {len(writing)} of {len(wave)} objects change")
        written: list[LiveChange] = []
        start = time.monotonic()
        try:
            for change in writing:
                self._prepare_expand(change)
                self._note_floor(change)
                self._see_off(change)
                write(self.cluster, change, self.scrub, policies.widened(change))
                written.append(change)
                taken = f"; takes {', '.join(map(str, change.taken))}" if change.taken else ""
                self.progress.step(f"{label}: {change.ref} {_PAST[change.action]}{taken}")
        except PillarboxError as error:
            self.steps.append(_step(writing[len(written)], StepResult.FAILED, number, reason=self.scrub(str(error))))
            self._go_back(number, written)
            return self.scrub(str(error))
        except BaseException:
            self._cut_off(number, written)
            raise
        try:
            verdicts = self._gate(number, wave)
        except BaseException:
            self._cut_off(number, written)
            raise
        bad = [verdict for verdict in verdicts.values() if not verdict.healthy]
        if not bad:
            for change in wave:
                verdict = verdicts.get(change.ref)
                seconds = verdict.seconds if verdict else time.monotonic() - start
                self.steps.append(_step(change, StepResult.OK, number, seconds=seconds if change.writes else 0.0))
                self._remember(change)
            self._keep_configuration(wave)
            return ""
        culprits = [verdict for verdict in bad if verdict.reason != _STOPPED]
        for verdict in culprits:
            self.progress.step(f"{label}: {verdict.ref} failed: {verdict.reason}")
            for line in verdict.log.splitlines():
                self.progress.step(f"    | {line}")
        for verdict in culprits:
            change = next(item for item in wave if item.ref == verdict.ref)
            self.steps.append(
                _step(
                    change, StepResult.FAILED, number, seconds=verdict.seconds, reason=verdict.reason, log=verdict.log
                )
            )
        blamed = {verdict.ref for verdict in culprits}
        ours = any(change.writes for change in wave if change.ref in blamed)
        self._go_back(number, written if ours else [])
        handled = {step.ref for step in self.steps if step.wave == number}
        self.steps += [_step(change, StepResult.OK, number) for change in wave if change.ref not in handled]
        return "; ".join(f"{verdict.ref}: {verdict.reason}" for verdict in culprits)

    def _cut_off(self, number: int, written: list[LiveChange]) -> None:
        self.steps += [_step(change, StepResult.OK, number, reason="applied; not waited for") for change in written]

    def _gate(self, number: int, wave: tuple[LiveChange, ...]) -> dict[ObjectRef, Verdict]:
        waiting = [(change, change.gate) for change in wave if change.gate]
        if not waiting:
            return {}
        broken = threading.Event()

        def one(waited: tuple[LiveChange, Gate | ConditionGate]) -> Verdict:
            change, gate = waited
            wanted, quiet, last = change.ref, not change.writes, ""

            def say(text: str) -> None:
                nonlocal last
                activity.now(f"wave {number}: {wanted}: {text}")
                if not quiet and text != last:
                    self.progress.step(activity.text)
                last = text

            with self.progress.waiting(f"wave {number}: {wanted}") as activity:
                verdict = gates.wait(
                    self.cluster,
                    wanted,
                    gate,
                    say=say,
                    scrub=self.scrub,
                    stop=broken.is_set,
                    changed=not quiet,
                )
                if verdict.healthy and not self._served(change):
                    reason = "the cluster has established it, and does not serve its kind"
                    verdict = replace(verdict, healthy=False, reason=reason)
            if not verdict.healthy:
                broken.set()
            elif not quiet:
                self.progress.step(f"wave {number}: {wanted} healthy after {elapsed(verdict.seconds)}")
            return verdict

        with ThreadPoolExecutor(_PARALLEL) as pool:
            try:
                verdicts = list(pool.map(one, waiting))
            except BaseException:
                # Ctrl-C: the waiting threads must end with us; the next deploy carries on from what is applied.
                broken.set()
                raise
        return {verdict.ref: verdict for verdict in verdicts}

    def _served(self, change: LiveChange) -> bool:
        """Whether the kind that a definition adds can be used; an API server learns of it a moment later."""
        found = definition(change.prepared.object) if change.prepared else None
        return found is None or until(
            lambda: all(self.cluster.serves(f"{found.group}/{version}", found.kind) for version in found.versions),
            f"{found.kind} to be served",
            patience=_SERVED,
        )

    def _go_back(self, number: int, written: list[LiveChange]) -> None:
        """Put back what this wave changed, and the configuration of this run that only it uses.

        What was healthy under a release that the schema has left behind since is never put back.
        """
        moved = [change for change in written if not change.ref.type.once]
        staying = {change.ref: floor for change in moved if (floor := self._stuck(change))}
        returning = [change for change in moved if change.ref not in staying]
        for change in [*_configuration(self.plan, number, returning), *moved]:
            before = self._good(change)
            failed = next(
                (step for step in self.steps if step.ref == change.ref and step.result is StepResult.FAILED), None
            )
            if before is None and change.ref not in staying:
                if failed is None and change in moved:
                    self.steps.append(_step(change, StepResult.OK, number, reason="new; left in place"))
                self.progress.step(f"{change.ref} is new: there is nothing to go back to, it stays for inspection")
                continue
            if before is None:
                text, result = f"left in place: its schema cannot go back behind {staying[change.ref]}", StepResult.OK
            else:
                text, result = self._put_back(before)
            self.progress.step(f"{change.ref} {text}")
            if failed is not None:
                index = self.steps.index(failed)
                self.steps[index] = _step(
                    change,
                    StepResult.FAILED,
                    number,
                    seconds=failed.seconds,
                    reason=f"{failed.reason}; {text}",
                    log=failed.log,
                )
            else:
                self.steps = [step for step in self.steps if step.ref != change.ref]
                self.steps.append(_step(change, result, number, reason=text))
        for change in returning:
            if change.gate and change.action is Action.UPDATE:
                self._settle(number, change.ref, change.gate)

    def _put_back(self, before: Object) -> tuple[str, StepResult]:
        try:
            send(self.cluster, self._restorable(before))
        except PillarboxError as error:
            return f"could not be put back: {self.scrub(str(error))}", StepResult.FAILED
        return "put back to what was healthy before", StepResult.ROLLED_BACK

    def _before(self, change: LiveChange) -> list[Object]:
        """What a change may go back to: what was healthy, else what was applied last."""
        if change.action is Action.CREATE:
            return []
        return [before for before in (self.store.get(change.ref), change.before) if before is not None]

    def _good(self, change: LiveChange) -> Object | None:
        return next((before for before in self._before(change) if not memory.below(self.floors, before)), None)

    def _stuck(self, change: LiveChange) -> str:
        """The release that keeps a change from going back, if that is what does."""
        if self._good(change) is not None:
            return ""
        return next((memory.below(self.floors, before) for before in self._before(change)), "")

    def _settle(self, number: int, wanted: ObjectRef, gate: Gate | ConditionGate) -> None:
        text = f"wave {number}: {wanted} to be healthy again"
        with self.progress.waiting(text) as activity:
            verdict = gates.wait(
                self.cluster, wanted, gate, scrub=self.scrub, say=lambda found: activity.now(f"{text}: {found}")
            )
        state = "healthy again" if verdict.healthy else f"still unhealthy after going back: {verdict.reason}"
        self.progress.step(f"wave {number}: {wanted} {state}")

    def _restorable(self, before: Object) -> Object:
        return reveal(before, self.keyring) if kinds.of(before) is kinds.SECRET else before

    def _remember(self, change: LiveChange) -> None:
        if change.ref.type.once:
            self._note_floor(change)
        elif change.gate:
            self._keep(change)

    def _keep(self, change: LiveChange) -> None:
        if change.prepared is None:
            return
        good = _closed(change.prepared)
        if self.store.get(change.ref) != good:
            self.store.put(change.ref, good)

    def _keep_configuration(self, wave: Sequence[LiveChange]) -> None:
        """Configuration has no health of its own: it was good if what runs on it came up."""
        used = set[tuple[Kind, str, str]]()
        for change in wave:
            used |= set() if change.ref.type.once else _used(change)
        for change in self.plan[0]:
            if (change.ref.type, change.ref.namespace, change.ref.name) in used:
                self._keep(change)

    def _prepare_expand(self, change: LiveChange) -> None:
        if self.before_expand and _migrates(change, EXPAND):
            self.before_expand()
            self.before_expand = None

    def _note_floor(self, change: LiveChange) -> None:
        """A contraction leaves older releases behind from the moment that it starts, however it ends."""
        if mark := _migrates(change, CONTRACT):
            self.floors |= memory.remember(self.cluster, change.ref.namespace, mark.service, mark.release)

    def _see_off(self, change: LiveChange) -> None:
        """Wait until the pods that were replaced before a contraction have ended: they use what it takes away.

        A pod that outlives the time it has to end is one of a host that is gone, and nobody asks it anything.
        """
        manifest = change.prepared.manifest if change.prepared else None
        if manifest is None or manifest.annotations.get(PHASE) != CONTRACT:
            return
        for other in (other.prepared for wave in self.plan for other in wave if other.prepared):
            if other.ref.type.runs_pods and not other.ref.type.once and other.manifest.unit in manifest.depends_on:
                self._ended(other, change.ref)

    def _ended(self, replaced: Prepared, waiting: ObjectRef) -> None:
        namespace, labels = replaced.ref.namespace, selector(replaced.object["spec"]["selector"]["matchLabels"])

        def leaving() -> list[Object]:
            pods, _ = self.cluster.list("v1", "Pod", namespace, labels=labels)
            return [pod for pod in pods if pod["metadata"].get("deletionTimestamp")]

        found = leaving()
        if found:
            text = f"{waiting} waits for {len(found)} pods of {replaced.ref} to end"
            self.progress.step(text)
            patience = _GRACE + max(int(pod["spec"].get("terminationGracePeriodSeconds") or 0) for pod in found)
            with self.progress.waiting(text):
                until(lambda: not leaving(), f"the pods of {replaced.ref} that were replaced to end", patience=patience)

    def _narrow(self) -> None:
        """Have NetworkPolicies allow no more than the model says, when the pods that were replaced have ended."""
        changes = [change for wave in self.plan for change in wave]
        wide = [change for change in changes if policies.widened(change) is not None]
        for replaced in changes if wide else ():
            if replaced.prepared and replaced.rolls and not replaced.ref.type.once:
                self._ended(replaced.prepared, wide[0].ref)
        for change in wide:
            write(self.cluster, change, self.scrub)
            self.progress.step(f"{change.ref} narrowed to what the model allows")

    def _prune(self) -> None:
        stuck = ""
        for orphan in self.left:
            if stuck and not orphan.kept:
                self.kept += (Orphan(orphan.ref, stuck),)
            if orphan.kept or stuck:
                self.progress.step(f"{orphan.ref} is no longer in the model; left alone, {orphan.kept or stuck}")
                continue
            change = LiveChange(orphan.ref, Action.DELETE)
            write(self.cluster, change, self.scrub)
            self.store.drop(orphan.ref)
            self.progress.step(f"{orphan.ref} deleted: the model no longer has it")
            self.steps.append(_step(change, StepResult.OK, len(self.plan)))
            # What a controller has to clean up goes before the controller may.
            with self.progress.waiting(f"the finalizers of {orphan.ref}"):
                if not orphan.ref.type.apis and not self.cluster.gone(orphan.ref, patience=_FINALIZERS):
                    stuck = f"{orphan.ref} waits for its finalizers"


_PAST = {Action.CREATE: "created", Action.UPDATE: "updated", Action.RERUN: "started again"}
_STOPPED = "stopped waiting"


def _step(
    change: LiveChange, result: StepResult, wave: int, *, seconds: float = 0.0, reason: str = "", log: str = ""
) -> RolloutStep:
    pods = change.ref.type.runs_pods
    return RolloutStep(
        change.ref, change.action, result, wave, seconds, reason, log, change.fields, change.rolls, pods, change.taken
    )


def _migrates(change: LiveChange, phase: str) -> ReleaseMark | None:
    """The mark of a Job that does this phase of a change of schema."""
    mark = marked(change.prepared.object) if change.prepared and change.ref.type.once else None
    return mark if mark and mark.phase == phase else None


def _closed(prepared: Prepared) -> Object:
    """The object as applied, with a Secret's values as the model has them."""
    if prepared.ref.type is not kinds.SECRET:
        return prepared.object
    model = prepared.manifest.object
    return {
        **{key: value for key, value in prepared.object.items() if key != "data"},
        **{key: model[key] for key in ("data", "stringData") if key in model},
    }


def _used(change: LiveChange) -> set[tuple[Kind, str, str]]:
    """The Secrets and ConfigMaps that an object runs on: kind, namespace, name."""
    assert change.prepared is not None
    return {(each.kind, change.ref.namespace, each.name) for each in references(change.prepared.object)}


def _configuration(plan: tuple[tuple[LiveChange, ...], ...], number: int, moved: list[LiveChange]) -> list[LiveChange]:
    """Changed Secrets and ConfigMaps of wave 0 that only the workloads of this wave use."""
    mine, theirs = set[tuple[Kind, str, str]](), set[tuple[Kind, str, str]]()
    going = {change.ref for change in moved}
    for wave in plan[1 : number + 1]:
        for change in wave:
            if change.ref in going:
                mine |= _used(change)
            elif not change.ref.type.once:
                theirs |= _used(change)
    return [
        change
        for change in (plan[0] if number else ())
        if change.action is Action.UPDATE and (change.ref.type, change.ref.namespace, change.ref.name) in mine - theirs
    ]
