"""Known secrets never pass; what only looks like one is masked for eyes alone."""

import base64
import copy
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.secrets import Keys, Vault, mask_patterns

KEY = 'sk-test/9"Zq+w8=Xé'
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60)


def test_a_known_value_becomes_its_name_wherever_it_stands() -> None:
    vault = Vault({"OPENAI_API_KEY": KEY})
    assert vault.mask(f"a {KEY} b{KEY}") == "a [secret:OPENAI_API_KEY] b[secret:OPENAI_API_KEY]"
    assert vault.mask("nothing here") == "nothing here"
    assert vault.names == ("OPENAI_API_KEY",)


@pytest.mark.parametrize(
    "written",
    [json.dumps({"k": KEY}), json.dumps({"k": KEY}, ensure_ascii=False), quote(KEY, safe=""), KEY.encode().hex()],
    ids=["json", "json-utf8", "url", "hex"],
)
def test_a_known_value_is_found_in_the_ways_it_is_written(written: str) -> None:
    vault = Vault({"K": KEY})
    assert vault.found_in(f"x{written}y") == "K"
    assert "[secret:K]" in vault.mask(written)


@given(VALUES, st.binary(max_size=7), st.binary(max_size=7), st.booleans())
def test_a_known_value_is_found_inside_base64_at_any_place(value: str, before: bytes, after: bytes, url: bool) -> None:
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    assert Vault({"K": value}).found_in(encode(before + value.encode() + after).decode()) == "K"


@given(VALUES, st.text(max_size=40), st.text(max_size=40))
def test_no_known_value_survives_masking(value: str, before: str, after: str) -> None:
    vault = Vault({"K": value})
    if not vault.names:
        return
    assert value not in vault.mask(f"{before}{value}{after}{value}")


def test_of_two_values_the_longer_one_is_replaced_whole() -> None:
    vault = Vault({"SHORT": "abcdefgh1234", "LONG": "abcdefgh1234-and-more"})
    assert vault.mask("abcdefgh1234-and-more abcdefgh1234") == "[secret:LONG] [secret:SHORT]"


def test_a_value_too_short_to_mask_is_said() -> None:
    vault = Vault({"PIN": "1234567", "SELF": "[secret:", "EMPTY": " ", "KEY": " 12345678\n"})
    assert vault.names == ("KEY",)
    assert vault.ignored == ("PIN", "SELF")
    assert vault.mask("1234567 12345678") == "1234567 [secret:KEY]"
    assert [warning.split()[0] for warning in vault.warnings] == ["PIN", "SELF"]


LOOKS_LIKE_A_KEY = [
    "sk-" + "abc1" * 10,
    "sk-ant-api03-" + "Ab1_-" * 12,
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "11AAAA_" * 6,
    "AKIA" + "ABCDEFGH12345678",
    "xoxb-" + "123456789012-abcdef",
    "AIza" + "SyA-1234567890_abcdefghijklmnopqrstu",
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEow\nIBAA==\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE " + "KEY-----\\nb3BlbnNzaC1r",
]


@pytest.mark.parametrize("key", LOOKS_LIKE_A_KEY, ids=[key[:14] for key in LOOKS_LIKE_A_KEY])
def test_what_looks_like_a_key_is_masked_for_log_and_screen(key: str) -> None:
    shown = mask_patterns(f'{{"x": "{key}"}}')
    assert key not in shown
    assert key[-12:] not in shown
    assert "[masked:" in shown


def test_a_key_behind_an_escaped_line_break_is_masked() -> None:
    assert mask_patterns(json.dumps("a\nghp_" + "a1B2" * 9)) == '"a\\n[masked:key]"'


def test_the_word_bearer_stays_and_its_token_goes() -> None:
    assert (
        mask_patterns("Authorization: Bearer abcdef.0123456789-xyz, ok") == "Authorization: Bearer [masked:bearer], ok"
    )


@pytest.mark.parametrize(
    "text",
    [
        "task-12345678901234567890abcdef is done",
        "a bearer of news",
        "sk-learn-is-a-library-of-many-words",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "AKIA is a prefix; ghp_ too",
        "eyJust words.with dots.in them",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert mask_patterns(text) == text


@pytest.mark.parametrize(
    "piece",
    ["eyJ", "eyJaaaaaaaaa.", "sk-", "Bearer ", "-----BEGIN PRIVATE KEY-----", "xoxb-", "sk-" + "a" * 70, "ghp_"],
)
def test_masking_takes_linear_time(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        start = time.process_time()
        mask_patterns(text)
        return time.process_time() - start

    seconds(10_000)
    small, large = max(seconds(100_000), 0.002), seconds(1_600_000)
    assert large < small * 16 * 5  # quadratic would be 256 times


def test_keys_show_their_names_and_never_their_values() -> None:
    keys = Keys({"OPENAI_API_KEY": KEY})
    assert repr(keys) == str(keys) == "Keys(OPENAI_API_KEY)"
    assert "OPENAI_API_KEY" in keys
    assert keys.get("OPENAI_API_KEY") == KEY
    assert KEY not in repr(keys.vault())
    with pytest.raises(TypeError):
        copy.copy(keys)


def test_a_key_held_already_stays_unless_a_stronger_source_replaces_it() -> None:
    keys = Keys({"A": "from environment"})
    keys.add({"A": "from .env", "B": "only in .env"}, ".env")
    assert (keys.get("A"), keys.source("A"), keys.source("B")) == ("from environment", "environment", ".env")
    keys.add({"A": "from file"}, "my.env", override=True)
    assert (keys.get("A"), keys.source("A")) == ("from file", "my.env")
    assert keys.vault({"LISTED": "listed secret"}).names == ("A", "B", "LISTED")
