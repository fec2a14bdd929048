"""Pods: what the templates of all workloads share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pillarbox.manifests import names
from pillarbox.manifests.affinity import affinity
from pillarbox.manifests.containers import container, user
from pillarbox.manifests.manifest import Object
from pillarbox.manifests.scope import Scope, compact
from pillarbox.manifests.section import PillarSection
from pillarbox.manifests.volumes import volume
from pillarbox.system.names import did_you_mean

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


def template(section: PillarSection, app: str, scope: Scope, image: str, *, restart: str | None = None) -> Object:
    """The pod template that a workload's pillar describes.

    ``app`` is the label that its selector looks for, ``image`` the image node that its containers run by default.
    """
    labels, annotations = section.texts("pod_labels"), section.texts("pod_annotations")
    return {
        "metadata": compact(labels={**labels, "app": app}, annotations=annotations),
        "spec": _spec(section, app, scope, image, restart),
    }


def _spec(section: PillarSection, app: str, scope: Scope, image: str, restart: str | None) -> Object:
    inline: dict[str, Object] = {}
    containers = _containers(section, "container", image, scope, inline)
    if not containers:
        section.problem("no container: a pod runs at least one", key="container")
    if section.flag("privileged"):
        for each in containers:
            each["securityContext"] = {"privileged": True} | each.get("securityContext", {})
    initial = _containers(section, "init_containers", image, scope, inline, "init_container")
    links = section.flag("service_links", "enable_service_links")
    found = (
        compact(initContainers=initial)
        | {"containers": containers}
        | compact(
            volumes=_volumes(section, inline, [*initial, *containers]),
            restartPolicy=restart,
            serviceAccountName=section.name("service_account", "service_account_name", form=names.SUBDOMAIN),
            automountServiceAccountToken=section.flag("automount_service_account_token"),
            enableServiceLinks=links,
            hostNetwork=section.flag("host_network"),
            hostPID=section.flag("host_pid"),
            hostIPC=section.flag("host_ipc"),
            hostname=section.name("hostname"),
            hostAliases=_host_aliases(section),
            dnsPolicy=section.choice(
                "dns_policy", among=("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
            ),
            nodeSelector=section.texts("node_selector"),
            tolerations=[_toleration(item) for item in section.items("tolerations")],
            affinity=affinity(section.section("affinity")),
            topologySpreadConstraints=_spread(section, app, scope),
            priorityClassName=section.name("priority_class", "priority_class_name", form=names.SUBDOMAIN),
            terminationGracePeriodSeconds=section.number(
                "termination_grace_period", "termination_grace_period_seconds"
            ),
            securityContext=_security(section),
            imagePullSecrets=_pull_secrets(section),
        )
    )
    return section.complete(found, "core.v1.PodSpec", "ephemeral_containers", "volumes")


def _containers(
    section: PillarSection, key: str, image: str, scope: Scope, inline: dict[str, Object], *aliases: str
) -> list[Object]:
    found = []
    for name, item in section.sections(key, *aliases):
        if item.flag("enabled") is not False:
            found.append(container(item, name, scope, image, inline))
    return found


def _volumes(section: PillarSection, inline: Mapping[str, Object], containers: list[Object]) -> list[Object]:
    found = dict(inline)
    for name, item in section.sections("volume"):
        with item:
            # The formula's example repeats the mount beside the volume; where it is mounted, the container says.
            item.ignore("mount")
            found[name] = volume(item, section.checked(name, names.LABEL, key="volume"))
    claimed = {name for name, _ in section.sections("volume_claim")}
    for each in containers:
        for mount in each.get("volumeMounts", ()):
            if mount["name"] not in found and mount["name"] not in claimed:
                hint = did_you_mean(mount["name"], {*found, *claimed}) or f"Define it under volume:{mount['name']}."
                section.problem(f"container {each['name']} mounts volume {mount['name']}, which is not defined", hint)
    return [found[name] for name in sorted(found)]


def _security(section: PillarSection) -> Object:
    with section.section("pod_security_context", "security_context") as context:
        own = compact(
            fsGroup=context.number("fs_group"),
            fsGroupChangePolicy=context.choice("fs_group_change_policy", among=("Always", "OnRootMismatch")),
            supplementalGroups=[int(word) for word in context.words("supplemental_groups") or () if word.isdigit()],
            sysctls=[{"name": name, "value": value} for name, value in context.texts("sysctls").items()],
        )
        return context.complete(user(context) | own, "core.v1.PodSecurityContext")


def _toleration(section: PillarSection) -> Object:
    with section:
        key, value = section.text("key"), section.text("value")
        operator = section.choice("operator", among=("Exists", "Equal"), default=None if value else "Exists")
        return compact(
            key=key,
            operator=operator,
            value=value,
            effect=section.choice("effect", among=("NoSchedule", "PreferNoSchedule", "NoExecute")),
            tolerationSeconds=section.number("seconds", "toleration_seconds"),
        )


def _spread(section: PillarSection, app: str, scope: Scope) -> list[Object]:
    """Pods of one workload on as many hosts (or zones) as there are.

    It is a wish unless ``required``: with a host down, a strict rule would keep its pods from starting elsewhere.
    """
    if isinstance(section.value("spread"), Mapping):
        with section.section("spread") as spread:
            over, required = spread.choice("over", among=("host", "zone"), default="host"), spread.flag("required")
    else:
        over, required = section.choice("spread", among=("host", "zone")), False
    if over is None:
        return []
    constraint: dict[str, Any] = {
        "maxSkew": 1,
        "topologyKey": HOSTNAME if over == "host" else ZONE,
        "whenUnsatisfiable": "DoNotSchedule" if required else "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": app}},
    }
    if scope.version >= (1, 27):
        # Counts the pods of one revision only, so that those about to go do not skew a rolling update.
        constraint["matchLabelKeys"] = ["pod-template-hash"]
    return [constraint]


def _host_aliases(section: PillarSection) -> list[Object]:
    value = section.value("host_aliases")
    if not isinstance(value, Mapping):
        return [
            compact(ip=item.text("ip"), hostnames=item.words("hostnames", "names"))
            for item in section.items("host_aliases")
        ]
    aliases = section.section("host_aliases")
    return [{"ip": aliases.spelling(key), "hostnames": aliases.words(key)} for key in sorted(aliases.given)]


def _pull_secrets(section: PillarSection) -> list[Object]:
    # The formula's own spelling has an e too many; its models carry it.
    words = section.words("image_pull_secrets", "image_pull_secretes", "image_pull_secret")
    return [{"name": section.checked(word, names.SUBDOMAIN, key="image_pull_secrets")} for word in words or ()]
