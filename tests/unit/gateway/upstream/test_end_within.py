"""How long a whole answer may take, however lively it is."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamTimeout
from gateway.upstream import ConnectionPool
from tests.support.raw_server import Peer, raw_server
from tests.unit.gateway.upstream.calls import OK, held, send, until
from tests.unit.gateway.upstream.samples import EVENT, STREAM_HEAD, chunk

SHORT_SECONDS = 0.05


async def test_a_lively_answer_that_takes_too_long_in_all_is_given_up(pool: ConnectionPool) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD + chunk(EVENT))
        await peer.client_closed()
        gone.set()

    async with raw_server(script) as server:
        response = await send(pool, server.origin)
        assert await response.read_chunk() == EVENT
        response.end_within(SHORT_SECONDS)
        with pytest.raises(UpstreamTimeout, match="not complete in time"):
            await response.read_chunk()
        response.close()
        await asyncio.wait_for(gone.wait(), 5)


@pytest.mark.parametrize("closed", [True, False])
async def test_one_that_is_complete_by_then_is_not(pool: ConnectionPool, closed: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.client_closed()

    async with raw_server(script) as server:
        response = await send(pool, server.origin)
        await until(lambda: held(pool)[0].parser.complete)
        response.end_within(0.0)
        if closed:
            assert await response.read() == b"ok"
            response.close()
        await asyncio.sleep(0.01)  # the limit passes
        if not closed:
            assert await response.read() == b"ok"
            response.close()
        assert pool.stats().idle == 1
