"""The reference deployment denies by default: who reaches whom in it is what the images and the Services need."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.manifests.reach import End, reaches

from pillarbox.manifests import Manifest, kinds, names
from pillarbox.manifests.workloads import PHASE
from pillarbox.model import Node
from pillarbox.revision import Revision

DATABASE, CREDENTIALS = "mariadb-server", ("database-password", "admin-password")
WORLD = End(address="198.51.100.1")


class Reference:
    """The reference deployment's workloads, their Services, and what its policies allow."""

    def __init__(self, model: Path) -> None:
        self.revision = Revision.read(model)
        manifests = self.revision.manifests
        self.policies = [each.object for each in manifests if each.type is kinds.NETWORK_POLICY]
        self.workloads = {app(each): each for each in manifests if each.template}
        self.services = {
            each.name: each.object["spec"] for each in manifests if each.type is kinds.SERVICE and each.workload is None
        }

    def port(self, service: str) -> int:
        """The port of its pods that the only port of a Service leads to."""
        (port,) = self.services[service]["ports"]
        ports = [port for container in self.workloads[service].containers() for port in container["ports"]]
        return next(int(each["containerPort"]) for each in ports if each["name"] == port["targetPort"])

    def reached(self, client: End) -> set[str]:
        """The Services that ``client`` reaches."""
        return {name for name in self.services if reaches(self.policies, client, End(name), self.port(name))}


def app(workload: Manifest) -> str:
    assert workload.template
    return str(workload.template["metadata"]["labels"]["app"])


@pytest.fixture(scope="module")
def reference(repository: Path) -> Reference:
    return Reference(repository)


def test_each_service_reaches_what_its_image_names_and_no_more(reference: Reference) -> None:
    hosts = {f"{names.variable(name)}_SERVICE_HOST": name for name in reference.services}
    asked = 0
    for name, workload in reference.workloads.items():
        if workload.type.once:
            continue
        (container,) = workload.containers()
        (image,) = (
            each for each in reference.revision.images.values() if container["image"].startswith(each.reference)
        )
        wanted = {hosts[each] for each in image.dynamic if each in hosts} - {name}
        assert reference.reached(End(name)) == wanted, name
        asked += len(wanted)
    assert asked > 5


def test_the_database_answers_who_has_an_account_in_it(reference: Reference) -> None:
    found = {name for name in reference.workloads if DATABASE in reference.reached(End(name))}
    for name, workload in reference.workloads.items():
        keys = {
            each["valueFrom"]["secretKeyRef"]["key"]
            for container in workload.containers()
            for each in container.get("env", ())
            if "valueFrom" in each
        }
        assert name not in found or keys & {*CREDENTIALS}, name
        if PHASE in workload.annotations and workload.annotations[PHASE] == "expand":
            assert name in found, name
    assert len(found) > 10 and DATABASE not in found


def test_those_outside_reach_what_has_a_node_port(reference: Reference) -> None:
    public = {name for name, spec in reference.services.items() if spec.get("type") == "NodePort"}
    assert reference.reached(WORLD) == public and public < reference.services.keys()


def test_a_pod_that_the_model_does_not_have_asks_for_names_alone(reference: Reference) -> None:
    stranger, hosts = End("asking"), reference.revision.hosts
    assert reference.reached(stranger) == set()
    (server,) = {node.parameters["kubernetes"]["pool"]["cluster_dns"] for node in hosts.values() if _runs_pods(node)}
    for name in (*reference.workloads, stranger.app):
        for protocol in ("TCP", "UDP"):
            assert reaches(reference.policies, End(name), End(address=server), 53, protocol), name
        assert not reaches(reference.policies, End(name), WORLD, 443), name
        # Kubelets, the registry, the Salt master: hosts are none of a pod's business.
        assert not reaches(reference.policies, End(name), End(address="172.30.20.10"), 22), name


def _runs_pods(node: Node) -> bool:
    return "pool" in node.parameters.get("kubernetes", {})
