"""What is asked of whom, and for how long; plain data, checked when it is made."""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import Struct

from gateway.errors import ConfigError

MOST_LEVELS = 16
MOST_AT_ONCE = 4096
MOST_URLS = 2


class Endpoint(Struct, frozen=True):
    """Who is asked.

    Attributes:
        label: `A`, or `B` where two are compared.
        url: without a path: `/v1/...` follows.
    """

    label: str
    url: str


class Plan(Struct, frozen=True, kw_only=True):
    """A measurement.

    Attributes:
        endpoints: one, or two to compare.
        model: the name that they serve.
        levels: calls under way at once, each measured for itself.
        seconds: how long each is measured, in each round.
        warm_up_seconds: before that, in each round; nothing of it counts.
        rounds: how often; endpoints take turns within each.
        stream: ask for streams, of which alone the time to the first token is known.
        max_tokens: of an answer.
        prompt_tokens: of the prompts that are made up; about, as no tokenizer is at hand.
        shared_prefix: they all begin alike, so that prefix caches hit.
        timeout_seconds: for a whole answer.
        seed: of the prompts.
    """

    endpoints: tuple[Endpoint, ...]
    model: str
    levels: tuple[int, ...]
    seconds: float
    warm_up_seconds: float
    rounds: int
    stream: bool
    max_tokens: int
    prompt_tokens: int
    shared_prefix: bool
    timeout_seconds: float
    seed: int


def endpoints_of(urls: list[str]) -> tuple[Endpoint, ...]:
    """One or two endpoints by their URLs, which may end in `/v1` as those of SDKs do.

    Raises:
        ConfigError: there are more, or one is no http(s) URL.
    """
    if len(urls) > MOST_URLS:
        raise ConfigError(f"--url: one endpoint, or two to compare; not {len(urls)}")
    return tuple(Endpoint(label, _base(url)) for label, url in zip("AB", urls, strict=False))


def levels_of(text: str) -> tuple[int, ...]:
    """`1,8,32` as numbers, each once, the smallest first.

    Raises:
        ConfigError: it is something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= MOST_AT_ONCE for part in parts) or len(parts) > MOST_LEVELS:
        raise ConfigError(
            f"--concurrency: numbers from 1 to {MOST_AT_ONCE} with commas between, at most {MOST_LEVELS}; not {text!r}"
        )
    return tuple(sorted({int(part) for part in parts}))


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or "@" in url or "?" in url or "#" in url:
        raise ConfigError(f"--url: an http or https URL without credentials and query, not {_shown(url)!r}")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _shown(url: str) -> str:
    """What may be printed of a wrong URL: nothing that may be a password."""
    return url if "@" not in url else "…@" + url.rpartition("@")[2]
