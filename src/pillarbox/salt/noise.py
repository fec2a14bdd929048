"""What Salt says of itself, and what nobody who reads a deploy can do anything about."""

from __future__ import annotations

import logging
import warnings

# Salt 3008 logs a warning for each of its own clients that it left to the garbage collector, a few in every
# orchestration, around the report; and, as an error, the return of a runner that failed, which it prints as well.
_LOGGERS = ("salt.runner", "salt.minion", "salt.utils.event", "salt.wheel", "salt.state")
_NOISE = ("unclosed ", "{'return': ")


def hush() -> None:
    """Keep these out of this process's log and warnings; all others stay."""
    # Salt shows the warning of a module of Python's that it loads whether it is used or not.
    warnings.filterwarnings("ignore", "'crypt' is deprecated", DeprecationWarning)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if _matters not in logger.filters:
            logger.addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_NOISE)
