"""Builds the bytes of the requests that the load generator sends; it opens no connection."""

import argparse
import copy
import itertools
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

WORDS = "The gate sends each token to the expert that should serve it. "


def request_bytes(options: argparse.Namespace, *, chunks: int | None = None, client: int | None = None) -> bytes:
    """Build the request that a connection repeats; a client's name lets the engine tell when it saw that one leave."""
    prompt = (WORDS * (options.prompt_bytes // len(WORDS) + 1))[: options.prompt_bytes]
    if client is not None:
        prompt += f"[[client:{client}]]"
    payload: dict[str, object] = {"model": options.model, "messages": [{"role": "user", "content": prompt}]}
    if chunks is not None:
        payload |= {"max_tokens": chunks, "stream": True}
    body = json.dumps(payload).encode()
    url = urlsplit(options.url)
    lines = [
        f"POST {url.path.rstrip('/')}/v1/chat/completions HTTP/1.1",
        f"host: {url.netloc}",
        "content-type: application/json",
        "accept: */*",
        *options.header,
        f"content-length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def request_cycle(options: argparse.Namespace) -> Iterator[bytes]:
    """Build what all connections of a closed loop send one after the other: always the same, or each time with the next key."""
    if options.keys is None:
        return itertools.repeat(request_bytes(options))
    keyed = copy.copy(options)
    requests = []
    for key in options.keys.read_text().split():
        keyed.header = [*options.header, f"authorization: Bearer {key}"]
        requests.append(request_bytes(keyed))
    return itertools.cycle(requests)
