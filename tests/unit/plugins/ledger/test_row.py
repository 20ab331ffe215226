from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Attempt, Ending, Model, Prices, Principal, Usage
from plugins.ledger import tables
from plugins.ledger.row import MOST_NANOS, MOST_TOKENS, CallRow, GapRow, decode_row, encode_row, row_of, tamed
from tests.unit.builders import CHECKPOINT, make_call
from tests.unit.plugins.ledger.rows import NOON, Clock, make_outcome, make_row


def test_a_call_is_written_down_with_all_that_is_known() -> None:
    call = make_call(
        call_id="c" * 32,
        principal=Principal("k1", "key one", "acme", "search"),
        model=Model("kimi-k2", (), CHECKPOINT, prices=Prices(input=1, output=2, currency="EUR")),
        user="someone",
        stream=True,
        max_tokens=300,
    )
    outcome = make_outcome(
        usage=Usage(prompt_tokens=7, cached_tokens=3, completion_tokens=5, reasoning_tokens=2),
        usage_estimated=True,
        attempts=(Attempt("a", "sglang", "upstream_timeout"), Attempt("b", "vllm")),
        attribution=("Kimi K2", "modified"),
    )
    row = row_of(call, outcome, "trial=b", Clock(NOON))
    assert row == CallRow(
        *("c" * 32, NOON - 2_000, "acme", "search", "k1", "someone", "chat", "kimi-k2"),
        *("moonshotai/Kimi-K2-Instruct", "main", "vllm", "b", 2, 7, 3, 5, 2, True, 5_000, "EUR"),
        *(10, 200_000, 2_000_000, 200, "completed", "", "stop", "trial=b", "Kimi K2; modified", True, 300),
    )
    assert decode_row(encode_row(row)) == row


def test_what_nobody_knows_is_not_zero() -> None:
    refused = make_outcome(
        ending=Ending.FAILED, status=429, error_code="quota_exceeded", usage=None, cost_nanos=None, checkpoint=None,
        attempts=(), admitted_seconds=None, first_byte_seconds=None, finish_reason=None,
    )  # fmt: skip
    row = row_of(make_call(), refused, clock=Clock())
    assert (row.prompt_tokens, row.completion_tokens, row.cost_nanos, row.queue_us, row.first_byte_us) == (None,) * 5
    assert row.max_tokens is None
    assert (row.attempts, row.replica, row.checkpoint, row.currency, row.team) == (0, "", "", "", "")
    assert (row.status, row.error_code) == (429, "quota_exceeded")


def test_prompts_and_answers_are_not_kept() -> None:
    call = make_call(body=b'{"model":"kimi-k2","messages":[{"role":"user","content":"a secret"}]}')
    assert b"secret" not in encode_row(row_of(call, make_outcome()))


def test_a_row_is_a_row_of_the_table() -> None:
    """The columns are filled by position."""
    columns = [{"user_id": "user"}.get(column.name, column.name) for column in tables.calls.columns]
    assert columns == list(CallRow.__struct_fields__)


def test_long_texts_from_outside_are_cut() -> None:
    row = row_of(make_call(user="u" * 1_000_000), make_outcome(attribution=("x" * 5_000,)))
    assert (len(row.user), len(row.attribution)) == (256, 1_000)


def test_what_cannot_be_encoded_is_tamed() -> None:
    row = decode_row(encode_row(make_row(user="\ud800", prompt_tokens=10**30, max_tokens=10**30, cost_nanos=-(10**30))))
    assert isinstance(row, CallRow)
    assert (row.user, row.prompt_tokens, row.max_tokens, row.cost_nanos) == ("?", MOST_TOKENS, MOST_TOKENS, 0)


def test_taming_changes_only_what_no_database_takes() -> None:
    assert tamed(make_row(user="a\0b")).user == "a\ufffdb"
    assert tamed(make_row(cost_nanos=10**17)).cost_nanos == MOST_NANOS
    row = make_row(user="Zoë 🌕", estimated=True)
    assert tamed(row) is row


@given(
    st.builds(GapRow, *[st.integers(0, 2**53)] * 4) | st.builds(make_row, user=st.text(), status=st.integers(0, 999))
)
def test_rows_are_read_as_they_were_written(row: CallRow | GapRow) -> None:
    assert decode_row(encode_row(row)) == row


def test_a_row_of_an_older_journal_is_read_with_what_it_has() -> None:
    """Up to revision 0002 a row ended with `streamed`."""
    fields = msgspec.structs.astuple(make_row(max_tokens=5))[:-1]
    old = decode_row(msgspec.msgpack.encode(["c", *fields]))
    assert old == make_row(max_tokens=None)


def test_a_row_that_lacks_more_is_refused_not_guessed() -> None:
    short = msgspec.msgpack.encode(["c", "call-1", 5])
    with pytest.raises(msgspec.ValidationError):
        decode_row(short)
