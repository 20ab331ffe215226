from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.errors import ConfigError
from plugins.discovery_dns.settings import DnsSettings, check, server_of
from plugins.discovery_dns.source import DnsSource
from tests.support.name_server import NameServer, name_server
from tests.unit.plugins.listening import listening

NAME = "engines.example"
SERVICE = "_vllm._tcp.engines.example"


@pytest.fixture
def server() -> Iterator[NameServer]:
    with name_server() as found:
        yield found


def source(server: NameServer, **changes: Any) -> DnsSource:
    settings = {"name": NAME, "port": 8000, "servers": [server.address], "answer_seconds": 20, **changes}
    if settings.get("records") == "srv":
        settings = {"name": SERVICE, **{key: value for key, value in settings.items() if key not in ("name", "port")}}
    wanted = DnsSettings(**settings)
    check(wanted)
    return DnsSource(wanted)


async def test_addresses_come_and_go_as_the_answers_say(server: NameServer) -> None:
    server.put(NAME, "A", "10.0.0.1", "10.0.0.2", ttl=30)
    async with listening(source(server, path="/openai")) as heard:
        assert await heard.urls() == ["http://10.0.0.1:8000/openai", "http://10.0.0.2:8000/openai"]
        server.put(NAME, "A", "10.0.0.2", "10.0.0.3", ttl=60)
        heard.wake()
        (one, two) = await heard.targets()
        assert {one.url, two.url} == {"http://10.0.0.2:8000/openai", "http://10.0.0.3:8000/openai"}
        assert (one.name, one.weight, one.tier) == ("", 1.0, 0)
        assert [await heard.paused(), await heard.paused()] == [30, 60]
    assert {transport for _, _, transport in server.asked} == {"udp"}


async def test_addresses_of_the_sixth_version(server: NameServer) -> None:
    server.put(NAME, "AAAA", "fd00::1")
    async with listening(source(server, records="aaaa")) as heard:
        assert await heard.urls() == ["http://[fd00::1]:8000"]


@pytest.mark.parametrize(("ttl", "expected"), [(0, 5.0), (3, 5.0), (40, 40.0), (86_400, 300.0)])
async def test_a_ttl_is_heeded_within_bounds(server: NameServer, ttl: int, expected: float) -> None:
    server.put(NAME, "A", "10.0.0.1", ttl=ttl)
    async with listening(source(server)) as heard:
        await heard.targets()
        assert await heard.paused() == expected


async def test_an_answer_holds_no_longer_than_the_alias_that_led_to_it(server: NameServer) -> None:
    server.put(NAME, "CNAME", "blue.example", ttl=7)
    server.put("blue.example", "A", "10.0.0.1", ttl=100)
    async with listening(source(server)) as heard:
        assert await heard.urls() == ["http://10.0.0.1:8000"]
        assert await heard.paused() == 7


async def test_services_tell_ports_weights_and_priorities(server: NameServer) -> None:
    server.put(SERVICE, "SRV", "10 3 8001 a.example.", "10 1 8002 b.example.", "20 0 8003 c.example.", ttl=50)
    server.put("a.example", "A", "10.0.0.1", "10.0.0.11", ttl=20)
    server.put("b.example", "AAAA", "fd00::2", ttl=30)
    server.put("c.example", "A", "10.0.0.3", ttl=60)
    async with listening(source(server, records="srv")) as heard:
        found = {target.url: (target.tier, target.weight) for target in await heard.targets()}
        assert found == {
            "http://10.0.0.1:8001": (10, 3.0),
            "http://10.0.0.11:8001": (10, 3.0),
            "http://[fd00::2]:8002": (10, 1.0),
            "http://10.0.0.3:8003": (20, 1.0),
        }
        assert await heard.paused() == 20


async def test_with_https_the_hosts_keep_the_names_that_certificates_vouch_for(server: NameServer) -> None:
    server.put(SERVICE, "SRV", "0 1 8443 a.example.")
    async with listening(source(server, records="srv", scheme="https")) as heard:
        assert await heard.urls() == ["https://a.example:8443"]
    assert [kind for _, kind, _ in server.asked] == ["SRV"]


async def test_a_host_without_an_address_is_left_out_and_all_of_them_are_a_failure(server: NameServer) -> None:
    server.put(SERVICE, "SRV", "0 1 8001 a.example.", "0 1 8002 gone.example.")
    server.put("a.example", "A", "10.0.0.1")
    async with listening(source(server, records="srv")) as heard:
        assert await heard.urls() == ["http://10.0.0.1:8001"]
        server.drop("a.example")
        heard.wake()
        assert "none of the hosts" in str(await heard.failure())


async def test_a_service_that_is_not_offered_is_a_failure(server: NameServer) -> None:
    server.put(SERVICE, "SRV", "0 0 0 .")
    async with listening(source(server, records="srv")) as heard:
        assert "none of the hosts" in str(await heard.failure())


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ({"rcode": "NXDOMAIN"}, "engines.example does not exist (NXDOMAIN)"),
        ({"rcode": "SERVFAIL"}, "engines.example: every name server failed (such as SERVFAIL)"),
        ({"rcode": "REFUSED"}, "engines.example: every name server failed (such as SERVFAIL)"),
        ({"silent": True}, "engines.example: no answer within 0.1 s"),
    ],
)
async def test_failures_are_said_and_end_when_the_server_is_well(
    server: NameServer, behaviour: dict[str, Any], expected: str
) -> None:
    server.put(NAME, "A", "10.0.0.1")
    server.behave(**behaviour)
    # As long as it must fail by time, the time is short; it is long where it must not.
    seconds = 0.1 if behaviour.get("silent") else 20
    async with listening(source(server, answer_seconds=seconds)) as heard:
        assert str(await heard.failure()) == expected
    server.behave()
    async with listening(source(server)) as heard:
        assert await heard.urls() == ["http://10.0.0.1:8000"]


async def test_a_name_without_such_records_is_a_failure(server: NameServer) -> None:
    server.put(NAME, "AAAA", "fd00::1")
    async with listening(source(server)) as heard:
        assert str(await heard.failure()) == "engines.example has no A records"


async def test_a_truncated_answer_is_asked_for_again_over_tcp(server: NameServer) -> None:
    server.put(NAME, "A", *(f"10.0.{high}.{low}" for high in range(4) for low in range(50)))
    server.behave(truncates=True)
    async with listening(source(server)) as heard:
        assert len(await heard.urls()) == 200
    assert [transport for _, _, transport in server.asked] == ["udp", "tcp"]


async def test_the_next_server_is_asked_when_one_fails(server: NameServer) -> None:
    server.put(NAME, "A", "10.0.0.1")
    with name_server() as broken:
        broken.behave(rcode="SERVFAIL")
        async with listening(source(server, servers=[broken.address, server.address])) as heard:
            assert await heard.urls() == ["http://10.0.0.1:8000"]
        assert broken.asked


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "no spaces"}, "name: not the name"),
        ({"name": "a." * 130 + "example"}, "name: not the name"),
        ({"port": None}, "port: missing"),
        ({"records": "srv"}, "port: `srv` records tell it"),
        ({"scheme": "https"}, "scheme: https needs `records: srv`"),
        ({"least_seconds": 10, "most_seconds": 5}, "least_seconds: must not be more"),
        ({"servers": ["10.0.0.1", "ns.example"]}, "servers[1]: must be ADDRESS"),
        ({"servers": ["10.0.0.1:99999"]}, "servers[0]: must be ADDRESS"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(DnsSettings(**{"name": NAME, "port": 8000, **changes}))
    (found,) = caught.value.problems
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", 53)),
        ("10.0.0.1:5353", ("10.0.0.1", 5353)),
        ("fd00::1", ("fd00::1", 53)),
        ("[fd00::1]:5353", ("fd00::1", 5353)),
        ("[fd00::1]", ("fd00::1", 53)),
    ],
)
def test_ways_to_write_a_server(text: str, expected: tuple[str, int]) -> None:
    assert server_of(text) == expected
