"""Tightening never loosens: a layer below can make a decision stricter, and weaker only as the layer above delegates."""

import json
from dataclasses import replace

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from runner.errors import ConfigError
from runner.policy.document import parse
from runner.policy.facts import Facts, Program
from runner.policy.merge import merge
from runner.values import Ruling

TOOLS = ("shell", "run", "write_file", "read_file", "mcp:db/query", "mcp:db/drop")
NAMED = (*TOOLS, "*", "mcp:*", "mcp:db/*", "*_file")
PROGRAMS = ("git", "rm", "ls", "curl", "./x", "make")
FLAGS = ("-r", "-f", "--force", "--recursive", "--rec", "--output")
PATHS = ("src/a.py", "src/b/c.py", ".env", "build/x", "/etc/passwd", ".git/config", "policies/p.yaml")
GLOBS = ("src/**", "**/.env", "build/**", "*", "/etc/**", "src/a.py", "**")
HOSTS = ("a.example.com", "evil.test")
MANY = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def some(values, least=1, most=3):
    return st.lists(st.sampled_from(values), min_size=least, max_size=most, unique=True)


commands = st.fixed_dictionaries(
    {"program": some((*PROGRAMS, "*", "g*"))},
    optional={
        "subcommand": some(("push", "status", "log")),
        "any_flag": some(FLAGS),
        "all_flags": some(FLAGS, most=2),
        "no_flag": some(FLAGS),
        "arg": some(("x*", "push", "*")),
    },
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "command": commands,
        "paths": some(GLOBS),
        "reads": some(GLOBS),
        "writes": some(GLOBS),
        "hosts": some(("*.example.com", "evil.test", "*")),
        "outside": st.booleans(),
        "redirects": st.booleans(),
        "opaque": st.booleans(),
        "sandboxed": st.booleans(),
        "background": st.booleans(),
        "risk": st.sampled_from([{"min": "medium"}, {"min": "high"}]),
        "cost": st.just({"min": 1}),
    },
)


@st.composite
def rules(draw, prefix: str, most: int = 4):
    found = []
    for number in range(draw(st.integers(0, most))):
        rule = {
            **draw(conditions),
            "id": f"{prefix}{number}",
            "tool": draw(some(NAMED, most=2)),
            "effect": draw(st.sampled_from(("allow", "allow", "ask", "deny"))),
        }
        if draw(st.integers(0, 3)) == 0 and (exception := draw(conditions)):
            rule["unless"] = [exception]
        if draw(st.integers(0, 5)) == 0:
            rule["mode"] = draw(st.sampled_from(("enforce", "warn", "audit")))
        found.append(rule)
    return found


layer = st.fixed_dictionaries(
    {},
    optional={
        "default": st.sampled_from(("ask", "deny")),
        "shell": st.fixed_dictionaries({"opaque": st.sampled_from(("allow_in_sandbox", "ask", "deny"))}),
        "paths": st.fixed_dictionaries({}, optional={"deny_read": some(GLOBS), "deny_write": some(GLOBS)}),
        "secrets": st.fixed_dictionaries({"on_secret_in_args": st.sampled_from(("ask", "deny"))}),
    },
)
delegations = st.one_of(st.none(), some(("shell", "run", "write_file", "mcp:db/*", "mcp:*", "*"), least=0))
programs = st.builds(
    lambda name, words, flags, inside, literal: Program(
        name=name,
        path="/w/x" if inside else f"/usr/bin/{name}",
        argv=(name, *words, *flags),
        subcommand=words[0] if name == "git" and words else "",
        flags=tuple(flags),
        inside=inside or name == "./x",
        literal=literal,
    ),
    st.sampled_from(PROGRAMS),
    some(("push", "status", "x1", "log"), least=0, most=2),
    some(FLAGS, least=0, most=2),
    st.booleans(),
    st.booleans(),
)


@st.composite
def calls(draw) -> Facts:
    paths = draw(some(PATHS, least=0))
    outside = tuple(path for path in paths if path.startswith("/"))
    half = draw(st.integers(0, len(paths)))
    opaque = draw(st.sampled_from(("", "", "a substitution")))
    tool = draw(st.sampled_from(TOOLS))
    runs = draw(st.lists(programs, max_size=3)) if tool in {"shell", "run"} else []
    return Facts(
        tool=tool,
        opaque=opaque if tool == "shell" else "",
        programs=() if opaque else tuple(runs),
        suspects=tuple(runs) if opaque else tuple(draw(st.lists(programs, max_size=1))),
        reads=tuple(paths[:half]),
        writes=tuple(paths[half:]),
        write_globs=tuple(draw(some(("*", "src/*", "build/**", ".e*"), least=0, most=1))),
        redirects=tuple((">", path) for path in paths[half:][:1]),
        outside=outside,
        hosts=tuple(draw(some(HOSTS, least=0, most=2))),
        secrets=tuple(draw(some(("KEY",), least=0, most=1))) if draw(st.integers(0, 5)) == 0 else (),
        risk=draw(st.sampled_from(("low", "medium", "high", "unheard-of"))),
        cost=draw(st.sampled_from((0, 10**10))),
        sandboxed=draw(st.booleans()),
        egress=draw(st.booleans()),
        background=draw(st.booleans()),
    )


def document(layer_name: str, parts: dict):
    # JSON is YAML
    whole = {"apiVersion": "runner/v1", "kind": "Policy", "scope": "org" if layer_name == "org" else "project", **parts}
    return parse(json.dumps(whole, indent=0), f"{layer_name}.yaml", layer_name)


def delegated(tools: list[str], tool: str) -> bool:
    """What is handed on for `shell` is handed on for `run`, as every rule for it is."""
    if tool == "run" and "shell" in tools:
        return True
    return any(one in {tool, "*"} or (one.endswith("*") and tool.startswith(one[:-1])) for one in tools)


pairs = st.tuples(layer, rules("o"), layer, rules("p"))


@MANY
@given(pairs, delegations, st.lists(calls(), min_size=1, max_size=8))
def test_a_project_never_makes_a_decision_weaker_but_as_delegated(pair, hands_on, made) -> None:
    above, mine, below, theirs = pair
    delegate = {} if hands_on is None else {"delegate": {"project_may_allow": hands_on, "project_may_audit": True}}
    org = document("org", {**above, **delegate, "rules": mine})
    alone = merge([org])
    both, why = loaded(org, document("project", {**below, "rules": theirs}))
    if both is None:
        assert "loosens the policy above it" in why
        event("refused to load")
        # what loads must be reached often enough: the same rules as far as they only tighten
        tight = [rule for rule in theirs if rule["effect"] != "allow" and rule.get("mode") != "audit"]
        kept = {key: value for key, value in below.items() if key == "paths"}
        both = merge([org, document("project", {**kept, "rules": tight})])
    for facts in made:
        before, after = alone.decide(facts), both.decide(facts)
        event(f"{before.ruling} then {after.ruling}")
        if after.ruling.rank < before.ruling.rank:
            assert (before.ruling, before.rule, after.ruling) == (Ruling.ASK, "", Ruling.ALLOW)
            assert delegated(hands_on or [], facts.tool)
        if before.ruling is after.ruling is Ruling.ASK and before.rule:
            assert set(before.gates) <= set(after.gates)


def loaded(*documents):
    try:
        return merge(documents), ""
    except ConfigError as error:
        return None, error.message


@MANY
@given(layer, rules("o"), rules("d", most=2), st.lists(calls(), min_size=1, max_size=8))
def test_a_further_deny_or_ask_never_weakens_a_decision(above, mine, more, made) -> None:
    assume(more)
    stricter = [{**rule, "effect": "deny" if rule["effect"] == "allow" else rule["effect"]} for rule in more]
    # where the default is deny, an ask of the same layer is what opens it
    above = {key: value for key, value in above.items() if key != "default"}
    before = merge([document("org", {**above, "rules": mine})])
    after = merge([document("org", {**above, "rules": [*mine, *stricter]})])
    for facts in made:
        assert after.decide(facts).ruling.rank >= before.decide(facts).ruling.rank


@MANY
@given(layer, rules("o"), st.lists(calls(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_rules_decides_nothing(above, mine, made, chance) -> None:
    first = merge([document("org", {**above, "rules": mine})])
    mixed = list(mine)
    chance.shuffle(mixed)
    second = merge([document("org", {**above, "rules": mixed})])
    for facts in made:
        assert first.decide(facts).ruling is second.decide(facts).ruling


@MANY
@given(layer, rules("o"), st.lists(calls(), min_size=1, max_size=8), programs)
def test_seeing_more_in_a_text_never_weakens_a_decision(above, mine, made, program) -> None:
    """A further suspect, a path that may be written, text that is not understood after all: never weaker."""
    book = merge([document("org", {**above, "rules": mine})])
    for facts in made:
        before = book.decide(facts).ruling.rank
        assert book.decide(replace(facts, suspects=(*facts.suspects, program))).ruling.rank >= before
        assert book.decide(replace(facts, refused="a control character")).ruling is Ruling.DENY


@MANY
@given(rules("o"), st.lists(calls(), min_size=1, max_size=8))
def test_behind_walls_nothing_is_decided_stricter_than_outside_where_no_rule_asks_for_it(mine, made) -> None:
    plain = [{key: value for key, value in rule.items() if key not in {"sandboxed", "unless"}} for rule in mine]
    book = merge([document("org", {"shell": {"opaque": "allow_in_sandbox"}, "rules": plain})])
    for facts in made:
        inside, outside = (book.decide(replace(facts, sandboxed=each)).ruling.rank for each in (True, False))
        assert inside <= outside
