"""What counts as a page that shows a string."""

from __future__ import annotations

import pytest

from policies.attribution.model_licence.page_text import holds


@pytest.mark.parametrize(
    "page",
    [
        "<p>Powered by Kimi K2</p>",
        "<p>Powered by <b>Kimi</b> K2.</p>",
        "<footer>Powered\nby Kimi\n  K2 and others",
        "<p>Kimi&nbsp;K2</p>",
        "<p>&#75;imi K2</p>",
        "<p>(Kimi K2)</p><p>Kimi K2.5</p>",
        "<noscript>x</noscript><p>Kimi K2</p>",
        "<p>Kimi K2.<br>More</p>",
        "<img/><p>Kimi K2",
    ],
)
def test_a_page_shows_it(page: str) -> None:
    assert holds(page, "Kimi K2")


@pytest.mark.parametrize(
    "page",
    [
        "",
        "<p>Kimi K2.5</p>",
        "<p>Kimi K2-Thinking</p>",
        "<p>Kimi K22</p>",
        "<p>AKimi K2</p>",
        "<p>kimi k2</p>",
        "<p>Kimi</p><p>K2</p>",
        "<p>Kimi<br>K2</p>",
        "<script>show('Kimi K2')</script>",
        "<style>/* Kimi K2 */</style>",
        "<!-- Kimi K2 -->",
        "<title>Kimi K2</title>",
        "<head><title>Kimi K2</title></head><body></body>",
        '<img alt="Kimi K2">',
        "<template>Kimi K2</template>",
    ],
)
def test_a_page_does_not(page: str) -> None:
    assert not holds(page, "Kimi K2")


def test_a_text_is_searched_line_by_line() -> None:
    assert holds("made with\nKimi K2\n", "Kimi K2", html=False)
    assert not holds("made with Kimi\nK2\n", "Kimi K2", html=False)
    assert holds("<Kimi K2>", "Kimi K2", html=False)
