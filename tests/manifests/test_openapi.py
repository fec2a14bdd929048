"""Objects are judged by the API of their cluster's version, and the pillar reaches what that API has."""

from __future__ import annotations

from typing import Any

import pytest
from tests.manifests.control_pillars import BLOCK, container, one, service
from tests.manifests.test_control_mistakes import mistake, mistakes

from pillarbox.manifests import doubts, openapi, render

SPREAD = {"max_skew": 1, "min_domains": 2, "topology_key": "zone", "when_unsatisfiable": "DoNotSchedule"}
LABELS = {"match_labels": {"my_label": "a"}}


def workload(**more: Any) -> Any:
    return service(**more) | {"version": "1.37"}


def pod(rendered: Any, control: Any) -> Any:
    return one(rendered(control | {"version": "1.37"}), "Deployment")["spec"]["template"]["spec"]


def any_object(api_version: str, kind: str, version: str = "1.37", **body: Any) -> Any:
    return {"version": version, "object": {"x": {"api_version": api_version, "kind": kind, "body": body}}}


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"topology_spread_constraints": [SPREAD | {"label_selector": LABELS, "match_label_keys": ["pod-hash"]}]},
         "topologySpreadConstraints",
         [{"maxSkew": 1, "minDomains": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
           "labelSelector": {"matchLabels": {"my_label": "a"}}, "matchLabelKeys": ["pod-hash"]}]),
        ({"scheduling_gates": [{"name": "example.org/quota"}]}, "schedulingGates", [{"name": "example.org/quota"}]),
        ({"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]}, "resourceClaims",
         [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]),
        ({"runtime_class_name": "kata", "os": {"name": "linux"}}, "runtimeClassName", "kata"),
        ({"host_users": False}, "hostUsers", False),
        ({"volume": {"models": {"image": {"reference": "models:1", "pull_policy": "Always"}}}}, "volumes",
         [{"name": "models", "image": {"reference": "models:1", "pullPolicy": "Always"}}]),
        ({"pod_security_context": {"supplemental_groups_policy": "Strict"}}, "securityContext",
         {"supplementalGroupsPolicy": "Strict"}),
    ],
)  # fmt: skip
def test_a_pod_has_what_its_api_has(rendered: Any, given: Any, field: str, expected: Any) -> None:
    assert pod(rendered, service(**given))[field] == expected


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"restart_policy_rules": [{"action": "Restart", "exit_codes": {"operator": "In", "values": [42]}}]},
         "restartPolicyRules", [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]),
        ({"resources": {"limits": {"cpu": 1}, "claims": [{"name": "gpu"}]}}, "resources",
         {"limits": {"cpu": "1"}, "claims": [{"name": "gpu"}]}),
        ({"lifecycle": {"pre_stop": {"sleep": {"seconds": 5}}, "stop_signal": "SIGUSR1"}}, "lifecycle",
         {"preStop": {"sleep": {"seconds": 5}}, "stopSignal": "SIGUSR1"}),
        ({"readiness_probe": {"type": "grpc", "port": 50051, "service": "ready", "period": 3}}, "readinessProbe",
         {"grpc": {"port": 50051, "service": "ready"}, "periodSeconds": 3}),
        ({"liveness_probe": {"httpGet": {"port": 80}, "termination_grace_period_seconds": 9}}, "livenessProbe",
         {"httpGet": {"port": 80}, "terminationGracePeriodSeconds": 9}),
        ({"security_context": {"app_armor_profile": {"type": "RuntimeDefault"}}}, "securityContext",
         {"appArmorProfile": {"type": "RuntimeDefault"}}),
        ({"variables": [{"name": "A", "value_from": {"file_key_ref": {"volume_name": "v", "path": "p", "key": "k"}}}]},
         "env", [{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}}]),
    ],
)  # fmt: skip
def test_a_container_has_what_its_api_has(rendered: Any, given: Any, field: str, expected: Any) -> None:
    assert pod(rendered, container(**given))["containers"][0][field] == expected


def test_a_sidecar_is_an_init_container_that_stays(rendered: Any) -> None:
    sidecar = {"logs": {"image": "logs:1", "restart_policy": "Always"}}
    assert pod(rendered, service(init_containers=sidecar))["initContainers"][0]["restartPolicy"] == "Always"


def test_what_stands_around_a_pod_has_what_its_api_has(rendered: Any) -> None:
    found = rendered(
        workload(
            kind="StatefulSet",
            min_ready_seconds=5,
            ordinals={"start": 1},
            strategy={"max_unavailable": 2},
            persistent_volume_claim_retention_policy={"when_deleted": "Delete"},
            ports=[{"name": "web", "port": 80, "app_protocol": "kubernetes.io/h2c"}],
            traffic_distribution="PreferClose",
            disruption_budget={"min_available": 1, "unhealthy_pod_eviction_policy": "AlwaysAllow"},
        )
    )
    spec = one(found, "StatefulSet")["spec"]
    assert (spec["minReadySeconds"], spec["ordinals"]) == (5, {"start": 1})
    assert spec["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 2}
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete"}
    spec = one(found, "Service")["spec"]
    assert (spec["trafficDistribution"], spec["ports"][0]["appProtocol"]) == ("PreferClose", "kubernetes.io/h2c")
    assert one(found, "PodDisruptionBudget")["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_a_job_has_what_its_api_has(rendered: Any) -> None:
    entry = {
        "container": {"a": {"image": "a:1"}},
        "completion_mode": "Indexed",
        "completions": 3,
        "backoff_limit_per_index": 1,
        "pod_failure_policy": {"rules": [{"action": "FailJob", "on_exit_codes": {"operator": "In", "values": [3]}}]},
        "success_policy": {"rules": [{"succeeded_indexes": "0"}]},
    }
    spec = one(rendered({"version": "1.37", "job": {"a": entry}}), "Job")["spec"]
    assert spec["podFailurePolicy"]["rules"] == [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}
    ]
    assert spec["successPolicy"] == {"rules": [{"succeededIndexes": "0"}]}
    timed = entry | {"schedule": "0 3 * * *", "time_zone": "Etc/UTC", "suspend": True}
    cron = one(rendered({"version": "1.37", "job": {"a": timed}}), "CronJob")["spec"]
    assert (cron["timeZone"], cron["suspend"], cron["jobTemplate"]["spec"]) == ("Etc/UTC", True, spec)


PATH = "kubernetes:control:service:nova-api"


@pytest.mark.parametrize(
    ("control", "message", "hint"),
    [
        (service(topology_spread_constraints=[SPREAD | {"max_skew": "a"}]),
         f"{PATH}:topology_spread_constraints:0:maxSkew: expected a whole number, found a text", None),
        (container(lifecycle={"pre_stop": {"sleep": {"seconds": 1, "secnds": 5}}}),
         "pre_stop:sleep:secnds: Kubernetes 1.37 has no field secnds here", "Did you mean seconds?"),
        (container(lifecycle={"pre_stop": {"sleep": {}}}), "pre_stop:sleep: seconds is missing", None),
        (service(scheduling_gatez=[]), "unknown key scheduling_gatez", "Did you mean scheduling_gates?"),
        (service(spread="host", topology_spread_constraints=[SPREAD]), "other keys say that already", None),
        (service(template={}), f"{PATH}:template: other keys say that already", None),
        (service(volumes=[]), "unknown key volumes", "Did you mean volume?"),
        (service(ip_families=["IPv6"]), "a Service of type ClusterIP needs ports", None),
        (service(affinity={"pod_affinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKy": "a"}]}}),
         f"{PATH}: Deployment nova-api in namespace default, spec.template.spec.affinity.podAffinity."
         "requiredDuringSchedulingIgnoredDuringExecution[0].topologyKy: Kubernetes 1.37 has no field topologyKy here",
         "Did you mean topologyKey?"),
    ],
)  # fmt: skip
def test_what_the_api_does_not_take(model: Any, control: Any, message: str, hint: str | None) -> None:
    found = mistakes(model, control | {"version": "1.37"})[0]
    assert "node cfg01" in found.message and message in found.message
    assert hint is None or found.hint == hint


@pytest.mark.parametrize(
    ("version", "lifecycle", "hint"),
    [
        ("1.32", {"stop_signal": "SIGUSR1"}, "Kubernetes 1.33 is the first that has it;"),
        ("1.28", {"pre_stop": {"sleep": {"seconds": 1}}}, "Kubernetes 1.29 is the first that has it;"),
    ],
)
def test_what_comes_with_a_later_version(model: Any, version: str, lifecycle: Any, hint: str) -> None:
    error = mistake(model, container(lifecycle=lifecycle) | {"version": version})
    assert "unknown key" in error.message and error.hint and error.hint.startswith(hint)


@pytest.mark.parametrize(
    ("api_version", "kind", "version", "hint"),
    [
        ("policy/v1beta1", "PodDisruptionBudget", "1.25", "It serves it as policy/v1."),
        ("policy/v1", "PodDisruptionBudget", "1.20", "It serves it as policy/v1beta1."),
        ("batch/v1beta1", "CronJob", "1.37", "It serves it as batch/v1."),
        ("extensions/v1beta1", "Ingress", "1.37", "It serves it as networking.k8s.io/v1."),
        ("autoscaling/v2beta2", "HorizontalPodAutoscaler", "1.26", "It serves it as autoscaling/v2."),
        ("policy/v1beta1", "PodSecurityPolicy", "1.25",
         "Label the namespace instead: pod-security.kubernetes.io/enforce."),
        ("resource.k8s.io/v1", "DeviceClass", "1.33", "It serves it as resource.k8s.io/v1beta2."),
        ("resource.k8s.io/v1", "DeviceClass", "1.25",
         "Kubernetes 1.34 is the first that serves it; kubernetes:control:version says which is yours."),
        ("apps/v1", "Deploymnt", "1.37", "Did you mean Deployment?"),
    ],
)  # fmt: skip
def test_what_a_version_does_not_serve(model: Any, api_version: str, kind: str, version: str, hint: str) -> None:
    control = any_object(api_version, kind, version)
    if kind == "DeviceClass":
        control["object"]["x"]["scope"] = "Cluster"
    error = mistake(model, control)
    text = f"kubernetes:control:object:x:api_version: Kubernetes {version} does not serve {kind} of {api_version}"
    assert text in error.message
    assert error.hint == hint


def test_a_field_of_an_object_is_told_by_its_line(model: Any) -> None:
    text = """parameters:
  kubernetes:
    control:
      version: "1.37"
      object:
        web:
          api_version: networking.k8s.io/v1
          kind: NetworkPolicy
          body:
            spec:
              podSelector: {}
              policyTypes: Ingress
"""
    error = mistake(model, None, files={"nodes/cfg01.yml": text})
    assert error.line == 12
    assert error.message.endswith("object:web:body:spec:policyTypes: expected a list, found a text")


def test_a_type_of_volume_that_nothing_serves_any_more(model: Any) -> None:
    volume = {"a": {"type": "glusterfs", "endpoints": "g", "path": "a"}}
    error = mistake(model, workload(volume=volume))
    assert "Kubernetes 1.37 no longer supports glusterfs" in error.message
    assert render(model(workload(volume=volume) | {"version": "1.25"}))


def test_custom_resources_are_their_definitions_to_judge(model: Any) -> None:
    for api_version in ("snapshot.storage.k8s.io/v1", "networking.example.org/v1"):
        assert render(model(any_object(api_version, "Ingress", anything={"a": 1})))


def test_secrets_are_not_shown(model: Any) -> None:
    control = {"version": "1.37", "secret": {"a": {"data": {"k": BLOCK}, "string_data": {"k": "hunter2"}}}}
    control["configmap"] = {"b": {"data": {"k": "v"}, "binary_data": {"k": "hunter2"}, "immutable": True}}
    (error,) = mistakes(model, control)
    assert "unknown key string_data" in error.message and "hunter2" not in str(error)


@pytest.mark.parametrize(("version", "nearest"), [("1.20.2", "1.25"), ("1.99", "1.37")])
def test_a_version_whose_api_is_not_known_is_told_once(model: Any, version: str, nearest: str) -> None:
    control = service(disruption_budget={"min_available": 1}) | {"version": version}
    control["object"] = any_object("extensions/v1beta1", "Ingress")["object"]
    (doubt,) = doubts(render(model(control)))
    assert f"fields are checked against {nearest}, and API versions only of kinds" in doubt.message
    assert "nodes/cfg01.yml" in str(doubt)
    # A newer package knows newer versions, and no older ones.
    assert ("newer" in (doubt.hint or "")) == (version == "1.99")
    assert "unknown key" in mistake(model, service(no_such_field=1) | {"version": version}).message
    assert doubts(render(model(service() | {"version": "1.36"}))) == ()


def test_the_schemas_hold_nothing_that_is_not_understood() -> None:
    understood = {"$ref", "type", "oneOf", "enum", "properties", "additionalProperties", "required", "items"}

    def walk(schema: Any) -> None:
        unknown = {key for key in schema if not key.startswith("x-")} - understood - {"description", "format"}
        assert not unknown
        for inner in (*schema.get("properties", {}).values(), *schema.get("oneOf", ())):
            walk(inner)
        for key in ("items", "additionalProperties"):
            if schema.get(key):
                walk(schema[key])

    for minor in range(25, 38):
        for schema in openapi.api((1, minor))._schemas.values():
            walk(schema)
