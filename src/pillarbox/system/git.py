"""Running git, on repositories that somebody else may write to and in work trees of our own.

Objects are read by git itself, whose process a hook starts in a few milliseconds; GitPython, which takes half a second
to load, does what is about a person's work tree: its state, and a clone to work in.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from pillarbox.system import command as programs
from pillarbox.system.errors import Interrupted, PillarboxError

log = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9a-f]{40,64}")
# A configuration that the caller's environment injects must not make git run programs.
_INJECTED = "GIT_CONFIG"
# Nor may it lead to another repository than the one that is meant, as it does in git's own hooks and `rebase --exec`.
_ELSEWHERE = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_NAMESPACE"})
# A commit is what its name says: whoever may push could otherwise put another in its place, by a ref in refs/replace.
# What is missing is missing: nothing is fetched from where the repository's own configuration says.
_PLAIN = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "LC_ALL": "C.UTF-8",
}
# A repository's own configuration names programs, and whoever owns the repository writes it. Of those that git may
# start where it only reads objects, none is left. A patch is never asked for: its drivers have names of their own.
_UNARMED = {
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.pager": "cat",
    "core.sshCommand": "false",
    "core.gitProxy": "false",
    "core.askPass": "false",
    "credential.helper": "",
    "diff.external": "",
    "gpg.program": "false",
    "gpg.ssh.program": "false",
    "gpg.x509.program": "false",
    "log.showSignature": "false",
}
# Nor has the user's own configuration (hooks, signing, templates) a say in a work tree that is not the user's.
_OURS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_COUNT": "0",
    "GIT_CONFIG_PARAMETERS": "",
}


class GitError(PillarboxError):
    """git is not installed, or says no; in its own words."""


class NoObject(GitError):
    """The repository lacks an object."""


class LargeObject(GitError):
    """An object is larger than it may be; ``size`` is in bytes."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


def is_name(text: str) -> bool:
    """Whether ``text`` is a full name of a commit or another object, fit for a file name."""
    return _NAME.fullmatch(text) is not None


def blob_name(content: bytes, *, like: str) -> str:
    """The name that git gives a file's content, by the digest of ``like``, a name in the same repository."""
    digest = hashlib.sha1(usedforsecurity=False) if len(like) == 40 else hashlib.sha256()
    digest.update(b"blob %d\0" % len(content))
    digest.update(content)
    return digest.hexdigest()


def command(path: str | Path) -> list[str]:
    """The beginning of a git command about the repository at ``path``, on this machine or another.

    What the repository's own configuration would run does not run.
    """
    # The repository belongs to the git user, and the master's user reads it: that one is meant, and no other.
    settings = {"safe.directory": _root(path), "safe.bareRepository": "all", **_UNARMED}
    return ["git", *(part for key, value in settings.items() for part in ("-c", f"{key}={value}")), "-C", str(path)]


def _root(path: str | Path) -> str:
    """The directory by which git knows the repository that ``path`` is, or lies in."""
    here = Path(os.path.realpath(path))
    if (here / "HEAD").is_file():
        return str(here)
    return str(next((each for each in (here, *here.parents) if (each / ".git").exists()), here))


class Git:
    """The repository at ``path``, bare or not: its objects and refs, never its work tree, and nothing that runs code
    of the repository. Works inside a pre-receive hook, on objects still in quarantine.

    Every method raises :class:`Interrupted` when a signal ended git, as a stop of the master does to all its children:
    that says nothing about the repository. Safe to use from several threads.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run git to its end, whatever it says. Raises :class:`GitError` where it is not installed."""
        log.debug("git -C %s %s", self.path, " ".join(arguments))
        try:
            done = subprocess.run(
                [*command(self.path), *arguments], capture_output=True, check=False, env=_environment()
            )
        except OSError as error:
            raise GitError(f"cannot run git: {error.strerror}", hint="Install it.") from None
        _survived(done.returncode)
        return done

    def read(self, *arguments: str) -> str:
        """What git prints, without the last line's end. Raises :class:`GitError` when it fails."""
        done = self.run(*arguments)
        _succeeded(arguments[0], done.returncode, done.stderr)
        return os.fsdecode(done.stdout).removesuffix("\n")

    def records(self, *arguments: str) -> Generator[str, None, None]:
        """What git prints with ``-z``, record by record as it comes. Raises :class:`GitError` when it fails.

        Closing the iterator ends git.
        """
        log.debug("git -C %s %s", self.path, " ".join(arguments))
        with TemporaryFile() as stderr:
            try:
                process = subprocess.Popen(
                    [*command(self.path), *arguments], stdout=subprocess.PIPE, stderr=stderr, env=_environment()
                )
            except OSError as error:
                raise GitError(f"cannot run git: {error.strerror}", hint="Install it.") from None
            with process:
                assert process.stdout is not None
                rest = b""
                while chunk := process.stdout.read(1 << 16):
                    *whole, rest = (rest + chunk).split(b"\0")
                    yield from map(os.fsdecode, whole)
            stderr.seek(0)
            _survived(process.returncode)
            _succeeded(arguments[0], process.returncode, stderr.read())

    def name(self, revision: str, kind: str = "commit") -> str | None:
        """The full name of the ``kind`` of object that ``revision`` names (any spelling that git knows), if any."""
        done = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{{kind}}}")
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def objects(self) -> ObjectReader:
        """A reader of the repository's objects."""
        return ObjectReader(self.path)


class ObjectReader:
    """Reads objects of a repository, all through one process, which is started for the first of them.

    Close it, or use it as a context manager. Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ObjectReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End git's process; reading on starts another."""
        with self._lock:
            self._end()

    def read(self, name: str, *, most: int | None = None) -> bytes:
        """The content of the object ``name``.

        Raises :class:`NoObject`, :class:`LargeObject` for more than ``most`` bytes (which are then not kept in memory),
        and :class:`Interrupted` when a signal ended git.
        """
        with self._lock:
            process = self._start()
            assert process.stdin is not None and process.stdout is not None
            with suppress(BrokenPipeError):
                process.stdin.write(f"{name}\n".encode())
                process.stdin.flush()
            header = process.stdout.readline().split()
            if len(header) != 3:
                if not header:
                    _survived(self._end())
                raise NoObject(f"git has no object {name} in {self._path}")
            size = int(header[2])
            if most is not None and size > most:
                left = size + 1
                while left > 0 and (chunk := process.stdout.read(min(1 << 20, left))):
                    left -= len(chunk)
                raise LargeObject(f"expected at most {most} bytes, found {size}", size)
            content = process.stdout.read(size + 1)
            if len(content) <= size:
                _survived(self._end())
                raise NoObject(f"git ended while it read object {name} in {self._path}")
            return content[:size]

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            log.debug("git -C %s cat-file --batch", self._path)
            try:
                self._process = subprocess.Popen(
                    [*command(self._path), "cat-file", "--batch"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=_environment(),
                )
            except OSError as error:
                raise GitError(f"cannot run git: {error.strerror}", hint="Install it.") from None
        return self._process

    def _end(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        return process.wait()


def run(
    directory: Path,
    *arguments: str | Path,
    identity: tuple[str, str] | None = None,
    ssh_config: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    check: bool = True,
) -> str:
    """Run git in ``directory``, a work tree of ours, and return all that it prints.

    ``identity`` is the name and mail address of who commits; remote hosts are reached with ``ssh_config`` alone.
    Each line goes to ``on_line`` as it comes. Raises :class:`CommandError` when git is missing or, with ``check``,
    when it fails.
    """
    environment: Mapping[str, str] = _OURS
    if identity is not None:
        name, mail = identity
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
               for what, value in (("NAME", name), ("EMAIL", mail))}  # fmt: skip
        environment = {**environment, **who}
    if ssh_config is not None:
        environment = {**environment, "GIT_SSH_COMMAND": ssh_command(ssh_config)}
    log.debug("git -C %s %s", directory, " ".join(map(str, arguments)))
    return programs.run(["git", "-C", directory, *arguments], env=environment, on_line=on_line, check=check)


def head(directory: Path) -> str | None:
    """The commit that is checked out in ``directory``; nothing where there is no repository, or none with a commit."""
    if not (directory / ".git").is_dir():
        return None
    return run(directory, "rev-parse", "--verify", "--quiet", "HEAD", check=False).strip() or None


def listed(directory: Path, *paths: str) -> list[Path]:
    """The files under ``paths`` that git knows or would add: tracked, or new and not ignored.

    Files that are tracked and deleted are left out; outside a work tree there are none.
    """
    arguments = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths)
    output = run(directory, *arguments, check=False)
    if output.startswith("fatal:"):
        return []
    files = [directory / name for name in sorted(set(output.split("\0"))) if name]
    return [file for file in files if file.is_file() or file.is_symlink()]


def ssh_command(config: Path) -> str:
    """How git is to call ssh so that it reads the configuration ``config`` and no other."""
    return shlex.join(["ssh", "-F", str(config)])


def state(directory: Path) -> str:
    """The commit that is checked out where ``directory`` is, with ``-modified`` where tracked files differ from it;
    an empty text where no commit is."""
    from git import InvalidGitRepositoryError, NoSuchPathError, Repo

    try:
        with Repo(directory, search_parent_directories=True) as repository:
            modified = repository.is_dirty(untracked_files=False)
            return repository.head.commit.hexsha + ("-modified" if modified else "")
    except (InvalidGitRepositoryError, NoSuchPathError, ValueError, OSError):
        return ""


def clone(url: str, directory: Path, *, ssh_config: Path, identity: tuple[str, str]) -> None:
    """Clone ``url`` for a person to work in: ssh goes by ``ssh_config`` there, from now on.

    Who commits is for the person's own configuration to say, and ``identity`` (name and mail address) where that says
    nothing: the first commit would fail. Raises :class:`GitError`.
    """
    from git import GitCommandError, Repo

    option = shlex.join(["-c", f"core.sshCommand={ssh_command(ssh_config)}"])
    try:
        # The option is ours, and so not one that somebody slipped in.
        repository = Repo.clone_from(url, directory, multi_options=[option], allow_unsafe_options=True)
    except GitCommandError as error:
        raise GitError(f"git clone of {url} failed: {str(error.stderr).strip()}") from error
    with repository:
        if not repository.config_reader().get_value("user", "email", default=""):
            with repository.config_writer() as configuration:
                for key, value in zip(("name", "email"), identity, strict=True):
                    configuration.set_value("user", key, value)


def _environment() -> dict[str, str]:
    given = os.environ.items()
    kept = {key: value for key, value in given if not key.startswith(_INJECTED) and key not in _ELSEWHERE}
    return {**kept, **_PLAIN}


def _succeeded(action: str, returncode: int, stderr: bytes) -> None:
    if returncode != 0:
        reason = stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        raise GitError(f"git {action}: {reason or f'ended with {returncode}'}")


def _survived(returncode: int) -> None:
    # SIGPIPE is our own doing: we stopped reading.
    if returncode < 0 and returncode != -signal.SIGPIPE:
        raise Interrupted(f"git was ended by {signal.Signals(-returncode).name}", hint="Try again.")
