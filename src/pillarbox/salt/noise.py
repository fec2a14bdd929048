"""What Salt says of itself, and what nobody who reads a deploy can do anything about."""

from __future__ import annotations

import logging

# Salt 3008 logs a warning for each of its own clients that it left to the garbage collector, a few in every
# orchestration, around the report.
_LOGGERS = ("salt.runner", "salt.minion", "salt.utils.event", "salt.wheel")


def hush() -> None:
    """Keep Salt's "unclosed ..." warnings about its own objects out of this process's log; all others stay."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if _matters not in logger.filters:
            logger.addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("unclosed ")
