"""Building images on builder minions: one Salt job to all of them, in which each builds its share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from salt.exceptions import SaltException

from pillarbox.images import ImageSpec
from pillarbox.images.builder import Built
from pillarbox.images.plan import PARALLEL, Results
from pillarbox.model import Node
from pillarbox.pipeline.errors import BuildersUnavailable, PipelineError
from pillarbox.revision import Revision
from pillarbox.salt import share
from pillarbox.salt.client import local_client
from pillarbox.system.errors import Interrupted, PillarboxError
from pillarbox.system.progress import Progress
from pillarbox.system.waiting import retry

FUNCTION = "pillarbox.build_images"
#: Under file_roots; builders on other machines than the master fetch the tree from here.
STAGED = "salt://"
#: What a builder takes with it when it dies is built once more.
ROUNDS = 2
#: Seconds that a master or its builders may take to come back from a restart.
PATIENCE = 60.0
#: Seconds to wait for a line of a builder before the returns are looked at again.
_LOOK = 0.05


def builders(hosts: Iterable[Node]) -> tuple[str, ...]:
    """Which of the model's hosts build: the pillar ``pillarbox:builder`` says so, else a Docker engine does."""
    hosts = tuple(hosts)
    chosen = [node.name for node in hosts if _builds((node.parameters.get("pillarbox") or {}).get("builder"))]
    return tuple(chosen or [node.name for node in hosts if (node.parameters.get("docker") or {}).get("host")])


def _builds(role: Any) -> bool:
    return bool(role.get("enabled", True) if isinstance(role, Mapping) else role)


class BuilderMinions:
    """A :class:`pillarbox.pipeline.build.Builder` that uses the model's builder minions.

    Salt knows who runs the job, who returned and who died meanwhile (its client asks with ``saltutil.find_job``, at
    the master's ``timeout`` and ``gather_job_timeout``). Ours is only to give the images of a dead builder to those
    that answer: a batch, a requisite or a retry of Salt knows minions, not images.
    """

    def __init__(self, opts: Mapping[str, Any], parallel: int = PARALLEL) -> None:
        self.opts = opts
        self.parallel = parallel

    def __call__(self, specs: Mapping[str, ImageSpec], tree: Path, revision: Revision, progress: Progress) -> Results:
        """Build ``specs``. Raises :class:`PipelineError` when no builder answers, and :class:`Interrupted` when the
        master does not; later failures are in the results."""
        named = builders(revision.hosts.values())
        if not named:
            raise PipelineError(
                "no host of the model builds images",
                hint="Give a host the pillar pillarbox:builder: true, or a Docker engine (docker:host).",
            )
        built: dict[str, Built] = {}
        failed: dict[str, PillarboxError] = {}
        waiting = sorted(specs)
        for attempt in range(ROUNDS):
            dealt = share.deal(waiting, self._alive(named))
            progress.step(f"builders: {', '.join(dealt)}")
            arguments = {
                "shares": {minion: [share.to_data(specs[name]) for name in names] for minion, names in dealt.items()},
                "tree": str(tree),
                "source": f"{STAGED}{tree.name}.tar.gz",
                "revision": revision.name,
                "parallel": self.parallel,
            }
            try:
                for minion, returned in self._returns(list(dealt), arguments, progress):
                    if not isinstance(returned, Mapping):
                        progress.step(f"{minion}: failed: {returned}")
                    results = share.from_return(minion, dealt.get(minion, ()), returned)
                    built.update(results.built)
                    failed.update(results.failed)
            except SaltException as error:
                if attempt + 1 == ROUNDS:
                    raise Interrupted(f"the Salt master went away during the build: {error}") from error
                progress.step(f"the Salt master went away: {error}")
            waiting = [name for name in waiting if name not in built and name not in failed]
            if not waiting:
                break
            for minion, names in dealt.items():
                if lost := [name for name in names if name in waiting]:
                    again = "; starting it again" if attempt + 1 < ROUNDS else ""
                    progress.step(f"{', '.join(lost)}: {minion} lost the build{again}")
        for name in waiting:
            failed[name] = PipelineError(f"its builders stopped answering while they built {name}")
        return Results(built, failed)

    def _alive(self, named: Sequence[str]) -> list[str]:
        """Those of the minions ``named`` that answer; the master, or all of them, may be about to be back."""

        def ask() -> list[str]:
            with local_client(self.opts) as client:
                answers = client.cmd(list(named), "test.ping", tgt_type="list", timeout=10, gather_job_timeout=5)
            found = sorted(name for name, answer in answers.items() if answer is True)
            if not found:
                raise BuildersUnavailable(f"no builder minion answers: {', '.join(named)}")
            return found

        try:
            passing = (SaltException, BuildersUnavailable)
            return retry(ask, "asking the builders", passing=passing, patience=PATIENCE, every=2)
        except SaltException as error:
            raise Interrupted(f"the Salt master does not answer: {error}") from error

    def _returns(
        self, minions: list[str], arguments: Mapping[str, Any], progress: Progress
    ) -> Iterator[tuple[str, Any]]:
        """What the minions return, as they do; nothing of one that died. Their lines go to ``progress`` meanwhile:
        a job of Salt says nothing before its end but by events."""
        tag = f"pillarbox/build/{arguments['revision']}"
        with progress.waiting(f"waiting for {', '.join(minions)}"), local_client(self.opts) as client:
            client.event.subscribe(tag)
            job = client.cmd_iter_no_block(
                minions, FUNCTION, kwarg={**arguments, "tag": tag}, tgt_type="list", timeout=client.opts["timeout"]
            )
            for returned in job:
                for minion, answer in (returned or {}).items():
                    if "ret" in answer:
                        yield minion, answer["ret"]
                while event := client.event.get_event(wait=_LOOK, tag=tag, full=True):
                    if event["tag"] != tag:
                        # Salt's client takes a Ctrl-C for an event.
                        raise KeyboardInterrupt
                    progress.step(str(event["data"]["data"]["line"]))
