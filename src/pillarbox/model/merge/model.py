"""The engine behind :class:`~pillarbox.model.inventory.Inventory`: one tree of files, rendered node by node."""

from __future__ import annotations

from collections.abc import Iterator

from pillarbox.model.keep.cache import Cache, digest
from pillarbox.model.keep.pages import Pages
from pillarbox.model.keep.sources import Sources
from pillarbox.model.merge.exports import Answers, Exports, asks
from pillarbox.model.merge.layering import Merged
from pillarbox.model.merge.merger import Merger
from pillarbox.model.merge.render import Renderer
from pillarbox.model.merge.rendered import Rendered
from pillarbox.model.read.settings import Settings, read_settings
from pillarbox.model.read.tree import Tree
from pillarbox.system.errors import PillarboxError, raise_all


class Model:
    """Reads and renders one tree; what a node needs is read when it is needed.

    Raises :class:`~pillarbox.model.errors.ModelError` when the tree is no model. Safe to use from several threads.
    """

    def __init__(self, tree: Tree, settings: Settings | None = None, cache: Cache | None = None) -> None:
        self.settings = settings or read_settings(tree)
        self.sources = Sources(tree, self.settings, cache)
        self.merger = Merger(self.sources, self.settings)
        self.lines = self.sources.lines
        self.reporter = self.merger.reporter
        self._cache = cache
        self._pages = Pages(self.sources, cache) if cache is not None else None
        self._exports = Exports(self.merger)

    def merged(self, name: str) -> Merged:
        """One node's layers, merged. Raises all that is wrong with its files and classes."""
        return self.merger.merged(name)

    def render(self, name: str) -> Rendered:
        """Render one node. Raises all that is wrong with it together."""
        return self._kept(name) or self._render(self.merged(name))

    def each(self, errors: list[PillarboxError]) -> Iterator[Rendered]:
        """Every node, sorted by name, one at a time; what is wrong with any is added to ``errors``."""
        pages = self._pages
        for name in self.sources.nodes:
            try:
                rendered = self._kept(name)
                if rendered is None:
                    merged = self.merged(name)
                    rendered = self._render(merged)
                    # What other nodes export is not among a page's files.
                    if pages is not None and self.sources.settled and not rendered.asked:
                        pages.add(name, merged.used, rendered.row())
            except PillarboxError as error:
                errors.append(error)
                continue
            yield rendered
        if pages is not None:
            pages.finish()
        self.flush()

    def fingerprint(self, name: str) -> bytes:
        """A digest of all files that the node is made from: nodes with the same one render the same.

        Raises like :meth:`merged`. For a node that asks the inventory, these are the files of every node.
        """
        merged = self.merged(name)
        key = digest(self.settings.key().encode(), name.encode(), merged.entity.file.encode(), merged.entity.digest)
        own = digest(key, self.sources.classes_digest(merged.used))
        if not asks(merged.state.parameters, merged.state.exports):
            return own
        return digest(own, self.sources.everything())

    def flush(self) -> None:
        """Write to the cache what is not written yet."""
        if self._cache is not None:
            self.sources.save()
            self._cache.flush()

    def lenient(self, merged: Merged) -> Renderer:
        """A renderer that answers inventory queries, too; its ``problems`` are the caller's to look at."""
        return self.merger.renderer(merged, Answers(self._exports, merged.environment))

    def _kept(self, name: str) -> Rendered | None:
        row = self._pages.get(name) if self._pages is not None else None
        return Rendered.of_row(name, self.sources.node_files[name], row) if row is not None else None

    def _render(self, merged: Merged) -> Rendered:
        answers = Answers(self._exports, merged.environment)
        renderer = self.merger.renderer(merged, answers)
        parameters = renderer.render(merged.state.parameters)
        exports = renderer.render(merged.state.exports)
        if renderer.problems:
            raise_all([self.reporter.problem(merged, problem) for problem in renderer.problems])
        return Rendered(
            name=merged.name,
            file=merged.entity.file,
            environment=merged.environment,
            classes=merged.state.classes,
            applications=merged.state.applications,
            parameters=parameters,
            exports=exports,
            warnings=tuple(str(self.reporter.problem(merged, problem)) for problem in renderer.warnings),
            asked=answers.asked,
        )
