"""The issuer's process: discovery and keys for the gateway, and a door for the test that says what to sign."""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

Json = dict[str, Any]

PUBLISH = {"RS256": RSAAlgorithm.to_jwk, "ES256": ECAlgorithm.to_jwk, "EdDSA": OKPAlgorithm.to_jwk}


class State:
    """Keys, and how the issuer behaves.

    Attributes:
        status: of every answer to the gateway.
        listed: the key set as published; a test may put anything in.
    """

    def __init__(self) -> None:
        self.status = 200
        self.turn = 0
        self.fetches = 0
        self.listed: list[Json] = []
        self.private: dict[str, Any] = {}
        self.rotate(keep=False)

    def rotate(self, *, keep: bool) -> None:
        """Make new keys, and sign with those from now on."""
        self.turn += 1
        made = {
            "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }
        listed = []
        for algorithm, key in made.items():
            name = f"{algorithm}-{self.turn}"
            self.private[name] = key
            published = PUBLISH[algorithm](key.public_key(), as_dict=True)
            listed.append({**published, "kid": name, "use": "sig", "alg": algorithm})
        self.listed = [*(self.listed if keep else ()), *listed]

    def sign(self, order: Json) -> str:
        """A token with these claims, by the newest key of an algorithm, or by the one of that name."""
        name = order.get("kid") or f"{order['alg']}-{self.turn}"
        headers = {"kid": name, **order.get("headers", {})}
        return jwt.encode(order["claims"], self.private[name], algorithm=order["alg"], headers=headers)


class Handler(BaseHTTPRequestHandler):
    """Both doors; the test's is under `/_test/`."""

    state: State
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host = f"http://127.0.0.1:{self.server.server_address[1]}"
        if self.path == "/.well-known/openid-configuration":
            self._answer(self.state.status, {"issuer": host, "jwks_uri": f"{host}/keys"})
        elif self.path == "/keys":
            self.state.fetches += 1
            self._answer(self.state.status, {"keys": self.state.listed})
        elif self.path == "/_test/state":
            self._answer(200, {"fetches": self.state.fetches, "listed": self.state.listed})
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))
        state = self.state
        if self.path == "/_test/sign":
            self._answer(200, {"token": state.sign(order)})
            return
        if self.path == "/_test/rotate":
            state.rotate(keep=order["keep"])
        elif self.path == "/_test/behave":
            state.status = order.get("status", state.status)
            state.listed = order.get("listed", state.listed)
        self._answer(200, {})

    def _answer(self, status: int, body: Json) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    Handler.state = State()
    ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Handler).serve_forever()


main()
