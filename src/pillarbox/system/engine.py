"""The container engine, over Docker's API."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import docker
import docker.errors
import requests.exceptions

from pillarbox.system import waiting
from pillarbox.system.errors import Interrupted, PillarboxError, Unavailable
from pillarbox.system.execution import Completed, Pipe, attached, execute
from pillarbox.system.waiting import IMPATIENT, Patience

#: A call may last as long as an installation of packages.
TIMEOUT = 3600
#: What root in a container may do besides what is its own: set owners and modes of files, and become another user, as
#: packages do when they are installed.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETFCAP", "SETGID", "SETUID")


class EngineError(PillarboxError):
    """The container engine is missing, or refused what it was asked."""


class EngineUnavailable(EngineError, Unavailable):
    """The container engine does not answer now, or cannot reach the registry that it was to push to or pull from."""


class ContainerEnded(EngineError, Interrupted):
    """A container ended under the command that ran in it: somebody, the engine or the kernel ended it."""


@dataclass(frozen=True)
class Commit:
    """What a new layer's image says about itself."""

    labels: Mapping[str, str]
    command: tuple[str, ...]
    environment: tuple[str, ...] = ()


class Engine:
    """The engine at ``url``, by default the one that ``docker`` itself would use (``DOCKER_HOST``).

    Raises :class:`EngineUnavailable` when there is none, or none yet once ``patience`` is over. Safe to use from
    several threads.
    """

    def __init__(self, url: str | None = None, *, timeout: float = TIMEOUT, patience: Patience = IMPATIENT) -> None:
        self._url, self._timeout = url, timeout
        self._local = threading.local()
        patience.retry(self._reach, "the container engine")

    def _reach(self) -> None:
        with translated("the container engine"):
            self._api.ping()

    @property
    def client(self) -> docker.DockerClient:
        """The client of this thread: requests' sessions are not made for sharing."""
        if not hasattr(self._local, "client"):
            with translated("the container engine"):
                if self._url:
                    self._local.client = docker.DockerClient(base_url=self._url, timeout=self._timeout)
                else:
                    # DOCKER_TLS_VERIFY and DOCKER_CERT_PATH count as well.
                    self._local.client = docker.from_env(timeout=self._timeout)
        return self._local.client

    @property
    def _api(self) -> docker.APIClient:
        return self.client.api

    @property
    def version(self) -> str:
        """The engine's version."""
        with translated("the container engine"):
            return str(self._api.version()["Version"])

    # Images

    def image(self, reference: str) -> dict[str, Any] | None:
        """What the engine knows about an image, or nothing where it has none of that name."""
        with translated(f"image {reference}"):
            try:
                found: dict[str, Any] = self._api.inspect_image(reference)
            except docker.errors.ImageNotFound:
                return None
            return found

    def labelled(self, labels: Mapping[str, str], tag: str) -> str | None:
        """The id of an image that carries all the labels, and ``tag`` in whatever repository, or nothing.

        Labels alone say nothing: an image that was only pulled brings whatever somebody wrote.
        """
        with translated("listing images"):
            found = self._api.images(filters={"label": [f"{key}={value}" for key, value in labels.items()]})
        tagged = (item for item in found if any(name.endswith(f":{tag}") for name in item.get("RepoTags") or ()))
        return next((str(item["Id"]) for item in tagged), None)

    def names(self, prefix: str) -> tuple[str, ...]:
        """The names (``repository:tag``) of images that start with ``prefix``."""
        with translated("listing images"):
            names = (name for image in self._api.images() for name in image.get("RepoTags") or ())
            return tuple(sorted(name for name in names if name.startswith(prefix)))

    def pull(self, reference: str) -> bool:
        """Fetch an image from its registry. False where the registry has none of that name."""
        with translated(f"pulling {reference}"):
            try:
                self._api.pull(reference)
            except docker.errors.NotFound:
                return False
            return True

    def push(self, repository: str, tag: str) -> str:
        """Send an image to the registry that its name begins with; return the digest that it has there."""
        digest = ""
        with translated(f"pushing {repository}:{tag}"):
            for message in self._api.push(repository, tag=tag, stream=True, decode=True):
                if "error" in message:
                    raise _refused(f"pushing {repository}:{tag}", message["error"])
                digest = (message.get("aux") or {}).get("Digest", digest)
        if not digest:
            raise EngineError(f"pushing {repository}:{tag}: the container engine did not say under which digest")
        return digest

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Give an image one more name."""
        with translated(f"tagging {repository}:{tag}"):
            self._api.tag(image, repository, tag, force=True)

    def remove_image(self, reference: str) -> None:
        """Forget an image's name, and the image where that was its last; fine where there is none."""
        with translated(f"removing {reference}"), contextlib.suppress(docker.errors.NotFound):
            self._api.remove_image(reference, noprune=False)

    def forget(self, name: str) -> bool:
        """Remove an image's name, and the image where that was its last; whether it went: a container may use it."""
        with translated(f"removing {name}"):
            try:
                self._api.remove_image(name)
            except docker.errors.NotFound:
                return True
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise
                return False
            return True

    def load_root(self, archive: Iterator[bytes], repository: str, tag: str, labels: Mapping[str, str]) -> str:
        """Make an image of one layer from a tar archive of a root file system; return its id."""
        changes = ['CMD ["/bin/sh"]', *(f'LABEL {key}="{value}"' for key, value in labels.items())]
        with translated(f"importing {repository}:{tag}"):
            self._api.import_image_from_data(archive, repository=repository, tag=tag, changes=changes)
        return self._id(f"{repository}:{tag}")

    def _id(self, reference: str) -> str:
        image = self.image(reference)
        if image is None:
            raise EngineError(f"the container engine did not keep {reference}")
        return str(image["Id"])

    # Containers

    @contextlib.contextmanager
    def container(
        self,
        image: str,
        name: str,
        labels: Mapping[str, str],
        *,
        volumes: Mapping[str, tuple[str, str]] | None = None,
    ) -> Iterator[str]:
        """A container to work in, without a network: its name, while the context lasts.

        ``volumes`` of the engine are mounted: name -> where, and ``ro`` or ``rw``. Its root may do what installing
        packages takes, and nothing to the machine: see :data:`CAPABILITIES`.

        /run and /tmp are in memory and never part of a layer. It ends when this process does, however that happens: its
        only process reads a pipe that the engine closes with our connection.
        """
        try:
            with translated(f"starting a container of {image}"):
                self._api.create_container(
                    image,
                    name=name,
                    command=["cat"],
                    entrypoint=[],
                    user="0:0",
                    hostname="image",
                    stdin_open=True,
                    labels=dict(labels),
                    host_config=self._api.create_host_config(
                        network_mode="none",
                        cap_drop=["ALL"],
                        cap_add=list(CAPABILITIES),
                        security_opt=["no-new-privileges"],
                        auto_remove=True,
                        binds={key: {"bind": place, "mode": mode} for key, (place, mode) in (volumes or {}).items()},
                        tmpfs={"/run": "rw,exec,nosuid,nodev,mode=755", "/tmp": "rw,exec,nosuid,nodev,mode=1777"},
                    ),
                )
                pipe = self._api.attach_socket(name, {"stdin": 1, "stream": 1})
                self._api.start(name)
            with contextlib.closing(pipe):
                yield name
        finally:
            self.remove_container(name)

    def containers(self, labels: Mapping[str, str], prefix: str) -> tuple[str, ...]:
        """The names of containers, running or not, that carry the labels and whose name starts with ``prefix``."""
        filters = {"label": [f"{key}={value}" for key, value in labels.items()]}
        with translated("listing containers"):
            found = self._api.containers(all=True, filters=filters)
        names = (name.lstrip("/") for entry in found for name in entry["Names"])
        return tuple(sorted(name for name in names if name.startswith(prefix)))

    def remove_container(self, container: str) -> None:
        """Remove a container with all that is its own, and return when it is gone; fine where it was already."""

        def gone() -> bool:
            try:
                self._api.remove_container(container, force=True, v=True)
            except docker.errors.NotFound:
                return True
            except docker.errors.APIError as error:
                if "already in progress" not in str(error):
                    raise
            return False

        with translated("removing a container"):
            if not waiting.until(gone, f"container {container} to be gone", patience=TIMEOUT, every=0.05):
                raise EngineError(f"container {container} does not go away")

    def run(
        self, container: str, command: Sequence[str], environment: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> Completed:
        """Run a command in a container to its end."""
        with translated(f"running {command[0]}"):
            done = execute(self._api, container, command, environment=environment, stdin=stdin)
        if done.code == -1:
            raise ContainerEnded(f"running {command[0]}: the container ended before the command did")
        return done

    @contextlib.contextmanager
    def pipe(
        self, container: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Iterator[Pipe]:
        """A command that runs in a container, to talk to while the context lasts; then its input ends."""
        with contextlib.ExitStack() as stack:
            with translated(f"running {command[0]}"):
                job = self._api.exec_create(
                    container, list(command), stdin=True, environment=dict(environment or {}), user="0:0"
                )
                pipe = Pipe(*stack.enter_context(attached(self._api, job["Id"])))
            stack.callback(pipe.close)
            yield pipe

    def export(self, container: str) -> Iterator[bytes]:
        """The files of a container as a tar archive."""
        with translated(f"exporting {container}"):
            yield from self._api.export(container, chunk_size=1 << 20)

    def copy_in(self, container: str, directory: str, archive: bytes | IO[bytes]) -> None:
        """Unpack a tar archive in a directory of a container; not for what is mounted there."""
        with translated(f"copying into {container}"):
            self._api.put_archive(container, directory, archive)

    def changed(self, container: str) -> tuple[str, ...]:
        """The paths that were added or modified in a container since it was made."""
        with translated("comparing a container"):
            return tuple(entry["Path"] for entry in self._api.diff(container) or () if entry["Kind"] != 2)

    def commit(self, container: str, repository: str, tag: str, commit: Commit) -> str:
        """Make the state of a container one more layer on its image; return the new image's id."""
        config = {
            "Cmd": list(commit.command),
            "Labels": dict(commit.labels),
            "Env": list(commit.environment),
            "StopSignal": "SIGTERM",
        }
        with translated(f"committing {repository}:{tag}"):
            return str(self._api.commit(container, repository=repository, tag=tag, conf=config)["Id"])

    # Volumes

    def volume(self, name: str) -> str | None:
        """When the volume ``name`` was made, as the engine writes it; ``None`` where there is none."""
        with translated(f"volume {name}"):
            try:
                return str(self._api.inspect_volume(name)["CreatedAt"])
            except docker.errors.NotFound:
                return None

    def volumes(self, prefix: str) -> tuple[str, ...]:
        """The names of volumes that start with ``prefix``."""
        with translated("listing volumes"):
            found = (item["Name"] for item in self._api.volumes()["Volumes"] or ())
            return tuple(sorted(name for name in found if name.startswith(prefix)))

    def make_volume(self, name: str) -> None:
        """Make an empty volume."""
        with translated(f"making volume {name}"):
            self._api.create_volume(name)

    def remove_volume(self, name: str) -> None:
        """Remove a volume; fine where there is none, and where a container still uses it."""
        with translated(f"removing volume {name}"):
            try:
                self._api.remove_volume(name)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise


def _hint(text: str) -> str | None:
    """What to do about well-known complaints of engines."""
    hints: Iterable[tuple[str, str]] = (
        ("no space left on device", "The disk is full: make room where the engine keeps its data, then run it again."),
        ("server gave HTTP response to HTTPS client", "Name the registry in insecure-registries of the engine."),
        ("connection refused", "Is the registry running?"),
        ("no such host", "The registry's name does not resolve on the engine's machine."),
        ("permission denied", "Is this user in the group of the engine's socket?"),
    )
    return next((hint for sign, hint in hints if sign.lower() in text.lower()), None)


#: What engines say of a registry that they do not reach now, or that is not ready; and, the last, what one that was
#: started again says of a command that ran before.
_PASSING = (
    "connection refused",
    "connection reset",
    "broken pipe",
    "i/o timeout",
    "tls handshake timeout",
    "request canceled while waiting for connection",
    "client.timeout exceeded",
    "no route to host",
    "network is unreachable",
    "temporary failure in name resolution",
    "server misbehaving",
    "unexpected eof",
    ": eof",
    "too many requests",
    "bad gateway",
    "service unavailable",
    "gateway timeout",
    "no such exec instance",
)


def _refused(what: str, text: str) -> EngineError:
    """The error for what an engine says of its work with a registry."""
    kind = EngineUnavailable if any(sign in text.lower() for sign in _PASSING) else EngineError
    return kind(f"{what}: {text}", hint=_hint(text))


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the engine library's errors into :class:`EngineError`."""
    try:
        yield
    except docker.errors.APIError as error:
        raise _refused(what, str(error.explanation or error)) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        missing = "No such file" in str(error) or "Connection refused" in str(error) or "Errno 111" in str(error)
        if "ermission denied" in str(error):
            raise EngineError(f"{what}: the container engine is not for us: {error}", hint=_hint(str(error))) from error
        if missing or "Error while fetching server API version" in str(error):
            hint = "Start it, or set DOCKER_HOST."
            raise EngineUnavailable(f"{what}: the container engine does not answer: {error}", hint=hint) from error
        if isinstance(error, requests.exceptions.ConnectionError):
            raise EngineUnavailable(f"{what}: the container engine went away: {error}") from error
        raise EngineError(f"{what}: {error}", hint=_hint(str(error))) from error
