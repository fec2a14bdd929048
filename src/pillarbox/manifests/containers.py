"""Containers: images, commands, environment, mounts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pillarbox.manifests import names
from pillarbox.manifests.manifest import Object
from pillarbox.manifests.probes import lifecycle, probe
from pillarbox.manifests.scope import Scope, compact
from pillarbox.manifests.section import PillarSection
from pillarbox.manifests.volumes import volume

_PULL_POLICIES = ("IfNotPresent", "Always", "Never")
_PASTED = re.compile(r"'([^']*)'")


def container(
    section: PillarSection, name: str, scope: Scope, default_image: str | None, inline: dict[str, Object]
) -> Object:
    """One container of a pod.

    ``default_image`` is what a container without ``image`` runs. Volumes that the container defines where it mounts
    them, as the original formula's users do, are added to ``inline``.
    """
    with section:
        section.ignore("name", "enabled")
        section.checked(name, names.LABEL)
        found = compact(
            name=name,
            image=_image(section, scope, default_image),
            imagePullPolicy=section.choice("image_pull_policy", among=_PULL_POLICIES, default="IfNotPresent"),
            command=section.words("command"),
            args=section.words("args"),
            workingDir=section.text("working_dir"),
            env=_environment(section),
            envFrom=[found for item in section.items("env_from") if (found := _source(item))],
            ports=[_port(item) for item in section.items("ports")],
            volumeMounts=[_mount(item, inline) for item in section.items("volumes", "volume_mounts")],
            resources=_resources(section.section("resources")),
            livenessProbe=probe(section.section("liveness_probe")),
            readinessProbe=probe(section.section("readiness_probe")),
            startupProbe=probe(section.section("startup_probe")),
            lifecycle=lifecycle(section.section("lifecycle")),
            securityContext=_security(section),
            terminationMessagePolicy=section.choice(
                "termination_message_policy", among=("File", "FallbackToLogsOnError")
            ),
            stdin=section.flag("stdin"),
            tty=section.flag("tty"),
        )
        return section.complete(found, "core.v1.Container")


def user(section: PillarSection) -> Object:
    """The identity that processes run under: what the security contexts of pods and containers have in common."""
    with section.section("se_linux_options", "selinux_options") as options:
        selinux = compact(**{key: options.text(key) for key in ("user", "role", "type", "level")})
    with section.section("seccomp_profile") as profile:
        seccomp = compact(type=profile.text("type"), localhostProfile=profile.text("localhost_profile"))
    return compact(
        runAsUser=section.number("run_as_user"),
        runAsGroup=section.number("run_as_group"),
        runAsNonRoot=section.flag("run_as_non_root"),
        seLinuxOptions=selinux,
        seccompProfile=seccomp,
    )


def _image(section: PillarSection, scope: Scope, default: str | None) -> str | None:
    registry, image, tag = section.text("registry"), section.text("image"), section.text("tag")
    image = image or (default if default in scope.catalog.images else None)
    if not image:
        section.problem(
            "the container has no image", f"Give image, or add an image node {default}." if default else None
        )
        return None
    if re.search(r"\s", image):
        section.problem(f"an image name has no spaces: {image!r}", key="image")
    return scope.catalog.resolve(registry, image, tag, section.place, scope.problems)


def _environment(section: PillarSection) -> list[Object]:
    given = section.value("variables", "env")
    if isinstance(given, Mapping) and not any(isinstance(value, Mapping) for value in given.values()):
        return [{"name": name, "value": text} for name, text in section.texts("variables", "env").items()]
    found, seen = [], set()
    for name, item in section.sections("variables", "env"):
        with item:
            item.ignore("name")
            item.checked(name, names.ENVIRONMENT)
            if name in seen:
                item.problem(f"variable {name} is given twice")
            seen.add(name)
            found.append(_variable(item, name))
    return found


def _variable(section: PillarSection, name: str) -> Object:
    field = section.text("field_path")
    resource = section.text("resource")
    secret, config = _key(section, "secret"), _key(section, "config_map", "configmap")
    given = section.value("value")
    sources = compact(
        fieldRef={"fieldPath": field} if field else None,
        resourceFieldRef={"resource": resource} if resource else None,
        secretKeyRef=secret,
        configMapKeyRef=config,
    )
    found: Object = {"name": name, "valueFrom": sources} if sources else {"name": name}
    found = section.complete(found, "core.v1.EnvVar")
    if len(sources) + (given is not None) + ("valueFrom" in found and not sources) > 1:
        section.problem("give one of value, fieldPath, resource, secret, config_map and valueFrom")
    if "valueFrom" in found:
        return found
    return {"name": name, "value": _value(section.text("value", default="") or "")}


def _value(text: str) -> str:
    """The formula pasted values into YAML, so its users wrote ``"'300'"`` for the text 300; they still mean 300."""
    pasted = _PASTED.fullmatch(text)
    return pasted[1] if pasted else text


def _key(section: PillarSection, key: str, *aliases: str) -> Object | None:
    with section.section(key, *aliases) as source:
        if not source.given:
            return None
        name, item = source.name("name", form=names.SUBDOMAIN), source.name("key", form=names.DATA_KEY)
        if not name or not item:
            source.problem("expected a name and a key")
        return compact(name=name or "", key=item or "", optional=_external(source))


def _source(section: PillarSection) -> Object | None:
    """A whole Secret or ConfigMap as environment."""
    with section:
        secret, config = section.name("secret", form=names.SUBDOMAIN), section.name("config_map", form=names.SUBDOMAIN)
        if (secret is None) == (config is None):
            section.problem("expected secret or config_map, and a name")
            return None
        reference = compact(name=secret or config, optional=_external(section))
        return compact(prefix=section.text("prefix")) | {"secretRef" if secret else "configMapRef": reference}


def _external(section: PillarSection) -> bool | None:
    # Only what is marked optional may come from outside the model: the pod starts without it.
    return section.flag("optional")


def _port(section: PillarSection) -> Object:
    with section:
        port = section.port("port", "container_port")
        if not section.given & {"port", "container_port"}:
            section.problem("a port needs a number: port")
        return compact(
            containerPort=port,
            name=section.name("name", form=names.PORT),
            protocol=section.choice("protocol", among=("TCP", "UDP", "SCTP")),
            hostPort=section.port("host_port"),
            hostIP=section.text("host_ip"),
        )


def _mount(section: PillarSection, inline: dict[str, Object]) -> Object:
    with section:
        name = section.text("name", default="") or ""
        if section.value("type") is not None:
            name = names.slug(name)
            inline[name] = volume(section, name)
        path = section.text("mount", "mount_path")
        if path is None:
            section.problem("a volume is mounted somewhere: mount")
        found = compact(
            name=name,
            mountPath=path,
            readOnly=section.flag("read_only") or None,
            subPath=section.text("sub_path"),
            mountPropagation=section.choice("mount_propagation", among=("None", "HostToContainer", "Bidirectional")),
        )
        return section.complete(found, "core.v1.VolumeMount")


def _resources(section: PillarSection) -> Object:
    found: dict[str, Any] = {}
    with section:
        for bound in ("limits", "requests"):
            with section.section(bound) as amounts:
                found[bound] = {amounts.spelling(key): amounts.quantity(key) for key in sorted(amounts.given)}
        return section.complete(compact(**found), "core.v1.ResourceRequirements")


def _security(section: PillarSection) -> Object:
    with section.section("security_context") as context:
        with context.section("capabilities") as capabilities:
            added = compact(add=capabilities.words("add"), drop=capabilities.words("drop"))
        privileged = section.flag("privileged")
        own = compact(
            privileged=privileged if privileged is not None else context.flag("privileged"),
            allowPrivilegeEscalation=context.flag("allow_privilege_escalation"),
            readOnlyRootFilesystem=context.flag("read_only_root_filesystem"),
            capabilities=added,
        )
        return context.complete(own | user(context), "core.v1.SecurityContext")
