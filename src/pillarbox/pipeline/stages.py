"""Hosts get their states, stage after stage, and a node of a cluster once its pods have moved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.hosts import ApplyStates, HostOutcome, HostState
from pillarbox.pipeline.prepare import Preparation
from pillarbox.pipeline.record import Run
from pillarbox.pipeline.updates import Drain, Group
from pillarbox.rollout import Cluster, ObjectRef, RolloutError, Unreachable, node
from pillarbox.rollout.kubeconfig import Kubeconfig
from pillarbox.system.progress import Progress, elapsed


@dataclass(frozen=True)
class Stages:
    """The hosts' part of a deploy. What became of each so far is on record in ``run`` at any moment; a ``dry_run``
    changes none. ``kubeconfig`` says which file to use where the model names this one."""

    run: Run
    states: ApplyStates
    dry_run: bool
    kubeconfig: Callable[[Path | None], Kubeconfig]
    progress: Progress

    def apply(self, prepared: Preparation) -> bool:
        """Forget the hosts that are gone, and apply the states of those that change; whether all is well with them.

        Raises :class:`PipelineError` where hosts cannot be updated, with none changed, and
        :class:`~pillarbox.rollout.RolloutError` for a node that does not get rid of its pods.
        """
        self._forget(prepared.removed)
        self._record(prepared.hosts, HostState.NOT_REACHED)
        self._uncordon([drain for host, drain in prepared.nodes.items() if host not in prepared.hosts])
        if not prepared.hosts:
            return True
        with self.progress.phase(f"applying the states of {len(prepared.hosts)} hosts"):
            well = self._fit(prepared.hosts)
            for group in prepared.groups:
                # A trial is to find all that is wrong.
                if well or self.dry_run:
                    well = self._update(group) and well
        if well:
            self._uncordon(prepared.nodes.values())
        return well

    def _record(self, hosts: Sequence[str], state: HostState) -> None:
        self.run.hosts |= dict.fromkeys(hosts, str(state))

    def _forget(self, removed: Sequence[str]) -> None:
        for name in removed:
            self.progress.step(f"host {name} is no longer in the model")
        if removed and not self.dry_run:
            self.states.forget(removed)
        self._record(removed, HostState.WOULD_BE_REMOVED if self.dry_run else HostState.REMOVED)

    def _fit(self, hosts: Sequence[str]) -> bool:
        """Whether the hosts can be updated: they answer, and their clocks are right. Raises :class:`PipelineError`
        where one is not fit, unless it is a trial, which says so and goes on."""
        clocks = self.states.clocks(hosts)
        unfit = {}
        for name in hosts:
            if (ahead := clocks.get(name)) is None:
                unfit[name] = "gives no answer"
            elif abs(ahead) > node.APART:
                unfit[name] = f"has a clock {elapsed(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the master's"
        for name, why in unfit.items():
            self.run.hosts[name] = str(HostOutcome(HostState.NOT_REACHED, f"it {why}"))
            self.progress.step(f"host {name} {why}")
        if unfit and not self.dry_run:
            raise PipelineError(
                f"no host was changed: {'; '.join(f'{name} {why}' for name, why in unfit.items())}",
                hint="Hosts that change have to run, with their salt-minion, room on their disks, and clocks that "
                "agree: certificates and tokens hold from one moment to another.",
            )
        return not unfit

    def _update(self, group: Group) -> bool:
        """Apply the states of a group, of a node by itself, once its pods have moved; whether all is well then."""
        if group.states:
            self.progress.step(f"host {', '.join(group.hosts)}: {' '.join(group.states)}, before any host is updated")
        with self._drained(None if self.dry_run else group.drain) as put_back:
            if not group.states and not self.dry_run:
                self._record(group.hosts, HostState.APPLYING)
                self.run.save()
            outcomes = self.states(group.hosts, group.states, dry_run=self.dry_run, progress=self.progress)
            well = all(each.state in (HostState.APPLIED, HostState.WOULD_CHANGE) for each in outcomes.values())
            if not group.states or not well:
                self.run.hosts |= {name: str(outcome) for name, outcome in outcomes.items()}
                self.run.save()
            if well:
                put_back()
        return well

    @contextmanager
    def _drained(self, drain: Drain | None) -> Iterator[Callable[[], None]]:
        """Take a node out of service; what the block is given puts it back, and waits until what left it is ready
        again. One that is not put back takes no new pods until a deploy finds its host well."""
        if drain is None:
            yield lambda: None
            return
        with Cluster(self.kubeconfig(drain.kubeconfig)) as cluster:
            before = node.cordoned(cluster, (drain.node,))
            out, moved = True, dict[ObjectRef, int]()

            def put_back() -> None:
                nonlocal out
                node.uncordon(cluster, drain.node)
                out = False
                node.settle(cluster, drain.node, moved, patience=drain.patience, progress=self.progress)

            self.progress.step(f"node {drain.node}: no new pods; those that can move to other nodes")
            node.cordon(cluster, drain.node)
            try:
                try:
                    moved |= node.drain(cluster, drain.node, patience=drain.patience, progress=self.progress)
                except BaseException:
                    # Nothing was done to it, unless a deploy before this one was cut off.
                    if not before:
                        with suppress(RolloutError):
                            put_back()
                    raise
                yield put_back
            finally:
                if out:
                    self.progress.step(f"node {drain.node}: takes no new pods until a deploy finds its host well")

    def _uncordon(self, nodes: Collection[Drain]) -> None:
        """Let nodes take pods again that a deploy before this one, which did not end well, had taken out of service."""
        if self.dry_run:
            return
        for kubeconfig in {item.kubeconfig for item in nodes}:
            try:
                with Cluster(self.kubeconfig(kubeconfig), patience=5) as cluster:
                    for name in node.cordoned(cluster, [item.node for item in nodes if item.kubeconfig == kubeconfig]):
                        node.uncordon(cluster, name)
                        self.progress.step(f"node {name}: takes pods again")
            except Unreachable:
                # The roll-out says so, if it needs the cluster.
                continue
