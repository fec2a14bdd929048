"""What a rollout does to an object, what came of it, and how an object stands: each a closed set."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What a rollout does to one object."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    #: A Job that failed is deleted and made again.
    RERUN = "rerun"
    DELETE = "delete"


class StepResult(StrEnum):
    """What came of one object in a rollout."""

    OK = "ok"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"
    NOT_REACHED = "not reached"


class ObjectState(StrEnum):
    """How an object of the cluster compares with the model."""

    OK = "ok"
    MISSING = "missing"
    DRIFTED = "drifted"
    UNHEALTHY = "unhealthy"
    #: The model no longer has it.
    EXTRA = "extra"


class JobState(StrEnum):
    """How far a Job is."""

    ABSENT = "absent"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
