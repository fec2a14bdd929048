"""ConfigMaps and Secrets."""

from __future__ import annotations

from collections.abc import Iterator

from pillarbox.manifests import names
from pillarbox.manifests.manifest import Manifest
from pillarbox.manifests.scope import Scope, compact
from pillarbox.manifests.section import PillarSection
from pillarbox.system import gpg


def config_map(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:configmap``."""
    with section:
        section.ignore("enabled", "create", "grains")
        if section.value("pillar") is not None:
            hint = "Bake the files into the image, or write them out under data."
            section.problem("files of other Salt formulas (pillar) are not rendered into ConfigMaps", hint)
        version = section.text("version")
        name = section.text("name", default=key) or key
        body = compact(immutable=section.flag("immutable"), binaryData=section.texts("binary_data"))
        body |= {"data": _data(section)}
        yield _object("ConfigMap", f"{name}-{version}" if version else name, body, section, scope)


def secret(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:secret``.

    Its values are PGP blocks and stay so in the file: ``stringData`` holds what must be decrypted before it is applied.
    """
    with section:
        section.ignore("enabled")
        name, data = section.text("name", default=key) or key, _data(section)
        for item, value in data.items():
            if not gpg.is_block(value):
                hint = "Encrypt it to the deployment's master: gpg --armor --encrypt --recipient <its key>."
                section.problem(f"a secret in the clear: {item} of Secret {name} is no PGP message", hint, key="data")
        yield _object(
            "Secret",
            name,
            compact(type=section.text("type"), immutable=section.flag("immutable")) | {"stringData": data},
            section,
            scope,
        )


def _data(section: PillarSection) -> dict[str, str]:
    data = section.texts("data")
    for key in data:
        section.checked(key, names.DATA_KEY, key="data")
    return data


def _object(kind: str, name: str, body: dict[str, object], section: PillarSection, scope: Scope) -> Manifest:
    return scope.manifest(
        kind,
        section.checked(name, names.SUBDOMAIN),
        body,
        section.place,
        namespace=section.name("namespace"),
        labels=section.texts("labels"),
        annotations=section.texts("annotations"),
    )
