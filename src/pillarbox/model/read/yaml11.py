"""Reading YAML 1.1: fast where the text is plain block style, by PyYAML where it is anything else."""

from __future__ import annotations

from typing import Any

from pillarbox.model import limits
from pillarbox.model.errors import ModelError
from pillarbox.model.read import blocks, pyyaml
from pillarbox.model.read.scalars import Undecided


def load(data: bytes, file: str) -> Any:
    """The one document in ``data``; ``None`` when it is empty.

    ``file`` is the name to blame. Raises :class:`ModelError` for what is no UTF-8, no YAML, or beyond the limits.
    """
    return load_text(decode(data, file), file)


def decode(data: bytes, file: str) -> str:
    """``data`` as text, line ends as in Python's text files. Raises :class:`ModelError` when it is not UTF-8."""
    if len(data) > limits.FILE_BYTES:
        raise ModelError(f"expected at most {limits.FILE_BYTES} bytes, found {len(data)}", file=file)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"expected UTF-8, found byte 0x{data[error.start]:02x}"
        raise ModelError(found, file=file, line=line, hint="Save the file as UTF-8.") from None
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def load_text(text: str, file: str) -> Any:
    """Like :func:`load`, for text."""
    try:
        return blocks.load(text)
    except Undecided:
        return pyyaml.load(text, file)
