"""Reading a git repository: objects only, never a work tree, never anything that runs code of the repository."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pillarbox.pipeline.errors import Interrupted
from pillarbox.revision import contents
from pillarbox.revision.contents import Entry
from pillarbox.revision.errors import RevisionError
from pillarbox.system import git

_NAME = re.compile(r"[0-9a-f]{40,64}")


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

    def entries(self, revision: str) -> tuple[Entry, ...]:
        """The files and links in the tree of ``revision``. Raises :class:`RevisionError` for what no model may hold."""
        done = self._git("ls-tree", "-r", "-l", "-z", "--full-tree", revision)
        if done.returncode != 0:
            raise RevisionError(
                f"revision {revision} has no readable tree: {done.stderr.decode(errors='replace').strip()}"
            )
        found = tuple(_entry(line) for line in done.stdout.split(b"\0") if line)
        contents.refuse(found)
        links = [entry for entry in found if entry.is_link]
        targets = zip(links, self._contents(links), strict=True) if links else ()
        contents.refuse_links({entry.path: target for entry, target in targets})
        return found

    def extract(self, revision: str, target: Path) -> None:
        """Write the tree of ``revision`` into ``target``, a directory that is empty or not there: files and links
        within the tree only.

        Raises :class:`RevisionError`, before anything is written, for a tree that holds anything else.
        """
        entries = self.entries(revision)
        target.mkdir(mode=0o700, exist_ok=True)
        for entry, content in zip(entries, self._contents(entries), strict=True):
            file = target / entry.path
            file.parent.mkdir(parents=True, exist_ok=True)
            if entry.is_link:
                file.symlink_to(os.fsdecode(content))
                continue
            with file.open("xb") as stream:
                stream.write(content)
            file.chmod(0o755 if entry.mode == "100755" else 0o644)

    def _contents(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        process = subprocess.Popen(
            [*git.command(self.path), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=git.environment(),
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
            done = subprocess.run(
                [*git.command(self.path), *arguments], capture_output=True, check=False, env=git.environment()
            )
        except FileNotFoundError:
            raise RevisionError("git is not installed") from None
        _survived(done.returncode)
        return done


def is_name(text: str) -> bool:
    """Whether ``text`` is a full commit name, fit for a file name."""
    return _NAME.fullmatch(text) is not None


def _survived(returncode: int) -> None:
    # SIGPIPE is our own doing: we stopped reading.
    if returncode < 0 and returncode != -signal.SIGPIPE:
        raise Interrupted(f"git was ended by {signal.Signals(-returncode).name}", hint="Try again.")


def _entry(line: bytes) -> Entry:
    meta, _, path = line.partition(b"\t")
    mode, _, name, size = meta.decode().split()
    return Entry(mode, name, int(size) if size.isdigit() else 0, os.fsdecode(path))


def _plain(text: str) -> str:
    return "".join(char for char in text.splitlines()[0] if char.isprintable())[:200] if text else ""
