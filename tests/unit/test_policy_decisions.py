"""What a merged policy decides of facts: strictest wins, nothing is guessed for an allow, whatever fails denies."""

import pytest

from runner.policy.document import parse
from runner.policy.facts import Facts, Program
from runner.policy.merge import merge
from runner.values import Ruling

HOME = "/home/me"
HEAD = "apiVersion: runner/v1\nkind: Policy\n"
ALLOW, ASK, DENY = Ruling.ALLOW, Ruling.ASK, Ruling.DENY


def book(*texts: str):
    layers = ("org", "extra", "user", "project")[-len(texts) :] if len(texts) > 1 else ("user",)
    return merge(
        [parse(HEAD + text, f"{layer}.yaml", layer) for layer, text in zip(layers, texts, strict=True)], home=HOME
    )


def program(line: str, **more) -> Program:
    name, *words = line.split()
    flags = []
    for word in words:
        if word.startswith("--") and len(word) > 2:
            flags.append(word.partition("=")[0])
        elif word.startswith("-") and len(word) > 1:
            flags += [word, *(f"-{letter}" for letter in word[1:])]
    operands = [word for word in words if not word.startswith("-")]
    values = {"subcommand": operands[0] if name in {"git", "npm"} and operands else "", "path": f"/usr/bin/{name}"}
    return Program(name=name, argv=(name, *words), flags=tuple(flags), **{**values, **more})


def shell(*lines: str, **more) -> Facts:
    return Facts(tool="shell", programs=tuple(program(line) for line in lines), **more)


def rules(*lines: str) -> str:
    return "rules:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


def ruling(text: str, facts: Facts) -> Ruling:
    return book(text).decide(facts).ruling


# ---- which rule wins -------------------------------------------------------------------------------------


def test_deny_beats_ask_beats_allow_whatever_the_order() -> None:
    texts = {
        "a": "id: a, tool: shell, effect: allow",
        "b": "id: b, tool: shell, command: {program: git}, effect: ask",
        "c": "id: c, tool: shell, command: {program: git, subcommand: push}, effect: deny, reason: no",
    }
    for order in ("abc", "cba", "bca"):
        merged = book(rules(*(texts[one] for one in order)))
        decision = merged.decide(shell("git push"))
        assert (decision.ruling, decision.rule, decision.reason) == (DENY, "c", "no")
        assert {each.rule for each in decision.others} == {"a", "b"}
        assert merged.decide(shell("git status")).rule == "b"
        assert merged.decide(shell("ls")).rule == "a"


def test_a_decision_names_its_line_and_the_policy() -> None:
    merged = book(rules("id: a, tool: shell, effect: deny"))
    decision = merged.decide(shell("ls"))
    assert (decision.place, decision.policy) == ("user.yaml:4", merged.digest)
    unspoken = book("default: deny\n").decide(shell("ls"))
    assert (unspoken.ruling, unspoken.rule, unspoken.place, unspoken.reason) == (
        DENY,
        "",
        "user.yaml:3",
        "no rule allows ls",
    )


def test_nothing_said_is_asked() -> None:
    assert ruling("", shell("ls")) is ASK


def test_every_program_of_a_command_needs_its_allow() -> None:
    text = rules(
        "id: a, tool: shell, command: {program: ls}, effect: allow",
        "id: b, tool: shell, command: {program: wc}, effect: allow",
    )
    assert ruling(text, shell("ls", "wc -l")) is ALLOW
    assert ruling(text, shell("ls", "curl x", "wc")) is ASK
    assert book(text).decide(shell("ls", "curl x")).reason == "no rule allows curl"


def test_one_program_is_enough_to_deny_wherever_it_was_seen() -> None:
    text = rules("id: a, tool: shell, effect: allow", "id: b, tool: shell, command: {program: rm}, effect: deny")
    assert ruling(text, shell("ls", "rm x")) is DENY
    assert ruling(text, shell("ls", suspects=(program("rm x"),))) is DENY
    assert ruling(text, Facts(tool="shell", programs=(program("./bin/rm x", inside=True),))) is DENY


def test_what_was_only_suspected_allows_nothing() -> None:
    text = rules("id: a, tool: shell, command: {program: ls}, effect: allow")
    assert ruling(text, Facts(tool="shell", opaque="a substitution", suspects=(program("ls"),))) is ASK


def test_a_program_of_the_workspace_is_not_what_it_is_called() -> None:
    text = rules("id: a, tool: shell, command: {program: [git, '*']}, effect: allow")
    assert ruling(text, shell("git status")) is ALLOW
    assert ruling(text, Facts(tool="shell", programs=(program("git status", inside=True, path="/w/git"),))) is ASK


def test_a_program_can_be_pinned_by_its_path() -> None:
    text = rules("id: a, tool: shell, command: {program: /usr/bin/git}, effect: allow")
    assert ruling(text, shell("git status")) is ALLOW
    assert ruling(text, Facts(tool="shell", programs=(program("git status", path="/opt/git"),))) is ASK


def test_a_rule_for_shell_text_holds_for_argv_too() -> None:
    text = rules("id: a, tool: shell, command: {program: rm}, effect: deny", "id: b, tool: run, effect: allow")
    assert ruling(text, Facts(tool="run", programs=(program("rm x"),))) is DENY
    assert ruling(text, Facts(tool="run", programs=(program("ls"),))) is ALLOW
    assert ruling(text, shell("ls")) is ASK


# ---- flags, words, arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["rm -r x", "rm -fr x", "rm -f -R x", "rm --recursive x", "rm --rec x", "rm x -r", "rm --r x"]
)
def test_a_denied_flag_is_seen_in_every_spelling(line: str) -> None:
    text = rules("id: a, tool: shell, command: {program: rm, any_flag: [-r, -R, --recursive]}, effect: deny")
    assert ruling(text, shell(line)) is DENY
    assert ruling(text, shell("rm -f x")) is ASK


@pytest.mark.parametrize("line", ["git log --output=x", "git log --outp=x", "git log --output x", "git log --o"])
def test_an_allow_that_bars_a_flag_bars_its_abbreviations(line: str) -> None:
    text = rules("id: a, tool: shell, command: {program: git, subcommand: log, no_flag: [--output]}, effect: allow")
    assert ruling(text, shell("git log --oneline")) is ALLOW
    assert ruling(text, shell(line)) is ASK


def test_an_allow_needs_its_flags_as_they_are_written() -> None:
    text = rules("id: a, tool: shell, command: {program: make, all_flags: [--dry-run]}, effect: allow")
    assert ruling(text, shell("make --dry-run")) is ALLOW
    assert ruling(text, shell("make --dry")) is ASK


def test_a_word_a_glob_may_become_is_no_word_to_rely_on() -> None:
    text = rules(
        "id: a, tool: shell, command: {program: find, no_flag: [-delete]}, effect: allow",
        "id: b, tool: shell, command: {program: cat}, effect: allow",
        "id: c, tool: shell, command: {program: tar, any_flag: [--to-command]}, effect: deny",
    )
    assert ruling(text, Facts(tool="shell", programs=(program("find *", literal=False),))) is ASK
    assert ruling(text, Facts(tool="shell", programs=(program("cat *", literal=False),))) is ALLOW
    assert ruling(text, Facts(tool="shell", programs=(program("tar *", literal=False),))) is DENY


def test_a_subcommand_that_is_not_known_may_be_any_of_the_words() -> None:
    text = rules(
        "id: a, tool: shell, command: {program: git, subcommand: push}, effect: deny",
        "id: b, tool: shell, command: {program: git, subcommand: status}, effect: allow",
    )
    unknown = program("git --new-option push status", subcommand="")
    assert ruling(text, Facts(tool="shell", programs=(unknown,))) is DENY
    assert ruling(text, Facts(tool="shell", programs=(program("git --new-option x status", subcommand=""),))) is ASK


@pytest.mark.parametrize("line", ["git -C /tmp status", "git -p status", "git --git-dir=x status", "git -c a=b status"])
def test_an_option_before_the_subcommand_is_not_allowed_with_it(line: str) -> None:
    text = rules("id: a, tool: shell, command: {program: git, subcommand: status}, effect: allow")
    assert ruling(text, shell("git --no-pager status")) is ALLOW
    assert ruling(text, Facts(tool="shell", programs=(program(line, subcommand="status"),))) is ASK


def test_arguments_match_any_for_a_deny_and_all_for_an_allow() -> None:
    text = rules(
        "id: a, tool: shell, command: {program: psql, arg: ['prod-*']}, effect: deny",
        "id: b, tool: shell, command: {program: psql, arg: [{re: 'test-[0-9]+'}]}, effect: allow",
    )
    assert ruling(text, shell("psql test-1")) is ALLOW
    assert ruling(text, shell("psql test-1 test-2")) is ALLOW
    assert ruling(text, shell("psql test-1 other")) is ASK
    assert ruling(text, shell("psql xtest-1")) is ASK
    assert ruling(text, shell("psql test-1 prod-db")) is DENY


# ---- paths, hosts, redirects -----------------------------------------------------------------------------


def test_paths_match_any_for_a_deny_and_all_for_an_allow() -> None:
    text = rules(
        "id: a, tool: write_file, paths: ['src/**'], effect: allow",
        "id: b, tool: write_file, paths: ['**/secret.txt'], effect: deny",
    )

    def write(*paths: str) -> Facts:
        return Facts(tool="write_file", writes=paths)

    assert ruling(text, write("src/a/b.py")) is ALLOW
    assert ruling(text, write("src/a.py", "b.py")) is ASK
    assert ruling(text, write("srcs/a.py")) is ASK
    assert ruling(text, write("src/secret.txt")) is DENY
    assert ruling(text, Facts(tool="write_file", writes=("src/a.py",), write_globs=("src/*",))) is DENY


@pytest.mark.parametrize("path", [f"{home}/.ssh/id" for home in ("~", "/root", "/home/other", HOME)])
def test_a_home_is_anybodys_home(path: str) -> None:
    assert (
        ruling(
            "paths: {deny_read: ['~/.ssh/**']}\n" + rules("id: a, tool: '*', effect: allow"),
            Facts(tool="read_file", reads=(path,)),
        )
        is DENY
    )


def test_git_hooks_and_config_are_never_written() -> None:
    text = rules("id: a, tool: '*', effect: allow")
    for path in (".git/hooks/pre-commit", ".git/config", "sub/.git/hooks/x", "/etc/runner/policies/a.yaml"):
        decision = book(text).decide(Facts(tool="write_file", writes=(path,)))
        assert (decision.ruling, decision.rule) == (DENY, "builtin:deny-write"), path
    assert ruling(text, Facts(tool="write_file", writes=(".git/COMMIT_EDITMSG",))) is ALLOW


def test_what_runner_keeps_is_nothing_to_tools() -> None:
    parts = [parse(HEAD + rules("id: a, tool: '*', sandboxed: true, effect: allow"), "user.yaml", "user")]
    kept = merge(parts, state="/var/lib/mine/state")
    for facts, rule in (
        (Facts(tool="shell", writes=("/var/lib/mine/state/runner.db",), sandboxed=True), "builtin:deny-write"),
        (Facts(tool="read_file", reads=("/var/lib/mine/state/approvals.key",), sandboxed=True), "builtin:deny-read"),
    ):
        decision = kept.decide(facts)
        assert (decision.ruling, decision.rule) == (DENY, rule)
    assert kept.digest == merge(parts).digest


def test_a_policy_narrows_the_environment_of_tools_and_says_what_it_cannot_do() -> None:
    merged = book("secrets: {env_pass: [PATH, HOME, AWS_KEY], redact: [provider-keys, jwt]}\n")
    assert merged.secrets.passed({"PATH": "/bin", "LANG": "C", "HOME": "/h"}) == {"PATH": "/bin", "HOME": "/h"}
    assert book("").secrets.passed({"LANG": "C"}) == {"LANG": "C"}
    assert merged.notes[0].startswith("user.yaml:3: secrets.redact: only secrets that are known")
    assert book("secrets: {redact: [provider-keys]}\n").notes == ()


def test_a_pattern_that_may_name_a_barred_path_is_denied_outside_walls() -> None:
    text = "paths: {deny_read: ['**/.env']}\n" + rules("id: a, tool: shell, effect: allow")
    assert ruling(text, shell("cat .e*", read_globs=(".e*",))) is DENY
    assert ruling(text, shell("cat *", read_globs=("*",))) is ALLOW
    assert ruling(text, shell("cat .e*", read_globs=(".e*",), sandboxed=True)) is ALLOW


def test_a_redirect_out_of_the_workspace_is_not_allowed_by_its_program() -> None:
    text = rules(
        "id: a, tool: shell, command: {program: echo}, effect: allow",
        "id: b, tool: shell, sandboxed: true, effect: allow",
    )
    outside = {"redirects": ((">", "/tmp/x"),), "writes": ("/tmp/x",), "outside": ("/tmp/x",)}
    assert ruling(text, shell("echo", redirects=((">", "x"),), writes=("x",))) is ALLOW
    assert ruling(text, shell("echo", **outside)) is ASK
    assert ruling(text, shell("echo", sandboxed=True, **outside)) is ALLOW
    assert (
        ruling(text, shell("echo", redirects=((">", "/dev/null"),), writes=("/dev/null",), outside=("/dev/null",)))
        is ALLOW
    )
    said = rules("id: a, tool: shell, command: {program: echo}, writes: ['/tmp/**'], effect: allow")
    assert ruling(said, shell("echo", **outside)) is ALLOW


def test_what_works_on_a_repository_is_allowed_for_this_one() -> None:
    text = rules(
        "id: a, tool: shell, command: {program: git, subcommand: diff}, effect: allow",
        "id: b, tool: shell, command: {program: cat}, effect: allow",
    )
    elsewhere = {"reads": ("/etc/passwd",), "outside": ("/etc/passwd",)}
    assert ruling(text, shell("git diff a b", reads=("a", "b"))) is ALLOW
    assert ruling(text, shell("git diff --no-index /etc/passwd a", **elsewhere)) is ASK
    assert ruling(text, shell("cat /etc/passwd", **elsewhere)) is ALLOW


def test_hosts() -> None:
    text = rules(
        "id: a, tool: shell, hosts: ['*.example.com'], effect: allow",
        "id: b, tool: shell, hosts: [evil.test], effect: deny",
    )
    assert ruling(text, shell("curl x", hosts=("a.example.com",))) is ALLOW
    assert ruling(text, shell("curl x", hosts=("a.example.com", "b.test"))) is ASK
    assert ruling(text, shell("curl x", hosts=("a.example.com", "EVIL.test"))) is DENY
    assert ruling(text, shell("curl x")) is ASK


# ---- opaque text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opaque", "sandboxed", "egress", "expected"),
    [
        ("allow_in_sandbox", True, False, ALLOW),
        ("allow_in_sandbox", False, False, ASK),
        ("allow_in_sandbox", True, True, ASK),
        ("ask", True, False, ASK),
        ("deny", True, False, DENY),
    ],
)
def test_opaque_text(opaque: str, sandboxed: bool, egress: bool, expected: Ruling) -> None:
    text = f"shell: {{opaque: {opaque}}}\n" + rules("id: a, tool: shell, effect: allow")
    facts = Facts(tool="shell", opaque="a substitution", sandboxed=sandboxed, egress=egress)
    decision = book(text).decide(facts)
    assert (decision.ruling, decision.rule, decision.place) == (expected, "shell.opaque", "user.yaml:3")


def test_a_denied_program_deep_in_opaque_text_is_denied() -> None:
    text = "shell: {opaque: allow_in_sandbox}\n" + rules("id: a, tool: shell, command: {program: rm}, effect: deny")
    assert ruling(text, Facts(tool="shell", opaque="x", sandboxed=True, suspects=(program("rm x"),))) is DENY


def test_an_exception_of_a_deny_needs_to_be_certain() -> None:
    text = rules(
        "id: a, tool: shell, command: {program: rm}, effect: deny, unless: [{writes: ['build/**']}]",
        "id: b, tool: shell, effect: allow",
    )
    assert ruling(text, shell("rm", writes=("build/x",))) is ALLOW
    assert ruling(text, shell("rm", writes=("build/x", "src/x"))) is DENY
    assert ruling(text, shell("rm")) is DENY
    opaque = Facts(tool="shell", opaque="x", sandboxed=True, suspects=(program("rm"),), writes=("build/x",))
    assert ruling("shell: {opaque: allow_in_sandbox}\n" + text, opaque) is DENY


# ---- gates, modes ----------------------------------------------------------------------------------------

GATES = "approvals:\n  groups: {ops: [al, bo], sec: [cy]}\n  gates:\n    - {id: g, approvers: {groups: [ops], min: 2}}\n    - {id: h, approvers: {groups: [sec]}}\n"


def test_several_asks_need_all_their_gates() -> None:
    merged = book(
        GATES
        + rules(
            "id: a, tool: shell, effect: ask, gate: g",
            "id: b, tool: shell, command: {program: git}, effect: ask, gate: h",
        )
    )
    assert merged.decide(shell("git push")).gates == ("g", "h")
    assert merged.gates["g"].groups == {"ops": ("al", "bo")}
    assert (merged.gates["g"].least, merged.gates["g"].allow_self) == (2, False)


def test_an_ask_without_a_gate_has_the_policys_own() -> None:
    assert book("").decide(shell("ls")).gates == ("builtin:yes",)
    assert book("").gates["builtin:yes"].allow_self
    merged = book("scope: org\n")
    assert not merged.gates["builtin:yes"].allow_self
    assert book(GATES.replace("approvals:\n", "approvals:\n  default: h\n")).decide(shell("ls")).gates == ("h",)


def test_the_least_number_of_approvers_holds_for_every_gate() -> None:
    merged = book("approvals:\n  min_approvers: 2\n  gates: [{id: a}, {id: b, approvers: {min: 3}}]\n")
    assert {name: gate.least for name, gate in merged.gates.items()} == {"builtin:yes": 2, "a": 2, "b": 3}


@pytest.mark.parametrize("mode", ["warn", "audit"])
def test_a_rule_that_is_being_tried_out_binds_nothing_and_is_told(mode: str) -> None:
    merged = book(rules(f"id: a, tool: shell, effect: deny, mode: {mode}", "id: b, tool: shell, effect: allow"))
    decision = merged.decide(shell("ls"))
    assert (decision.ruling, decision.rule) == (ALLOW, "b")
    assert [(each.rule, each.ruling, each.mode) for each in decision.others] == [("a", DENY, mode)]
    assert ruling(rules(f"id: a, tool: shell, effect: allow, mode: {mode}"), shell("ls")) is ASK


# ---- what fails, denies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        (Facts(tool="shell", refused="a control character"), "builtin:refused"),
        (Facts(tool="format_disk"), "builtin:unknown-tool"),
        (Facts(tool="mcp:a/b", cost=-1), "builtin:cost"),
        (Facts(tool="shell", secrets=("OPENAI_API_KEY",)), "secrets.on_secret_in_args"),
        (
            Facts(tool="run", programs=(program("runner approvals approve x", subcommand="approvals"),)),
            "builtin:own-verbs",
        ),
        (Facts(tool="run", programs=(program("python3 -m runner approvals approve x"),)), "builtin:own-module"),
    ],
)
def test_what_no_policy_can_allow(facts: Facts, rule: str) -> None:
    decision = book(rules("id: a, tool: '*', effect: allow", "id: b, tool: 'mcp:*', effect: allow")).decide(facts)
    assert (decision.ruling, decision.rule) == (DENY, rule)


class Broken(str):
    """A path that cannot be compared."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        msg = "cannot be compared"
        raise RuntimeError(msg)


def test_an_exception_inside_a_matcher_denies_and_names_the_rule() -> None:
    text = rules(
        "id: a, tool: write_file, effect: allow",
        "id: b, tool: write_file, sandboxed: true, paths: ['x/**'], effect: ask",
    )
    decision = book(text).decide(Facts(tool="write_file", writes=(Broken("y"),), write_globs=("z*",), sandboxed=True))
    assert (decision.ruling, decision.rule, decision.place) == (DENY, "builtin:error", "user.yaml:5")
    assert "RuntimeError" in decision.reason
    assert "at rule b" in decision.reason


def test_a_decision_that_takes_too_long_denies() -> None:
    text = rules(
        "id: a, tool: write_file, effect: allow", "id: b, tool: write_file, paths: ['**/a*b/**/*c*d'], effect: deny"
    )
    many = tuple(f"aaaa/{number}" for number in range(200_000))
    assert ruling(text, Facts(tool="write_file", writes=many[:100])) is ALLOW
    decision = book(text).decide(Facts(tool="write_file", writes=many))
    assert (decision.ruling, decision.rule) == (DENY, "builtin:timeout")


def test_hostile_text_makes_no_decision_slow() -> None:
    """Patterns full of stars over long paths: each matched in time that grows with the path, not with its powers."""
    globs = ", ".join(f"'**/a*a*a*a*a*a*b{n}/**/*x*y*z'" for n in range(50))
    text = rules(f"id: a, tool: write_file, paths: [{globs}], effect: deny", "id: b, tool: write_file, effect: allow")
    path = "/".join("a" * 60 for _ in range(40))
    assert ruling(text, Facts(tool="write_file", writes=(path,))) is ALLOW


def test_risk_and_cost() -> None:
    text = rules(
        "id: a, tool: 'mcp:*', effect: allow",
        "id: b, tool: 'mcp:*', risk: {min: high}, effect: deny",
        "id: c, tool: 'mcp:*', cost: {min: 0.50}, effect: ask",
    )
    assert ruling(text, Facts(tool="mcp:a/b", risk="low")) is ALLOW
    assert ruling(text, Facts(tool="mcp:a/b", risk="high")) is DENY
    # what nobody declared is high
    assert ruling(text, Facts(tool="mcp:a/b", risk="")) is DENY
    assert ruling(text, Facts(tool="mcp:a/b", risk="low", cost=500_000_000)) is ASK


def test_an_expression_sees_the_facts_and_a_missing_one_denies() -> None:
    pytest.importorskip("cel", reason="pip install 'agent-loop-runner[cel]'")
    text = rules(
        "id: a, tool: 'mcp:*', effect: allow",
        "id: b, tool: 'mcp:b/refund', when: 'call.args.amount_usd > 500.0', effect: ask",
    )
    assert ruling(text, Facts(tool="mcp:b/refund", args={"amount_usd": 600})) is ASK
    assert ruling(text, Facts(tool="mcp:b/refund", args={"amount_usd": 5.5})) is ALLOW
    assert book(text).decide(Facts(tool="mcp:b/refund")).rule == "builtin:error"
    assert book(text).decide(Facts(tool="mcp:b/refund", args={"amount_usd": "600"})).rule == "builtin:error"
