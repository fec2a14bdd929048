"""The files of one tree: which are nodes and which classes, what each holds, and a digest of it."""

from __future__ import annotations

import hashlib

from pillarbox.model.keep.cache import Cache, digest, version
from pillarbox.model.keep.stamps import Stamps
from pillarbox.model.read.marks import Lines
from pillarbox.model.read.settings import Settings
from pillarbox.model.read.tree import Tree, class_files, node_files


class Sources:
    """The files of ``tree``. Raises :class:`~pillarbox.model.errors.ModelError` when the tree is no model."""

    def __init__(self, tree: Tree, settings: Settings, cache: Cache | None) -> None:
        self.tree = tree
        self.lines = Lines(tree, settings.prefixes)
        nodes, classes = settings.nodes_uri, settings.classes_uri
        self.node_files = node_files(tree.files(nodes), nodes, settings.compose_node_name)
        self.class_files = class_files(tree.files(classes), classes)
        self.nodes: tuple[str, ...] = tuple(sorted(self.node_files))
        self.key = digest(version(), settings.key().encode())
        """What decides a node beside its files."""
        self.settled = True
        """Whether no file was seen to change; what is made of one that did must not be kept under its digest."""
        self._stamps = Stamps(cache, tree) if cache is not None else None
        self._digests: dict[str, bytes] = {}
        self._sets: dict[tuple[str, ...], bytes] = {}

    @property
    def files(self) -> list[str]:
        """The files of all classes and nodes, sorted."""
        return sorted({*self.class_files.values(), *self.node_files.values()})

    def read(self, file: str) -> tuple[bytes, bytes]:
        """What ``file`` holds, to make something of it, and its digest. Raises when it cannot be read."""
        data, found = self._content(file)
        if self._digests.setdefault(file, found) != found:
            # Changed since it was last looked at.
            self.settled = False
        return data, found

    def digest(self, file: str) -> bytes:
        """The digest of what ``file`` holds. Raises when it cannot be read."""
        known = self._digests.get(file)
        if known is None:
            known = self._stamps.get(file) if self._stamps is not None else None
            if known is None:
                known = self._content(file)[1]
            self._digests[file] = known
        return known

    def classes_digest(self, names: tuple[str, ...]) -> bytes:
        """One digest for the content of all these classes."""
        known = self._sets.get(names)
        if known is None:
            parts = []
            for name in names:
                file = self.class_files.get(name)
                # A class that is not there counts, too: it may be, another day.
                parts.append(b"" if file is None else self.digest(file))
            known = self._sets[names] = digest(*parts)
        return known

    def everything(self) -> bytes:
        """One digest for all files, their names as nodes and classes included."""
        files = sorted([*self.node_files.items(), *self.class_files.items()])
        return digest(*(part for name, file in files for part in (name.encode(), self.digest(file))))

    def save(self) -> None:
        """Put the digests that were computed into the cache."""
        if self._stamps is not None:
            self._stamps.save()

    def _content(self, file: str) -> tuple[bytes, bytes]:
        data = self.tree.read(file)
        found = hashlib.blake2b(data, digest_size=16).digest()
        if self._stamps is not None:
            self._stamps.put(file, found)
        return data, found
