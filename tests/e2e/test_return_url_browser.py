"""No return address is accepted that leads a browser away, as a browser's own URL parser reads it and not only ours."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.fuzz import examples
from tests.peers import whatwg
from tests.unit.login import test_return_url as ours

pytestmark = pytest.mark.e2e

Origin = Callable[[str, str], str | None]
PAGES = (f"{ours.OWN}/auth/callback", f"{ours.OWN}/auth/login?return_to=x")

address = st.builds(
    lambda start, middle, inserted, at: start + middle[: at % (len(middle) + 1)] + inserted + middle[at:],
    st.sampled_from(["", "/", ours.OWN, ours.OTHER, f"{ours.OWN}/", "//", "https:", "HTTPS://APP.EXAMPLE"]),
    st.sampled_from(["", "/orders", "/orders?page=2#x", "evil.example", "/a/b/c", "@evil.example/"]),
    st.sampled_from(ours.PIECES) | st.characters(),
    st.integers(0, 20),
)
plain = st.builds(
    str.__add__,
    st.sampled_from(["/", "/a", ours.OWN, f"{ours.OTHER}/"]),
    st.text("ab/.:@;,=?#&|^[]{}<>\"'`!$()*+~%23", max_size=12),
)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with whatwg.parser() as found:
        yield found


def stays(text: str, origin: Origin) -> bool:
    return all(origin(text, page) in (ours.OWN, ours.OTHER) for page in PAGES)


@pytest.mark.parametrize("text", ours.ACCEPTED)
def test_a_place_of_ours(origin: Origin, text: str) -> None:
    assert stays(text, origin)


@examples(2000)
@given(plain | address | ours.prefixed | ours.spelling)
def test_whatever_is_accepted_stays_with_us(origin: Origin, text: str) -> None:
    if ours.accepted(text):
        event("accepted")
        assert stays(text, origin)
    else:
        event("refused")


@pytest.mark.parametrize("text", ["/\\evil.example", "/\t/evil.example", "https:/\\evil.example", "\x01//evil.example"])
def test_this_parser_is_as_lenient_as_a_browser(origin: Origin, text: str) -> None:
    """Python's would not say so."""
    page = "http://app.example/"
    assert origin(text, page) in ("http://evil.example", "https://evil.example")
    assert not ours.accepted(text)
