"""A small web service of several replicas behind a Service, the same on any cluster, and requests on it all the time.

It is CoreDNS, for every machine of a lab has it: its answer about its own health is the page.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

import requests
from benchmarks.kubeadm.hosts import Host
from tests.story.load import Requests

from pillarbox.system.waiting import until

NAME, IMAGE, PORT = "web", "localhost/web:1", 30080
REPLICAS, MAY_BE_AWAY = 6, 2
PAUSE_SECONDS = 0.05
TIMEOUT_SECONDS = 20
# A pod that ends still answers while the nodes learn that it does.
_DRAIN_SECONDS = 5


def objects() -> list[dict[str, Any]]:
    """What it consists of: pods that any level of pod security lets in, spread over the nodes."""
    labels = {"app": NAME}
    probe = {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 1}
    container = {
        "name": NAME,
        "image": IMAGE,
        "args": ["-conf", "/etc/web/Corefile"],
        "readinessProbe": probe,
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN_SECONDS}}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    pod = {
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
        "topologySpreadConstraints": [spread | {"labelSelector": {"matchLabels": labels}}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    selector = {"matchLabels": labels}
    template = {"metadata": {"labels": labels}, "spec": pod}
    port = {"port": 80, "targetPort": 8080, "nodePort": PORT}
    given: list[tuple[str, str, dict[str, Any]]] = [
        ("v1", "ConfigMap", {"data": {"Corefile": ".:5353 {\n    health :8080\n}\n"}}),
        ("v1", "Service", {"spec": {"type": "NodePort", "selector": labels, "ports": [port]}}),
        ("policy/v1", "PodDisruptionBudget", {"spec": {"maxUnavailable": MAY_BE_AWAY, "selector": selector}}),
        ("apps/v1", "Deployment", {"spec": {"replicas": REPLICAS, "selector": selector, "template": template}}),
    ]
    return [{"apiVersion": version, "kind": kind, "metadata": {"name": NAME}} | rest for version, kind, rest in given]


def deploy(host: Host) -> None:
    """Start it, from a host that has an administrator's rights, and wait until every replica is ready."""
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects()})
    kubectl = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
    host.run(f"printf %s {shlex.quote(given)} | {kubectl} apply -f -")
    host.run(f"{kubectl} rollout status deployment/{NAME} --timeout=600s")


def load(addresses: list[str]) -> Requests:
    """Requests on the service's node port of each address, each on a connection of its own; from when it has answered
    at all of them, for a node learns of a new Service a moment later than of its pods."""

    def ask(address: str) -> None:
        answer = requests.get(f"http://{address}:{PORT}/health", timeout=TIMEOUT_SECONDS)
        assert (answer.status_code, answer.text) == (200, "OK"), f"{answer.status_code} {answer.text[:200]}"

    def answers() -> bool:
        try:
            for address in addresses:
                ask(address)
        except (requests.RequestException, AssertionError):
            return False
        return True

    assert until(answers, "the web service", patience=60), addresses
    return Requests(addresses, {NAME: ask}, PAUSE_SECONDS)
