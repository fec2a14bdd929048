"""Reading a git repository: objects only, never a work tree, never anything that runs code of the repository."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from pillarbox.revision import contents
from pillarbox.revision.contents import Entry
from pillarbox.revision.errors import RevisionError
from pillarbox.system import git


class Repository:
    """A git repository, bare or not, at ``path``. Works inside a pre-receive hook, on objects still in quarantine.

    Every method raises :class:`Interrupted` when a signal ended git, as a stop of the master does to all its children:
    that says nothing about the revision.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._git = git.Git(path)

    def resolve(self, revision: str) -> str:
        """The commit that ``revision`` names. Raises :class:`RevisionError` when there is none."""
        found = self._git.name(revision)
        if found is None:
            raise RevisionError(f"no revision {revision} in {self.path}")
        return found

    def head(self, ref: str) -> str | None:
        """The commit of a full ref name, or ``None`` when there is no such ref."""
        return self._git.name(ref)

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether ``new`` contains ``old``."""
        return self._git.run("merge-base", "--is-ancestor", old, new).returncode == 0

    def subject(self, revision: str) -> str:
        """The first line of the commit message, as plain text."""
        return _plain(self._commit("%s", revision))

    def committer(self, revision: str) -> str:
        """Who committed it, as ``Name <mail>``."""
        return _plain(self._commit("%cn <%ce>", revision))

    def changed(self, base: str, head: str) -> tuple[str, ...]:
        """The paths that differ between two commits."""
        out = self._read("diff-tree", "-r", "-z", "--name-only", "--no-renames", base, head)
        return tuple(path for path in out.split("\0") if path)

    def entries(self, revision: str) -> tuple[Entry, ...]:
        """The files and links in the tree of ``revision``. Raises :class:`RevisionError` for what no model may hold."""
        # A few objects can name more files than there is memory for: the first that is too many ends the reading.
        with closing(self._git.records("ls-tree", "-r", "-l", "-z", "--full-tree", revision)) as lines:
            try:
                found = tuple(contents.checked(map(_entry, lines)))
            except git.GitError as error:
                raise RevisionError(error.message, hint=error.hint) from error
        links = [entry for entry in found if entry.is_link]
        contents.refuse_links({entry.path: target for entry, target in zip(links, self._contents(links), strict=True)})
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

    def difference(self, revision: str, directory: Path) -> str | None:
        """The first path at which ``directory`` is not the tree of ``revision``, and in what; nothing where it is.

        Every file's content is read. Raises :class:`RevisionError` for a tree that :meth:`extract` would refuse.
        """
        expected = {entry.path: entry for entry in self.entries(revision)}
        try:
            found = {
                str(path.relative_to(directory)): path
                for path in directory.rglob("*")
                if path.is_symlink() or not path.is_dir()
            }
            for path in sorted(expected.keys() | found.keys()):
                if path not in found:
                    return f"{path} is missing"
                if path not in expected:
                    return f"{path} is none of its files"
                if (kind := _kind(found[path])) != expected[path].mode:
                    return f"{path} has the mode {kind}, expected {expected[path].mode}"
                content = os.fsencode(os.readlink(found[path])) if expected[path].is_link else found[path].read_bytes()
                if git.blob_name(content, like=expected[path].object) != expected[path].object:
                    return f"{path} holds something else"
        except OSError as error:
            return f"{error.filename} cannot be read: {error.strerror}"
        return None

    def _contents(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        with self._git.objects() as objects:
            for entry in entries:
                try:
                    yield objects.read(entry.object)
                except git.NoObject as error:
                    raise RevisionError(f"its content is missing: {error.message}", file=entry.path) from error

    def _commit(self, pattern: str, revision: str) -> str:
        # Not `log`, which is for people and does what their configuration says.
        return self._read("rev-list", "--max-count=1", "--no-commit-header", f"--format={pattern}", revision)

    def _read(self, *arguments: str) -> str:
        try:
            return self._git.read(*arguments)
        except git.GitError as error:
            raise RevisionError(error.message, hint=error.hint) from error


def _entry(line: str) -> Entry:
    meta, _, path = line.partition("\t")
    mode, _, name, size = meta.split()
    return Entry(mode, name, int(size) if size.isdigit() else 0, path)


def _kind(path: Path) -> str:
    """The mode that git would give a file."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "120000"
    if not stat.S_ISREG(mode):
        return f"{mode:o}"
    return "100755" if mode & stat.S_IXUSR else "100644"


def _plain(text: str) -> str:
    return "".join(char for char in text.splitlines()[0] if char.isprintable())[:200] if text else ""
