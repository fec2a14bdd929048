"""Run in a network namespace of its own: a real API server and kube-proxy, and a Service that a pod answers.

Takes kube-proxy's program, its configuration, an empty directory, and addresses: of the node, a pod and a Service.
Prints, as JSON, what the Service answers before kube-proxy runs and with it, and the rules that iptables has then.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
import yaml
from tests.controlplane import control_plane

from pillarbox.rollout import Cluster
from pillarbox.system.waiting import until

PORT = 8080


class Pod(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def answer(address: str) -> int:
    """The status that an address answers with; 0 for no answer within two seconds."""
    try:
        return requests.get(f"http://{address}/", timeout=2).status_code
    except requests.RequestException:
        return 0


def objects(node: str, address: str, pod: str, service: str) -> list[dict[str, Any]]:
    """The node, and a Service that the pod is behind, in a namespace."""
    ports = [{"name": "http", "port": PORT, "protocol": "TCP"}]
    meta = {"name": "web", "namespace": "web"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}},
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"clusterIP": service, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [pod], "nodeName": node, "conditions": {"ready": True}}],
        },
    ]


def main(proxy: str, given: str, scratch: str, address: str, pod: str, service: str) -> None:
    for command in (
        "link set lo up",
        "link add node type veth peer name nobody",
        "link set node up",
        "link set nobody up",
        f"address add {address}/32 dev node",
        f"address add {pod}/32 dev node",
        f"route add {service}/32 dev node",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    root = Path(scratch)
    config = yaml.safe_load(Path(given).read_text())
    config["clientConnection"]["kubeconfig"] = str(root / "kubeconfig")
    (root / "kube-proxy.yml").write_text(yaml.safe_dump(config))
    server = ThreadingHTTPServer((pod, PORT), Pod)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found: dict[str, Any] = {}
    advertised = f"--advertise-address={address}"
    with control_plane(root, advertised) as plane, (root / "kube-proxy.log").open("wb") as log:
        with Cluster(plane.kubeconfig) as cluster:
            for each in objects(config["hostnameOverride"], address, pod, service):
                cluster.apply(each)
        found["before"] = answer(service)
        running = subprocess.Popen([proxy, f"--config={root / 'kube-proxy.yml'}"], stdout=log, stderr=log)
        try:
            found["with"] = until(lambda: answer(service), "an answer of the Service", patience=120)
        finally:
            running.terminate()
            running.wait(30)
    found["rules"] = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    found["log"] = (root / "kube-proxy.log").read_text()[-3000:]
    json.dump(found, sys.__stdout__)


if __name__ == "__main__":
    sys.stdout = sys.stderr
    main(*sys.argv[1:])
