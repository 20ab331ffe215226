from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from plugins.discovery_kubernetes.settings import KubernetesSettings, check
from plugins.discovery_kubernetes.source import KubernetesSource
from tests.support.kubernetes_api.server import ApiServer, api_server
from tests.support.kubernetes_api.slices import endpoint, endpoint_slice
from tests.unit.plugins.listening import Listening, listening

ONE, TWO, THREE = (f"http://10.1.0.{number}:8000" for number in (1, 2, 3))


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with api_server() as found:
        yield found


@pytest.fixture
def account(tmp_path: Path, server: ApiServer) -> Path:
    """A service account's folder, as a pod finds it."""
    (tmp_path / "token").write_text(server.token + "\n")
    (tmp_path / "namespace").write_text("ml")
    return tmp_path


def source(api: ApiServer, account: Path, **changes: Any) -> KubernetesSource:
    settings = KubernetesSettings(
        **{"service": "vllm", "server": api.url, "token_file": account / "token", "ca_file": None, **changes}
    )
    check(settings)
    return KubernetesSource(settings)


async def until_urls(heard: Listening, *urls: str) -> None:
    """Read lists until one is this: how many come before it, the server's pieces decide."""
    while await heard.urls() != sorted(urls):
        pass


async def test_what_is_listed_and_then_what_changes(server: ApiServer, account: Path) -> None:
    server.put(endpoint_slice("vllm-1", endpoint("10.1.0.1", "vllm-0"), endpoint("10.1.0.2", "vllm-1")))
    server.put(endpoint_slice("other-1", endpoint("10.1.0.9"), service="other"))
    async with listening(source(server, account)) as heard:
        one, two = sorted(await heard.targets(), key=lambda target: target.url)
        assert (one.url, one.name) == (ONE, "vllm-0")
        assert one.labels == {
            "namespace": "ml", "service": "vllm", "pod": "vllm-0", "node": "node-1", "zone": "zone-a",
        }  # fmt: skip
        assert two.name == "vllm-1"
        server.put(endpoint_slice("vllm-1", endpoint("10.1.0.1", "vllm-0")))
        await until_urls(heard, ONE)
        server.put(endpoint_slice("vllm-2", endpoint("10.1.0.3", "vllm-2")))
        await until_urls(heard, ONE, THREE)
        server.delete("vllm-1")
        await until_urls(heard, THREE)
    assert server.statuses(watch=False) == [200]
    assert server.asked[0]["labelSelector"] == "kubernetes.io/service-name=vllm"


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ({}, True),
        ({"ready": None, "serving": None, "terminating": None}, True),
        ({"ready": False, "serving": False}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
        ({"ready": True, "serving": True, "terminating": True}, False),
    ],
)
async def test_conditions(server: ApiServer, account: Path, conditions: dict[str, bool | None], wanted: bool) -> None:
    server.put(endpoint_slice("vllm-1", endpoint("10.1.0.1"), endpoint("10.1.0.2", **conditions)))
    async with listening(source(server, account)) as heard:
        assert await heard.urls() == ([ONE, TWO] if wanted else [ONE])


async def test_slices_of_one_service_are_merged_and_an_endpoint_of_two_is_one(server: ApiServer, account: Path) -> None:
    server.page = 1
    server.put(endpoint_slice("vllm-1", endpoint("10.1.0.1"), endpoint("10.1.0.2")))
    server.put(endpoint_slice("vllm-2", endpoint("10.1.0.2"), endpoint("10.1.0.3")))
    server.put(endpoint_slice("vllm-3", endpoint("fd00::1"), addressType="IPv6"))
    server.put(endpoint_slice("vllm-4", endpoints=None))
    async with listening(source(server, account)) as heard:
        assert await heard.urls() == [ONE, TWO, THREE]
    async with listening(source(server, account, address_type="IPv6")) as heard:
        assert await heard.urls() == ["http://[fd00::1]:8000"]
    assert len(server.statuses(watch=False)) == 8


@pytest.mark.parametrize(("port", "expected"), [("api", 9000), (9001, 9001), ("gone", None), (None, None)])
async def test_the_port_is_found_by_name_or_number(
    server: ApiServer, account: Path, port: str | int | None, expected: int | None
) -> None:
    ports = [{"name": "api", "port": 9000}, {"name": "metrics", "port": 9001}, {"name": "all", "port": None}]
    server.put(endpoint_slice("vllm-1", endpoint("10.1.0.1"), ports=ports))
    async with listening(source(server, account, port=port)) as heard:
        if expected is None:
            assert "port" in str(await heard.failure())
        else:
            assert await heard.urls() == [f"http://10.1.0.1:{expected}"]


async def test_a_watch_that_breaks_off_is_taken_up_where_it_was(server: ApiServer, account: Path) -> None:
    server.put(endpoint_slice("vllm-1", endpoint("10.1.0.1")))
    async with listening(source(server, account)) as heard:
        await heard.urls()
        server.put(endpoint_slice("vllm-1", endpoint("10.1.0.2")))
        await until_urls(heard, TWO)
        server.break_off()
        await heard.paused()
        server.put(endpoint_slice("vllm-1", endpoint("10.1.0.3")))
        heard.wake()
        await until_urls(heard, THREE)
    assert server.statuses(watch=False) == [200]
    versions = [int(each["resourceVersion"]) for each in server.asked if "watch" in each]
    assert versions == [101, 102]


async def test_a_bookmark_moves_the_version_on(server: ApiServer, account: Path) -> None:
    server.put(endpoint_slice("vllm-1", endpoint("10.1.0.1")))
    async with listening(source(server, account)) as heard:
        await heard.urls()
        server.bookmark()
        assert await heard.urls() == [ONE]
        server.break_off()
        await heard.paused()
        heard.wake()
        await asyncio.to_thread(server.wait_asked, 2)
    assert [each["resourceVersion"] for each in server.asked if "watch" in each] == ["101", "102"]
    assert all(each["allowWatchBookmarks"] == "true" for each in server.asked if "watch" in each)


@pytest.mark.parametrize("in_stream", [True, False])
async def test_what_the_server_forgot_is_listed_anew(server: ApiServer, account: Path, in_stream: bool) -> None:
    server.put(endpoint_slice("vllm-1", endpoint("10.1.0.1")))
    async with listening(source(server, account)) as heard:
        await heard.urls()
        await asyncio.to_thread(server.wait_watched)
        if in_stream:  # an event that says so
            server.forget()
            server.put(endpoint_slice("vllm-1", endpoint("10.1.0.2")))
        else:  # the status of the next watch
            server.break_off()
            await heard.paused()
            server.forget()
            server.put(endpoint_slice("vllm-1", endpoint("10.1.0.2")))
            heard.wake()
        await heard.paused()
        heard.wake()
        await until_urls(heard, TWO)
    assert server.statuses(watch=False) == [200, 200]


async def test_a_token_that_is_replaced_is_read_again(server: ApiServer, account: Path) -> None:
    server.put(endpoint_slice("vllm-1", endpoint("10.1.0.1")))
    async with listening(source(server, account)) as heard:
        await heard.urls()
        await asyncio.to_thread(server.wait_watched)
        server.token = "second-token"
        server.break_off()
        await heard.paused()
        heard.wake()
        error = await heard.failure()
        assert str(error) == "the API server answered 401: its token is not valid (any more)"
        (account / "token").write_text("second-token")
        await heard.again()
        assert await heard.urls() == [ONE]
        assert "token" not in str(error).replace("its token", "")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(403, "403: the service account may not list"), (500, "answered 500"), (404, "answered 404")],
)
async def test_refusals_are_said(server: ApiServer, account: Path, status: int, expected: str) -> None:
    server.refuse(status)
    async with listening(source(server, account)) as heard:
        assert expected in str(await heard.failure())


async def test_a_server_that_is_not_there_and_files_that_are_not(server: ApiServer, account: Path) -> None:
    gone = {"server": "http://127.0.0.1:1"}
    async with listening(source(server, account, **gone)) as heard:
        assert str(await heard.failure()) == "the API server does not answer (ConnectError)"
    (account / "token").unlink()
    async with listening(source(server, account)) as heard:
        assert str(await heard.failure()) == f"{account}/token cannot be read: No such file or directory"
    https = {"server": "https://127.0.0.1:1", "ca_file": account / "ca.crt"}
    async with listening(source(server, account, **https)) as heard:
        assert "ca.crt cannot be used: No such file" in str(await heard.failure())


async def test_a_service_without_endpoints_tells_an_empty_list(server: ApiServer, account: Path) -> None:
    async with listening(source(server, account)) as heard:
        assert await heard.urls() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"service": None}, "exactly one of `service` and `selector`"),
        ({"selector": "app=vllm"}, "exactly one of `service` and `selector`"),
        ({"service": "No Name"}, "service: not a name"),
        ({"namespace": "a/b"}, "namespace: not a name"),
        ({"server": "http://kubernetes.default.svc"}, "server: must be an https URL"),
        ({"server": "https://user@kubernetes"}, "server: must be an https URL"),
        ({"token_file": None}, "namespace: missing"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(KubernetesSettings(**{"service": "vllm", **changes}))
    (found,) = caught.value.problems
    assert found.startswith(expected)
