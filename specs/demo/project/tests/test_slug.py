"""What a slug is."""

import pytest

from textkit import slugify, unique_slug


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Hello World", "hello-world"),
        ("  Hello,   World!  ", "hello-world"),
        ("Crème brûlée", "creme-brulee"),
        ("Straße nach Köln 7", "strasse-nach-koln-7"),
        ("C++ & Rust -- a comparison", "c-rust-a-comparison"),
        ("!?", ""),
    ],
)
def test_only_plain_words_and_hyphens_are_left(text, slug):
    assert slugify(text) == slug


def test_a_slug_of_a_slug_is_the_same():
    assert slugify(slugify("Crème brûlée, 2nd edition!")) == "creme-brulee-2nd-edition"


@pytest.mark.parametrize(
    ("length", "slug"),
    [
        (40, "the-quick-brown-fox"),
        (19, "the-quick-brown-fox"),
        (18, "the-quick-brown"),
        (9, "the-quick"),
        (8, "the"),
    ],
)
def test_a_long_slug_is_cut_between_words(length, slug):
    assert slugify("The quick brown fox", max_length=length) == slug


def test_a_word_that_is_too_long_by_itself_is_cut():
    assert slugify("Donaudampfschifffahrt heute", max_length=10) == "donaudampf"


def test_a_free_slug_stays_as_it_is():
    assert unique_slug("Hello World", {"hello"}) == "hello-world"


def test_a_taken_slug_gets_the_first_free_number():
    assert unique_slug("Hello World", {"hello-world", "hello-world-2"}) == "hello-world-3"
