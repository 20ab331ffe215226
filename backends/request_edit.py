"""One request on its way to an engine: edits at its top level, encoded once and only if something changed; knows no engine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw

from backends.dialects import Dialect
from backends.parameters import INTERNAL, INTERNAL_TEMPLATE_VARIABLES, NULL
from gateway import Call, Operation

encode = msgspec.json.Encoder().encode
# An object's fields, each value as it was written.
cut = msgspec.json.Decoder(dict[str, Raw]).decode

# Names come from clients, and are told in a header: only plain ones are, and not without end.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST_NAMES = 20

_WANT_USAGE = Raw(b'{"include_usage":true}')
_TRUE = Raw(b"true")


class RequestEdit:
    """The fields of a call as they will be sent.

    Attributes:
        fields: a copy of the call's, to be changed by `put` and `take` alone.
        changed: whether the body has to be written anew.
        transforms: what was changed in the client's request, by name, in order.
        dropped: parameters that were left out because the engine would reject them.
        client_call_ids: per tool-call id that the engine will see, the client's own where it is another.
        next_call_index: how many tool calls the history holds.
    """

    __slots__ = ("call", "changed", "client_call_ids", "dropped", "fields", "next_call_index", "transforms")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.fields = dict(call.fields)
        self.changed = False
        self.transforms: list[str] = []
        self.dropped: list[str] = []
        self.client_call_ids: Mapping[str, str] = {}
        self.next_call_index = 0

    def put(self, name: str, value: Raw) -> None:
        """Set a field."""
        self.fields[name] = value
        self.changed = True

    def take(self, name: str) -> Raw:
        """Remove a field that is there, and return it."""
        self.changed = True
        return self.fields.pop(name)

    def note(self, transform: str) -> None:
        """Name a transform, once."""
        if transform not in self.transforms:
            self.transforms.append(transform)

    def leave_out(self, names: Iterable[str]) -> None:
        """Remove fields that are there, and tell the client."""
        for name in names:
            self.take(name)
            self.dropped.append(name)

    def told_dropped(self) -> tuple[str, ...]:
        """What was left out, fit for a header."""
        plain = [name for name in self.dropped if _PLAIN_NAME.fullmatch(name)][:_MOST_NAMES]
        more = len(self.dropped) - len(plain)
        return (*plain, f"and-{more}-more") if more else tuple(plain)

    def body(self) -> bytes:
        """The bytes to send: the client's own if nothing changed."""
        return encode(self.fields) if self.changed else self.call.body


def strip_internal(edit: RequestEdit) -> None:
    """Take out what is not a client's to say, also from among the template's variables."""
    found = [name for name in edit.fields if name in INTERNAL]
    for name in found:
        edit.take(name)
    variables = edit.fields.get("chat_template_kwargs")
    if variables is not None:
        kept = _template_variables(variables)
        if kept is not None:
            edit.put("chat_template_kwargs", kept)
            found.append("chat_template_kwargs")
    if found:
        edit.note("strip_internal")


def _template_variables(value: Raw) -> Raw | None:
    """The variables that are a client's; None if all are."""
    try:
        variables = cut(value)
    except msgspec.DecodeError:  # null, or nothing that any engine would take
        return None
    kept = {name: item for name, item in variables.items() if name not in INTERNAL_TEMPLATE_VARIABLES}
    return Raw(encode(kept)) if len(kept) < len(variables) else None


def drop(edit: RequestEdit, dialect: Dialect, tolerated: frozenset[str]) -> None:
    """Leave out what the engine would reject, and what the operator says may be left out; null where it is an error."""
    if dialect.refuses_null and NULL in edit.fields.values():
        for name in [name for name, value in edit.fields.items() if value == NULL]:
            edit.take(name)
    operation = edit.call.operation
    accepted = dialect.accepts.get(operation)
    ignored = dialect.ignored(operation) & tolerated
    edit.leave_out(
        [
            name
            for name in edit.fields
            if name in ignored or (accepted is not None and name not in accepted and name not in dialect.renamed)
        ]
    )


def spell(edit: RequestEdit, dialect: Dialect) -> None:
    """Say in the engine's own words what it means exactly the same by."""
    for name, own_name in dialect.renamed.items():
        if name in edit.fields:
            value = edit.take(name)
            edit.fields.setdefault(own_name, value)
            edit.note("spelling")
    for name, spellings in dialect.respelled.items():
        value = edit.fields.get(name)  # type: ignore[assignment] # None ends it
        if value is not None and (own_value := spellings.get(bytes(value))) is not None:
            edit.put(name, own_value)
            edit.note("spelling")


def fill_defaults(edit: RequestEdit, defaults: Mapping[str, Raw]) -> None:
    """Send the model's sampling defaults where the client says nothing, so that engines do not differ by their own."""
    fields = edit.fields
    for name, value in defaults.items():
        if fields.get(name, NULL) == NULL:
            if name == "max_tokens" and fields.get("max_completion_tokens", NULL) != NULL:
                continue
            edit.put(name, value)
            edit.note("defaults")


def ask_for_usage(edit: RequestEdit) -> None:
    """Have a stream of chat or completions end with its usage, whatever the client wants to see of it."""
    options = edit.fields.get("stream_options", NULL)
    try:
        fields = cut(options) if options != NULL else {}
    except msgspec.DecodeError:
        fields = {}
    edit.put("stream_options", Raw(encode({**fields, "include_usage": _TRUE})) if fields else _WANT_USAGE)


# Under which names an operation takes the model's defaults; those that are not here are the same everywhere.
_DEFAULT_NAMES: Mapping[Operation, Mapping[str, str | None]] = {
    Operation.RESPONSES: {"max_tokens": "max_output_tokens"},
    Operation.MESSAGES: {
        "stop": "stop_sequences",
        "min_p": None,
        "presence_penalty": None,
        "frequency_penalty": None,
        "repetition_penalty": None,
    },
}
_GENERATING = frozenset({Operation.CHAT, Operation.COMPLETIONS, Operation.RESPONSES, Operation.MESSAGES})


def defaults_for(operation: Operation, dialect: Dialect, defaults: Mapping[str, Raw]) -> dict[str, Raw]:
    """The model's defaults as this operation of this engine takes them; what it would pass over or reject is left out."""
    if operation not in _GENERATING:
        return {}
    own_names = _DEFAULT_NAMES.get(operation, {})
    ignored, accepted = dialect.ignored(operation), dialect.accepts.get(operation)
    found = {}
    for name, value in defaults.items():
        own_name = own_names.get(name, name)
        if own_name is None or own_name in ignored or (accepted is not None and own_name not in accepted):
            continue
        written = bytes(value)
        one_text = own_name == "stop_sequences" and not written.startswith(b"[")
        own_value = Raw(b"[" + written + b"]") if one_text else value
        found[own_name] = dialect.respelled.get(own_name, {}).get(written, own_value)
    return found
