"""Forms are read as urllib reads them, only quicker."""

from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from tagwarden.core import payload


@given(st.text(st.sampled_from("abI[]=&%+;2f04é€ \0\ud800")))
def test_a_form_is_what_the_standard_library_makes_of_it(text: str) -> None:
    assert payload.form_pairs(text) == parse_qsl(text, keep_blank_values=True, errors="replace")


@given(st.text(max_size=120))
def test_what_is_shown_is_one_short_line(text: str) -> None:
    line = payload.shown(text)
    assert line.isprintable()
    assert len(line) <= 80
    assert line == " ".join(line.split())
