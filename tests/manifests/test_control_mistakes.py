"""Every mistake is told with its node, its path and a way out, and all of them at once."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import yaml
from tests.manifests.control_pillars import BLOCK, Spec, container, service

from pillarbox.manifests import ManifestError, render
from pillarbox.system.errors import ErrorGroup, PillarboxError


def mistakes(model: Any, control: Any = None, *, files: Any = None, **more: Any) -> list[PillarboxError]:
    with pytest.raises(PillarboxError) as raised:
        render(model(control, files), **more)
    error = raised.value
    return list(error.errors) if isinstance(error, ErrorGroup) else [error]


def mistake(model: Any, control: Any, **more: Any) -> ManifestError:
    (found,) = mistakes(model, control, **more)
    assert isinstance(found, ManifestError)
    return found


def two(first: Any, second: Any) -> Any:
    """Two services, a and b."""
    run = {"container": {"a": {"image": "a"}}}
    return {"service": {"a": run | first, "b": run | second}}


def defined(**more: Any) -> Any:
    """The definition of Backup, and a backup with the given keys."""
    spec = {
        "group": "example.org",
        "names": {"kind": "Backup", "plural": "backups"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "served": True, "storage": True}],
    }
    definition = {"api_version": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "body": {"spec": spec}}
    backup = {"api_version": "example.org/v1", "kind": "Backup"} | more
    return {"object": {"backups.example.org": definition, "nightly": backup}}


PATH = "kubernetes:control:service:nova-api"
PORT = {"name": "web", "port": 80}

CASES: dict[str, tuple[Any, str, str | None]] = {
    "unknown key": (service(replica=3), f"{PATH}: unknown key replica", "Did you mean replicas?"),
    "unknown container key": (container(comand=["x"]), "container:api: unknown key comand", "Did you mean command?"),
    "one key in two spellings": (service(hostNetwork=True, host_network=True), "are one key, given twice", None),
    "a level of pod security that is none": (
        {"namespaces": {"a": {"labels": {"pod-security.kubernetes.io/enforce": "baselin"}}}},
        "enforce: expected privileged or baseline or restricted, found baselin",
        "Did you mean baseline?",
    ),
    "a mode of pod security that is none": (
        {"namespaces": {"a": {"labels": {"pod-security.kubernetes.io/enforced": "baseline"}}}},
        "pod security has no enforced",
        "Did you mean enforce?",
    ),
    "a version of pod security that is none": (
        {"namespaces": {"a": {"labels": {"pod-security.kubernetes.io/warn-version": "1.37"}}}},
        "warn-version: expected latest or a version such as v1.37, found 1.37",
        None,
    ),
    "a priority class misspelt": (
        service(priority_class="system-node-criticl"),
        "no PriorityClass is called system-node-criticl",
        "Did you mean system-node-critical?",
    ),
    "unsupported kind": (service(kind="ReplicaSett"), "unsupported kind ReplicaSett", "StatefulSet"),
    "a number that is none": (service(replicas="three"), "replicas: expected a whole number, found three", None),
    "what no change can be ignored of": (
        service(ignore_changes=["service/db"]),
        "ignore_changes: expected secret/<name> or configmap/<name>, found service/db",
        None,
    ),
    "a mapping that is none": (service(strategy="fast"), "strategy: expected a mapping, found fast", None),
    "a list that is none": (container(ports={"a": 1}), "ports: expected a list, found a mapping", None),
    "a port out of range": (container(ports=[{"port": 70000}]), "0:port: expected a number from 1 to 65535", None),
    "a port without a number": (container(ports=[{"name": "a"}]), "ports:0: a port needs a number", None),
    "a port name": (container(ports=[{"port": 1, "name": "Os_API"}]), "'Os_API' is not a valid name", "os-api would"),
    "a service name": (service(service="Nova_x"), "'Nova_x-api' is not a valid name", "nova-x-api would do."),
    "a container name": (service(container={"a_b": {"image": "a"}}), "'a_b' is not a valid name", "a-b would do."),
    "no container": (service(container=None), "no container", None),
    "no image": (service(container={"api": {}}), "the container has no image", "add an image node nova-api"),
    "a volume that is not defined": (
        container(volumes=[{"name": "dta", "mount": "/data"}]) | {},
        "container api mounts volume dta, which is not defined",
        "Define it under volume:dta.",
    ),
    "a volume without a type": (service(volume={"data": {}}), "volume:data: a volume has a type", None),
    "a quantity": (container(resources={"requests": {"cpu": "lots"}}), "cpu: expected a quantity such as 500m", None),
    "a probe of no kind": (container(liveness_probe={"timeout": 1}), "liveness_probe: expected a type", None),
    "a probe of an unknown kind": (container(liveness_probe={"type": "smoke", "port": 1}), "unknown type smoke", None),
    "a probe of an unnamed port": (
        container(ports=[PORT], liveness_probe={"type": "tcp", "port": "wbe"}),
        "a probe asks port wbe",
        "Did you mean web?",
    ),
    "a rollout that cannot move": (
        service(strategy={"max_surge": 0, "max_unavailable": 0}),
        "no pod could ever be replaced",
        None,
    ),
    "a strategy of another kind": (
        service(kind="StatefulSet", strategy={"max_surge": 1}),
        "strategy:max_surge: a StatefulSet in this version of Kubernetes has no max_surge",
        None,
    ),
    "what a StatefulSet learned later": (
        service(kind="StatefulSet", min_ready_seconds=1) | {"version": "1.21"},
        "min_ready_seconds: a StatefulSet in this version of Kubernetes has no min_ready_seconds",
        None,
    ),
    "ports without names": (service(ports=[{"port": 1}, {"port": 2}]), "several ports need a name each", None),
    "a target that no container has": (
        service(ports=[{"port": 80, "target_port": "wbe"}], container={"api": {"image": "a", "ports": [PORT]}}),
        "no container has a port named wbe",
        "Did you mean web?",
    ),
    "a node port of a ClusterIP": (service(ports=[{"port": 1, "node_port": 30000}]), "node_port needs a Service", None),
    "one node port twice": (
        two({"type": "NodePort", "ports": [{"port": 1, "node_port": 30500}]},
            {"type": "NodePort", "ports": [{"port": 1, "node_port": 30500}]}),
        "service:b:ports: node port 30500 is claimed already by Service a in namespace default of node cfg01",
        None,
    ),
    "one name twice": (
        two({}, {"service": "a"}),
        "service:b: Deployment a in namespace default is claimed already by node cfg01, kubernetes:control:service:a",
        None,
    ),
    "a peer that is not there": (
        service(network={"to": ["service/novaa-api"]}),
        f"{PATH}:network:to:0: the model has no service/novaa-api",
        "Did you mean service/nova-api?",
    ),
    "a peer of no form": (
        service(network={"to": ["everybody"]}), "the model has no everybody", "Expected service/<name>, job/<name>"
    ),
    "a peer that is empty": (service(network={"to": [{}]}), "to:0: expected a peer, or pods by", "Known: service/"),
    "a peer with pods beside it": (
        service(network={"to": [{"peer": "all", "pods": {"app": "a"}}]}), "a peer has no namespace and no pods", None
    ),
    "a peer that shares its host's network": (
        two({"host_network": True}, {"network": {"to": ["service/a"]}}),
        "service:b:network:to:0: the pods of service/a share their host's network",
        "Name the addresses of the hosts",
    ),
    "a policy for the host's network": (
        service(host_network=True, network={"from": []}), "no NetworkPolicy is for them", "Leave out network"
    ),
    "a direction with nothing in it": (
        service(network={"from": None}), "network:from: expected a list, found nothing", "Write [] for nobody."
    ),
    "a direction that is no list": (service(network={"from": "all"}), "network:from: expected a list, found all", None),
    "a port that nobody answers at": (
        two({"container": {"a": {"image": "a", "ports": [PORT]}}},
            {"network": {"to": [{"peer": "service/a", "ports": ["wbe"]}]}}),
        "service:b:network:to:0:ports: service/a has no port wbe",
        "Did you mean web?",
    ),
    "a number that nobody answers at": (
        two({"container": {"a": {"image": "a", "ports": [PORT]}}},
            {"network": {"to": [{"peer": "service/a", "ports": [443]}]}}),
        "service/a has no port 443",
        "It has 80, web.",
    ),
    "a peer without ports": (
        two({}, {"network": {"to": ["service/a"]}}), "to:0: service/a has no ports", "Give its containers ports."
    ),
    "the name of a port outside": (
        service(network={"to": [{"peer": "192.0.2.1", "ports": ["web"]}]}), "expected a number, found web", "outside"
    ),
    "a range of ports that ends before it begins": (
        service(network={"to": [{"peer": "all", "ports": [{"port": 9, "end_port": 8}]}]}),
        "ports:0:end_port: expected at least 9, found 8",
        None,
    ),
    "a policy that says nothing": (
        {"network_policy": {"a": {"pods": {"app": "a"}}}}, "network_policy:a: expected from, to, or both", None
    ),
    "a policy with the name of a workload's": (
        container(ports=[PORT]) | {"network_policy": {"nova-api": {"from": []}}},
        "network_policy:nova-api: NetworkPolicy nova-api in namespace default is claimed already by node cfg01",
        None,
    ),
    "a secret in the clear": ({"secret": {"nova": {"data": {"password": "hunter2"}}}}, "a secret in the clear", "gpg"),
    "a PGP block as a variable": (
        container(variables=[{"name": "PASSWORD", "value": BLOCK}]),
        "an encrypted secret stands in a Deployment",
        "kubernetes:control:secret",
    ),
    "a PGP block in a ConfigMap": (
        {"configmap": {"nova": {"data": {"a": BLOCK}}}},
        "an encrypted secret stands in a ConfigMap, at data.a",
        None,
    ),
    "a secret that is not there": (
        container(variables=[{"name": "A", "secret": {"name": "nva", "key": "a"}}])
        | {"secret": {"nova": {"data": {"a": BLOCK}}}},
        "no Secret nva in namespace default",
        "Did you mean nova?",
    ),
    "a secret's key that is not there": (
        container(variables=[{"name": "A", "secret": {"name": "nova", "key": "pasword"}}])
        | {"secret": {"nova": {"data": {"password": BLOCK}}}},
        "Secret nova of namespace default has no key pasword",
        "Did you mean password?",
    ),
    "a pull Secret that is not there": (
        service(image_pull_secrets=["registry"]),
        "no Secret registry in namespace default",
        "Define it under secret:registry, or name it under external:secret",
    ),
    "a pull Secret of a service account that is not there": (
        {"service_account": {"builder": {"image_pull_secrets": ["registry"]}}},
        "service_account:builder: no Secret registry in namespace default",
        "external:secret",
    ),
    "an address of no Service": (
        container(variables=[{"name": "A", "value": "$(MYSQL_SERVICE_HOST)"}]),
        "$(MYSQL_SERVICE_HOST) refers to no Service",
        None,
    ),
    "a dependency that is not there": (
        two({}, {"depends_on": ["service/aa"]}),
        "service:b:depends_on: depends on service/aa, which does not exist",
        "Did you mean service/a?",
    ),
    "a cycle": (
        two({"depends_on": ["service/b"]}, {"depends_on": ["service/a"]}),
        "dependencies form a cycle",
        None,
    ),
    "an object of no kind": ({"object": {"a": {"body": {}}}}, "object:a: an object has api_version and kind", None),
    "an object of a kind that leads elsewhere": (
        {"object": {"a": {"api_version": "example.org/v1", "kind": "../../Backup"}}},
        "object:a: no cluster has a kind '../../Backup'",
        None,
    ),
    "an object of an API version that leads elsewhere": (
        {"object": {"a": {"api_version": "../example.org/v1", "kind": "Backup"}}},
        "of '../example.org/v1'",
        None,
    ),
    "an object whose key has a slash": (
        {"object": {"a/b": {"api_version": "example.org/v1", "kind": "Backup", "name": "a"}}},
        "'a/b' is not a valid name",
        None,
    ),
    "a gate of an empty condition": (
        {"object": {"a": {"api_version": "example.org/v1", "kind": "Backup", "gate": {"condition": ""}}}},
        "object:a:gate: a gate has a condition",
        None,
    ),
    "a Secret as an object": (
        {"object": {"a": {"api_version": "v1", "kind": "Secret", "body": {"stringData": {"a": "hunter2"}}}}},
        "object:a:kind: a Secret is no plain object",
        "kubernetes:control:secret",
    ),
    "an object with a PGP block": (
        {"object": {"a": {"api_version": "example.org/v1", "kind": "Backup", "body": {"spec": {"a": BLOCK}}}}},
        "an encrypted secret stands in a Backup, at spec.a",
        "kubernetes:control:secret",
    ),
    "a body with metadata": (
        {"object": {"a": {"api_version": "example.org/v1", "kind": "Backup", "body": {"metadata": {}}}}},
        "body holds metadata",
        "Write it beside body",
    ),
    "a body that no JSON carries": (
        {"object": {"a": {"api_version": "example.org/v1", "kind": "Backup", "body": {"day": date(2026, 1, 2)}}}},
        "body.day is a date",
        "Quote it",
    ),
    "a gate without a condition": (
        {"object": {"a": {"api_version": "example.org/v1", "kind": "Backup", "gate": {"timeout": 5}}}},
        "object:a:gate: a gate has a condition",
        None,
    ),
    "a scope that the kind does not have": (
        {"object": {"a": {"api_version": "scheduling.k8s.io/v1", "kind": "PriorityClass", "scope": "Namespaced"}}},
        "object:a:scope: PriorityClass has the scope Cluster",
        None,
    ),
    "an object of another scope than its definition": (
        defined(scope="Cluster"),
        "object:nightly:scope: Backup is defined with the scope Namespaced",
        None,
    ),
    "an object of a version that its definition does not serve": (
        defined(api_version="example.org/v2"),
        "the definition of Backup does not serve version example.org/v2",
        "It serves v1.",
    ),
    "a version that is a number": (service() | {"version": 1.2}, "found the number 1.2", 'Quote it: "1.37".'),
    "a configmap of other formulas": ({"configmap": {"a": {"pillar": {}}}}, "files of other Salt formulas", "Bake"),
    "a control that is no mapping": ([], "kubernetes:control: expected a mapping, found a list", None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_mistakes(model: Any, case: str) -> None:
    control, message, hint = CASES[case]
    files = {"nodes/cfg01.yml": yaml.safe_dump({"parameters": {"kubernetes": {"control": control}}})}
    error = mistake(model, None, files=files)
    assert message in error.message
    assert "node cfg01" in error.message and error.file == "nodes/cfg01.yml" and error.node == "cfg01"
    assert (hint or "") in (error.hint or "")


def test_a_mistake_is_told_with_the_file_and_line_that_wrote_it(model: Any) -> None:
    text = """parameters:
  kubernetes:
    control:
      service:
        nova-api:
          service: nova
          replica: 1
          container:
            api:
              image: nova-api
              variables: ${_param:variables}
"""
    files = {
        "classes/nova.yml": text,
        "nodes/cfg01.yml": "classes: [nova]\nparameters: {_param: {variables: [{nme: A}]}}\n",
    }
    found = [(error.file, error.line, error.message.partition(": ")[2]) for error in mistakes(model, files=files)]
    assert ("classes/nova.yml", 7, "unknown key replica") in found
    assert ("classes/nova.yml", 11, "unknown key nme") in found


def test_all_mistakes_are_told_at_once(model: Any) -> None:
    control = service(replica=1, kind="Pod", container={"api": {"comand": "x"}})
    assert len(mistakes(model, control)) == 4


def test_one_name_from_two_nodes(model: Any) -> None:
    files = {
        f"nodes/{name}.yml": yaml.safe_dump({"parameters": {"kubernetes": {"control": service(replicas=count)}}})
        for count, name in enumerate(("cfg01", "cfg02"))
    }
    (error,) = mistakes(model, files=files)
    assert "node cfg02" in str(error) and "claimed already by node cfg01" in str(error)


def test_an_image_that_no_node_describes(model: Any) -> None:
    error = mistake(model, container(image="cfg01:5000/lab/nova-apy:zed"), image_specs={"nova-api": Spec("nova-api")})
    assert "no image node nova-apy exists" in error.message and error.hint == "Did you mean nova-api?"


def test_the_name_of_an_image_node_misspelt(model: Any) -> None:
    error = mistake(model, container(image="nova-apy"), image_specs={"nova-api": Spec("nova-api")})
    assert "no image node nova-apy" in error.message


class TestDynamicNames:
    """What an image leaves open, somebody supplies."""

    SPECS = {"nova-api": Spec("nova-api", dynamic=("PASSWORD", "MYSQL_SERVER_SERVICE_HOST"))}

    def control(self, **more: Any) -> Any:
        database = {
            "service": "mysql", "role": "server", "ports": [{"port": 3306}], "container": {"a": {"image": "a:1"}}
        }  # fmt: skip
        control = container(**{"image": "nova-api", "command": ["/entrypoint.sh", "api"]} | more)
        control["service"]["mysql-server"] = database
        control["secret"] = {"nova": {"data": {"PASSWORD": BLOCK}}}
        return control

    def test_a_name_that_nobody_supplies(self, model: Any) -> None:
        error = mistake(model, self.control(), image_specs=self.SPECS)
        assert f"{PATH}:container:api: image nova-api needs PASSWORD" in error.message
        assert "secret: {name: <secret>, key: <key>}" in (error.hint or "")

    @pytest.mark.parametrize(
        "source",
        [
            {"variables": [{"name": "PASSWORD", "secret": {"name": "nova", "key": "PASSWORD"}}]},
            {"env_from": [{"secret": "nova"}]},
            {"variables": {"PASSWORD": "x"}},
            {"command": ["sleep", "1"]},
        ],
    )
    def test_what_supplies_a_name(self, model: Any, source: Any) -> None:
        assert render(model(self.control(**source)), self.SPECS)

    def test_an_address_of_a_service_that_has_none(self, model: Any) -> None:
        control = self.control(env_from=[{"secret": "nova"}])
        control["service"]["mysql-server"]["type"] = "Headless"
        assert "needs MYSQL_SERVER_SERVICE_HOST" in mistake(model, control, image_specs=self.SPECS).message
        control["service"]["mysql-server"] |= {"type": "ClusterIP", "namespace": "data"}
        error = mistake(model, control, image_specs=self.SPECS)
        assert error.hint == "Kubernetes injects it where a Service mysql-server exists in the namespace."
        control["external"] = {"service": ["mysql-server"]}
        assert render(model(control), self.SPECS)

    def test_jobs_and_init_containers_need_them_too(self, model: Any) -> None:
        run = {"image": "nova-api", "command": ["/entrypoint.sh", "sync"]}
        control = self.control(env_from=[{"secret": "nova"}])
        control["job"] = {"sync": {"container": {"sync": run}}}
        control["service"]["nova-api"]["init_containers"] = [run | {"name": "wait"}]
        paths = {getattr(error, "path", None) for error in mistakes(model, control, image_specs=self.SPECS)}
        assert paths == {f"{PATH}:init_containers:wait", "kubernetes:control:job:sync:container:sync"}


def test_errors_do_not_repeat_secrets(model: Any) -> None:
    secret = "correct-horse-battery-staple"
    control = {"secret": {"nova": {"data": {"password": secret}}}, "service": {"a": {"replicas": secret}}}
    assert not any(secret in str(error) for error in mistakes(model, control))
