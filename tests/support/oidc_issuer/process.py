"""Starts the issuer for a test, tells it what to do, and ends it."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.child import Child
from tests.support.gateway_process import free_port

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 60.0
AUDIENCE = "moegate"
Json = dict[str, Any]


class Issuer:
    """An issuer that runs."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._http = httpx.Client(base_url=self.url, trust_env=False, timeout=20)
        self._child = self._started()

    @property
    def url(self) -> str:
        """Its name, as tokens have it in `iss`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def fetches(self) -> int:
        """How often somebody asked for the keys."""
        return int(self._http.get("/_test/state").json()["fetches"])

    @property
    def listed(self) -> list[Json]:
        """The keys as they are published."""
        return list(self._http.get("/_test/state").json()["listed"])

    def token(
        self,
        *,
        alg: str = "ES256",
        kid: str | None = None,
        headers: Json | None = None,
        without: str = "",
        **claims: Any,
    ) -> str:
        """A token that is good for an hour, but for what is said otherwise; `without` leaves a claim out."""
        now = int(time.time())
        good = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 3600, "tenant": "acme"}
        claims = {name: value for name, value in {**good, **claims}.items() if name != without}
        order = {"alg": alg, "kid": kid, "headers": headers or {}, "claims": claims}
        return str(self._post("sign", order)["token"])

    def rotate(self, *, keep: bool = True) -> None:
        """Sign with new keys from now on; the old ones stay published or do not."""
        self._post("rotate", {"keep": keep})

    def behave(self, **how: Any) -> None:
        """Answer the gateway with a `status`, or with keys that are `listed` as given."""
        self._post("behave", how)

    def kill(self) -> None:
        """An outage."""
        self._child.end(signal.SIGKILL)

    def start(self) -> None:
        """The outage is over; its keys are new ones."""
        self._child = self._started()

    def stop(self) -> None:
        """End it."""
        self._http.close()
        self._child.end(signal.SIGKILL)

    def _post(self, verb: str, body: Json) -> Json:
        answer = self._http.post(f"/_test/{verb}", json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def _started(self) -> Child:
        command = [sys.executable, "-m", "tests.support.oidc_issuer", "--port", str(self.port)]
        child = Child(command, self._folder / "log", folder=ROOT, leavings=self._folder)
        child.wait_for(self._answers, "the issuer", START_SECONDS)
        return child

    def _answers(self) -> bool:
        try:
            return self._http.get("/_test/state").is_success
        except httpx.TransportError:
            return False


@contextmanager
def oidc_issuer() -> Iterator[Issuer]:
    """An issuer that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="moegate-issuer-") as folder:
        issuer = Issuer(Path(folder))
        try:
            yield issuer
        finally:
            issuer.stop()
