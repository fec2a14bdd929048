"""Making it so: apply, waves, health gates, rollback, state."""

from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.data import Data, data_of
from pillarbox.rollout.errors import ApiError, Refused, RolloutError, Unreachable
from pillarbox.rollout.kubeconfig import Kubeconfig
from pillarbox.rollout.objects import ObjectRef
from pillarbox.rollout.roll import RolloutOutcome, RolloutStep, roll_out
from pillarbox.rollout.states import Action, ObjectState, StepResult
from pillarbox.rollout.status import ObjectStatus, status
from pillarbox.rollout.store import GoodStore
from pillarbox.rollout.waves import waves

__all__ = [
    "Action",
    "ApiError",
    "Cluster",
    "Data",
    "GoodStore",
    "Kubeconfig",
    "ObjectRef",
    "ObjectState",
    "ObjectStatus",
    "Refused",
    "RolloutError",
    "RolloutOutcome",
    "RolloutStep",
    "StepResult",
    "Unreachable",
    "data_of",
    "roll_out",
    "status",
    "waves",
]
