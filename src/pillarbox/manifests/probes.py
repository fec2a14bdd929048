"""Probes and lifecycle hooks."""

from __future__ import annotations

from pillarbox.manifests.manifest import Object
from pillarbox.manifests.scope import compact
from pillarbox.manifests.section import PillarSection

TYPES = ("http", "https", "tcp", "exec", "grpc")
# The same as Kubernetes writes it, and what it does besides.
_KUBERNETES = {"http_get", "tcp_socket", "exec", "grpc", "sleep"}


def probe(section: PillarSection) -> Object | None:
    """A container's probe: what is asked, how often, and how many answers decide."""
    with section:
        pace = compact(
            initialDelaySeconds=section.number("initial_delay", "initial_delay_seconds"),
            timeoutSeconds=section.number("timeout", "timeout_seconds", low=1),
            periodSeconds=section.number("period", "period_seconds", low=1),
            successThreshold=section.number("success_threshold", low=1),
            failureThreshold=section.number("failure_threshold", low=1),
        )
        found = handler(section, "core.v1.Probe", pace)
        return found if section.given else None


def lifecycle(section: PillarSection) -> Object:
    """What a container does right after its start and right before its end."""
    with section:
        hooks = {}
        for key, name in (("post_start", "postStart"), ("pre_stop", "preStop")):
            with section.section(key) as hook:
                hooks[name] = handler(hook, "core.v1.LifecycleHandler")
        return section.complete(compact(**hooks), "core.v1.Lifecycle")


def handler(section: PillarSection, of: str, pace: Object | None = None) -> Object:
    """What is asked or done, by the keys of the pillar or, in the API's type ``of``, by those of Kubernetes."""
    return section.complete(_asked(section) | (pace or {}), of)


def _asked(section: PillarSection) -> Object:
    """The question itself; ``type`` may be left out where the keys tell."""
    command = section.words("command")
    kind = section.choice("type", among=TYPES) or ("exec" if command else None)
    port = section.value("port")
    path = section.text("path")
    host = section.text("host")
    headers = section.texts("headers", "http_headers")
    if kind is None:
        kind = "http" if path is not None else "tcp" if port is not None else None
    if kind is None:
        if section.given and not section.given & _KUBERNETES:
            section.problem(f"expected a type: {', '.join(TYPES)}")
        return {}
    if kind == "exec":
        if not command:
            section.problem("an exec probe needs a command")
        return {"exec": {"command": command or []}}
    if port is None:
        section.problem(f"a probe of type {kind} needs a port")
    elif not isinstance(port, str) or port.isdigit():
        port = section.port()
    if kind == "grpc":
        return {"grpc": compact(port=port, service=section.text("service"))}
    if kind == "tcp":
        return {"tcpSocket": compact(host=host, port=port)}
    return {
        "httpGet": compact(
            scheme="HTTPS" if kind == "https" else None,
            host=host,
            path=path or "/",
            port=port,
            httpHeaders=[{"name": name, "value": value} for name, value in headers.items()],
        )
    }
