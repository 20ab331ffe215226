"""What goes wrong, a function each: it brings trouble and expects what is its own; what holds for all, `scene` judges."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from tests.resilience.scenarios import answers, connections, engines, networks, real, streams
from tests.resilience.scene import Scene

Scenario = Callable[[Scene], Awaitable[None]]

SCENARIOS: Mapping[str, Scenario] = {
    each.__name__: each
    for each in (
        engines.killed,
        engines.drains,
        engines.refuses,
        engines.busy_for_a_minute,
        engines.pool_down,
        engines.gateway_drains,
        answers.hangs,
        answers.fails_after_200,
        answers.garbage,
        answers.tiny_packets,
        connections.half_open,
        connections.resets,
        connections.far_away,
        networks.loses_packets,
        networks.blackout,
        connections.slow_readers,
        connections.idle,
        streams.many_streams,
    )
}

# What goes wrong between processes goes wrong with real engines as well.
REAL_SCENARIOS: Mapping[str, Scenario] = {
    each.__name__: each
    for each in (
        real.killed,
        real.drains,
        real.freezes,
        real.leaving,
        real.slow_readers,
        engines.gateway_drains,
        engines.pool_down,
        connections.half_open,
        connections.resets,
        connections.far_away,
    )
}
