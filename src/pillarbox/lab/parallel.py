"""Doing the same to several hosts, or several things, at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from pillarbox.system.errors import ErrorGroup, PillarboxError, raise_all

T = TypeVar("T")
R = TypeVar("R")


def each(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``work`` of every item, all at once; results in order.

    Waits for all of them even if some fail, then raises what the failing ones raised, together. Ctrl-C does not wait:
    what hosts are doing goes on there, and the next run finds it.
    """
    items = list(items)
    results: dict[int, R] = {}
    failures: dict[int, BaseException] = {}

    def one(number: int, item: T) -> None:
        try:
            results[number] = work(item)
        except BaseException as error:
            failures[number] = error

    # Daemons: an executor's threads would be waited for at the interpreter's end, Ctrl-C or not.
    threads = [threading.Thread(target=one, args=pair, daemon=True) for pair in enumerate(items)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors: list[PillarboxError] = []
    for _, error in sorted(failures.items()):
        if isinstance(error, ErrorGroup):
            errors.extend(error.errors)
        elif isinstance(error, PillarboxError):
            errors.append(error)
        else:
            raise error
    raise_all(errors)
    return [results[number] for number in range(len(items))]


def both(*works: Callable[[], R]) -> list[R]:
    """Several pieces of work at once; see :func:`each`."""
    return each(lambda work: work(), works)
