"""What comes out of a tool is masked before it is cut, however it arrives."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from runner.secrets import Vault
from runner.tools.output import HOLD_BACK, MaskedStream, shorten

SECRET = "kQ7rT2vX9bN4mZ1pL8sD"
VAULT = Vault({"API_KEY": SECRET})


def streamed(pieces: list[bytes]) -> str:
    stream = MaskedStream(VAULT)
    return "".join([*(stream.feed(piece) for piece in pieces), stream.finish()])


@given(
    before=st.text(alphabet="ab \nü", max_size=40),
    filler=st.sampled_from([0, 10, HOLD_BACK - 5, HOLD_BACK * 3]),
    cuts=st.lists(st.integers(0, HOLD_BACK * 3 + 100), max_size=6),
)
def test_a_secret_is_masked_wherever_the_pipe_cuts_it(before, filler, cuts):
    text = f"{before}{SECRET}\n{'x' * filler}{SECRET}end"
    data = text.encode()
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert streamed(pieces) == text.replace(SECRET, "[secret:API_KEY]")


def test_a_secret_is_masked_when_it_comes_byte_by_byte():
    assert streamed([bytes([byte]) for byte in f"a{SECRET}b".encode()]) == "a[secret:API_KEY]b"


def test_invalid_bytes_are_replaced_and_nul_is_dropped():
    assert streamed([b"a\xff\x00b", "ü".encode()[:1], "ü".encode()[1:]]) == "a\ufffdbü"


def test_what_can_no_longer_begin_a_secret_is_given():
    assert MaskedStream(VAULT).feed(b"x" * (2 * HOLD_BACK + 7)) == "x" * (HOLD_BACK + 7)


def test_what_is_released_early_is_masked():
    stream = MaskedStream(VAULT)
    assert (stream.feed(f"a{SECRET}".encode()), stream.release(), stream.finish()) == ("", "a[secret:API_KEY]", "")


def test_shortening_keeps_whole_lines_and_says_how_many():
    assert shorten("a\nb\n", 4, more=str) == "a\nb\n"
    assert shorten("a\nb\nc\n", 4, more=lambda given: f"[{given}]") == "a\nb\n[2]"
    assert shorten("abcdef", 4, more=lambda given: f"[{given}]") == "abcd\n[0]"
