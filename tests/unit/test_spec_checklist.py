"""The checklist is what a reader of the rendered page sees as boxes."""

import pytest

from runner.spec.checklist import checklist, normalised, tick

TEXT = """---
promise: |
  - [ ] not a box
---
# Title
- [ ] one
* [x] two
  + [X] three
1. [ ] four
2) [ ] four
> - [ ] five
```sh
- [ ] in a fence
~~~
- [ ] still in it
```
- ```
  - [ ] in a fence of a list
  ```
~~~~
- [ ] in a longer fence
~~~
- [ ] in it too
~~~~
<!-- - [ ] commented
- [ ] out
-->
- [x]no space
- [y] no box
- [ ]
text - [ ] in a sentence
- [ ] one more
"""


def test_boxes_are_found_with_their_lines_and_states() -> None:
    assert [(item.text, item.ticked, item.line) for item in checklist(TEXT)] == [
        ("one", False, 6),
        ("two", True, 7),
        ("three", True, 8),
        ("four", False, 9),
        ("four", False, 10),
        ("five", False, 11),
        ("one more", False, 32),
    ]


def test_windows_line_ends_change_nothing_but_themselves() -> None:
    windows = TEXT.replace("\n", "\r\n")
    assert checklist(windows) == checklist(TEXT)
    assert tick(windows, "five") == str(tick(TEXT, "five")).replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ("one", 6),
        (" one ", 6),
        ("- [ ] one", 6),
        ("1", 6),
        ("one m", 32),
        ("fi", 11),
        ("7", 32),
        ("four", 9),
    ],
)
def test_a_box_is_ticked_by_text_number_or_beginning(wanted: str, line: int) -> None:
    expected = TEXT.split("\n")
    expected[line - 1] = expected[line - 1].replace("[ ]", "[x]")
    assert tick(TEXT, wanted) == "\n".join(expected)


def test_boxes_of_one_text_are_ticked_one_after_the_other() -> None:
    once = tick(TEXT, "four")
    assert once is not None
    twice = tick(once, "four")
    assert twice is not None
    assert [item.line for item in checklist(twice) if item.text == "four" and item.ticked] == [9, 10]
    assert tick(twice, "four") == twice


@pytest.mark.parametrize("wanted", ["", "o", "f", "six", "0", "8", "-1", "99999999999999999999"])
def test_no_box_or_several_tick_nothing(wanted: str) -> None:
    assert tick("- [ ] one\n- [ ] only\n- [ ] four\n- [ ] five\n", wanted) is None


def test_the_exact_text_wins_over_number_and_beginning() -> None:
    assert tick("- [ ] first\n- [ ] 1\n", "1") == "- [ ] first\n- [x] 1\n"
    assert tick("- [ ] one more\n- [ ] one\n", "one") == "- [ ] one more\n- [x] one\n"


def test_specs_that_differ_in_ticks_alone_are_the_same_when_normalised() -> None:
    assert normalised("- [x] a\n- [X] b\n") == normalised("- [ ] a\n- [x] b\n") == "- [ ] a\n- [ ] b\n"
    assert normalised("- [x] a\n") != normalised("- [x] b\n")
    fenced = "```\n- [x] a\n```\n"
    assert normalised(fenced) == fenced
