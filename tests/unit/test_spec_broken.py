"""Every broken spec says where it is broken, what is wrong, and what to write instead."""

import pytest

from runner.errors import ConfigError
from runner.spec.parse import parse_spec

NOW = 1_700_000_000_000

BROKEN = {
    "bad YAML": (
        "---\nchecks: [pytest\n---\n# Do it\n",
        "spec.md:2:9: this is not YAML: expected ',' or ']', but got '<stream end>', while parsing a flow sequence\n  close the bracket, and put a comma between its parts",
    ),
    "a tab": (
        "---\nbudget:\n\tusd: 5\n---\n# Do it\n",
        "spec.md:3:1: this is not YAML: found character '\\t' that cannot start any token, while scanning for the next token\n  indent with spaces, not with tabs",
    ),
    "a colon in plain text": (
        "---\npromise: a: b\n---\n# Do it\n",
        "spec.md:2:11: this is not YAML: mapping values are not allowed here\n  put text with ': ' in quotes, and keys of one level in one column",
    ),
    "an open quote": (
        "---\nmodel: 'x\n---\n# Do it\n",
        "spec.md:2:8: this is not YAML: found unexpected end of stream, while scanning a quoted scalar\n  close the quote",
    ),
    "a control character": (
        "---\nmodel: a\x07b\n---\n# Do it\n",
        "spec.md:2:9: YAML does not allow the character U+0007\n  remove it, or write it as an escape in double quotes",
    ),
    "front matter never closes": (
        "---\ntarget: 1\n# Do it\n",
        "spec.md:1:1: the front matter opened by '---' never closes\n  add a line '---' after its last key; for a horizontal rule write '***'",
    ),
    "front matter is a list": (
        "---\n- a\n- b\n---\n# Do it\n",
        "spec.md:2:1: the front matter is not a mapping of keys\n  write keys like 'target: 1'; for a horizontal rule put an empty line after '---'",
    ),
    "misspelt key": (
        "---\ncheks: [pytest]\n---\n# Do it\n",
        "spec.md:2:1: unknown key 'cheks'\n  did you mean 'checks'?",
    ),
    "misspelt key after an empty line": (
        "---\n\ncheks: [pytest]\n---\n# Do it\n",
        "spec.md:3:1: unknown key 'cheks'\n  did you mean 'checks'?",
    ),
    "limit at the top": (
        "---\nmax_iterations: 3\n---\n# Do it\n",
        "spec.md:2:1: unknown key 'max_iterations'\n  write it under budget: 'budget: {iterations: …}'",
    ),
    "key nothing is like": (
        "---\nzzzzzz: 1\n---\n# Do it\n",
        "spec.md:2:1: unknown key 'zzzzzz'\n  known keys here: checks, target, budget, stall, promise, model, models, protect, setup, services, workspace, completion",
    ),
    "misspelt key of setup": (
        "---\nsetup:\n  run: make\n  input: [x]\n---\n# Do it\n",
        "spec.md:4:3: unknown key 'input' in setup\n  did you mean 'inputs'?",
    ),
    "setup without its commands": (
        "---\nsetup:\n  inputs: [x]\n---\n# Do it\n",
        "spec.md:3:3: the setup has no 'run'\n  write its commands, e.g. 'run: [npm ci]'",
    ),
    "inputs of setup outside the workspace": (
        "---\nsetup: {run: make, inputs: [../x]}\n---\n# Do it\n",
        "spec.md:2:29: setup.inputs leaves the workspace: '../x'\n  write globs from the workspace's root",
    ),
    "misspelt limit": (
        "---\nbudget:\n  iteration: 3\n---\n# Do it\n",
        "spec.md:3:3: unknown key 'iteration' in budget\n  did you mean 'iterations'?",
    ),
    "misspelt key of a check": (
        "---\nchecks:\n  - run: pytest\n    timout: 5s\n---\n# Do it\n",
        "spec.md:4:5: unknown key 'timout' in a check\n  did you mean 'timeout'?",
    ),
    "duplicate key": (
        "---\ntarget: 1\nmodel: x\ntarget: 0\n---\n# Do it\n",
        "spec.md:4:1: the key 'target' is written twice (first on line 2)\n  keep one of them",
    ),
    "duplicate limit": (
        "---\nbudget:\n  usd: 1\n  usd: 2\n---\n# Do it\n",
        "spec.md:4:3: the key 'usd' is written twice (first on line 3)\n  keep one of them",
    ),
    "budget five": (
        "---\nbudget: five\n---\n# Do it\n",
        "spec.md:2:9: budget is not a mapping: 'five'\n  write 'budget: {usd: 5, iterations: 20}'",
    ),
    "usd five": (
        "---\nbudget:\n  usd: five\n---\n# Do it\n",
        "spec.md:3:8: budget.usd is not an amount of US dollars: 'five'\n  write e.g. 'usd: 5' or 'usd: 0.25', or 'usd: none' for no cap",
    ),
    "usd negative": (
        "---\nbudget: {usd: -1}\n---\n# Do it\n",
        "spec.md:2:15: budget.usd is not an amount of US dollars: '-1'\n  write e.g. 'usd: 5' or 'usd: 0.25', or 'usd: none' for no cap",
    ),
    "usd empty": (
        "---\nbudget:\n  usd:\n---\n# Do it\n",
        "spec.md:3:3: budget.usd is not an amount of US dollars: empty\n  write e.g. 'usd: 5' or 'usd: 0.25', or 'usd: none' for no cap",
    ),
    "tokens 1.5": (
        "---\nbudget: {tokens: 1.5}\n---\n# Do it\n",
        "spec.md:2:18: budget.tokens is not a whole number: '1.5'\n  write digits, e.g. 'tokens: 10'",
    ),
    "iterations quoted word": (
        "---\nbudget:\n  iterations: 'many'\n---\n# Do it\n",
        "spec.md:3:15: budget.iterations is not a whole number: 'many'\n  write digits, e.g. 'iterations: 10'",
    ),
    "duration": (
        "---\nbudget:\n  duration: an hour\n---\n# Do it\n",
        "spec.md:3:13: budget.duration is not a duration: 'an hour'\n  write e.g. 'duration: 90s', '45m' or '1h30m'",
    ),
    "deadline": (
        "---\nbudget:\n  deadline: tomorrow\n---\n# Do it\n",
        "spec.md:3:13: budget.deadline is not a time: 'tomorrow'\n  write e.g. 'deadline: 07:00' or 'deadline: 2030-01-31T07:00'",
    ),
    "deadline of no day": (
        "---\nbudget:\n  deadline: 2030-02-31T07:00\n---\n# Do it\n",
        "spec.md:3:13: budget.deadline is not a time: '2030-02-31T07:00'\n  write e.g. 'deadline: 07:00' or 'deadline: 2030-01-31T07:00'",
    ),
    "target 95": (
        "---\ntarget: 95\n---\n# Do it\n",
        "spec.md:2:9: target is not between 0 and 1: '95'\n  write 'target: 0.95'",
    ),
    "target word": (
        "---\ntarget: all\n---\n# Do it\n",
        "spec.md:2:9: target is not a number: 'all'\n  write a share from 0 to 1, e.g. 'target: 0.95' for 95 %",
    ),
    "target list": (
        "---\ntarget: [1]\n---\n# Do it\n",
        "spec.md:2:9: target is not a number: a list\n  write a share from 0 to 1, e.g. 'target: 0.95' for 95 %",
    ),
    "stall 0": (
        "---\nstall: 0\n---\n# Do it\n",
        "spec.md:2:8: stall is not a number of iterations: '0'\n  write 'none' to never stop for a stall",
    ),
    "stall key": (
        "---\nstall: {iteration: 2}\n---\n# Do it\n",
        "spec.md:2:9: unknown key 'iteration' in stall\n  did you mean 'iterations'?",
    ),
    "check without run": (
        "---\nchecks:\n  - name: tests\n---\n# Do it\n",
        "spec.md:3:5: the check has no 'run'\n  write its command, e.g. 'run: pytest -q'",
    ),
    "check misses program": (
        "---\nchecks:\n  - cargo test\n---\n# Do it\n",
        "spec.md:3:5: the check's program 'cargo' is neither on PATH nor in the workspace\n  correct it, install it with 'setup:', or write 'creates: true' when the agent shall make it",
    ),
    "check in mapping misses program": (
        "---\nchecks:\n  - name: unit\n    run: [./scripts/test.sh, -v]\n---\n# Do it\n",
        "spec.md:4:10: the check's program './scripts/test.sh' is neither on PATH nor in the workspace\n  correct it, install it with 'setup:', or write 'creates: true' when the agent shall make it",
    ),
    "check of options": (
        "---\nchecks: [pytest, -q]\n---\n# Do it\n",
        "spec.md:2:18: a check is not a command: '-q'\n  one command as a list is a list in the list: [[pytest, -q]]",
    ),
    "check twice": (
        "---\nchecks:\n  - pytest\n  - pytest\n---\n# Do it\n",
        "spec.md:4:5: two checks are called 'pytest' (first on line 3)\n  give one a 'name:' of its own",
    ),
    "check parse": (
        "---\nchecks: [{run: pytest, parse: xml}]\n---\n# Do it\n",
        "spec.md:2:31: parse is not one of exit, junit, tap, number: 'xml'\n  write one of: exit, junit, tap, number",
    ),
    "junit without report": (
        "---\nchecks:\n  - run: pytest\n    parse: junit\n---\n# Do it\n",
        "spec.md:3:5: 'parse: junit' needs 'report', the XML file the check writes\n  write e.g. 'report: \"{results}/r.xml\"'",
    ),
    "report without junit": (
        "---\nchecks:\n  - run: pytest\n    report: r.xml\n---\n# Do it\n",
        "spec.md:4:13: 'report' is read only with 'parse: junit'\n  add 'parse: junit', or leave 'report' out",
    ),
    "out_of without number": (
        "---\nchecks:\n  - run: pytest\n    out_of: 10\n---\n# Do it\n",
        "spec.md:4:13: 'out_of' is read only with 'parse: number'\n  add 'parse: number', or leave 'out_of' out",
    ),
    "weight 0": (
        "---\nchecks:\n  - run: pytest\n    weight: 0\n---\n# Do it\n",
        "spec.md:4:13: weight is not above 0: '0'\n  write a number above 0, or leave the key out",
    ),
    "timeout 0": (
        "---\nchecks:\n  - run: pytest\n    timeout: 0s\n---\n# Do it\n",
        "spec.md:4:14: timeout is not between 1s and ten years: '0s'\n  write e.g. 'timeout: 90s', '45m' or '1h30m'",
    ),
    "creates maybe": (
        "---\nchecks:\n  - run: ./x\n    creates: maybe\n---\n# Do it\n",
        "spec.md:4:14: creates is not true or false: 'maybe'\n  write 'creates: true'",
    ),
    "checks a mapping": (
        "---\nchecks:\n  run: pytest\n---\n# Do it\n",
        "spec.md:3:3: checks is not a list: a mapping\n  write 'checks: [pytest -q]'",
    ),
    "an empty check": (
        "---\nchecks:\n  - []\n---\n# Do it\n",
        "spec.md:3:5: a check is an empty command\n  write its program and arguments, e.g. [pytest, -q]",
    ),
    "a check argument that is a mapping": (
        "---\nchecks:\n  - [pytest, {a: b}]\n---\n# Do it\n",
        "spec.md:3:14: an argument of a check is not text: a mapping\n  put it in quotes",
    ),
    "promise list": (
        "---\npromise: [done]\n---\n# Do it\n",
        "spec.md:2:10: promise is not text: a list\n  write 'promise: true'",
    ),
    "promise of two lines": (
        "---\npromise: |\n  a\n  b\n---\n# Do it\n",
        "spec.md:2:10: promise is more than one line, or has control characters\n  write 'promise: true'",
    ),
    "unknown model": (
        "---\nmodel: gtp-5-mini\n---\n# Do it\n",
        "spec.md:2:8: unknown model 'gtp-5-mini'\n  did you mean 'gpt-5-mini'?",
    ),
    "protect absolute": (
        "---\nprotect: [/etc/passwd]\n---\n# Do it\n",
        "spec.md:2:11: protect takes globs inside the workspace: '/etc/passwd'\n  write e.g. 'tests/**', or '!app.py' to give a file back; no '/' or '~' first, no '..'",
    ),
    "protect upwards": (
        "---\nprotect: [../x]\n---\n# Do it\n",
        "spec.md:2:11: protect takes globs inside the workspace: '../x'\n  write e.g. 'tests/**', or '!app.py' to give a file back; no '/' or '~' first, no '..'",
    ),
    "service port": (
        "---\nservices:\n  - run: redis-server\n    ready: 99999\n---\n# Do it\n",
        "spec.md:4:12: ready is not between 1 and 65535: 99999\n  write one from 1 to 65535",
    ),
    "service twice": (
        "---\nservices: [redis-server, redis-server]\n---\n# Do it\n",
        "spec.md:2:26: two services are called 'redis-server'\n  give one a 'name:' of its own",
    ),
    "completion": (
        "---\ncompletion: {on_false_claim: halt}\n---\n# Do it\n",
        "spec.md:2:30: completion.on_false_claim is not one of continue, stop: 'halt'\n  write one of: continue, stop",
    ),
    "completion text": (
        "---\ncompletion: stop\n---\n# Do it\n",
        "spec.md:2:13: completion is not a mapping: 'stop'\n  write 'completion: {on_false_claim: stop}'",
    ),
    "anchor": (
        "---\nsetup: &a [x]\n---\n# Do it\n",
        "spec.md:2:8: anchors and aliases ('&', '*') are not used in a spec\n  write it out, or quote it",
    ),
    "tag": (
        "---\nmodel: !!python/name:os.system x\n---\n# Do it\n",
        "spec.md:2:8: tags (tag:yaml.org,2002:python/name:os.system) are not used in a spec\n  leave the tag out, or quote the value",
    ),
    "key is a list": (
        "---\n? [a]\n: b\n---\n# Do it\n",
        "spec.md:2:3: a key must be a word\n  write 'key: value'",
    ),
    "empty file": (
        "",
        "spec.md:1: the spec is empty\n  write what the agent shall do, or run 'runner init'",
    ),
    "only white space": (
        " \n\n",
        "spec.md:1: the spec is empty\n  write what the agent shall do, or run 'runner init'",
    ),
    "no body": (
        "---\ntarget: 1\n---\n\n",
        "spec.md:4: nothing follows the front matter: the spec has no text\n  write what the agent shall do below the closing '---'",
    ),
    "a NUL": (
        "# Do\n\x00\n",
        "spec.md:2: the spec holds a NUL character\n  save it as UTF-8 text",
    ),
    "a surrogate": (
        "# Do\n\udcff\n",
        "spec.md:2: the spec holds bytes that are not UTF-8\n  save it as UTF-8 text",
    ),
}


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_spec(
            text,
            "spec.md",
            on_path=lambda program: program == "pytest",
            now=NOW,
            known_models={"gpt-5-mini", "gpt-5"},
        )
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return str(caught.value)


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_spec_says_where_what_and_the_fix(text: str, said: str) -> None:
    assert refused(text) == said


def test_a_spec_over_the_limit_is_refused_and_one_at_the_limit_is_read() -> None:
    assert refused("# x\n" + "a" * 1_000_000).startswith("spec.md:1: the spec is larger than 1,000,000 bytes\n")
    assert refused("# x\n" + "é" * 500_000).startswith("spec.md:1: the spec is larger than 1,000,000 bytes\n")
    at_limit = "# x\n" + "a" * 999_996
    assert parse_spec(at_limit, "spec.md", on_path=bool, now=NOW).title == "x"


def test_front_matter_has_a_limit_of_its_own() -> None:
    assert refused(f"---\nmodel: {'a' * 70_000}\n---\n# x\n").startswith("spec.md:2:1: the front matter is larger")


def test_deep_nesting_ends_before_the_stack_does() -> None:
    assert refused("---\nmodel: " + "[" * 30_000 + "\n---\nx").startswith("spec.md:2:20: nested more than 12 deep")


def test_places_count_lines_as_editors_do() -> None:
    assert refused("---\r\n# é\r\ntarget: all\r\n---\r\nx").startswith("spec.md:3:9: ")
    assert refused("\ufeff---\ntarget: all\n---\nx").startswith("spec.md:2:9: ")
    assert [at for at, _ in every("---\nmodel: 'a\u2028b'\ntarget: all\n---\nx")] == [(2, 8, 5), (3, 9, 3)]


def every(text: str) -> list[tuple[tuple[int | None, int | None, int], str]]:
    """Where each fault of a spec is, with its length, and what it is."""
    with pytest.raises(ConfigError) as caught:
        parse_spec(text, "spec.md", on_path=bool, now=NOW)
    return [((one.line, one.column, one.length), one.message) for one in (caught.value, *caught.value.more)]


def test_all_faults_of_a_spec_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = "---\nbudget: {usd: five, tokens: many, iteration: 3}\ncheks: [make]\nstall: 0\ntarget: 95\nzz: 1\n---\nx"
    assert every(text) == [
        ((2, 35, 9), "unknown key 'iteration' in budget"),
        ((3, 1, 5), "unknown key 'cheks'"),
        ((4, 8, 1), "stall is not a number of iterations: '0'"),
        ((5, 9, 2), "target is not between 0 and 1: '95'"),
        ((6, 1, 2), "unknown key 'zz'"),
    ]
    assert every("---\nbudget: {usd: five, tokens: many}\n---\nx") == [
        ((2, 15, 4), "budget.usd is not an amount of US dollars: 'five'"),
        ((2, 29, 4), "budget.tokens is not a whole number: 'many'"),
    ]
