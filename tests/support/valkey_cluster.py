"""A cluster of real valkey-servers without replicas, whose slots a test can move."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support.gateway_process import free_port
from tests.support.valkey import ValkeyServer, valkey_server

SLOTS = 16_384
START_SECONDS = 30.0
POLL_SECONDS = 0.02


class ValkeyCluster:
    """Some servers, each with an equal share of the slots."""

    def __init__(self, servers: list[ValkeyServer]) -> None:
        self.servers = servers
        self.names = [self._ask(server, "MYID").decode() for server in servers]

    def form(self, bus_ports: list[int]) -> None:
        """Give out the slots, and wait until every server knows of all."""
        share = SLOTS // len(self.servers)
        for index, server in enumerate(self.servers):
            last = SLOTS - 1 if server is self.servers[-1] else (index + 1) * share - 1
            self._ask(server, "ADDSLOTSRANGE", index * share, last)
            self._ask(server, "SET-CONFIG-EPOCH", index + 1)
        for server, bus_port in zip(self.servers[1:], bus_ports[1:], strict=True):
            self._ask(self.servers[0], "MEET", "127.0.0.1", server.port, bus_port)
        deadline = time.monotonic() + START_SECONDS
        while not all(self._whole(server) for server in self.servers):
            assert time.monotonic() < deadline, "the cluster does not come together"
            time.sleep(POLL_SECONDS)

    def move(self, slot: int, source: int, target: int) -> None:
        """Begin to move a slot: keys that are not at its source any more are asked for at its target."""
        self._ask(self.servers[target], "SETSLOT", slot, "IMPORTING", self.names[source])
        self._ask(self.servers[source], "SETSLOT", slot, "MIGRATING", self.names[target])

    def moved(self, slot: int, target: int, *, dead: int | None = None) -> None:
        """End it: the slot is the target's, and all know that but one that is dead."""
        others = [server for number, server in enumerate(self.servers) if number not in (target, dead)]
        for server in (self.servers[target], *others):
            self._ask(server, "SETSLOT", slot, "NODE", self.names[target])

    def _whole(self, server: ValkeyServer) -> bool:
        info = self._ask(server, "INFO")
        return b"cluster_state:ok" in info and b"cluster_known_nodes:%d" % len(self.servers) in info

    def _ask(self, server: ValkeyServer, *command: str | int) -> bytes:
        with server.client() as client:
            client.response_callbacks.clear()
            answer: bytes = client.execute_command("CLUSTER", *command)
            return answer


@contextmanager
def valkey_cluster(size: int = 3, *options: str) -> Iterator[ValkeyCluster]:
    """A cluster of one's own; it comes together in a second or two."""
    with ExitStack() as stack:
        bus_ports = [free_port() for _ in range(size)]
        cluster = ValkeyCluster([
            stack.enter_context(
                valkey_server("cluster-enabled yes", f"cluster-port {port}", "cluster-node-timeout 15000", *options)
            )
            for port in bus_ports
        ])  # fmt: skip
        cluster.form(bus_ports)
        yield cluster
