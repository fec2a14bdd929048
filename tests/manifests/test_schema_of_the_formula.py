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


TOOLS = """
parameters:
  _param: {cluster_name: tools}
  kubernetes:
    control:
      version: "1.20"
      external: {secret: [tools/registry01]}
      service:
        build_master:
          enabled: true
          create: true
          cluster: tools
          namespace: tools
          service: build
          type: ClusterIP
          apiVersion: extensions/v1beta1
          kind: Deployment
          replicas: 1
          ports: [{port: 8080, name: ui}]
          image_pull_secretes: registry01
          nodeSelector: [{key: role, value: tools}]
          container:
            build:
              image: example/build
              variables: [{name: EXECUTORS, value: "'4'"}]
              ports: [{port: 8080, name: ui}]
              volumes: [{name: home, mount: /var/home, read_only: false}]
          volume:
            home: {type: glusterfs, endpoints: glusterfs, path: home, read_only: false}
      ingress:
        build:
          namespace: tools
          cluster: tools
          annotations: [{name: kubernetes.io/ingress.class, value: nginx}, {name: example/redirect, value: false}]
          rules: {hosts: [{paths: {/build: {service: build, port: 8080}}}]}
      endpoints:
        glusterfs:
          service_enabled: true
          namespace: tools
          ports: [{port: 1, name: endpoint}]
          subsets: [{ip: 192.0.2.1, port: {number: 1}}]
      role:
        view:
          kind: ClusterRole
          binding: {nodes-view: {subject: {"system:nodes": {kind: Group}}}}
"""


def test_a_service_without_role_and_what_stands_around_it(model: Any) -> None:
    manifests = render(model(files={"nodes/ctl01.yml": TOOLS}))
    assert [each.filename for each in manifests] == [
        "tools/nodes-view-clusterrolebinding.yml",
        "tools/tools/build-deployment.yml",
        "tools/tools/build-ingress.yml",
        "tools/tools/build-svc.yml",
        "tools/tools/glusterfs-endpoints.yml",
        "tools/tools/glusterfs-svc.yml",
    ]
    objects = by_title(manifests)
    pod = objects["Deployment/build"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["env"] == [{"name": "EXECUTORS", "value": "4"}]
    assert pod["volumes"] == [{"name": "home", "glusterfs": {"endpoints": "glusterfs", "path": "home"}}]
    assert pod["nodeSelector"] == {"role": "tools"}
    assert pod["imagePullSecrets"] == [{"name": "registry01"}]
    assert objects["Ingress/build"]["metadata"]["annotations"] == {
        "example/redirect": "false",
        "kubernetes.io/ingress.class": "nginx",
    }
    assert "selector" not in objects["Service/glusterfs"]["spec"]
