"""A container registry, over its HTTP API: what exists, under which digest, how large."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from pillarbox.images.errors import RegistryError, RegistryUnavailable
from pillarbox.images.spec import ImageSpec
from pillarbox.system.waiting import IMPATIENT, Patience

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ACCEPT = ", ".join(
    (
        MANIFEST,
        OCI_MANIFEST,
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    )
)
TIMEOUT = (5, 60)
#: Where the engine looks for the authority of a registry's certificate, below the registry's address: ``ca.crt``.
CERTIFICATES = Path("/etc/docker/certs.d")
_PAGE = 100
#: What a registry, or a proxy before it, answers while it is not ready.
_NOT_READY = (429, 502, 503, 504)
_TLS_HINT = (
    f"The authority of its certificate is looked for at {CERTIFICATES}/<address>/ca.crt. A registry without TLS needs "
    "image:plain_http: true in the model."
)


@dataclass(frozen=True)
class ImageManifest:
    """A manifest as the registry keeps it."""

    digest: str
    media_type: str
    content: bytes

    @property
    def pushed_size(self) -> int:
        """Bytes that the image takes in the registry: its layers, compressed, and its configuration."""
        return sum(size for _, size in self.blobs())

    def blobs(self) -> list[tuple[str, int]]:
        """The digest and the bytes of each: the configuration, and the layers."""
        data = json.loads(self.content)
        found = [data["config"], *data.get("layers", [])] if "config" in data else data.get("layers", [])
        return [(str(blob["digest"]), int(blob["size"])) for blob in found]


class Registry:
    """The registry at ``address`` (``host[:port]``), over HTTPS; over plain HTTP where ``plain_http`` asks for it, and,
    as with Docker, on a loopback address that does not offer HTTPS.

    Its certificate is checked against the authority in ``certificates``, where there is one for the address, else
    against those that the machine trusts. Credentials come from Docker's ``config.json`` and are never sent in the
    clear. Every question that does not reach it is asked again for as long as ``patience`` lasts, then
    :class:`RegistryUnavailable` is raised. Safe to use from several threads.
    """

    def __init__(
        self,
        address: str,
        *,
        plain_http: bool = False,
        credentials: tuple[str, str] | None = None,
        patience: Patience = IMPATIENT,
        certificates: Path = CERTIFICATES,
    ) -> None:
        self.address = address
        self._patience = patience
        self._schemes = ("http",) if plain_http else ("https", "http") if _is_loopback(address) else ("https",)
        authority = certificates / address / "ca.crt"
        self._verify: bool | str = str(authority) if authority.is_file() else True
        self._credentials = credentials or _docker_credentials(address)
        self._scheme: str | None = None
        self._tokens: dict[str, str] = {}
        self._local = threading.local()

    @property
    def _session(self) -> requests.Session:
        """Connections of this thread, kept open: reading the trusted certificates takes longer than most answers."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        session: requests.Session = self._local.session
        return session

    @classmethod
    def of(cls, spec: ImageSpec, patience: Patience = IMPATIENT) -> Registry:
        """The registry that an image goes to."""
        return cls(spec.registry, plain_http=spec.plain_http, patience=patience)

    def __repr__(self) -> str:
        return f"Registry({self.address!r})"

    def check(self) -> None:
        """Raise :class:`RegistryError` unless a registry answers at the address."""
        answer = self._request("GET", "/v2/", "registry:catalog:*")
        if answer.status_code not in (200, 401):
            raise self._unexpected(answer)

    def digest(self, repository: str, tag: str) -> str | None:
        """The digest that ``tag`` stands for, or nothing where there is no such image."""
        answer = self._request("HEAD", f"/v2/{repository}/manifests/{tag}", _pull(repository), accept=ACCEPT)
        if answer.status_code == 404:
            return None
        if answer.status_code != 200 or "Docker-Content-Digest" not in answer.headers:
            raise self._unexpected(answer)
        return answer.headers["Docker-Content-Digest"]

    def manifest(self, repository: str, reference: str) -> ImageManifest | None:
        """The manifest of a tag or digest, or nothing where there is no such image."""
        answer = self._request("GET", f"/v2/{repository}/manifests/{reference}", _pull(repository), accept=ACCEPT)
        if answer.status_code == 404:
            return None
        if answer.status_code != 200 or "Docker-Content-Digest" not in answer.headers:
            raise self._unexpected(answer)
        media_type = answer.headers.get("Content-Type", MANIFEST)
        return ImageManifest(answer.headers["Docker-Content-Digest"], media_type, answer.content)

    def labels(self, repository: str, reference: str) -> dict[str, str]:
        """The labels of an image. Raises :class:`RegistryError` where there is no such image."""
        manifest = self.manifest(repository, reference)
        if manifest is None:
            raise RegistryError(f"registry {self.address} has no {repository}:{reference}")
        config = json.loads(manifest.content)["config"]["digest"]
        return dict(json.loads(self.blob(repository, config)).get("config", {}).get("Labels") or {})

    def blob(self, repository: str, digest: str) -> bytes:
        """The content of a layer, compressed as it is kept. Raises :class:`RegistryError` where there is none."""
        answer = self._request("GET", f"/v2/{repository}/blobs/{digest}", _pull(repository))
        if answer.status_code != 200:
            raise self._unexpected(answer)
        return answer.content

    def tag(self, repository: str, manifest: ImageManifest, tag: str) -> None:
        """Let ``tag`` stand for an image that the repository has already."""
        answer = self._request(
            "PUT",
            f"/v2/{repository}/manifests/{tag}",
            f"repository:{repository}:pull,push",
            content=manifest.content,
            content_type=manifest.media_type,
        )
        if answer.status_code != 201:
            raise self._unexpected(answer)

    def repositories(self, prefix: str) -> tuple[str, ...]:
        """The repositories whose names begin with ``prefix``; some may hold nothing any more."""
        found: list[str] = []
        last = ""
        while True:
            # In pages: a registry gives no more than so many at once.
            answer = self._request("GET", f"/v2/_catalog?n={_PAGE}&last={quote(last)}", "registry:catalog:*")
            if answer.status_code != 200:
                raise self._unexpected(answer)
            page: list[str] = answer.json().get("repositories") or []
            found += page
            if len(page) < _PAGE:
                return tuple(name for name in found if name.startswith(prefix))
            last = page[-1]

    def tags(self, repository: str) -> tuple[str, ...]:
        """The tags of a repository; none where there is no such repository."""
        answer = self._request("GET", f"/v2/{repository}/tags/list", _pull(repository))
        if answer.status_code == 404:
            return ()
        if answer.status_code != 200:
            raise self._unexpected(answer)
        return tuple(sorted(answer.json().get("tags") or ()))

    def delete(self, repository: str, digest: str) -> None:
        """Forget an image and all its tags; fine where there is none. Its room is free after a garbage collection."""
        answer = self._request(
            "DELETE", f"/v2/{repository}/manifests/{digest}", f"repository:{repository}:pull,push,delete"
        )
        if answer.status_code not in (202, 404):
            raise self._unexpected(answer)

    def _request(
        self,
        method: str,
        path: str,
        scope: str,
        *,
        accept: str | None = None,
        content: bytes | None = None,
        content_type: str | None = None,
    ) -> requests.Response:
        headers = {key: value for key, value in (("Accept", accept), ("Content-Type", content_type)) if value}
        if scope in self._tokens:
            headers["Authorization"] = self._tokens[scope]
        answer = self._ask(method, path, headers, content)
        if answer.status_code == 401 and (token := self._authorize(answer, scope)):
            self._tokens[scope] = token
            answer = self._ask(method, path, {**headers, "Authorization": token}, content)
        return answer

    def _ask(self, method: str, path: str, headers: Mapping[str, str], content: bytes | None) -> requests.Response:
        return self._patience.retry(lambda: self._send(method, path, headers, content), f"registry {self.address}")

    def _send(self, method: str, path: str, headers: Mapping[str, str], content: bytes | None) -> requests.Response:
        schemes = (self._scheme,) if self._scheme else self._schemes
        failure: Exception | None = None
        for scheme in schemes:
            try:
                answer = self._session.request(
                    method,
                    f"{scheme}://{self.address}{path}",
                    headers=dict(headers),
                    data=content,
                    timeout=TIMEOUT,
                    verify=self._verify,
                )
            except requests.exceptions.SSLError as error:
                # "Wrong version number" is how a plain HTTP server looks to TLS; a bad certificate is final.
                failure = error
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    break
            except requests.exceptions.RequestException as error:
                failure = error
            else:
                self._scheme = scheme
                if answer.status_code in _NOT_READY:
                    raise RegistryUnavailable(f"registry {self.address} is not ready: it answered {answer.status_code}")
                return answer
        if isinstance(failure, requests.exceptions.SSLError):
            raise RegistryError(f"registry {self.address}: {_reason(failure)}", hint=_TLS_HINT) from failure
        raise RegistryUnavailable(
            f"registry {self.address} does not answer: {_reason(failure)}",
            hint="Is the registry running, and does its name resolve here?",
        ) from failure

    def _authorize(self, answer: requests.Response, scope: str) -> str | None:
        """The Authorization header that a challenge asks for, or nothing."""
        kind, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        if self._scheme != "https":
            return None
        if kind.lower() == "basic" and self._credentials:
            return "Basic " + base64.b64encode(":".join(self._credentials).encode()).decode()
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if kind.lower() != "bearer" or not fields.get("realm", "").startswith("https://"):
            return None
        query = {"scope": fields.get("scope", scope), **({"service": fields["service"]} if "service" in fields else {})}
        try:
            reply = self._session.get(
                fields["realm"], params=query, auth=self._credentials, timeout=TIMEOUT, verify=self._verify
            )
            data: dict[str, Any] = reply.json() if reply.ok else {}
        except requests.exceptions.RequestException as error:
            raise RegistryUnavailable(
                f"registry {self.address}: no token from {fields['realm']}: {_reason(error)}"
            ) from error
        token = data.get("token") or data.get("access_token")
        return f"Bearer {token}" if token else None

    def _unexpected(self, answer: requests.Response) -> RegistryError:
        hint = "Log in with `docker login` first." if answer.status_code in (401, 403) else None
        method, url = answer.request.method, answer.request.url
        return RegistryError(f"registry {self.address}: {method} {url} answered {answer.status_code}", hint=hint)


def _pull(repository: str) -> str:
    return f"repository:{repository}:pull"


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0] or address
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception | None) -> str:
    """The innermost cause of a failed request, without the layers of libraries around it."""
    while error is not None:
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, Exception):
            break
        error = inner
    return str(error).rpartition(">: ")[2]


def _docker_credentials(address: str) -> tuple[str, str] | None:
    folder = os.environ.get("DOCKER_CONFIG")
    file = Path(folder) / "config.json" if folder else Path.home() / ".docker" / "config.json"
    try:
        auths = json.loads(file.read_text(encoding="utf-8")).get("auths", {})
        user, _, password = base64.b64decode(auths[address]["auth"]).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (user, password) if user else None
