"""Reading a git repository: objects only, never a work tree, never anything that runs code of the repository."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pillarbox.pipeline.errors import Interrupted, RevisionError

#: A model is text. These bound what one push can make the server write to disk.
MAX_FILES = 50_000
MAX_FILE = 32 * 2**20
MAX_TREE = 256 * 2**20
MAX_DEPTH = 64

NULL = "0" * 40
_NAME = re.compile(r"[0-9a-f]{40,64}")


@dataclass(frozen=True)
class Entry:
    """A file or symbolic link of a tree."""

    mode: str
    object: str
    size: int
    path: str


class Repository:
    """A git repository, bare or not, at ``path``. Works inside a pre-receive hook, on objects still in quarantine.

    Every method raises :class:`Interrupted` when a signal ended git, as a stop of the master does to all its children:
    that says nothing about the revision.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def resolve(self, revision: str) -> str:
        """The commit that ``revision`` names. Raises :class:`RevisionError` when there is none."""
        done = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if done.returncode != 0:
            raise RevisionError(f"no revision {revision} in {self.path}")
        return done.stdout.decode().strip()

    def head(self, ref: str) -> str | None:
        """The commit of a full ref name, or ``None`` when there is no such ref."""
        done = self._git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether ``new`` contains ``old``."""
        return self._git("merge-base", "--is-ancestor", old, new).returncode == 0

    def subject(self, revision: str) -> str:
        """The first line of the commit message, as plain text."""
        return _plain(self._read("log", "-1", "--format=%s", revision))

    def committer(self, revision: str) -> str:
        """Who committed it, as ``Name <mail>``."""
        return _plain(self._read("log", "-1", "--format=%cn <%ce>", revision))

    def changed(self, base: str, head: str) -> tuple[str, ...]:
        """The paths that differ between two commits."""
        out = self._read("diff-tree", "-r", "-z", "--name-only", "--no-renames", base, head)
        return tuple(path for path in out.split("\0") if path)

    def entries(self, revision: str) -> Iterator[Entry]:
        """Everything in the tree of ``revision``. Raises :class:`RevisionError` for what no model may hold."""
        count = total = 0
        done = self._git("ls-tree", "-r", "-l", "-z", "--full-tree", revision)
        if done.returncode != 0:
            raise RevisionError(
                f"revision {revision} has no readable tree: {done.stderr.decode(errors='replace').strip()}"
            )
        for line in done.stdout.split(b"\0"):
            if not line:
                continue
            meta, _, raw = line.partition(b"\t")
            mode, kind, name, size = meta.decode().split()
            path = os.fsdecode(raw)
            if kind == "commit":
                raise RevisionError(
                    "submodules are not part of a model", file=path, hint="Commit the files themselves."
                )
            entry = Entry(mode, name, int(size), path)
            count, total = count + 1, total + entry.size
            _refuse_size(entry, count, total)
            parts = path.split("/")
            if len(parts) > MAX_DEPTH or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
                raise RevisionError("not a path that a model may have", file=path)
            if not path.isprintable():
                # Salt's file server stops serving anything at a name that is not UTF-8.
                raise RevisionError(
                    "expected a name of printable characters in UTF-8", file=ascii(path)[1:-1], hint="Rename the file."
                )
            yield entry

    def extract(self, revision: str, target: Path) -> None:
        """Write the tree of ``revision`` into the new directory ``target``: files and links within the tree only.

        Raises :class:`RevisionError` for a tree that holds anything else; ``target`` is then not to be used.
        """
        entries = list(self.entries(revision))
        target.mkdir(mode=0o700)
        links = []
        for entry, content in zip(entries, self._contents(entries), strict=True):
            file = target / entry.path
            if entry.mode == "120000":
                links.append((entry, content))
                continue
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("xb") as stream:
                    stream.write(content)
            except (FileExistsError, NotADirectoryError):
                raise RevisionError("the tree has two entries of one name", file=entry.path) from None
            file.chmod(0o755 if entry.mode == "100755" else 0o644)
        # Links come last, so that no file is ever written through one.
        for entry, content in links:
            file = target / entry.path
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.symlink_to(os.fsdecode(content))
            except (FileExistsError, NotADirectoryError, ValueError):
                raise RevisionError("not a symbolic link that a model may have", file=entry.path) from None
        inside = target.resolve()
        for entry, content in links:
            try:
                goal = (target / entry.path).resolve()
            except (OSError, RuntimeError):
                raise RevisionError("the symbolic link leads nowhere, in a circle", file=entry.path) from None
            if not goal.is_relative_to(inside):
                where = os.fsdecode(content)
                raise RevisionError(f"the symbolic link leads out of the model, to {where!r}", file=entry.path)

    def _contents(self, entries: list[Entry]) -> Iterator[bytes]:
        process = subprocess.Popen(
            [*self._command(), "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
        )
        assert process.stdin and process.stdout
        try:
            for entry in entries:
                with suppress(BrokenPipeError):
                    process.stdin.write(f"{entry.object}\n".encode())
                    process.stdin.flush()
                header = process.stdout.readline().split()
                if len(header) != 3 or header[1] != b"blob":
                    break
                size = int(header[2])
                content = process.stdout.read(size + 1)
                if len(content) <= size:
                    break
                yield content[:size]
            else:
                return
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
            process.wait()
        _survived(process.returncode)
        raise RevisionError("its content is missing from the repository", file=entry.path)

    def _read(self, *arguments: str) -> str:
        done = self._git(*arguments)
        if done.returncode != 0:
            raise RevisionError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
        return os.fsdecode(done.stdout).rstrip("\n")

    def _git(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        try:
            done = subprocess.run([*self._command(), *arguments], capture_output=True, check=False, env=_environment())
        except FileNotFoundError:
            raise RevisionError("git is not installed") from None
        _survived(done.returncode)
        return done

    def _command(self) -> list[str]:
        # The repository belongs to the git user, and the master's user reads it: that is meant.
        return ["git", "-c", f"safe.directory={self.path}", "-c", "safe.directory=*", "-C", str(self.path)]


def is_name(text: str) -> bool:
    """Whether ``text`` is a full commit name, fit for a file name."""
    return _NAME.fullmatch(text) is not None


def _survived(returncode: int) -> None:
    # SIGPIPE is our own doing: we stopped reading.
    if returncode < 0 and returncode != -signal.SIGPIPE:
        raise Interrupted(f"git was ended by {signal.Signals(-returncode).name}", hint="Try again.")


def _refuse_size(entry: Entry, count: int, total: int) -> None:
    if entry.size > MAX_FILE:
        raise RevisionError(
            f"{entry.size / 2**20:.0f} MiB; a model's file may have {MAX_FILE // 2**20}", file=entry.path
        )
    if total > MAX_TREE:
        raise RevisionError(f"the tree is larger than {MAX_TREE // 2**20} MiB; is something committed by mistake?")
    if count > MAX_FILES:
        raise RevisionError(f"the tree has more than {MAX_FILES} files; is something committed by mistake?")


def _environment() -> dict[str, str]:
    # A configuration that the caller's environment injects must not make git run programs.
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("GIT_CONFIG")},
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C.UTF-8",
    }


def _plain(text: str) -> str:
    return "".join(char for char in text.splitlines()[0] if char.isprintable())[:200] if text else ""
