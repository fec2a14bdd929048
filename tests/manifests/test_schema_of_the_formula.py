"""Pillar as users of salt-formula-kubernetes write it renders to what they meant, in current API versions."""

from __future__ import annotations

from typing import Any

import pytest
from tests.manifests.control_pillars import by_title, one, service

from pillarbox.manifests import render

NOVA = """
classes: [service.kubernetes.control]
parameters:
  kubernetes:
    control:
      service:
        nova-controller:
          enabled: true
          service: nova
          role: controller
          cluster: overlay
          type: LoadBalancer
          replicas: 5
          kind: Deployment
          apiVersion: extensions/v1beta1
          namespace: default
          ports:
          - {port: 8773, name: ec2-api}
          - {port: 8774, name: os-api}
          - {port: 8775, name: metadata}
          container:
            nova-api:
              registry: tcpcloud
              image: nova-controller
              tag: kilo
              image_pull_policy: IfNotPresent
              privileged: true
              ports:
              - {port: 8773, name: ec2-api}
              - {port: 8774, name: os-api}
              - {port: 8775, name: metadata}
              command: [/entrypoint.sh, api]
            nova-cert:
              image: tcpcloud/nova-controller:kilo
              command: [/entrypoint.sh, cert]
            nova-conductor:
              registry: tcpcloud
              image: nova-controller
              tag: kilo
              command: [/entrypoint.sh, conductor]
"""
CONTROL = "parameters: {kubernetes: {control: {enabled: true}}}\n"


def test_the_nova_controller_of_the_seeds(model: Any) -> None:
    files = {"nodes/ctl01.yml": NOVA, "classes/service/kubernetes/control.yml": CONTROL}
    manifests = render(model(files=files))

    assert [each.filename for each in manifests] == [
        "default/nova-controller-deployment.yml",
        "default/nova-controller-svc.yml",
    ]
    deployment, service = (each.object for each in manifests)
    assert deployment["apiVersion"] == "apps/v1"
    assert deployment["metadata"]["name"] == "nova-controller"
    assert deployment["metadata"]["namespace"] == "default"
    assert deployment["metadata"]["labels"]["app"] == "nova-controller"
    assert deployment["spec"] == {
        "replicas": 5,
        "selector": {"matchLabels": {"app": "nova-controller"}},
        "template": {
            "metadata": {"labels": {"app": "nova-controller"}},
            "spec": {
                "containers": [
                    {
                        "name": "nova-api",
                        "image": "tcpcloud/nova-controller:kilo",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["/entrypoint.sh", "api"],
                        "ports": [
                            {"containerPort": 8773, "name": "ec2-api"},
                            {"containerPort": 8774, "name": "os-api"},
                            {"containerPort": 8775, "name": "metadata"},
                        ],
                        "securityContext": {"privileged": True},
                    },
                    {
                        "name": "nova-cert",
                        "image": "tcpcloud/nova-controller:kilo",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["/entrypoint.sh", "cert"],
                    },
                    {
                        "name": "nova-conductor",
                        "image": "tcpcloud/nova-controller:kilo",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["/entrypoint.sh", "conductor"],
                    },
                ]
            },
        },
    }
    assert service["apiVersion"] == "v1"
    assert service["metadata"]["labels"].items() >= {"name": "nova-controller", "app": "nova-controller"}.items()
    assert service["spec"] == {
        "type": "LoadBalancer",
        "ports": [
            {"port": 8773, "name": "ec2-api"},
            {"port": 8774, "name": "os-api"},
            {"port": 8775, "name": "metadata"},
        ],
        "selector": {"app": "nova-controller"},
    }


@pytest.mark.parametrize("spelling", ["hostNetwork", "host_network"])
def test_both_spellings_of_a_key(rendered: Any, spelling: str) -> None:
    pod = one(rendered(service(**{spelling: True})), "Deployment")["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True


def test_masters_that_share_a_class_ask_for_one_object(model: Any) -> None:
    node = "classes: [control]\n"
    shared = NOVA.replace("classes: [service.kubernetes.control]\n", "")
    files = {"nodes/ctl01.yml": node, "nodes/ctl02.yml": node, "classes/control.yml": shared}
    manifests = render(model(files=files))
    assert list(by_title(manifests)) == ["Deployment/nova-controller", "Service/nova-controller"]
    assert {each.node for each in manifests} == {"ctl01"}
