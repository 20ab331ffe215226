"""How token scores are written, and that their ids are there for those who ask for ids, and for nobody else."""

import msgspec

from backends.torch_reference.engine.choices import ChatAnswer
from backends.torch_reference.engine.logprobs import TextLogprobWriter, chat_logprob
from backends.torch_reference.engine.sequence import TokenAdded, TokenScore

TOKENS = [b"a", b"\xc3", b"\xa9", b"<|im_end|>"]
SCORE = TokenScore(1, -0.5, ((1, -0.5), (2, -1.5)))


def plain(value: object) -> object:
    """What a client gets."""
    return msgspec.json.decode(msgspec.json.encode(value))


def test_a_token_comes_with_its_id_if_ids_are_wanted() -> None:
    expected = {"token": "bytes:\\xc3", "logprob": -0.5, "bytes": [195]}
    other = {"token": "bytes:\\xa9", "logprob": -1.5, "bytes": [169]}
    assert plain(chat_logprob(SCORE, TOKENS, token_ids=False)) == {**expected, "top_logprobs": [expected, other]}
    assert plain(chat_logprob(SCORE, TOKENS, token_ids=True)) == {
        **expected,
        "id": 1,
        "top_logprobs": [{**expected, "id": 1}, {**other, "id": 2}],
    }


def test_plain_completions_list_ids_in_chat_s_shape() -> None:
    for wanted in (False, True):
        writer = TextLogprobWriter(TOKENS, frozenset(), token_ids=wanted)
        writer.add_prompt([0], [None])
        writer.add(SCORE)
        taken = plain(writer.take())
        assert isinstance(taken, dict)
        assert taken["tokens"] == ["a", "bytes:\\xc3"]
        # The prompt is no generated token, so it stands in the columns alone.
        assert [entry["id"] for entry in taken.get("content", [])] == ([1] if wanted else [])
        assert ("content" in taken) is wanted
        again = plain(writer.take())
        assert isinstance(again, dict)
        assert "content" not in again


def test_a_chat_answer_lists_ids_only_when_asked() -> None:
    for wanted in (False, True):
        answer = ChatAnswer(0, TOKENS, parse_tools=False, token_ids=wanted)
        list(answer.feed(TokenAdded(0, 1, "", SCORE)))
        choice = plain(answer.choice())
        assert isinstance(choice, dict)
        assert ("id" in choice["logprobs"]["content"][0]) is wanted
        assert ("token_ids" in choice) is wanted
