"""A steady load of requests on the services of the cloud, counted one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any, Self

import requests
from tests import turns

from pillarbox.system.waiting import until

KEYSTONE_PORT = 30500
#: What is asked of each other service, with a token: its node port, a path, and what the answer to it has.
APIS = {
    "glance": (30929, "/v2/images", "images"),
    "placement": (30778, "/resource_providers", "resource_providers"),
}
PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 20


@dataclass
class Tally:
    """Requests to one service: how many were sent, the slowest, and what failed."""

    sent: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {"sent": self.sent, "failed": len(self.failures), "slowest_seconds": round(self.slowest, 2)}


class Requests:
    """Requests on services, each asked at every address in turn, for as long as the ``with`` block lasts.

    ``asks`` says of each service how an address of it is asked; what it raises is a failure. Meanwhile no other test
    keeps the machine busy: how long an answer takes is the services' doing then.
    """

    def __init__(self, addresses: list[str], asks: Mapping[str, Callable[[str], object]], pause: float) -> None:
        self._addresses = addresses
        self._asks = asks
        self._pause = pause
        self._stop = threading.Event()
        self._turn = ExitStack()
        self.tallies = {name: Tally() for name in asks}
        self._threads = [threading.Thread(target=self._run, args=(name,), daemon=True) for name in asks]

    def _run(self, name: str) -> None:
        tally = self.tallies[name]
        for address in cycle(self._addresses):
            if self._stop.is_set():
                return
            start = time.monotonic()
            try:
                self._asks[name](address)
            except (AssertionError, requests.RequestException, KeyError, ValueError) as error:
                tally.failures.append(f"{time.strftime('%H:%M:%S')} {address}: {error}")
            tally.sent += 1
            tally.slowest = max(tally.slowest, time.monotonic() - start)
            self._stop.wait(self._pause)

    def __enter__(self) -> Self:
        self._turn.enter_context(turns.alone())
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._turn.close()

    def asked(self, times: int = 30) -> None:
        """Wait until each service was asked that often, in something that may be over sooner."""
        assert until(lambda: all(tally.sent >= times for tally in self.tallies.values()), "requests", patience=300)

    def none_failed(self) -> None:
        """Assert that each service was asked for some time, and answered every time."""
        failures = [f"{name}: {each}" for name, tally in self.tallies.items() for each in tally.failures]
        assert not failures, "\n".join(failures)
        assert all(tally.sent > 10 for tally in self.tallies.values())


class Load(Requests):
    """Requests as users of the cloud send them, each on a connection of its own, through the services' node ports.

    Keystone: a token for ``user`` (password checked against the database). The others: what ``APIS`` says, with a
    token. An answer counts only when it is the service's own: the status and the body that belong to it.
    """

    def __init__(self, addresses: list[str], password: str, user: str = "admin") -> None:
        asks: dict[str, Callable[[str], object]] = {
            "keystone": self.token,
            **{name: partial(self._with_token, name) for name in APIS},
        }
        super().__init__(addresses, asks, PAUSE_SECONDS)
        self._user = user
        self._password = password
        self._tokens: dict[str, str] = {}

    def token(self, address: str) -> str:
        """A new token, or :class:`AssertionError` saying what came instead."""
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {
                        "user": {"name": self._user, "domain": {"id": "default"}, "password": self._password},
                    },
                },
                "scope": {"project": {"name": "admin", "domain": {"id": "default"}}},
            }
        }
        url = f"http://{address}:{KEYSTONE_PORT}/v3/auth/tokens"
        answer = requests.post(url, json=body, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 201, f"{answer.status_code} {answer.text[:200]}"
        assert answer.json()["token"]["user"]["name"] == self._user
        return answer.headers["X-Subject-Token"]

    def ask(self, name: str, address: str, token: str) -> Any:
        """What the service answers, or :class:`AssertionError` saying what came instead."""
        port, path, key = APIS[name]
        answer = requests.get(
            f"http://{address}:{port}{path}", headers={"X-Auth-Token": token}, timeout=TIMEOUT_SECONDS
        )
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:200]}"
        return answer.json()[key]

    def _with_token(self, name: str, address: str) -> None:
        token = self._tokens[name] = self._tokens.get(name) or self.token(address)
        self.ask(name, address, token)
