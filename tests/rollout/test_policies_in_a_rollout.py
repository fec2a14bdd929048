"""NetworkPolicies while pods are replaced: neither those of before nor those of after miss what they need."""

from __future__ import annotations

from typing import Any

from tests.manifests.test_manifest_properties import OneNode

from pillarbox.manifests import Manifest, render
from pillarbox.rollout import Action, Cluster, ObjectRef, StepResult


def model(namespace: str, image: str, *peers: str, **more: Any) -> tuple[Manifest, ...]:
    """A service that asks ``peers``, and the two that it may ask; nobody else asks or answers anybody."""
    run = {"ports": [{"port": 80}], "container": {"a": {"image": "good:1", "ports": [{"port": 80}]}}}
    asks = run | {"container": {"a": {"image": image}}, "progress_deadline": 5, "network": {"to": list(peers)}}
    return render(
        OneNode(
            {
                "namespace": namespace,
                "network_policy": {"default": {"from": [], "to": []}},
                "service": {"old": run, "new": run, "api": asks} | more,
            }
        )
    )


def asked(cluster: Cluster, namespace: str) -> list[str]:
    """Whom the policy of ``api`` lets it ask, in the cluster."""
    live = cluster.get(ObjectRef("networking.k8s.io/v1", "NetworkPolicy", namespace, "api"))
    assert live
    rules = live["spec"].get("egress", ())
    return [peer["podSelector"]["matchLabels"]["app"] for rule in rules for peer in rule["to"]]


def test_a_policy_is_narrowed_when_all_pods_are_replaced(
    roll: Any, kubelet: Any, cluster: Cluster, namespace: str, lines: list[str]
) -> None:
    assert roll(*model(namespace, "good:1", f"{namespace}/service/old")).succeeded
    assert asked(cluster, namespace) == ["old"]

    failed = roll(*model(namespace, "crash:2", f"{namespace}/service/new"))
    assert not failed.succeeded
    # Pods of before were put back, and have what they need.
    assert asked(cluster, namespace) == ["new", "old"]

    lines.clear()
    good = model(namespace, "good:2", f"{namespace}/service/new")
    assert roll(*good).succeeded
    assert asked(cluster, namespace) == ["new"]
    healthy = next(number for number, line in enumerate(lines) if f"{namespace}/api healthy" in line)
    narrowed = [number for number, line in enumerate(lines) if "narrowed to what the model allows" in line]
    assert narrowed and min(narrowed) > healthy
    assert roll(*good).writes == 0


def test_what_denies_all_comes_last_and_goes_first(roll: Any, kubelet: Any, namespace: str) -> None:
    def order(outcome: Any, action: Action) -> list[str]:
        return [step.ref.name for step in outcome.steps if step.ref.kind == "NetworkPolicy" and step.action is action]

    first = roll(
        *model(
            namespace, "good:1", "service/old", zone={"container": {"a": {"image": "good:1"}}, "network": {"to": []}}
        )
    )
    assert first.succeeded and all(step.result is StepResult.OK for step in first.steps)
    assert order(first, Action.CREATE) == ["api", "old", "zone", "default"]
    assert order(roll(), Action.DELETE) == ["default", "api", "old", "zone"]
