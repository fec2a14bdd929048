"""Who may do what, and where: roles, their bindings, service accounts, namespaces."""

from __future__ import annotations

from collections.abc import Iterator

from pillarbox.manifests import names
from pillarbox.manifests.manifest import Manifest, Object
from pillarbox.manifests.scope import Scope, compact
from pillarbox.manifests.section import PillarSection

_GROUP = "rbac.authorization.k8s.io"


def role(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:role``; without rules, bindings to a role that exists already."""
    with section:
        section.ignore("enabled")
        name = section.checked(section.text("name", default=key) or key, names.PATH_SEGMENT)
        namespace = section.name("namespace")
        given = section.choice("kind", among=("Role", "ClusterRole"))
        # As the formula has it, a namespace decides over the kind.
        kind = "Role" if namespace or given == "Role" else "ClusterRole"
        rules = [_rule(item) for item in section.items("rules")]
        labels, annotations = section.texts("labels"), section.texts("annotations")
        if rules:
            body = {"rules": rules}
            place = section.place
            yield scope.manifest(kind, name, body, place, namespace=namespace, labels=labels, annotations=annotations)
        for binding_key, binding in section.sections("binding"):
            if binding.flag("enabled") is not False:
                yield _binding(binding_key, binding, scope, kind, name, namespace)


def service_account(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:service_account``."""
    with section:
        section.ignore("enabled")
        name = section.checked(section.text("name", default=key) or key, names.SUBDOMAIN)
        secrets = section.words("image_pull_secrets", "image_pull_secretes") or ()
        body = compact(
            imagePullSecrets=[{"name": word} for word in secrets],
            automountServiceAccountToken=section.flag("automount_service_account_token"),
        )
        yield scope.manifest(
            "ServiceAccount",
            name,
            body,
            section.place,
            namespace=section.name("namespace"),
            labels=section.texts("labels"),
            annotations=section.texts("annotations"),
        )


def namespace(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:namespaces``."""
    with section:
        section.ignore("enabled")
        name = section.checked(key, names.LABEL)
        labels, annotations = section.texts("labels"), section.texts("annotations")
        yield scope.manifest("Namespace", name, {}, section.place, labels=labels, annotations=annotations)


def _rule(section: PillarSection) -> Object:
    with section:
        rule = compact(
            apiGroups=section.words("api_groups"),
            resources=section.words("resources"),
            resourceNames=section.words("resource_names"),
            nonResourceURLs=section.words("non_resource_urls"),
            verbs=section.words("verbs"),
        )
        if "verbs" not in rule:
            section.problem("a rule needs verbs")
        return rule


def _binding(key: str, section: PillarSection, scope: Scope, kind: str, name: str, namespace: str | None) -> Manifest:
    with section:
        section.ignore("enabled")
        title = section.checked(section.text("name", default=key) or key, names.PATH_SEGMENT)
        own = section.name("namespace")
        given = section.choice("kind", among=("RoleBinding", "ClusterRoleBinding"))
        bound = "RoleBinding" if own or given == "RoleBinding" or kind == "Role" else "ClusterRoleBinding"
        own = own or namespace or scope.namespace
        subjects = [_subject(who, item, own) for who, item in section.sections("subject")]
        if not subjects:
            section.problem("a binding needs a subject")
        body = {"roleRef": {"apiGroup": _GROUP, "kind": kind, "name": name}, "subjects": subjects}
        return scope.manifest(bound, title, body, section.place, namespace=own)


def _subject(key: str, section: PillarSection, namespace: str) -> Object:
    with section:
        kind = section.choice("kind", among=("User", "Group", "ServiceAccount"), default="User") or "User"
        name = section.text("name", default=key)
        given = section.text("namespace")
        if kind == "ServiceAccount":
            return {"kind": kind, "name": name, "namespace": given or namespace}
        return {"apiGroup": _GROUP, "kind": kind, "name": name}
