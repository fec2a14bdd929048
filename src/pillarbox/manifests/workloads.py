"""What runs pods: Deployments, DaemonSets, StatefulSets, Jobs and CronJobs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pillarbox.manifests import backups, kinds, names, traffic
from pillarbox.manifests.manifest import Manifest, Object
from pillarbox.manifests.pods import template
from pillarbox.manifests.scope import Scope, compact, unit_name
from pillarbox.manifests.section import PillarSection
from pillarbox.manifests.services import service
from pillarbox.manifests.storage import claim
from pillarbox.system.names import did_you_mean

KINDS = tuple(kind.name for kind in kinds.TABLE if kind.section == "service" and kind.runs_pods)
PHASES = ("expand", "contract")

RELEASE = "pillarbox.io/release"
PHASE = "pillarbox.io/phase"
ONCE_PER = "pillarbox.io/once-per"
#: The Secrets and ConfigMaps whose changes replace no pod, as ``secret/<name>`` with commas between them.
IGNORED = "pillarbox.io/ignore-changes"

# What the formula wrote or its models carry and nothing here needs: the API version follows the cluster, files have
# their own layout, and a state that is applied is always created.
_LEGACY = ("api_version", "cluster", "create", "enabled")


def service_workload(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:service``: a workload, its Service, and its disruption budget."""
    with section:
        section.ignore(*_LEGACY)
        base, role = section.text("service", default=key) or key, section.text("role")
        name = section.checked(f"{base}-{role}" if role else base, names.SERVICE)
        namespace = section.name("namespace") or scope.namespace
        labels, annotations = section.texts("labels"), section.texts("annotations")
        kind = _kind(section)
        own = partial(scope.manifest, place=section.place, namespace=namespace, service=base, role=role)
        spec = _spec(kind, name, section, scope)
        backup = backups.read(section, kind, [each["name"] for each in spec["template"]["spec"]["containers"]])
        marks = {
            RELEASE: section.text("release"),
            IGNORED: _ignored(section),
            backups.ANNOTATION: backup and backup.annotation,
        }
        yield own(
            kind,
            name,
            {"spec": spec},
            labels=labels,
            annotations=annotations | compact(**marks),
            unit=unit_name(namespace, "service", name),
            depends_on=_dependencies(section),
        )
        ports, notes = service(section, scope), section.texts("service_annotations")
        if ports is not None:
            body = {"spec": ports | {"selector": {"app": name}}}
            yield own("Service", name, body, labels={"name": name} | labels, annotations=notes)
        budget = _budget(section, name)
        if budget:
            yield own("PodDisruptionBudget", name, {"spec": budget}, labels=labels)
        yield own("NetworkPolicy", name, _policy(name), labels=labels, traffic=traffic.of_workload(section))


def job(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:job``. Its name gets its digest when all objects are there."""
    with section:
        section.ignore(*_LEGACY, "kind")
        base, role = section.text("service", default=key) or key, section.text("role")
        name = section.checked(section.text("job", "name", default=key) or key, names.LABEL)
        if len(name) > 52:
            section.problem(f"a job's name has at most 52 characters, {name} has {len(name)}")
        namespace = section.name("namespace") or scope.namespace
        phase, release = section.choice("phase", among=PHASES), section.text("release")
        once_per = section.choice("once_per", among=("image", "config"), default="image")
        restart = section.choice("restart_policy", among=("Never", "OnFailure"), default="Never")
        # Not the bare name: a Service of that name would send requests to the job.
        app = f"{name}-job"
        spec = compact(
            backoffLimit=section.number("backoff_limit"),
            activeDeadlineSeconds=section.number("active_deadline", "active_deadline_seconds", low=1),
            ttlSecondsAfterFinished=section.number("ttl", "ttl_seconds_after_finished"),
            parallelism=section.number("parallelism"),
            completions=section.number("completions", low=1),
            template=template(section, app, scope, f"{base}-{role}" if role else base, restart=restart),
        )
        schedule = section.text("schedule")
        if schedule is None:
            spec = section.complete(spec, "batch.v1.JobSpec")
        else:
            policy = section.choice("concurrency_policy", among=("Allow", "Forbid", "Replace"))
            cron = compact(
                schedule=schedule,
                concurrencyPolicy=policy,
                suspend=section.flag("suspend"),
                successfulJobsHistoryLimit=section.number("successful_jobs_history_limit"),
                failedJobsHistoryLimit=section.number("failed_jobs_history_limit"),
                startingDeadlineSeconds=section.number("starting_deadline", "starting_deadline_seconds"),
                jobTemplate={"spec": section.complete(spec, "batch.v1.JobSpec")},
            )
            spec = section.complete(cron, "batch.v1.CronJobSpec")
        marks = compact(**{PHASE: phase, RELEASE: release, ONCE_PER: once_per if schedule is None else None})
        labels = section.texts("labels")
        own = partial(scope.manifest, place=section.place, namespace=namespace, service=base, role=role, labels=labels)
        yield own(
            "CronJob" if schedule is not None else "Job",
            name,
            {"spec": spec},
            annotations=section.texts("annotations") | marks,
            unit=unit_name(namespace, "job", name),
            depends_on=_dependencies(section),
        )
        yield own("NetworkPolicy", app, _policy(app), traffic=traffic.of_workload(section))


def _kind(section: PillarSection) -> str:
    # A PetSet is what Kubernetes called a StatefulSet when the formula was written.
    given = section.text("kind", default="Deployment")
    if given == "PetSet":
        return "StatefulSet"
    if given not in KINDS:
        hint = (
            did_you_mean(given or "", KINDS) or f"Known: {', '.join(KINDS)}; jobs stand under kubernetes:control:job."
        )
        section.problem(f"unsupported kind {given}", hint, key="kind")
        return "Deployment"
    return given


def _spec(kind: str, name: str, section: PillarSection, scope: Scope) -> Object:
    replicas = section.number("replicas")
    common = {
        "selector": {"matchLabels": {"app": name}},
        "template": template(section, name, scope, name),
    }
    history = section.number("revision_history_limit")
    patience = section.number("min_ready_seconds")
    section.ignore(
        "progress_deadline", "progress_deadline_seconds", "service_name", "pod_management_policy", "volume_claim"
    )
    if kind != "StatefulSet" and section.value("volume_claim") is not None:
        section.problem(
            f"a {kind} has no volume_claim", "Use a StatefulSet, or a volume of type persistent_volume_claim."
        )
    # DaemonSets and StatefulSets learned in 1.22 what Deployments could before.
    grown = scope.version >= (1, 22)
    if kind == "StatefulSet" and patience is not None and not grown:
        section.problem("a StatefulSet in this version of Kubernetes has no min_ready_seconds", key="min_ready_seconds")
    with section.section("strategy") as strategy:
        match kind:
            case "DaemonSet":
                fitting = ("max_surge", "max_unavailable") if grown else ("max_unavailable",)
                update = _strategy(strategy, kind, ("RollingUpdate", "OnDelete"), fitting)
            case "StatefulSet":
                # An API server before 1.35 drops max_unavailable without a word.
                fitting = ("partition", "max_unavailable") if scope.version >= (1, 35) else ("partition",)
                update = _strategy(strategy, kind, ("RollingUpdate", "OnDelete"), fitting)
            case _:
                update = _strategy(strategy, kind, ("RollingUpdate", "Recreate"), ("max_surge", "max_unavailable"))
    match kind:
        case "DaemonSet":
            extra = compact(updateStrategy=update, minReadySeconds=patience, revisionHistoryLimit=history)
        case "StatefulSet":
            extra = compact(
                replicas=replicas,
                serviceName=section.name("service_name") or name,
                updateStrategy=update,
                minReadySeconds=patience,
                revisionHistoryLimit=history,
                podManagementPolicy=section.choice("pod_management_policy", among=("OrderedReady", "Parallel")),
                volumeClaimTemplates=[_claim_template(title, item) for title, item in section.sections("volume_claim")],
            )
        case _:
            extra = compact(
                replicas=replicas,
                strategy=update,
                minReadySeconds=patience,
                revisionHistoryLimit=history,
                progressDeadlineSeconds=section.number("progress_deadline", "progress_deadline_seconds", low=1),
            )
    return section.complete(extra | common, f"apps.v1.{kind}Spec", "volume_claim_templates")


def _claim_template(name: str, section: PillarSection) -> Object:
    with section:
        section.ignore("name")
        return {"metadata": {"name": section.checked(name, names.LABEL)}, "spec": claim(section)}


def _strategy(section: PillarSection, kind: str, types: tuple[str, ...], fitting: tuple[str, ...]) -> Object:
    """How pods are replaced; ``fitting`` are the keys that the kind knows in the cluster's version."""
    given = section.choice("type", among=types)
    amounts = {
        "max_surge": section.amount("max_surge"),
        "max_unavailable": section.amount("max_unavailable"),
        "partition": section.number("partition"),
    }
    rolling = {names.camel(key): amount for key, amount in amounts.items() if amount is not None}
    for key in amounts:
        if amounts[key] is not None and (key not in fitting or given not in (None, "RollingUpdate")):
            strategy = f" with strategy {given}" if key in fitting else " in this version of Kubernetes"
            section.problem(f"a {kind}{strategy} has no {key}", key=key)
    if rolling.get("maxSurge") in (0, "0%") and rolling.get("maxUnavailable") in (0, "0%"):
        section.problem("max_surge and max_unavailable are both 0: no pod could ever be replaced")
    return compact(type=given or ("RollingUpdate" if rolling else None), rollingUpdate=rolling)


def _budget(section: PillarSection, name: str) -> Object:
    with section.section("disruption_budget") as budget:
        low, high = budget.amount("min_available"), budget.amount("max_unavailable")
        if low is not None and high is not None:
            budget.problem("give min_available or max_unavailable, not both")
        if low is None and high is None:
            return {}
        found = compact(minAvailable=low, maxUnavailable=high) | {"selector": {"matchLabels": {"app": name}}}
        return budget.complete(found, "policy.v1.PodDisruptionBudgetSpec")


def _policy(app: str) -> Object:
    """A NetworkPolicy that allows nothing yet: what it allows is known when all workloads are there."""
    return {"spec": {"podSelector": {"matchLabels": {"app": app}}}}


def _ignored(section: PillarSection) -> str | None:
    known = (kinds.SECRET, kinds.CONFIG_MAP)
    words = section.words("ignore_changes") or []
    for word in words:
        if word.partition("/")[0] not in {kind.section for kind in known}:
            expected = " or ".join(f"{kind.section}/<name>" for kind in known)
            section.problem(f"expected {expected}, found {word}", key="ignore_changes")
    return ",".join(words) or None


def _dependencies(section: PillarSection) -> tuple[str, ...]:
    return tuple(dict.fromkeys(section.words("depends_on") or ()))
