"""Deployments, DaemonSets, StatefulSets, Jobs and what stands beside them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.manifests.control_pillars import BLOCK, Spec, by_title, container, one, service

from pillarbox.manifests import render

DIGEST = "sha256:" + "a" * 64


def pod(objects: Any, kind: str = "Deployment") -> Any:
    return one(objects, kind)["spec"]["template"]["spec"]


def test_images_are_named_like_their_nodes_and_pinned(rendered: Any) -> None:
    control = service(container={"api": {"image": "nova-api"}, "other": {}, "foreign": {"image": "busybox:1"}})
    specs = {"nova-api": Spec("nova-api")}
    images = [each["image"] for each in pod(rendered(control, image_specs=specs))["containers"]]
    assert images == ["cfg01:5000/lab/nova-api:zed", "cfg01:5000/lab/nova-api:zed", "busybox:1"]

    pinned = pod(rendered(control, image_specs=specs, digests={"nova-api": DIGEST}))["containers"][0]["image"]
    assert pinned == f"cfg01:5000/lab/nova-api:zed@{DIGEST}"


@pytest.mark.parametrize("image", ["cfg01:5000/lab/nova-api", "cfg01:5000/lab/nova-api:zed"])
def test_a_full_reference_to_an_image_node_is_pinned_too(rendered: Any, image: str) -> None:
    objects = rendered(container(image=image), image_specs={"nova-api": Spec("nova-api")}, digests={"nova-api": DIGEST})
    assert pod(objects)["containers"][0]["image"].endswith(DIGEST)


def test_image_nodes_are_known_without_specifications(model: Any) -> None:
    image = "{service: nova, role: api, version: zed, registry: 'cfg01:5000', deploy_name: lab}"
    files = {"nodes/images/nova-api.yml": f"parameters: {{image: {image}}}"}
    objects = by_title(render(model(container(image="nova-api"), files)))
    assert pod(objects)["containers"][0]["image"] == "cfg01:5000/lab/nova-api:zed"


def test_only_a_changed_image_or_configuration_changes_a_template(rendered: Any) -> None:
    def template(digest: str, text: str, replicas: int) -> Any:
        control = service(
            container={"api": {"image": "nova-api"}},
            replicas=replicas,
            release=str(replicas),
            labels={"tier": str(replicas)},
            volume={"config": {"type": "config_map"}},
        )
        control["configmap"] = {"config": {"data": {"a": text}}, "other": {"data": {"a": str(replicas)}}}
        objects = rendered(control, image_specs={"nova-api": Spec("nova-api")}, digests={"nova-api": digest})
        return one(objects, "Deployment")["spec"]["template"]

    base = template(DIGEST, "x", 1)
    assert base["metadata"]["annotations"]["pillarbox.io/config"]
    assert template(DIGEST, "x", 3) == base
    assert template(DIGEST, "y", 1) != base
    assert template("sha256:" + "b" * 64, "x", 1) != base


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_replicas_that_are_left_out_are_not_sent(rendered: Any, kind: str) -> None:
    assert "replicas" not in one(rendered(service(kind=kind)), kind)["spec"]
    assert one(rendered(service(kind=kind, replicas=0)), kind)["spec"]["replicas"] == 0


def test_a_changed_secret_changes_the_template(rendered: Any) -> None:
    def annotation(block: str) -> str:
        control = container(variables=[{"name": "PASSWORD", "secret": {"name": "nova", "key": "password"}}])
        control["secret"] = {"nova": {"data": {"password": block}}}
        template = one(rendered(control), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["pillarbox.io/config"])

    assert annotation(BLOCK) == annotation(BLOCK)
    assert annotation(BLOCK) != annotation(BLOCK.replace("hQEMA", "hQEMB"))


def test_a_change_that_a_workload_ignores_replaces_no_pod(rendered: Any) -> None:
    def template(block: str, **options: Any) -> Any:
        variable = {"name": "PASSWORD", "secret": {"name": "nova", "key": "password"}}
        control = service(container={"api": {"image": "a:1", "variables": [variable]}}, **options)
        control["secret"] = {"nova": {"data": {"password": block}}}
        return one(rendered(control), "Deployment")["spec"]["template"]

    other = BLOCK.replace("hQEMA", "hQEMB")
    assert template(BLOCK, ignore_changes=["secret/nova"]) == template(other, ignore_changes=["secret/nova"])
    assert template(BLOCK, ignore_changes=["secret/other"]) != template(other, ignore_changes=["secret/other"])


def test_selectors_hold_the_app_label_alone(rendered: Any) -> None:
    deployment = one(rendered(service(labels={"app.kubernetes.io/version": "2022.2"})), "Deployment")
    assert deployment["spec"]["selector"] == {"matchLabels": {"app": "nova-api"}}
    assert deployment["metadata"]["labels"] == {
        "app": "nova-api",
        "app.kubernetes.io/name": "nova",
        "app.kubernetes.io/component": "api",
        "app.kubernetes.io/part-of": "default",
        "app.kubernetes.io/managed-by": "pillarbox",
        "app.kubernetes.io/version": "2022.2",
    }


def test_strategy_budget_and_patience(rendered: Any) -> None:
    objects = rendered(
        service(
            replicas=3,
            strategy={"max_surge": 1, "maxUnavailable": "25%"},
            min_ready_seconds=5,
            progress_deadline=60,
            disruption_budget={"min_available": 2},
        )
        | {"version": "1.20.2"}
    )
    spec = one(objects, "Deployment")["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}}
    assert (spec["minReadySeconds"], spec["progressDeadlineSeconds"]) == (5, 60)
    budget = one(objects, "PodDisruptionBudget")
    assert budget["apiVersion"] == "policy/v1beta1"
    assert budget["spec"] == {"minAvailable": 2, "selector": {"matchLabels": {"app": "nova-api"}}}


@pytest.mark.parametrize(
    ("version", "budget", "cron"),
    [
        ("1.20.2", "policy/v1beta1", "batch/v1beta1"),
        ("v1.21", "policy/v1", "batch/v1"),
        (None, "policy/v1", "batch/v1"),
    ],
)
def test_api_versions_follow_the_cluster(rendered: Any, version: str | None, budget: str, cron: str) -> None:
    control = service(disruption_budget={"max_unavailable": 1}) | {"version": version}
    control["job"] = {"flush": {"schedule": "0 3 * * *", "container": {"flush": {"image": "tools:1"}}}}
    objects = rendered(control)
    assert one(objects, "PodDisruptionBudget")["apiVersion"] == budget
    assert one(objects, "CronJob")["apiVersion"] == cron


def test_spreading_is_a_wish_unless_required(rendered: Any) -> None:
    (wish,) = pod(rendered(service(spread="host") | {"version": "1.20"}))["topologySpreadConstraints"]
    assert wish == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "nova-api"}},
    }
    (rule,) = pod(rendered(service(spread={"over": "zone", "required": True})))["topologySpreadConstraints"]
    assert rule["whenUnsatisfiable"] == "DoNotSchedule"
    assert rule["matchLabelKeys"] == ["pod-template-hash"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "http", "path": "/v3", "port": 5000, "initial_delay": 5, "timeout": 3},
         {"httpGet": {"path": "/v3", "port": 5000}, "initialDelaySeconds": 5, "timeoutSeconds": 3}),
        ({"type": "https", "port": "web", "headers": {"Host": "x"}},
         {"httpGet": {"scheme": "HTTPS", "path": "/", "port": "web", "httpHeaders": [{"name": "Host", "value": "x"}]}}),
        ({"type": "tcp", "port": "5000", "failureThreshold": 3}, {"tcpSocket": {"port": 5000}, "failureThreshold": 3}),
        ({"type": "exec", "command": "true --all"}, {"exec": {"command": ["true", "--all"]}}),
        ({"command": ["true"], "period": 1, "success_threshold": 2},
         {"exec": {"command": ["true"]}, "periodSeconds": 1, "successThreshold": 2}),
    ],
)  # fmt: skip
def test_probes(rendered: Any, given: Any, expected: Any) -> None:
    objects = rendered(container(readiness_probe=given, ports=[{"name": "web", "port": 80}]))
    assert pod(objects)["containers"][0]["readinessProbe"] == expected


def test_the_environment(rendered: Any) -> None:
    control = container(
        variables=[
            {"name": "YES", "value": True},
            {"name": "NUMBER", "value": 300},
            {"name": "PASTED", "value": "'300'"},
            {"name": "NOTHING"},
            {"name": "IP", "fieldPath": "status.podIP"},
            {"name": "KEY", "config_map": {"name": "nova", "key": "a"}},
        ],
        env_from=[{"config_map": "nova", "prefix": "NOVA_"}],
    ) | {"configmap": {"nova": {"data": {"a": 1}}}}
    found = pod(rendered(control))["containers"][0]
    assert found["env"] == [
        {"name": "YES", "value": "true"},
        {"name": "NUMBER", "value": "300"},
        {"name": "PASTED", "value": "300"},
        {"name": "NOTHING", "value": ""},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "nova", "key": "a"}}},
    ]
    assert found["envFrom"] == [{"prefix": "NOVA_", "configMapRef": {"name": "nova"}}]


def test_a_volume_defined_where_it_is_mounted(rendered: Any) -> None:
    volume = {"name": "/etc/certs", "type": "hostPath", "mount": "/certs", "path": "/etc/certs"}
    found = pod(rendered(container(volumes=[volume])))
    assert found["volumes"] == [{"name": "etc-certs", "hostPath": {"path": "/etc/certs"}}]
    assert found["containers"][0]["volumeMounts"] == [{"name": "etc-certs", "mountPath": "/certs"}]


def test_a_stateful_set(rendered: Any) -> None:
    control = service(
        kind="PetSet", service_name="nova", volume_claim={"data": {"storage": "1Gi"}},
        container={"api": {"image": "nova", "volumes": [{"name": "data", "mount": "/data"}]}},
    )  # fmt: skip
    spec = one(rendered(control), "StatefulSet")["spec"]
    assert spec["serviceName"] == "nova"
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    assert spec["volumeClaimTemplates"] == [{"metadata": {"name": "data"}, "spec": claim}]


@pytest.mark.parametrize(
    ("version", "ports"), [("1.20.2", [{"port": 80, "protocol": "TCP"}]), ("1.30", [{"port": 80}])]
)
def test_ports_that_server_side_apply_takes(rendered: Any, version: str, ports: Any) -> None:
    control = service(ports=[{"port": 80}]) | {"version": version}
    assert one(rendered(control), "Service")["spec"]["ports"] == ports


def test_a_headless_service(rendered: Any) -> None:
    spec = one(rendered(service(type="Headless", ports=[{"port": 80}])), "Service")["spec"]
    assert (spec["type"], spec["clusterIP"]) == ("ClusterIP", "None")


def test_the_formulas_affinity(rendered: Any) -> None:
    labels = {"name": "labelSelector", "selectors": [{"key": "app", "value": "control"}]}
    hosts = {"name": "matchExpressions", "selectors": [{"key": "k", "operator": "In", "values": ["v"]}]}
    affinity = {
        "anti_affinity": {
            "name": "podAntiAffinity",
            "expression": {"label_selector": labels},
            "topology_key": "kubernetes.io/hostname",
        },
        "node_affinity": {"name": "nodeAffinity", "expression": {"match_expressions": hosts}},
    }
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    assert pod(rendered(service(affinity=affinity)))["affinity"] == {
        "podAntiAffinity": {
            required: [{"labelSelector": {"matchLabels": {"app": "control"}}, "topologyKey": "kubernetes.io/hostname"}]
        },
        "nodeAffinity": {
            required: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}]}
        },
    }


class TestJobs:
    """Jobs run once for what they are: their names say what that is."""

    SPECS = {"nova-api": Spec("nova-api")}

    def job(self, rendered: Any, *, digests: Any = None, specs: Any = None, data: str = "x", **more: Any) -> Any:
        run = {"image": "nova-api", "command": ["/entrypoint.sh", "sync"]}
        control = {
            "job": {"sync": {"service": "nova", "role": "api", "container": {"sync": run}} | more},
            "configmap": {"settings": {"data": {"a": data}}},
        }
        return one(rendered(control, image_specs=specs or self.SPECS, digests=digests), "Job")

    def test_the_name_is_a_digest_of_image_and_spec(self, rendered: Any) -> None:
        base = self.job(rendered)["metadata"]["name"]
        assert base.startswith("sync-") and len(base) == len("sync-") + 10
        assert self.job(rendered)["metadata"]["name"] == base
        other = {"nova-api": Spec("nova-api", content_key="1" * 64)}
        names = {
            base,
            self.job(rendered, specs=other)["metadata"]["name"],
            self.job(rendered, digests={"nova-api": DIGEST})["metadata"]["name"],
            self.job(rendered, backoff_limit=1)["metadata"]["name"],
        }
        assert len(names) == 4

    @pytest.mark.parametrize("once_per", ["image", "config"])
    def test_configuration_counts_where_it_is_asked_to(self, rendered: Any, once_per: str) -> None:
        volume = {"settings": {"type": "config_map"}}
        one_, two = (self.job(rendered, data=data, volume=volume, once_per=once_per) for data in ("x", "y"))
        assert (one_ == two) is (once_per == "image")

    def test_phase_and_release_are_annotations(self, rendered: Any) -> None:
        metadata = self.job(rendered, phase="contract", release="2025.1")["metadata"]
        assert metadata["annotations"] == {
            "pillarbox.io/phase": "contract",
            "pillarbox.io/release": "2025.1",
            "pillarbox.io/once-per": "image",
        }

    def test_no_service_sends_requests_to_a_job(self, rendered: Any) -> None:
        assert self.job(rendered)["spec"]["template"]["metadata"]["labels"] == {"app": "sync-job"}


def test_dependencies_are_named_in_full(model: Any) -> None:
    def entry(name: str, *needs: str, **more: Any) -> Any:
        return {"service": name, "role": "server", "depends_on": list(needs), "container": {"a": {"image": "a"}}} | more

    control = {
        "service": {
            "database": entry("mariadb", namespace="data"),
            "keystone": entry("keystone", "job/expand", "service/database"),
            "glance": entry("glance", "service/keystone-server", namespace="data"),
            "queue": entry("rabbitmq", namespace="data"),
            "nova": entry("nova", "data/service/rabbitmq-server"),
        },
        "job": {"expand": {"depends_on": ["service/database"], "container": {"a": {"image": "a"}}}},
    }
    control["service"]["glance"]["depends_on"] = ["service/keystone"]
    found = {each.workload: each.depends_on for each in render(model(control)) if each.workload}
    assert found == {
        "data/service/mariadb-server": (),
        "data/service/rabbitmq-server": (),
        "data/service/glance-server": ("service/keystone-server",),
        "service/keystone-server": ("job/expand", "data/service/mariadb-server"),
        "service/nova-server": ("data/service/rabbitmq-server",),
        "job/expand": ("data/service/mariadb-server",),
    }


def test_deployments_of_one_model_do_not_meet(model: Any) -> None:
    import yaml

    control = service(type="NodePort", ports=[{"port": 80, "node_port": 30080}])
    files = {
        f"nodes/{name}.yml": yaml.safe_dump(
            {"parameters": {"kubernetes": {"control": control | {"deploy_name": name}}}}
        )
        for name in ("east", "west")
    }
    assert [each.filename for each in render(model(files=files))] == [
        "east/nova-api-deployment.yml",
        "east/nova-api-svc.yml",
        "west/nova-api-deployment.yml",
        "west/nova-api-svc.yml",
    ]


def test_what_is_disabled_is_not_there(rendered: Any) -> None:
    assert rendered(service(enabled=False)) == {}
    assert rendered(service() | {"enabled": False}) == {}
