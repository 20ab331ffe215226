"""A fake that has drifted from what it stands for proves nothing; these compare them."""

from __future__ import annotations

import inspect

import pytest

from gateway import Backend, Meter, Replica
from gateway.dataplane.relay import Client
from gateway.upstream import ConnectionPool, UpstreamResponse
from tests.unit.builders import make_replica
from tests.unit.fakes import FakeBackend, FakeClient, FakeConnections, FakeMeter, FakeResponse


def parameters(function: object) -> list[tuple[str, object]]:
    assert callable(function)
    return [(each.name, each.kind) for each in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(
    ("fake", "real", "names"),
    [
        (FakeConnections, ConnectionPool, ["send", "aclose"]),
        (FakeResponse, UpstreamResponse, ["header", "read_chunk", "pass_on", "read", "close"]),
        (
            FakeBackend,
            Backend,
            ["objection", "prepare", "read_error", "read_first_event", "new_meter", "abort", "probe"],
        ),
        (FakeMeter, Meter, ["feed_events", "end_events", "read_body"]),
        (FakeClient, Client, ["start", "send", "ready", "finish", "fail", "release"]),
    ],
)
def test_the_methods_take_the_same(fake: type, real: type, names: list[str]) -> None:
    for name in names:
        assert parameters(getattr(fake, name)) == parameters(getattr(real, name))
        assert inspect.iscoroutinefunction(getattr(fake, name)) == inspect.iscoroutinefunction(getattr(real, name))


def test_nothing_that_the_call_s_way_may_use_is_left_out() -> None:
    for fake, real in ((FakeConnections, ConnectionPool), (FakeResponse, UpstreamResponse)):
        public = {name for name, value in vars(real).items() if inspect.isfunction(value) and name[0] != "_"}
        assert public - {"stats"} <= set(vars(fake))


def test_the_fake_backend_is_a_backend() -> None:
    assert isinstance(FakeBackend(), Backend)


def test_the_built_replica_is_a_replica() -> None:
    assert isinstance(make_replica(), Replica)
