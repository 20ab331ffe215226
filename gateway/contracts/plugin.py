"""What a plugin registers (Extension), what it is built with (BuildContext), and the kinds that are neither backend nor policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from msgspec import Struct

from gateway.contracts.backend import LaunchPlan, Replica, ReplicaState
from gateway.contracts.call import Call, Decision, Model, Outcome, Principal
from gateway.contracts.database import Database
from gateway.contracts.metrics import Metric
from gateway.contracts.store import BudgetStore
from gateway.contracts.targets import SourceState
from gateway.contracts.tokens import PromptTokens

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class NoSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """For an extension that has nothing to set."""


class LaunchedReplica(Struct, frozen=True):
    """A replica that the gateway itself starts, with the plan to start it, and how long it may take to get ready."""

    replica: Replica
    plan: LaunchPlan
    ready_seconds: float = 900.0


class Fleet(Protocol):
    """The replicas of the running configuration, as services and routes see them."""

    def replicas(self) -> Sequence[Replica]:
        """Every replica of every model."""

    def launched(self) -> Sequence[LaunchedReplica]:
        """Those that the gateway starts itself."""

    def target_sources(self) -> Sequence[SourceState]:
        """The sources of targets of every model, and how each is now."""

    def report(self, replica: Replica, state: ReplicaState, reason: str = "") -> None:
        """Set a replica's state. A reason is one line for people; it must hold no address and no path.

        A launched replica that is FAILED is not probed until it is reported as something else: whatever may answer at
        its address is not its engine.
        """

    def drain(self, replica: Replica) -> None:
        """Place no more calls there; what runs may end. It holds by the replica's name, over reloads, until `resume`."""

    def resume(self, replica: Replica) -> None:
        """Place calls there again."""

    def cache_salt(self, call: Call, replica: Replica) -> str | None:
        """What the replica's backend gives its engine to keep this call's tenant out of others' caches; None for nothing."""

    async def wait_for_change(self) -> None:
        """Return when any replica's state changes."""


class BuildContext(Protocol):
    """What an extension may ask for while it is built."""

    @property
    def models(self) -> Sequence[Model]:
        """The served models."""

    @property
    def fleet(self) -> Fleet:
        """The replicas."""

    @property
    def tokens(self) -> PromptTokens:
        """Counts tokens where no engine has told yet."""

    @property
    def database(self) -> Database:
        """The SQL database; its tables are as the registered schemas want them before any service starts."""

    @property
    def store(self) -> BudgetStore:
        """Budgets that are shared with the other nodes; this process's own where `state` is `memory://`."""

    @property
    def directory(self) -> TenantDirectory:
        """What is known of tenants, for authenticators that know callers by name alone; to be asked call by call."""

    def metrics(self) -> Sequence[Metric]:
        """What all that was built has counted until now, for exporters; see `Metered`. Whole only once all is built."""

    def shared(self, key: tuple[str, ...], create: Callable[[], T]) -> T:
        """An object that outlives a reload: the next runtime that asks with an equal key gets the same one.

        When the last runtime that asked is closed, the object's `async aclose()` is awaited, if it has one.
        """


class Extension(Struct, Generic[T_co], frozen=True, eq=False):
    """A name, the type of its settings, and how to build it: all that a plugin registers.

    An Extension object that is returned from several hooks is built once, and the one instance serves every kind: so a
    plugin can be a recorder and give routes that show what it recorded.

    Attributes:
        name: what configuration writes after `use:`; for a backend, after `backend:`.
        settings: a msgspec Struct with `forbid_unknown_fields`.
        build: called once per runtime with the validated settings.
        automatic: a service that runs with default settings when the configuration does not name it.
    """

    name: str
    settings: type[Struct]
    build: Callable[[Any, BuildContext], T_co]
    automatic: bool = False


class Authenticator(Protocol):
    """Knows callers by their headers."""

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        """Return who it is, or None to let the next authenticator look. No I/O: it is on the call's way.

        `headers` has lower-case names.

        Raises:
            Unauthenticated: the credentials are of this authenticator's kind, and wrong. The others are asked all the
                same; the first refusal stands if none knows the caller.
        """


@runtime_checkable
class TenantDirectory(Protocol):
    """Knows what tenants and teams are given. Whatever a plugin builds may be one; an authenticator asks it or does not."""

    def entitled(self, principal: Principal) -> Principal:
        """Return a caller with what its tenant and team are given beside its own: limits, and fewer models or scopes.

        The same object where the tenant is not known, and each time the same for the same caller until something
        changes. No I/O: it is on the call's way.

        Raises:
            GatewayError: its tenant or its team is not let in, or that cannot be known now.
        """


class CallTransform(Protocol):
    """Changes a call before it is admitted, for example by shortening its history."""

    async def transform(self, call: Call) -> Call:
        """Return the call to go on with; the same object if there is nothing to change."""


class Journal(Protocol):
    """Writes down each call when the last piece of its answer is about to leave: what must not be lost is kept here."""

    def append(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        """Take one call, refused ones too. On the call's way: no waiting, and a few microseconds at most.

        A crash here is logged and counted, and the call ends as it would have.
        """


class Recorder(Protocol):
    """Keeps or exports what happened. Off the call's way, from a bounded queue."""

    async def record(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        """Take one finished call. A crash here is logged and counted, and the other recorders still run."""


class Service(Protocol):
    """A background task with a life.

    It may have an attribute `not_ready: str | None`: why the gateway must not be sent calls yet, in a line for people, or
    None. `/readyz` asks for it.
    """

    async def run(self) -> None:
        """Work until cancelled; then clean up and let the cancellation through."""


class RouteProvider(Protocol):
    """Gives HTTP routes. Each asks for a key unless its handler carries `opt={"public": True}`.

    A handler with `opt={"scope": "admin:read"}` wants that scope of the key. Whatever lies under `/admin/` must say one,
    and is described in `/admin/v1/openapi.json`. Who is calling is in `request.scope["state"]["principal"]`.
    """

    @property
    def handlers(self) -> Sequence[ControllerRouterHandler]:
        """Litestar handlers, routers or controllers."""
