"""What goes on inside, for whoever asks for it: standard ``logging``, one logger a module, on standard error.

Under Salt nothing of this is needed: the same loggers end up in Salt's own log. No secret is ever given to a logger.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

ROOT = "pillarbox"


def to_stderr(verbosity: int, stream: TextIO | None = None) -> None:
    """Show what Pillarbox's own modules log, of every level down to: warnings (0), what is waited for and tried again
    (1), each question and each git command (2).

    Libraries stay silent at every verbosity: some of them log what a server answered, secrets included.
    """
    logger = logging.getLogger(ROOT)
    for handler in [each for each in logger.handlers if each.name == ROOT]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.name = ROOT
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)])
    logger.propagate = False
