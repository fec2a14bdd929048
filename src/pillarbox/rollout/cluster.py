"""A narrow client for one Kubernetes cluster: the few requests that a rollout needs, on plain data.

It stands on the ``kubernetes`` package's connection (kubeconfig, certificates, tokens) and speaks the REST API itself:
the package's typed models follow newer servers than ours and drop fields they do not know, and its ``DynamicClient``
(37.0) was tried against Kubernetes 1.20 and cannot be used from several threads (24 lookups of kinds at once ended in
``KeyError``) nor apply text beyond the basic plane (it sends "\U0001f680" as a JSON escape, which the server refuses).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import urllib3

from pillarbox.rollout.errors import ApiError, RolloutError, Unreachable
from pillarbox.rollout.kubeconfig import Kubeconfig
from pillarbox.rollout.objects import Object, ObjectRef, ref
from pillarbox.system.waiting import retry, until

FIELD_MANAGER = "pillarbox"
#: Answers of an API server that is starting, or whose etcd is: worth asking again. A 500 can also be final.
_PASSING = (429, 502, 503, 504)
_PASSING_WORDS = ("etcdserver", "timed out", "connection refused", "context deadline")


class _Served(NamedTuple):
    """A kind as the API server serves it."""

    plural: str
    namespaced: bool
    verbs: frozenset[str]


class Cluster:
    """One cluster, by its kubeconfig.

    ``patience`` is how many seconds a request that finds nobody is asked again: a master that restarts in the middle
    of a rollout is no reason to fail it. Every request here can be repeated without harm.

    Raises :class:`Unreachable` when the kubeconfig cannot be used or nobody answers, :class:`RolloutError` when the
    model may not name it, :class:`ApiError` when the server refuses.
    """

    def __init__(self, kubeconfig: str | Path | Kubeconfig, *, patience: float = 60.0) -> None:
        given = kubeconfig if isinstance(kubeconfig, Kubeconfig) else Kubeconfig(Path(kubeconfig))
        self.kubeconfig = given.path.expanduser()
        self.patience = patience
        self._kinds: dict[str, dict[str, _Served]] = {}
        self._lock = threading.Lock()
        if not self.kubeconfig.is_file():
            raise Unreachable(
                f"no kubeconfig at {self.kubeconfig}",
                hint="Name it in the model (kubernetes:control:kubeconfig) or with --kubeconfig.",
            )
        # Loading the package takes a fifth of a second, which a build of images need not wait for.
        import kubernetes.client
        import kubernetes.config
        import yaml

        try:
            self._api = kubernetes.client.ApiClient(_configuration(given))
        except kubernetes.config.ConfigException as error:
            raise Unreachable(f"not a usable kubeconfig: {error}", file=self.kubeconfig) from error
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError) as error:
            # The client looks at no type. What it says may show a part of the file, which holds keys.
            raise Unreachable(
                f"not a usable kubeconfig: {type(error).__name__} while it was read",
                file=self.kubeconfig,
                hint="See what `kubectl config view --kubeconfig FILE` says of it.",
            ) from None

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def server(self) -> str:
        """The address of the API server."""
        return str(self._api.configuration.host)

    def version(self) -> str:
        """The server's version, as ``v1.37.2``."""
        return str(self._request("GET", "/version")["gitVersion"])

    def serves(self, api_version: str, kind: str) -> bool:
        """Whether the cluster knows this kind."""
        try:
            return self._find(api_version, kind) is not None
        except ApiError as error:
            if error.status == 404:
                return False
            raise

    def kinds(self, expected: Collection[str] = ()) -> Iterator[tuple[str, str]]:
        """Every kind that can be listed and deleted, with an API version: one for each API group that serves it.

        ``expected`` are groups that every API server has; one that has just started lists them a moment later.
        Groups that the API server says it cannot serve are passed over: an extension that is down is no reason to fail.
        """
        yield from self._listable("v1")
        groups: list[Object] = []

        def complete() -> bool:
            groups[:] = self._request("GET", "/apis")["groups"]
            return {group["name"] for group in groups} >= set(expected)

        until(complete, f"{self.server} to list its API groups", patience=self.patience)
        for group in groups:
            found: dict[str, str] = {}
            for version in (group["preferredVersion"], *group["versions"]):
                for api_version, kind in self._listable(version["groupVersion"]):
                    found.setdefault(kind, api_version)
            yield from ((api_version, kind) for kind, api_version in found.items())

    def namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of this kind live in a namespace."""
        return self._resource(api_version, kind).namespaced

    def get(self, wanted: ObjectRef) -> Object | None:
        """The live object, or ``None``."""
        try:
            return self._request("GET", self._path(wanted))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def apply(self, obj: Object, *, dry_run: bool = False, force: bool = True, manager: str = FIELD_MANAGER) -> Object:
        """Server-side apply; what the object is then (or would be). ``manager`` owns it, whoever set it before; without
        ``force``, fields that others have set otherwise are an :class:`ApiError` that names them."""
        query = {"fieldManager": manager, "force": str(force).lower(), **({"dryRun": "All"} if dry_run else {})}
        # The server reads this as YAML, which has no surrogate escapes for what JSON would escape.
        text, kind = json.dumps(obj, ensure_ascii=False), "application/apply-patch+yaml"
        return self._request("PATCH", self._path(ref(obj)), query, body=text.encode(), content_type=kind)

    def try_create(self, obj: Object, namespace: str) -> Object:
        """Validate a new ``obj`` on the server as if it were created in ``namespace``, under a name of no one's."""
        metadata = {key: value for key, value in obj["metadata"].items() if key not in ("name", "namespace")}
        metadata |= {"generateName": "pillarbox-check-", "namespace": namespace}
        path = self._path(ObjectRef(obj["apiVersion"], obj["kind"], namespace, ""))
        return self._request("POST", path, {"dryRun": "All"}, body={**obj, "metadata": metadata})

    def delete(self, unwanted: ObjectRef) -> bool:
        """Delete an object and, in the background, what it owns; ``False`` when it was not there."""
        try:
            self._request("DELETE", self._path(unwanted), body={"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def evict(self, namespace: str, pod: str) -> None:
        """Have a pod go, as its disruption budgets allow. Raises :class:`ApiError`: 429 when they do not allow it now,
        404 when there is no such pod."""
        version = "policy/v1" if self.serves("policy/v1", "PodDisruptionBudget") else "policy/v1beta1"
        body = {"apiVersion": version, "kind": "Eviction", "metadata": {"namespace": namespace, "name": pod}}
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/eviction"
        self._request("POST", path, body=body, passing=_unreached)

    def gone(self, unwanted: ObjectRef, *, patience: float = 60.0) -> bool:
        """Wait for an object that was deleted to go; ``False`` when it is still there after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        field = f"metadata.name={unwanted.name}"
        while True:
            listed, version = self.list(unwanted.api_version, unwanted.kind, unwanted.namespace, fields=field)
            left = deadline - time.monotonic()
            if not listed or left <= 0:
                return not listed
            for event, _ in self.watch(
                unwanted.api_version, unwanted.kind, unwanted.namespace, fields=field, since=version, seconds=left
            ):
                if event == "DELETED":
                    break

    def list(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Objects of a kind (in all namespaces if none is named) and the resource version of that view."""
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        answer = self._request("GET", self._path(ObjectRef(api_version, kind, namespace, "")), query)
        items = [{"apiVersion": api_version, "kind": kind, **item} for item in answer.get("items") or ()]
        return items, str(answer["metadata"].get("resourceVersion", ""))

    def watch(
        self, api_version: str, kind: str, namespace: str, *, fields: str = "", since: str = "", seconds: float = 30.0
    ) -> Iterator[tuple[str, Object]]:
        """Changes as they happen, ``(ADDED|MODIFIED|DELETED, object)``, for at most ``seconds``.

        Ends early, without an error, when the server closes the stream or ``since`` is too old: the caller looks again
        and starts a new watch anyway.
        """
        query = {"watch": "1", "timeoutSeconds": str(max(1, int(seconds)))}
        query |= {key: value for key, value in (("fieldSelector", fields), ("resourceVersion", since)) if value}
        path = self._path(ObjectRef(api_version, kind, namespace, ""))
        try:
            response = self._send("GET", path, query, None, None, read_timeout=seconds + 10)
        except (urllib3.exceptions.HTTPError, OSError):
            return
        try:
            if response.status != 200:
                return
            for line in _lines(response):
                event = json.loads(line)
                if event.get("type") in ("ADDED", "MODIFIED", "DELETED"):
                    yield event["type"], event["object"]
                elif event.get("type") == "ERROR":
                    return
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            return
        finally:
            response.close()
            response.release_conn()

    def log(self, namespace: str, pod: str, container: str, *, previous: bool = False, lines: int = 20) -> str:
        """The last lines that a container wrote; empty when the node has none."""
        query = {"container": container, "tailLines": str(lines), **({"previous": "true"} if previous else {})}
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/log"
        try:
            response = self._send("GET", path, query, None, None, read_timeout=10)
            text = response.data.decode("utf-8", "replace")
        except (urllib3.exceptions.HTTPError, OSError):
            return ""
        return text if response.status == 200 else ""

    def websocket(self, path: str, query: Sequence[tuple[str, str]], protocol: str, *, timeout: float) -> Any:
        """An open WebSocket to ``path`` that waits ``timeout`` seconds for each message.

        Raises :class:`ApiError` when the server refuses, and :class:`Unreachable`.
        """
        import websocket
        from kubernetes.stream.ws_client import create_websocket

        headers = {"sec-websocket-protocol": protocol}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        url = f"{self.server.replace('http', 'ws', 1)}{path}?{urlencode(query)}"
        try:
            opened = create_websocket(self._api.configuration, url, headers)
        except websocket.WebSocketBadStatusException as error:
            raise _api_error(error.status_code, error.resp_body or b"") from error
        except (websocket.WebSocketException, OSError) as error:
            raise Unreachable(f"the Kubernetes API server {self.server} does not answer: {error}") from error
        opened.settimeout(timeout)
        return opened

    def _resources(
        self, api_version: str, *, again: bool = False, passing: Callable[[BaseException], bool] | None = None
    ) -> dict[str, _Served]:
        with self._lock:
            known = self._kinds.get(api_version)
        if known is None or again:
            answer = self._request("GET", _prefix(api_version), passing=passing)
            known = {
                item["kind"]: _Served(item["name"], bool(item["namespaced"]), frozenset(item.get("verbs") or ()))
                for item in answer["resources"]
                if "/" not in item["name"]
            }
            with self._lock:
                self._kinds[api_version] = known
        return known

    def _find(self, api_version: str, kind: str) -> _Served | None:
        """What the cluster serves now: a definition may have added a kind since it was asked first."""
        return self._resources(api_version).get(kind) or self._resources(api_version, again=True).get(kind)

    def _listable(self, api_version: str) -> Iterator[tuple[str, str]]:
        try:
            found = self._resources(api_version, passing=_unreached)
        except ApiError:
            return
        yield from ((api_version, kind) for kind, served in found.items() if served.verbs >= {"list", "delete"})

    def _resource(self, api_version: str, kind: str) -> _Served:
        try:
            found = self._find(api_version, kind)
        except ApiError as error:
            if error.status != 404:
                raise
            raise RolloutError(
                f"the cluster at {self.server} does not serve {api_version} ({kind})",
                hint="Set kubernetes:control:version to the cluster's own version, so that manifests fit it.",
            ) from None
        if found is None:
            raise RolloutError(f"the cluster at {self.server} has no {kind} in {api_version}")
        return found

    def _path(self, wanted: ObjectRef) -> str:
        served = self._resource(wanted.api_version, wanted.kind)
        path = _prefix(wanted.api_version)
        if served.namespaced and (wanted.namespace or wanted.name):
            path += f"/namespaces/{quote(wanted.namespace or 'default')}"
        path += f"/{served.plural}"
        return f"{path}/{quote(wanted.name)}" if wanted.name else path

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: object = None,
        content_type: str = "application/json",
        passing: Callable[[BaseException], bool] | None = None,
    ) -> Object:
        def once() -> Object:
            try:
                response = self._send(method, path, query, body, content_type if body is not None else None)
                payload, status = response.data, response.status
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise Unreachable(
                    f"the Kubernetes API server {self.server} does not answer: {_cause(error)}",
                    hint=f"The address comes from {self.kubeconfig}.",
                ) from error
            if status >= 300:
                refusal = _api_error(status, payload)
                refusal.hint = self._own_dates() if status == 401 else None
                raise refusal
            answer: Object = json.loads(payload) if payload else {}
            return answer

        return retry(once, f"{method} {path}", passing=passing or _passes, patience=self.patience)

    def _own_dates(self) -> str | None:
        """What is wrong with the dates of the kubeconfig's own certificate, in words."""
        from cryptography import x509

        if not (file := self._api.configuration.cert_file):
            return None
        own, now = x509.load_pem_x509_certificate(Path(file).read_bytes()), datetime.now(UTC)
        if own.not_valid_after_utc < now:
            text = f"ended on {own.not_valid_after_utc:%Y-%m-%d at %H:%M} UTC."
        elif own.not_valid_before_utc > now:
            text = f"is not valid before {own.not_valid_before_utc:%Y-%m-%d at %H:%M} UTC; is the clock right?"
        else:
            return None
        return (
            f"The certificate in {self.kubeconfig} {text} "
            "One that Pillarbox issued is renewed on its host by: salt HOST pillarbox.renew_certificates"
        )

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        content_type: str | None,
        *,
        read_timeout: float = 60.0,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "pillarbox"}
        if content_type:
            headers["Content-Type"] = content_type
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        answer = self._api.rest_client.request(
            method, url, headers=headers, body=body, _request_timeout=(10.0, read_timeout)
        )
        raw: urllib3.BaseHTTPResponse = answer.response
        return raw


def _configuration(kubeconfig: Kubeconfig) -> Any:
    import kubernetes.client
    import kubernetes.config

    configuration = kubernetes.client.Configuration()
    if kubeconfig.pushed is None:
        file = str(kubeconfig.path.expanduser())
        kubernetes.config.load_kube_config(file, client_configuration=configuration, persist_config=False)
    else:
        # What was looked at, and not the file again.
        loader = kubernetes.config.kube_config.KubeConfigLoader(
            kubeconfig.read(), config_base_path=str(kubeconfig.path.parent)
        )
        loader.load_and_set(configuration)
    configuration.connection_pool_maxsize = 32
    configuration.retries = False
    return configuration


def _prefix(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    buffer = b""
    for chunk in response.stream(amt=None if response.chunked else 65536, decode_content=True):
        buffer += chunk
        *whole, buffer = buffer.split(b"\n")
        yield from (line for line in whole if line.strip())


def _passes(error: BaseException) -> bool:
    """Whether the same request may be answered otherwise a little later."""
    if isinstance(error, ApiError):
        passing = any(word in error.message for word in _PASSING_WORDS)
        return error.status in _PASSING or (error.status == 500 and passing)
    return _unreached(error)


def _unreached(error: BaseException) -> bool:
    """Whether nobody answered, who may be there a little later."""
    return isinstance(error, Unreachable) and not isinstance(error.__cause__, urllib3.exceptions.SSLError)


def _cause(error: BaseException) -> str:
    inner = getattr(error, "reason", None) or error
    return str(inner).rpartition(": ")[2] or type(inner).__name__


def _api_error(status: int, payload: bytes) -> ApiError:
    try:
        answer = json.loads(payload)
    except ValueError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    details = answer.get("details") or {}
    causes = tuple(
        (str(cause.get("field") or ""), str(cause.get("message") or "")) for cause in details.get("causes") or ()
    )
    message = answer.get("message") or payload.decode("utf-8", "replace")[:500] or f"HTTP status {status}"
    return ApiError(message, status=status, reason=answer.get("reason") or str(status), causes=causes)
