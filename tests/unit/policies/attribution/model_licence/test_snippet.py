"""What is ready to be shown: words, markup, data, and the page with all models; nothing in a record can break out of it."""

from __future__ import annotations

from html.parser import HTMLParser

import msgspec
import pytest

from policies.attribution.model_licence.lineage import Descent
from policies.attribution.model_licence.page import Listed, page
from policies.attribution.model_licence.record_files import load
from policies.attribution.model_licence.routes import shown_of
from policies.attribution.model_licence.snippet import Shown, snippet

RECORDS = load()
K2 = Descent(RECORDS["kimi-k2"], ("moonshotai/Kimi-K2-Instruct",))
K2_5 = Descent(RECORDS["kimi-k2.5"], ("us/q4", "moonshotai/Kimi-K2.5"))


class Text(HTMLParser):
    """What a reader hears, and which tags there are."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def strings(*names: str) -> list[Shown]:
    return [Shown(name.lower(), name, None) for name in names]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["Kimi K2"], "Powered by Kimi K2"),
        (["Kimi K2", "Kimi K2.5"], "Powered by Kimi K2 and Kimi K2.5"),
        (["A", "B", "C"], "Powered by A, B and C"),
        (["Kimi K2", "Kimi K2"], "Powered by Kimi K2"),
        ([], ""),
    ],
)
def test_words(names: list[str], text: str) -> None:
    found = snippet(strings(*names))
    assert found.text == text
    assert Text(found.html).text == text


def test_markup_is_text_with_links_in_the_pages_own_style() -> None:
    found = snippet([Shown("kimi-k2", "Kimi K2", "https://example.org/a?b=1&c=2")]).html
    assert 'href="https://example.org/a?b=1&amp;c=2" rel="license noopener"' in found
    assert 'lang="en"' in found
    assert "var(--moegate-attribution-color,inherit)" in found
    assert Text(found).tags == ["p", "a", "strong"]


def test_nothing_breaks_out_of_the_markup() -> None:
    found = snippet([Shown("x", '<script>alert("1")</script>', 'https://x/"onclick="y')]).html
    assert Text(found).tags == ["p", "a", "strong"]


def test_the_page_says_what_each_model_is_under() -> None:
    found = page([Listed("kimi-k2", ("kimi-latest",), [K2, K2_5]), Listed("own", (), [Descent(None, ("us/own",))])])
    text = Text(found).text
    for expected in (
        "kimi-k2, kimi-latest",
        "us/q4 from moonshotai/Kimi-K2.5",
        "Kimi K2.5 (prominently",
        "none recorded",
        "no legal advice",
    ):
        assert expected in text
    assert "script" not in Text(found).tags
    assert found.startswith("<!doctype html>")
    assert '<html lang="en">' in found


def test_the_page_says_what_was_not_read_in_the_licence() -> None:
    descent = Descent(RECORDS["kimi-k3"], ("moonshotai/Kimi-K3",))
    assert "not read in the licence itself" in page([Listed("k3", (), [descent])])
    assert "not read in the licence itself" not in page([Listed("k2", (), [K2])])


def test_a_record_cannot_put_markup_into_the_page() -> None:
    record = msgspec.structs.replace(RECORDS["kimi-k2"], summary="<script>", title="<img>", notes="</dd><b>")
    tags = Text(page([Listed("<i>", ("<u>",), [Descent(record, ("<s>",))])])).tags
    assert not {"script", "img", "b", "i", "u", "s"} & set(tags)


def test_only_what_must_be_shown_is_shown() -> None:
    listed = Listed("m", (), [Descent(RECORDS["mit"], ("us/own",)), K2, Descent(None, ("us/other",))])
    assert shown_of(listed) == [Shown("kimi-k2", "Kimi K2", RECORDS["kimi-k2"].source)]
