"""Tools that read and write: inside the workspace, masked, atomic, accounted for after a crash."""

import hashlib
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from runner.events.facts import ToolStarted
from runner.ports import Interrupt, ToolOutcome
from runner.secrets import Vault
from runner.tools import BuiltinTools
from runner.tools.writing import temporary_name
from runner.values import Effect, ToolCall

SECRET = "kQ7rT2vX9bN4mZ1pL8sD"
PRIVATE = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----"


class Hands:
    """Built-in tools on a real directory, driven as the loop drives them."""

    def __init__(self, tmp_path: Path, **settings) -> None:
        self.root = tmp_path / "work"
        self.root.mkdir(exist_ok=True)
        self.artefacts = tmp_path / "artefacts"
        defaults = {"spec_path": None, "tick": lambda *_: None, "on_tick": lambda _: None}
        self.tools = BuiltinTools(
            self.root, env={"PATH": os.environ["PATH"]}, artefacts=self.artefacts,
            vault=Vault({"API_KEY": SECRET, "PRIVATE": PRIVATE}), **{**defaults, **settings},
        )  # fmt: skip

    def prepare(self, name: str, **arguments):
        return self.tools.prepare(ToolCall("call_1", name, json.dumps(arguments)))

    def do(self, name: str, **arguments) -> ToolOutcome:
        prepared = self.prepare(name, **arguments)
        assert not isinstance(prepared, str), prepared
        return prepared.act(Interrupt())

    def refused(self, name: str, **arguments) -> str:
        """What the model is told, whether the refusal comes before or while acting."""
        prepared = self.prepare(name, **arguments)
        if isinstance(prepared, str):
            return prepared
        outcome = prepared.act(Interrupt())
        assert not outcome.ok, outcome
        return outcome.text

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file


@pytest.fixture
def hands(tmp_path: Path) -> Hands:
    return Hands(tmp_path)


def sha(data: str) -> str:
    return hashlib.sha256(data.encode()).hexdigest()


# ---- confinement -----------------------------------------------------------------------------------------


@pytest.fixture
def attacked(hands: Hands) -> Hands:
    """A workspace full of ways out, beside a file that must stay unread and unchanged."""
    outside = hands.root.parent / "outside"
    outside.mkdir()
    (outside / "prize").write_text("prize")
    (hands.root.parent / "workshop").mkdir()
    (hands.root.parent / "workshop" / "prize").write_text("prize")
    hands.write("inside.txt", "inside\n")
    hands.write("dir/file.txt", "file\n")
    hands.write(".git/config", "[core]\n")
    links = {
        "link": "../outside/prize", "dirlink": "../outside", "absolute": str(outside / "prize"), "chain": "link",
        "proc": "/proc/self/root", "cwd": "/proc/self/cwd", "dir/up": "../..", "loop": "loop", "hidden": ".git",
        "dangling": "../outside/new", "sibling": str(hands.root) + "shop", "fdlink": "/proc/self/fd",
    }  # fmt: skip
    for name, target in links.items():
        (hands.root / name).symlink_to(target)
    os.mkfifo(hands.root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(hands.root)
        listener.bind("socket")
        os.chdir(here)
    return hands


ATTACKS = [
    "../outside/prize", "dir/../../outside/prize", "/etc/passwd", "link", "chain", "absolute", "dirlink/prize", "proc/etc/passwd",
    "cwd/pyproject.toml", "dir/up/outside/prize", "loop", "dangling", "sibling/prize", "fdlink/0", "/proc/self/cwd/inside.txt",
    "/dev/zero", "fifo", "socket", "inside.txt/x", "", "a\0b", "..", "nowhere/../../outside/prize", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("path", ATTACKS)
def test_no_path_leads_out_of_the_workspace(attacked, path):
    said = attacked.refused("read_file", path=path)
    assert "prize" not in said.replace(path, "")
    attacked.refused("write_file", path=path, content="broken")
    attacked.refused("edit_file", path=path, old="prize", new="broken")
    outside = attacked.root.parent / "outside"
    assert [(file.name, file.read_text()) for file in outside.iterdir()] == [("prize", "prize")]
    assert (attacked.root.parent / "workshop" / "prize").read_text() == "prize"


@pytest.mark.parametrize("path", ["dirlink", "..", "proc", "dir/up", "/", "sibling"])
def test_no_directory_outside_is_listed_searched_or_entered(attacked, path):
    for tool, arguments in (("list_files", {}), ("search_text", {"pattern": "."}), ("run", {"argv": ["pwd"]})):
        said = attacked.refused(tool, **{"cwd" if tool == "run" else "path": path}, **arguments)
        assert "leads out of the workspace" in said


@pytest.mark.parametrize(
    "path", [".git/config", ".git/hooks/pre-commit", ".GIT/config", "hidden/config", "sub/.git", "dir/../.git/x"]
)
def test_git_is_not_written(attacked, path):
    assert "git's own files" in attacked.refused("write_file", path=path, content="x")


def test_git_is_readable_but_in_no_listing(attacked):
    assert attacked.do("read_file", path=".git/config").text == "[core]\n"
    assert ".git/" not in attacked.do("list_files").text
    assert ".git/" not in attacked.do("search_text", pattern="core").text


def test_links_and_absolute_paths_that_stay_inside_work_and_survive_a_write(attacked):
    (attacked.root / "alias").symlink_to("dir/file.txt")
    (attacked.root / "rooted").symlink_to(attacked.root / "dir")
    assert attacked.do("read_file", path=str(attacked.root / "dir" / "file.txt")).text == "file\n"
    assert attacked.do("read_file", path="rooted/../inside.txt").text == "inside\n"
    prepared = attacked.prepare("write_file", path="alias", content="new\n")
    assert prepared.started.path == "dir/file.txt"
    assert prepared.act(Interrupt()).ok
    assert (attacked.root / "alias").is_symlink()
    assert (attacked.root / "dir" / "file.txt").read_text() == "new\n"


def test_a_directory_swapped_for_a_link_between_check_and_act_is_seen(attacked):
    prepared = attacked.prepare("write_file", path="dir/new.txt", content="x")
    (attacked.root / "dir").rename(attacked.root / "moved")
    (attacked.root / "dir").symlink_to("../outside")
    assert not prepared.act(Interrupt()).ok
    assert not (attacked.root.parent / "outside" / "new.txt").exists()


# ---- reading ---------------------------------------------------------------------------------------------


def test_a_range_of_lines(hands):
    hands.write("a.txt", "1\n2\n3\n4")
    assert hands.do("read_file", path="a.txt").text == "1\n2\n3\n4"
    assert hands.do("read_file", path="a.txt", start_line=2, end_line=3).text == "2\n3\n"
    assert hands.do("read_file", path="a.txt", start_line=4).text == "4"
    assert "has 4 lines" in hands.refused("read_file", path="a.txt", start_line=5)
    assert "lies before" in hands.refused("read_file", path="a.txt", start_line=3, end_line=2)
    hands.write("empty", "")
    assert hands.do("read_file", path="empty").text == "[the file is empty]"


def test_a_long_file_is_cut_and_can_be_read_on(tmp_path):
    hands = Hands(tmp_path, output_limit=100)
    hands.write("a.txt", "".join(f"line {number}\n" for number in range(1, 101)))
    first = hands.do("read_file", path="a.txt").text
    assert first.endswith("line 13\n[… cut after line 13 of 100; read on with start_line=14]")
    assert hands.do("read_file", path="a.txt", start_line=14).text.startswith("line 14\n")
    hands.write("wide", "x" * 500)
    assert "line 1 of 1 is longer" in hands.do("read_file", path="wide").text


def test_binary_and_huge_files_are_named_not_shown(hands):
    hands.write("image.png", b"\x89PNG\0\0")
    assert hands.refused("read_file", path="image.png") == "image.png: a binary file of 6 bytes; not shown"
    with (hands.root / "huge").open("wb") as file:
        file.truncate(64_000_001)
    assert "too many to read" in hands.refused("read_file", path="huge")


def test_a_secret_over_several_lines_is_masked_even_when_one_line_is_asked_for(hands):
    hands.write("key.pem", f"a\n{PRIVATE}\nb\n")
    assert hands.do("read_file", path="key.pem").text == "a\n[secret:PRIVATE]\nb\n"
    assert "MIIE" not in hands.do("read_file", path="key.pem", start_line=2, end_line=2).text
    assert hands.do("search_text", pattern="MIIE|kqhk").text == "[no matches]"


def test_a_file_named_like_a_secret_is_listed_masked(hands):
    hands.write(f"{SECRET}.txt", SECRET)
    assert hands.do("list_files").text == "[secret:API_KEY].txt"
    assert hands.do("search_text", pattern="secret").text == "[secret:API_KEY].txt:1: [secret:API_KEY]"


def test_listing_is_bounded_says_so_and_follows_no_link(hands):
    for number in range(1005):
        hands.write(f"many/{number:04}.txt", "")
    hands.write("top.py", "")
    (hands.root / "around").symlink_to(".")
    text = hands.do("list_files").text
    assert text.startswith("around (link)\nmany/0000.txt\n")
    assert text.endswith("[… stopped at 1000 files; narrow by path or glob]")
    assert hands.do("list_files", glob="*.py").text == "top.py"
    assert hands.do("list_files", path="many", glob="100?.txt").text.splitlines() == [
        f"many/100{n}.txt" for n in range(5)
    ]
    os.close(os.open(os.fsencode(hands.root) + b"/caf\xe9.md", os.O_CREAT))
    assert hands.do("list_files", glob="*.md").text == "caf\ufffd.md"


def test_searching(hands):
    hands.write("a.py", "import os\nx = 1\r\ny = 22")
    hands.write("b/c.txt", "y = 3\n")
    hands.write("bin", b"\0y = 4\n")
    assert hands.do("search_text", pattern=r"^y = \d").text == "a.py:3: y = 22\nb/c.txt:1: y = 3"
    assert hands.do("search_text", pattern="1$").text == "a.py:2: x = 1"
    assert hands.do("search_text", pattern="y", path="b").text == "b/c.txt:1: y = 3"
    assert hands.do("search_text", pattern="y", path="a.py").text == "a.py:3: y = 22"
    assert hands.do("search_text", pattern="y", glob="*.txt").text == "b/c.txt:1: y = 3"
    assert "not a regular expression" in hands.refused("search_text", pattern="(")
    assert "no such directory" in hands.refused("search_text", pattern="x", path="gone")


def test_search_results_are_bounded(hands):
    hands.write("a.txt", "hit\n" * 5000)
    text = hands.do("search_text", pattern="hit").text
    assert text.count("hit") == 500
    assert text.endswith("[stopped after 500 lines; narrow the pattern, path or glob]")


def test_a_pattern_that_never_ends_is_interrupted(hands):
    hands.write("a.txt", "a" * 60 + "b\n")
    prepared = hands.prepare("search_text", pattern="(a+)+$")
    interrupt = Interrupt()
    threading.Timer(0.3, interrupt.fire).start()
    began = time.monotonic()
    assert prepared.act(interrupt).interrupted
    assert time.monotonic() - began < 5


# ---- writing ---------------------------------------------------------------------------------------------


def test_a_write_is_announced_by_its_hashes_and_happens_only_when_acted(hands):
    file = hands.write("src/a.py", "old\n")
    file.chmod(0o750)
    prepared = hands.prepare("write_file", path="src/a.py", content="new\n")
    started = prepared.started
    assert (started.effect, started.path, started.before, started.after) == (
        Effect.WRITES,
        "src/a.py",
        sha("old\n"),
        sha("new\n"),
    )
    assert file.read_text() == "old\n"
    assert prepared.act(Interrupt()).text == "wrote src/a.py: 1 line, 4 bytes"
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new\n", 0o750)
    assert [path.name for path in file.parent.iterdir()] == ["a.py"]


def test_a_new_file_makes_its_directories(hands):
    prepared = hands.prepare("write_file", path="x/y/z.txt", content="ü")
    assert prepared.started.before == ""
    assert not (hands.root / "x").exists()
    assert prepared.act(Interrupt()).ok
    assert (hands.root / "x/y/z.txt").read_bytes() == "ü".encode()


def test_a_file_somebody_changed_meanwhile_is_left_alone(hands):
    file = hands.write("a", "old")
    prepared = hands.prepare("write_file", path="a", content="new")
    file.write_text("theirs")
    outcome = prepared.act(Interrupt())
    assert (outcome.ok, file.read_text()) == (False, "theirs")
    assert "somebody else changed it" in outcome.text


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        ("a b c", {"old": "b", "new": "x"}, "a x c"),
        ("a b b", {"old": "b", "new": "x", "count": 2}, "a x x"),
        ("a\r\nb\r\nc", {"old": "a\nb", "new": "x\ny"}, "x\r\ny\r\nc"),
        (b"\xff a \xfe", {"old": "a", "new": "ü"}, b"\xff \xc3\xbc \xfe"),
    ],
)
def test_edits(hands, content, arguments, expected):
    file = hands.write("f", content)
    assert hands.do("edit_file", path="f", **arguments).ok
    assert file.read_bytes() == (expected.encode() if isinstance(expected, str) else expected)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"old": "b", "new": "x"}, "occurs 2 times (lines 2, 3), not 1"),
        ({"old": "b", "new": "x", "count": 3}, "occurs 2 times"),
        ({"old": "return valeu", "new": "x"}, "line 4 is the most like it: '    return value'"),
        ({"old": "return value\n\n", "new": "x"}, "line 4 differs only in indentation or in what follows"),
        ({"old": "", "new": "x"}, "`old` is empty"),
        ({"old": "b", "new": "b"}, "are the same"),
        ({"old": "zzzzzz", "new": "x"}, "copy the text exactly"),
    ],
)
def test_an_edit_that_fits_nowhere_is_answered_helpfully(hands, arguments, said):
    file = hands.write("f", "a\nb\nb\n    return value\n")
    assert said in hands.refused("edit_file", path="f", **arguments)
    assert file.read_text() == "a\nb\nb\n    return value\n"


def test_a_secret_in_arguments_is_refused_by_name(hands):
    for tool, arguments in (
        ("write_file", {"path": "a", "content": f"key = {SECRET}"}),
        ("run", {"argv": ["curl", "-H", SECRET]}),
        ("write_file", {"path": "a", "content": PRIVATE}),
    ):
        said = hands.prepare(tool, **arguments)
        assert isinstance(said, str)
        assert "contain the secret" in said
        assert SECRET not in said
    assert list(hands.root.iterdir()) == []


def test_a_secret_hidden_by_json_escapes_is_refused_too(hands):
    escaped = "".join(f"\\u{ord(character):04x}" for character in SECRET)
    said = hands.tools.prepare(ToolCall("c", "write_file", f'{{"path": "a", "content": "{escaped}"}}'))
    assert said == "write_file: the arguments contain the secret API_KEY; tools never get secrets"


def test_the_mark_of_a_secret_never_replaces_the_secret(hands):
    file = hands.write(".env", f"KEY={SECRET}\nDEBUG=0\n")
    shown = hands.do("read_file", path=".env").text
    assert "would destroy that value" in hands.refused("write_file", path=".env", content=shown.replace("0", "1"))
    assert "masked secret" in hands.refused("edit_file", path=".env", old=shown, new="x")
    assert hands.do("edit_file", path=".env", old="DEBUG=0", new="DEBUG=1").ok
    assert file.read_text() == f"KEY={SECRET}\nDEBUG=1\n"


def test_something_key_like_reaches_the_file_unchanged(hands):
    fixture = "sk-ant-api03-" + "A1b2" * 20
    assert hands.do("write_file", path="fixture", content=fixture).ok
    assert (hands.root / "fixture").read_text() == fixture


# ---- ticking ---------------------------------------------------------------------------------------------


def tick(text: str, item: str) -> str | None:
    return text.replace(f"[ ] {item}", f"[x] {item}", 1) if f"[ ] {item}" in text else None


def test_ticking_edits_a_spec_of_the_workspace(tmp_path):
    hands = Hands(tmp_path, spec_path=tmp_path / "work" / "spec.md", tick=tick)
    spec = hands.write("spec.md", b"- [ ] one\r\n- [ ] two \xff\n")
    prepared = hands.prepare("tick", item="two")
    assert (prepared.started.path, prepared.started.effect) == ("spec.md", Effect.WRITES)
    assert prepared.act(Interrupt()).text == "ticked: two"
    assert spec.read_bytes() == b"- [ ] one\r\n- [x] two \xff\n"
    assert "no open item 'three'" in hands.refused("tick", item="three")


def test_ticking_another_spec_asks_its_owner(tmp_path):
    asked: list[str] = []

    def on_tick(item: str) -> str | None:
        asked.append(item)
        return None if item == "one" else "no such item"

    (tmp_path / "spec.md").write_text("- [ ] one\n")
    hands = Hands(tmp_path, spec_path=tmp_path / "spec.md", tick=tick, on_tick=on_tick)
    assert hands.do("tick", item="one").text == "ticked: one"
    assert hands.refused("tick", item="two") == "no such item"
    assert asked == ["one", "two"]
    assert (tmp_path / "spec.md").read_text() == "- [ ] one\n"


# ---- after a crash ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("write_file", {"path": "f", "content": "new\n"}),
        ("edit_file", {"path": "f", "old": "old", "new": "new"}),
        ("tick", {"item": "one"}),
    ],
)
def test_a_crashed_change_is_finished_run_again_or_interrupted(tmp_path, name, arguments):
    hands = Hands(tmp_path, spec_path=tmp_path / "work" / "f", tick=tick)
    file = hands.write("f", "old - [ ] one\n")
    prepared = hands.prepare(name, **arguments)
    started = prepared.started
    half_written = hands.root / temporary_name("f", started.after)
    half_written.write_text("ne")
    later = Hands(tmp_path, spec_path=tmp_path / "work" / "f", tick=tick)
    assert later.tools.recover(started) is None
    assert not half_written.exists()
    done = prepared.act(Interrupt())
    assert later.tools.recover(started) == done
    file.write_text("theirs")
    outcome = later.tools.recover(started)
    assert outcome is not None
    assert (outcome.ok, outcome.interrupted) == (False, True)
    assert file.read_text() == "theirs"


def test_a_crashed_read_is_run_again(hands):
    assert hands.tools.recover(ToolStarted(call=ToolCall("c", "read_file", "{}"), effect=Effect.READS)) is None
