"""Doing the same to several hosts, or several things, at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pillarbox.errors import ErrorGroup, PillarboxError, raise_all

T = TypeVar("T")
R = TypeVar("R")


def each(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``work`` of every item, all at once; results in order.

    Waits for all of them even if some fail, then raises what the failing ones raised, together.
    """
    items = list(items)
    if not items:
        return []
    errors: list[PillarboxError] = []
    results: list[R] = []
    with ThreadPoolExecutor(max_workers=len(items)) as pool:
        for future in [pool.submit(work, item) for item in items]:
            try:
                results.append(future.result())
            except ErrorGroup as group:
                errors.extend(group.errors)
            except PillarboxError as error:
                errors.append(error)
    raise_all(errors)
    return results


def both(*works: Callable[[], R]) -> list[R]:
    """Several pieces of work at once; see :func:`each`."""
    return each(lambda work: work(), works)
