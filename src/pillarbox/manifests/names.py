"""How things are called: RFC 1123 names, environment names, and the spellings of keys."""

from __future__ import annotations

import re

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
PORT = re.compile(r"(?=.{1,15}$)(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
PATH_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/%\x00-\x20]{1,253}")
ENVIRONMENT = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
DATA_KEY = re.compile(r"(?=.{1,253}$)(?!\.{1,2}$)[-._a-zA-Z0-9]+")
KIND = re.compile(r"[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
API_VERSION = re.compile(r"([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/)?[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z]+)")


def snake(key: str) -> str:
    """The snake_case spelling of a key: ``hostPID`` and ``host_pid`` are one key."""
    return _HUMP.sub(r"_\1", key).replace("-", "_").lower()


def camel(key: str) -> str:
    """The camelCase spelling that Kubernetes uses."""
    head, *tail = key.split("_")
    return head + "".join(word.capitalize() for word in tail)


def slug(text: str, limit: int = 63) -> str:
    """The nearest valid DNS label to ``text``; empty when nothing of it may stay."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].strip("-")


def variable(name: str) -> str:
    """A Service's name as Kubernetes spells it in the environment of pods."""
    return name.upper().replace("-", "_")
