"""Making it so: apply, waves, health gates, rollback, state."""

from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.errors import ApiError, Refused, RolloutError, Unreachable
from pillarbox.rollout.roll import Outcome, Step, roll_out
from pillarbox.rollout.status import State, status
from pillarbox.rollout.store import GoodStore
from pillarbox.rollout.waves import waves

__all__ = [
    "ApiError",
    "Cluster",
    "GoodStore",
    "Outcome",
    "Refused",
    "RolloutError",
    "State",
    "Step",
    "Unreachable",
    "roll_out",
    "status",
    "waves",
]
