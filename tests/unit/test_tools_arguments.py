"""Whatever a model sends as arguments, it gets values of the right type or a sentence that says what to send."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.tools import effect_of
from runner.tools.arguments import DEFINITIONS, SIGNATURES, ArgumentsError, read
from runner.tools.globs import matcher
from runner.values import Effect

TOOLS = ["read_file", "write_file", "edit_file", "list_files", "search_text", "tick", "run", "output", "stop", "shell"]


def test_every_tool_is_defined_in_a_fixed_order_and_closed_to_unknown_parameters():
    assert [definition.name for definition in DEFINITIONS] == TOOLS
    for definition in DEFINITIONS:
        assert definition.parameters["additionalProperties"] is False
        json.dumps(definition.parameters)


def test_effects_say_what_resume_may_repeat():
    assert {name for name in TOOLS if effect_of(name) is Effect.READS} == {
        "read_file",
        "list_files",
        "search_text",
        "output",
    }
    assert {name for name in TOOLS if effect_of(name) is Effect.WRITES} == {"write_file", "edit_file", "tick"}


@pytest.mark.parametrize(
    ("tool", "text", "said"),
    [
        ("read_file", '{"path": ', "not valid JSON"),
        ("read_file", "[" * 100_000, "not valid JSON"),
        ("read_file", '["a"]', "must be one JSON object with path, start_line?, end_line?"),
        ("read_file", "", "'path' is missing"),
        ("read_file", '{"path": 1}', "'path' must be a string"),
        ("read_file", '{"path": null}', "'path' must be a string"),
        ("read_file", '{"pth": "a"}', "did you mean 'path'"),
        ("read_file", '{"path": "a", "zzz": 1}', "it takes path, start_line?, end_line?"),
        ("read_file", '{"path": "a", "start_line": 0}', "at least 1"),
        ("read_file", '{"path": "a", "start_line": true}', "a whole number"),
        ("read_file", '{"path": "a", "start_line": 1.5}', "a whole number"),
        ("read_file", '{"path": "\\ud800"}', "valid Unicode"),
        ("run", '{"argv": "ls -l"}', "a list of strings"),
        ("run", '{"argv": []}', "a list of strings"),
        ("run", '{"argv": ["ls", 1]}', "a list of strings"),
        ("run", '{"argv": [""]}', "begins with a program"),
        ("run", '{"argv": ["a\\u0000b"]}', "without NUL"),
        ("run", '{"argv": ["ls"], "timeout_s": 3601}', "at most 3600"),
        ("run", '{"argv": ["ls"], "background": "yes"}', "true or false"),
        ("rm", "{}", "there is no tool 'rm'; the tools are read_file, write_file"),
    ],
)
def test_arguments_that_do_not_fit_are_answered_with_what_would(tool, text, said):
    with pytest.raises(ArgumentsError) as caught:
        read(tool, text)
    assert said in str(caught.value)


def test_null_for_an_optional_parameter_is_absent():
    assert read("read_file", '{"path": "a", "start_line": null}').number("start_line") is None


@given(
    st.sampled_from(TOOLS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["path", "argv", "item", "x"]) | st.text(), inner)
        ),
    ),
)
def test_no_arguments_whatever_raise_anything_else(tool, value):
    with contextlib.suppress(ArgumentsError):
        read(tool, json.dumps(value))


@pytest.mark.parametrize(
    ("glob", "matching", "other"),
    [
        ("*.py", ["a.py", "src/b.py"], ["a.pyc", "py"]),
        ("src/*.py", ["src/a.py"], ["src/b/a.py", "a.py"]),
        ("src/**/*.py", ["src/a.py", "src/b/c/a.py"], ["lib/a.py"]),
        ("**/test_*", ["test_a", "x/y/test_b"], ["x/a_test_"]),
        ("src/**", ["src/a", "src/b/c"], ["srcs/a"]),
        ("[!a]?.txt", ["bc.txt"], ["ac.txt", "b.txt"]),
        ("[.txt", ["[.txt"], ["a.txt"]),
        ("a+(b).c", ["a+(b).c"], ["aab.c"]),
    ],
)
def test_globs(glob, matching, other):
    matches = matcher(glob)
    assert [path for path in matching + other if matches(path)] == matching


def test_parameters_have_distinct_names():
    for signature in SIGNATURES:
        names = [parameter.name for parameter in signature.parameters]
        assert len(names) == len(set(names))
