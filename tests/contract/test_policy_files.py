"""Policy files of a machine: every fault is told with file, line and column, and nothing runs on what was not verified."""

import os
import stat
from pathlib import Path

import pytest

from runner.config import policies
from runner.errors import ConfigError
from runner.policy import signing

HEAD = "apiVersion: runner/v1\nkind: Policy\nmetadata: {name: t}\n"
ME = os.getuid()
AS_ROOT = pytest.mark.skipif(ME != 0, reason="needs root, to give a file to somebody else")


def own(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + text, "utf-8")
    return path


def loaded(path: Path, **more):
    return policies.load(str(path), environ=more.pop("environ", {}), org=more.pop("org", Path("/nonexistent")), **more)


def faults(path: Path, **more) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(path, **more)
    every = [caught.value, *caught.value.more]
    return [f"{Path(str(one.path)).name}:{one.line}:{one.column}: {one.message} | {one.hint}" for one in every]


RULE = "rules:\n  - {id: a, tool: shell, effect: deny, %s}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("defualt: ask\n", "mine.yaml:4:1: unknown key 'defualt' in a policy | did you mean 'default'?"),
        ("sandbox: {requierd: true}\n", "mine.yaml:4:11: unknown key 'requierd' in sandbox | did you mean 'required'?"),
        (RULE % "comand: {program: rm}", "mine.yaml:5:40: unknown key 'comand' in a rule | did you mean 'command'?"),
        (RULE % "command: {progam: rm}", "mine.yaml:5:50: unknown key 'progam' in command | did you mean 'program'?"),
        (
            "default: ask\ndefault: deny\n",
            "mine.yaml:5:1: the key 'default' is written twice (first on line 4) | keep one of them",
        ),
        (
            RULE % "when: 'call.argz.x == 1'",
            "mine.yaml:5:52: when: unknown fact 'call.argz' | did you mean 'call.args'?",
        ),
        (
            RULE % "when: call.programs == 1",
            (
                "mine.yaml:5:63: when: a list is not compared with a whole number"
                " | numbers with numbers, texts with texts; a word in a list is: 'rm' in call.programs"
            ),
        ),
        (
            RULE % "command: {program: rm, arg: {re: '('}}",
            "mine.yaml:5:73: command.arg.re is not a regular expression: missing ): ( | RE2: no look-around, no back-references",
        ),
        (
            RULE % "command: {program: rm, arg: {re: '(?<=a)b'}}",
            (
                "mine.yaml:5:73: command.arg.re is not a regular expression: invalid perl operator: (?<="
                " | RE2: no look-around, no back-references"
            ),
        ),
        (
            "rules:\n  - {id: a, tool: shel, effect: deny}\n",
            "mine.yaml:5:19: unknown tool 'shel' | did you mean 'shell'?",
        ),
        (
            "rules:\n  - {id: a, tool: shell, effect: ask, gate: nobody}\n",
            "mine.yaml:5:45: unknown gate 'nobody' | name it under approvals.gates",
        ),
        (
            "approvals:\n  gates:\n    - {id: g, approvers: {groups: [sceops]}}\n  groups: {secops: {members: [a]}}\n",
            "mine.yaml:6:36: unknown group 'sceops' | did you mean 'secops'?",
        ),
        ("rules:\n  - {id: a, tool: shell, effect: allow, gate: g}\n", None),
        ("rules:\n  - {id: a, tool: shell}\n", None),
        (
            "rules:\n  - {id: a, tool: shell, effect: deny}\n  - {id: a, tool: run, effect: deny}\n",
            "mine.yaml:6:10: the rule 'a' is there twice (first on line 5) | keep one of them",
        ),
        ("default: allow\n", "mine.yaml:4:10: default is not one of ask, deny: 'allow' | write one of: ask, deny"),
        ("budgets: {per_run: {usd: -1}}\n", None),
        (
            "locked: [sandbx.mode]\n",
            "mine.yaml:4:10: locked names no key of a policy: 'sandbx.mode' | did you mean 'sandbox.mode'?",
        ),
        ("network: {egress: [169.254.169.254]}\n", None),
        ("network: {egress: [{host: a.example, ports: [70000]}]}\n", None),
        ("sandbox: {memory: lots}\n", None),
        ("a: &x 1\nb: *x\n", None),
        ("default: ask\n---\ndefault: deny\n", None),
        ("default: [ask\n", None),
        (
            "rules:\n  - id: a\n    tool: shell\n    command: {program: rm}\n    effect: deny\n    examples: {match: [ls]}\n",
            (
                "mine.yaml:9:24: the rule 'a' does not match its example: 'ls'"
                " | runner policy explain shows what a command comes to; correct the rule, or the example"
            ),
        ),
    ],
)
def test_what_cannot_be_meant_does_not_load(tmp_path: Path, text: str, told: str | None) -> None:
    found = faults(own(tmp_path, text))
    assert found
    assert all(one.split(":")[1].isdigit() and one.split(":")[2].isdigit() for one in found)
    if told is not None:
        assert told in found


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    found = faults(
        own(tmp_path, "defualt: ask\nrules:\n  - {id: a, tool: shel, effect: dney}\nsandbox: {memory: lots}\n")
    )
    assert [one.split(": ")[0] for one in found] == [
        "mine.yaml:4:1",
        "mine.yaml:6:19",
        "mine.yaml:6:33",
        "mine.yaml:7:19",
    ]


def test_a_version_that_is_not_ours_does_not_load(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("apiVersion: runner/v2\nkind: Policy\n", "utf-8")
    assert faults(path)[0].startswith("mine.yaml:1:13: apiVersion is not one of runner/v1")
    path.write_text("kind: Policy\n", "utf-8")
    assert faults(path)[0].startswith("mine.yaml:1:1: a policy without apiVersion")


def test_a_shipped_name_with_a_slip_is_told_which_was_meant() -> None:
    with pytest.raises(ConfigError, match="did you mean 'overnight'"):
        policies.load("overnigt", environ={}, org=Path("/nonexistent"))


def test_a_policy_inside_the_workspace_is_not_the_users(tmp_path: Path) -> None:
    path = own(tmp_path, "default: ask\n")
    with pytest.raises(ConfigError, match="where an agent can write"):
        loaded(path, workspace=tmp_path)
    with pytest.raises(ConfigError, match="where an agent can write"):
        policies.load(
            "default", environ={policies.VARIABLE: str(tmp_path)}, workspace=tmp_path, org=Path("/nonexistent")
        )


# ---- layers ----------------------------------------------------------------------------------------------


def org_of(tmp_path: Path, text: str = "", name: str = "org.yaml") -> Path:
    place = tmp_path / "org"
    place.mkdir(mode=0o755, exist_ok=True)
    (place / name).write_text(HEAD + text, "utf-8")
    (place / name).chmod(0o644)
    return place


def project(text: str, name: str = "policies/p.yaml") -> dict[str, bytes]:
    return {name: (HEAD + "scope: project\n" + text).encode()}


@pytest.mark.parametrize(
    ("above", "below", "told"),
    [
        (
            "default: deny\n",
            "default: ask\n",
            "p.yaml:5:1: default: ask loosens the policy above it: {org}:4 says deny",
        ),
        (
            "budgets: {per_run: {usd: 5}}\n",
            "budgets: {per_run: {usd: 6}}\n",
            "p.yaml:5:21: budgets.per_run.usd: $6.0000 loosens",
        ),
        (
            "shell: {opaque: ask}\n",
            "shell: {opaque: allow_in_sandbox}\n",
            "p.yaml:5:9: shell.opaque: allow_in_sandbox loosens",
        ),
        ("", "shell: {opaque: allow_in_sandbox}\n", "where the layers above say nothing it is ask"),
        ("", "sandbox: {accept_unsandboxed: true}\n", "where the layers above say nothing it is false"),
        ("", "network: {egress: [example.com]}\n", "no layer above states it"),
        ("network: {egress: [a.example]}\n", "network: {egress: [a.example, b.example]}\n", "says [a.example]"),
        ("sandbox: {backends: [bubblewrap]}\n", "sandbox: {backends: [landlock]}\n", "says [bubblewrap]"),
        ("unattended: {on_ask: deny}\n", "unattended: {on_ask: park}\n", "{org}:4 says deny"),
        ("approvals: {min_approvers: 2}\n", "approvals: {min_approvers: 1}\n", "{org}:4 says 2"),
        ("", "rules:\n  - {id: x, tool: shell, effect: allow}\n", "p.yaml:6:10: the rule 'x' allows shell loosens"),
        (
            "delegate: {project_may_allow: [read_file]}\n",
            "rules:\n  - {id: x, tool: shell, effect: allow}\n",
            "{org}:4 delegates read_file",
        ),
        (
            "default: deny\ndelegate: {project_may_allow: [shell]}\n",
            "rules:\n  - {id: x, tool: shell, effect: allow}\n",
            "{org}:4 says default: deny",
        ),
        (
            "delegate: {project_may_allow: ['mcp:a/*']}\n",
            "rules:\n  - {id: x, tool: 'mcp:*', effect: allow}\n",
            "delegates mcp:a/*",
        ),
        (
            "locked: [stall]\n",
            "stall: {window: 1}\n",
            "p.yaml:5:9: stall.window loosens the policy above it: locked by {org}:4",
        ),
        ("", "approvals: {groups: {secops: [mallory]}}\n", "groups are the top layer's to name"),
        ("", "approvals: {default: mine, gates: [{id: mine, allow_self: true}]}\n", "approvals.default: mine loosens"),
        ("", "rules:\n  - {id: x, tool: shell, effect: deny, mode: audit}\n", "with mode: audit loosens"),
        (
            "approvals: {gates: [{id: g, approvers: {min: 2}}]}\n",
            "approvals: {gates: [{id: g, allow_self: true}]}\n",
            "the gate 'g' is there already, at {org}:4",
        ),
        (
            "rules:\n  - {id: x, tool: shell, effect: deny}\n",
            "rules:\n  - {id: x, tool: run, effect: deny}\n",
            "the rule 'x' is there already, at {org}:5",
        ),
    ],
)
def test_a_project_that_loosens_is_refused_with_both_lines(tmp_path: Path, above: str, below: str, told: str) -> None:
    org = org_of(tmp_path, above)
    found = faults(own(tmp_path, ""), environ={policies.VARIABLE: str(org)}, project=project(below))
    assert len(found) == 1
    assert told.format(org=org / "org.yaml") in found[0]


def test_a_project_may_tighten_and_allow_what_was_delegated(tmp_path: Path) -> None:
    org = org_of(tmp_path, "delegate: {project_may_allow: [shell]}\nbudgets: {per_run: {usd: 5, wall: 2h}}\n")
    text = "budgets: {per_run: {usd: 2}}\nrules:\n  - {id: t, tool: shell, command: {program: pytest}, effect: allow}\n"
    book = loaded(own(tmp_path, ""), environ={policies.VARIABLE: str(org)}, project=project(text))
    assert (book.limits.usd, book.limits.duration_s) == (2_000_000_000, 7200)
    assert [source.layer for source in book.sources] == ["extra", "user", "project"]


def test_a_variable_adds_a_layer_and_replaces_none(tmp_path: Path) -> None:
    """Whoever sets the variable tightens the machine's own policies; they stay."""
    machine, mine = tmp_path / "a", tmp_path / "b"
    for place in (machine, mine):
        place.mkdir()
    first = org_of(machine, "rules:\n  - {id: no-rm, tool: shell, command: {program: rm}, effect: deny}\n")
    second = org_of(mine, "rules:\n  - {id: all, tool: shell, effect: allow}\n")
    if ME != 0:
        pytest.skip("needs root: the machine's own directory belongs to root")
    with pytest.raises(ConfigError, match="the rule 'all' allows shell loosens"):
        policies.load("default", environ={policies.VARIABLE: str(second)}, org=first)


def test_where_an_organisation_has_policies_the_shipped_default_is_none_of_them(tmp_path: Path) -> None:
    """What is for where nobody says anything would loosen them, and nothing could run."""
    text = (policies.SHIPPED / "org-baseline.yaml").read_text("utf-8").partition("\n\n")[2]
    org = org_of(tmp_path)
    (org / "org.yaml").write_text(HEAD + "scope: org\n" + text, "utf-8")
    alone = policies.load("default", environ={policies.VARIABLE: str(org)}, org=Path("/nonexistent"))
    assert [source.layer for source in alone.sources] == ["extra"]
    named = loaded(own(tmp_path, "stall: {window: 2}\n"), environ={policies.VARIABLE: str(org)})
    assert [source.layer for source in named.sources] == ["extra", "user"]


def test_a_repository_that_has_other_yaml_is_no_project_layer(tmp_path: Path) -> None:
    files = {
        "policies/k8s.yaml": b"apiVersion: v1\nkind: ConfigMap\n",
        "policies/notes.txt": b"apiVersion: runner/v1\n",
        "policies/deep/x.yaml": (HEAD + "scope: project\nnonsense: 1\n").encode(),
        "policies/mine.yaml": (HEAD + "scope: user\n").encode(),
        "policies/binary.yaml": b"\xff\xfe\x00",
    }
    book = loaded(own(tmp_path, ""), project=files)
    assert [source.layer for source in book.sources] == ["user"]
    assert book.notes == ("policies/mine.yaml is not used: its scope is user, and a repository's own says 'project'",)


def test_a_project_policy_that_cannot_be_read_stops_the_run(tmp_path: Path) -> None:
    broken = {"policies/p.yaml": b"apiVersion: runner/v1\nkind: [Policy\n"}
    assert faults(own(tmp_path, ""), project=broken)[0].startswith("p.yaml:2:7: this is not YAML")
    for text in ("apiVerison: runner/v1\nkind: Policy\n", "apiVersion: runner/v2\nkind: Policy\n"):
        assert "apiVersion" in faults(own(tmp_path, ""), project={"policies/p.yaml": text.encode()})[0]


# ---- whose the organisation's files are ------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_an_org_file_others_can_write_stops_the_run(tmp_path: Path, mode: int) -> None:
    org = org_of(tmp_path)
    (org / "org.yaml").chmod(mode)
    found = faults(own(tmp_path, ""), environ={policies.VARIABLE: str(org)})
    assert found[0].startswith("org.yaml:1:1: the organisation's policy can be written by")
    assert "chmod go-w" in found[0]


def test_an_org_directory_others_can_write_stops_the_run(tmp_path: Path) -> None:
    org = org_of(tmp_path)
    org.chmod(0o775)
    assert (
        "org:1:1: the organisation's policy can be written by its group"
        in faults(own(tmp_path, ""), environ={policies.VARIABLE: str(org)})[0]
    )


@AS_ROOT
def test_an_org_file_of_somebody_else_stops_the_run(tmp_path: Path) -> None:
    org = org_of(tmp_path)
    os.chown(org / "org.yaml", 4321, -1)
    assert faults(own(tmp_path, ""), environ={policies.VARIABLE: str(org)})[0].startswith(
        "org.yaml:1:1: the organisation's policy belongs to uid 4321"
    )
    assert "belongs to uid 4321" in faults(own(tmp_path, ""), org=org)[0]


def test_the_machines_own_directory_belongs_to_root(tmp_path: Path) -> None:
    org = org_of(tmp_path)
    if ME == 0:
        assert [each.layer for each in loaded(own(tmp_path, ""), org=org).sources] == ["org", "user"]
    else:
        assert "belongs to uid" in faults(own(tmp_path, ""), org=org)[0]


@AS_ROOT
def test_whoever_can_replace_the_directory_owns_it(tmp_path: Path) -> None:
    org = org_of(tmp_path)
    tmp_path.chmod(0o777)
    assert "can be written by its group" in faults(own(tmp_path, ""), org=org)[0]


def test_two_files_of_one_layer_do_not_contradict_each_other(tmp_path: Path) -> None:
    org = org_of(tmp_path, "sandbox: {run_as: alice}\napprovals: {groups: {a: [b]}}\n", "1.yaml")
    org_of(tmp_path, "sandbox: {run_as: bob}\n", "2.yaml")
    found = faults(own(tmp_path, ""), environ={policies.VARIABLE: str(org)})
    assert found == [f"2.yaml:4:11: sandbox.run_as is alice already, at {org / '1.yaml'}:4 | state it in one file"]
    org_of(tmp_path, "approvals: {groups: {a: [mallory]}}\n", "2.yaml")
    assert "the group 'a' is there already" in faults(own(tmp_path, ""), environ={policies.VARIABLE: str(org)})[0]


def test_links_in_the_organisations_directory_are_not_followed(tmp_path: Path) -> None:
    org = org_of(tmp_path)
    elsewhere = tmp_path / "loose.yaml"
    elsewhere.write_text(HEAD, "utf-8")
    (org / "link.yaml").symlink_to(elsewhere)
    assert faults(own(tmp_path, ""), environ={policies.VARIABLE: str(org)})[0].startswith("link.yaml:1:1: ")
    (org / "link.yaml").unlink()
    (tmp_path / "there").symlink_to(org)
    assert faults(own(tmp_path, ""), environ={policies.VARIABLE: str(tmp_path / "there")})[0].startswith("there:1:1: ")


def test_a_directory_that_is_gone_is_no_empty_layer(tmp_path: Path) -> None:
    assert "cannot be read" in faults(own(tmp_path, ""), environ={policies.VARIABLE: str(tmp_path / "gone")})[0]
    (tmp_path / "none").mkdir()
    assert "without policies" in faults(own(tmp_path, ""), environ={policies.VARIABLE: str(tmp_path / "none")})[0]


def test_a_file_that_is_no_file_stops_the_run(tmp_path: Path) -> None:
    org = org_of(tmp_path)
    os.mkfifo(org / "pipe.yaml")
    assert faults(own(tmp_path, ""), environ={policies.VARIABLE: str(org)})[0].startswith("pipe.yaml:1:1: ")
    assert stat.S_ISFIFO((org / "pipe.yaml").stat().st_mode)


# ---- signatures ------------------------------------------------------------------------------------------


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    pytest.importorskip("cryptography", reason="pip install 'agent-loop-runner[signing]'")
    org = org_of(tmp_path)
    secret, public = signing.new_key()
    (org / "keys").mkdir(mode=0o755)
    (org / "keys" / "secops.pub").write_bytes(public)
    data = (org / "org.yaml").read_bytes()
    (org / "org.yaml.sig").write_text(signing.sign(data, secret, "key"), "utf-8")
    return org


def test_a_signed_policy_loads_and_says_by_whom(tmp_path: Path, signed: Path) -> None:
    # the signature stands in for the owner
    (signed / "org.yaml").chmod(0o664)
    book = loaded(own(tmp_path, ""), environ={policies.VARIABLE: str(signed)})
    assert book.sources[0].signed_by == "secops"


def test_one_changed_byte_breaks_the_signature(tmp_path: Path, signed: Path) -> None:
    (signed / "org.yaml").write_text(HEAD + "# a comment\n", "utf-8")
    assert faults(own(tmp_path, ""), environ={policies.VARIABLE: str(signed)})[0].startswith(
        "org.yaml:1:1: the signature is not one of this file"
    )


@pytest.mark.parametrize("text", ["", "ed25519 AAAA\n", "rsa AAAA\n", "ed25519 \x00\n"])
def test_a_signature_that_is_none_is_not_a_missing_one(tmp_path: Path, signed: Path, text: str) -> None:
    (signed / "org.yaml.sig").write_text(text, "utf-8")
    assert "signature" in faults(own(tmp_path, ""), environ={policies.VARIABLE: str(signed)})[0]


def test_a_signature_of_another_key_is_none(tmp_path: Path, signed: Path) -> None:
    secret, _ = signing.new_key()
    (signed / "org.yaml.sig").write_text(signing.sign((signed / "org.yaml").read_bytes(), secret, "key"), "utf-8")
    assert "not one of this file" in faults(own(tmp_path, ""), environ={policies.VARIABLE: str(signed)})[0]
    (signed / "keys" / "secops.pub").unlink()
    assert "no key to verify it with" in faults(own(tmp_path, ""), environ={policies.VARIABLE: str(signed)})[0]


def test_a_key_that_others_can_write_verifies_nothing(tmp_path: Path, signed: Path) -> None:
    (signed / "keys" / "secops.pub").chmod(0o666)
    assert faults(own(tmp_path, ""), environ={policies.VARIABLE: str(signed)})[0].startswith("secops.pub:1:1: ")


def test_comments_do_not_change_the_digest_and_values_do(tmp_path: Path) -> None:
    first = loaded(own(tmp_path, "default: ask\n"))
    second = loaded(own(tmp_path, "# why\ndefault:   ask\n"))
    third = loaded(own(tmp_path, "default: deny\n"))
    assert first.digest == second.digest != third.digest
