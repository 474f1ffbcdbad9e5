"""Words for lengths, sizes and times, and pages that hold what people wrote as text."""

import pytest

from relay.web.pages import moment, page, rate, see, size, span


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (span(0.44), "0.4 s"),
        (span(3), "3 s"),
        (span(75), "75 s"),
        (span(190), "3 min"),
        (span(7500), "2 h 5 min"),
        (span(7200), "2 h"),
        (span(4 * 86_400), "4 days"),
        (size(0), "nothing"),
        (size(812_000), "812 kB"),
        (size(3_400_000), "3.4 MB"),
        (size(1.25e9), "1.25 GB"),
        (size(12), "12 B"),
        (rate(850), "850 kbit/s"),
        (rate(3200), "3.2 Mbit/s"),
        (rate(51_000), "51 Mbit/s"),
        (moment("2026-11-25T23:10:05.123Z"), "25 Nov 2026, 23:10 UTC"),
        (moment("2026-11-26T01:10:05+02:00"), "25 Nov 2026, 23:10 UTC"),
        (moment("whenever"), "whenever"),
    ],
)
def test_words(made: str, words: str) -> None:
    assert made == words


def test_a_page_is_never_kept_and_holds_text_as_text() -> None:
    response = page("sign_in.html", status=403, error="<script>x</script>", name='"><b>', has_users=True)
    assert (response.status, response.headers["Cache-Control"]) == (403, "no-store")
    assert response.text is not None
    assert "&lt;script&gt;x" in response.text
    assert "<b>" not in response.text
    assert see("/x").headers["Location"] == "/x"
