"""Whatever bytes somebody calls a spec, parsing answers with a Spec or a ConfigError, and ticks keep the rest."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import ConfigError
from runner.spec.checklist import checklist, normalised, tick
from runner.spec.keys import KEYS
from runner.spec.model import Spec
from runner.spec.parse import parse_spec
from runner.spec.program import program

WORDS = st.sampled_from(
    [
        *(key.name.rpartition(".")[2].removesuffix("[]") + ": " for key in KEYS),
        *(key.example + "\n" for key in KEYS),
        *(
            "---\n",
            "---",
            "\n",
            "\r\n",
            "  ",
            "- ",
            "- [ ] a\n",
            "* [x] a\n",
            "1. [X] b\n",
            "```\n",
            "~~~\n",
            "<!--",
            "-->\n",
        ),
        *(
            "[",
            "]",
            "{",
            "}",
            "&a ",
            "*a ",
            "!!str ",
            '"\\x',
            '"\\U',
            "'",
            "|\n",
            ">\n",
            "%YAML 1.x\n",
            "? ",
            ": ",
            "...\n",
            "#",
        ),
        *(
            "none",
            "five",
            "0",
            "-1",
            "1e9",
            "07:00",
            "2030-02-30",
            "true",
            "\x00",
            "\x07",
            "\x85",
            "\u2028",
            "\ufeff",
            "\ud800",
        ),
    ]
)
ANY = st.text(st.characters(), max_size=200)
TEXTS = st.one_of(
    ANY,
    st.lists(st.one_of(WORDS, st.text(max_size=6)), max_size=30).map("".join),
    st.lists(st.one_of(WORDS, ANY), max_size=12).map(lambda parts: "---\n" + "".join(parts) + "\n---\nbody\n"),
    st.lists(WORDS, max_size=12).map(lambda parts: "---\n" + "".join(parts) + "\n---\n- [ ] a\n- [x] b"),
)
FUZZ = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(TEXTS, st.booleans())
def test_any_text_is_a_spec_or_a_config_error(text: str, found: bool) -> None:
    outcome: Spec | ConfigError
    try:
        outcome = parse_spec(text, "spec.md", on_path=lambda _: found, now=1_700_000_000_000)
    except ConfigError as error:
        outcome = error
    if isinstance(outcome, Spec):
        assert outcome.body.strip()
        return
    lines = text.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
    assert outcome.message
    assert outcome.hint
    assert outcome.path == "spec.md"
    assert outcome.line is None or 1 <= outcome.line <= lines


@FUZZ
@given(TEXTS)
def test_a_tick_changes_one_character_and_normalising_undoes_it(text: str) -> None:
    items = checklist(text)
    for number, item in enumerate(items, start=1):
        ticked = tick(text, str(number)) if not any(other.text == str(number) for other in items) else None
        if ticked is None:
            continue
        assert normalised(ticked) == normalised(text)
        changed = [place for place, (old, new) in enumerate(zip(text, ticked, strict=True)) if old != new]
        assert len(changed) == (0 if item.ticked else 1)
        assert [other.ticked for other in checklist(ticked)] == [
            other.ticked or place == number for place, other in enumerate(items, start=1)
        ]
    assert normalised(normalised(text)) == normalised(text)
    assert not any(item.ticked for item in checklist(normalised(text)))
    assert [item.text for item in checklist(normalised(text))] == [item.text for item in items]


@FUZZ
@given(st.text(st.sampled_from("ab./ \n;&|$()<>'\"\\`#={}0~*"), max_size=30))
def test_the_program_of_any_command_is_one_of_its_words_or_unknown(command: str) -> None:
    name = program(("/bin/sh", "-c", command))
    assert name is None or name in command
