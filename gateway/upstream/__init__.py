"""The hot path's HTTP/1.1 client: a connection pool on asyncio and httptools, and nothing that a call does not need.

    origin.py      where an engine listens; timeouts and limits
    head.py        the request's head, checked
    parser.py      bytes to responses, sans-IO
    protocol.py    one connection
    endings.py     what a close means
    deadlines.py   the one timer
    roster.py      which connections there are and who holds them
    response.py    what a call holds
    pool.py        `send`

Import from here, not from the files.
"""

from gateway.upstream.head import HeaderBlock, Headers, encode_headers
from gateway.upstream.origin import Limits, Origin, Timeouts
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.roster import PoolStats

__all__ = [
    "ConnectionPool",
    "HeaderBlock",
    "Headers",
    "Limits",
    "Origin",
    "PoolStats",
    "Timeouts",
    "UpstreamResponse",
    "encode_headers",
]
