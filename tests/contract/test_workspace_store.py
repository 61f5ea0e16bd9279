"""Objects and refs that runner writes itself are those that git would write, and git can take them from there."""

import errno
import hashlib
import os
import random
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from runner.errors import StateError, WorkspaceError
from runner.workspace import ShadowWorkspace
from runner.workspace import store as stores
from runner.workspace.beneath import Beneath
from runner.workspace.folders import Folder
from runner.workspace.index import Index, Tracked
from runner.workspace.objects import BLOB, COMMIT, TREE, name_of
from runner.workspace.pack import Pack
from runner.workspace.packed import Index as PackIndex
from runner.workspace.refs import Refs
from runner.workspace.scan import scan

ENV = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "LANG": "C"}


@pytest.fixture
def workspace(tmp_path: Path) -> ShadowWorkspace:
    (tmp_path / "work").mkdir()
    workspace = ShadowWorkspace(tmp_path / "work", tmp_path / "state")
    workspace.git.create()
    return workspace


def git(workspace: ShadowWorkspace, *args: str, give: bytes = b"", env: dict[str, str] | None = None) -> bytes:
    done = subprocess.run(
        ["git", "--git-dir", workspace.git.directory, *args],
        input=give, env={**ENV, **(env or {})}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_directory_is_one_that_git_works_in(workspace: ShadowWorkspace) -> None:
    assert git(workspace, "rev-parse", "--is-bare-repository") == b"true\n"
    assert git(workspace, "rev-parse", "--show-object-format") == b"sha1\n"
    git(workspace, "fsck", "--strict")
    blob = git(workspace, "hash-object", "-w", "--stdin", give=b"by git").decode().strip()
    assert workspace.store.read(blob) == (BLOB, b"by git")


def test_a_directory_that_a_power_failure_emptied_is_made_again(workspace: ShadowWorkspace, tmp_path: Path) -> None:
    (workspace.root / "a").write_text("a")
    found = workspace.snapshot()
    commit = workspace.commit(found, run="r1", number=0, parent=None, at=0, message="x")
    for name in ("HEAD", "config", "info/attributes"):
        (workspace.git.directory / name).write_bytes(b"")
    again = ShadowWorkspace(workspace.root, tmp_path / "state")
    assert again.snapshot() == found
    assert commit.encode() in git(again, "for-each-ref")
    assert git(again, "rev-parse", "--is-bare-repository") == b"true\n"


@pytest.mark.parametrize("count", [1, 16, 17, 300])
def test_few_objects_and_many_are_read_by_git_as_they_were_given(workspace: ShadowWorkspace, count: int) -> None:
    chance = random.Random(count)
    wanted = [chance.randbytes(chance.choice([0, 1, 15, 16, 5000])) + b"%d" % number for number in range(count)]
    wanted.append(b"\n".join(b"%d" % number for number in range(400_000)))  # more than is held in memory at once
    pack = Pack(workspace.store, set())
    try:
        names = [pack.add(BLOB, len(data), [data[:1000], data[1000:]])[0] for data in wanted]
        assert pack.add(BLOB, 5, [b"four"])[1] is False
        assert pack.add(BLOB, 3_000_000, [b"far too short"])[1] is False
        assert pack.add(BLOB, len(wanted[0]), [wanted[0]]) == (names[0], True)
        pack.store()
    finally:
        pack.close()
    assert git(workspace, "fsck", "--strict", "--no-dangling") == b""
    for name, data in zip(names, wanted, strict=True):
        assert name == name_of(data)
        assert workspace.store.read(name) == (BLOB, data)
        assert stores.Store(workspace.git.directory).read(name) == (BLOB, data)
    told = git(workspace, "cat-file", "--batch", give="".join(f"{name}\n" for name in names).encode())
    assert told == b"".join(
        b"%s blob %d\n%s\n" % (name.encode(), len(data), data) for name, data in zip(names, wanted, strict=True)
    )
    assert list((workspace.git.directory / "objects").rglob("tmp_*")) == []


def test_a_commit_is_the_one_git_would_make(workspace: ShadowWorkspace) -> None:
    (workspace.root / "a").write_text("a")
    found = workspace.snapshot()
    first = workspace.commit(found, run="r1", number=0, parent=None, at=1_700_000_000_123, message=" Grüße \n\n")
    second = workspace.commit(found, run="r1", number=1, parent=first, at=1_700_000_001_999, message="two\n\nlines")
    for commit, number, parent, at, message in (
        (first, 0, (), 1_700_000_000_123, "Grüße"),
        (second, 1, ("-p", first), 1_700_000_001_999, "two\n\nlines"),
    ):
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER")
               for key, value in (("NAME", "runner"), ("EMAIL", "runner@localhost"), ("DATE", f"@{at // 1000} +0000"))}  # fmt: skip
        text = f"{message}\n\nRun: r1\nCheckpoint: {number}\nAt: {at}\n"
        assert git(workspace, "commit-tree", found.tree, *parent, "-F", "-", give=text.encode(), env=who) == (
            f"{commit}\n".encode()
        )
    git(workspace, "fsck", "--strict")
    assert git(workspace, "for-each-ref", "--format=%(refname) %(objectname)").decode() == (
        f"refs/runner/r1/0 {first}\nrefs/runner/r1/1 {second}\n"
    )


def test_a_checkpoint_of_a_tree_that_is_not_stored_is_refused(workspace: ShadowWorkspace) -> None:
    found = workspace.snapshot()
    lost = type(found)(tree="1" * 40)
    with pytest.raises(WorkspaceError, match=r"1{40}.*missing"):
        workspace.commit(lost, run="r1", number=0, parent=None, at=0, message="x")
    assert workspace.checkpoints("r1") == ()


def test_refs_that_git_packed_are_found_and_not_made_again(workspace: ShadowWorkspace) -> None:
    found = workspace.snapshot()
    first = workspace.commit(found, run="r1", number=0, parent=None, at=0, message="x")
    git(workspace, "pack-refs", "--all", "--prune")
    assert not (workspace.git.directory / "refs" / "runner" / "r1").exists()
    assert workspace.checkpoint("r1", 0) == first
    second = workspace.commit(found, run="r1", number=1, parent=first, at=0, message="y")
    assert workspace.checkpoints("r1") == (first, second)
    assert workspace.commit(found, run="r1", number=0, parent=None, at=0, message="x") == first
    refs = Refs(workspace.git.directory)
    assert refs.create("refs/runner/r1/0", second) is False
    assert refs.read("refs/runner/r1/0") == first


def test_of_many_who_make_one_ref_one_succeeds(workspace: ShadowWorkspace) -> None:
    (workspace.root / "a").write_text("a")
    commits = [
        workspace.commit(workspace.snapshot(), run="x", number=number, parent=None, at=0, message="x")
        for number in range(8)
    ]
    made: list[str] = []
    start = threading.Barrier(len(commits))

    def make(commit: str) -> None:
        start.wait()
        try:
            if Refs(workspace.git.directory).create("refs/runner/r1/0", commit):
                made.append(commit)
        except WorkspaceError:
            pass  # somebody else has it locked

    threads = [threading.Thread(target=make, args=(commit,)) for commit in commits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [workspace.checkpoint("r1", 0)]
    assert list((workspace.git.directory / "refs" / "runner" / "r1").iterdir()) == [
        workspace.git.directory / "refs" / "runner" / "r1" / "0"
    ]


def test_packed_by_git_with_deltas_everything_is_still_read_without_it(
    workspace: ShadowWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, texts, commits = random.Random(1), list[bytes](), list[str]()
    lines = [f"line {chance.random()}\n" for _ in range(3000)]
    trees = []
    (workspace.root / "d").mkdir()
    for number in range(20):
        lines[chance.randrange(len(lines))] = f"another {number}\n"
        del lines[chance.randrange(len(lines))]
        texts.append("".join(lines).encode())
        (workspace.root / "d" / "text").write_bytes(texts[-1])
        for other in range(30):
            (workspace.root / "d" / f"f{other}").write_text(f"{other} {number // 10}")
        found = workspace.snapshot()
        trees.append(found.tree)
        parent = commits[-1] if commits else None
        commits.append(workspace.commit(found, run="r1", number=number, parent=parent, at=0, message="x"))
    git(workspace, "repack", "-a", "-d", "-q", "--depth=50", "--window=50")
    packs = list((workspace.git.directory / "objects" / "pack").glob("*.idx"))
    assert b"chain length = " in git(workspace, "verify-pack", "-v", str(packs[0]))
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    # An older process still thinks of the objects as loose; a newer one never saw them so.
    for look in (workspace, ShadowWorkspace(workspace.root, tmp_path / "state")):
        for tree, commit, text in zip(trees, commits, texts, strict=True):
            assert look.read_many(tree, ["d/text", "d/f7", "none"]) == {
                "d/text": text,
                "d/f7": b"7 %d" % (texts.index(text) // 10),
            }
            assert look.entries(commit) == look.entries(tree)


def test_references_by_name_are_followed_too(workspace: ShadowWorkspace, tmp_path: Path) -> None:
    text = b"".join(b"%d\n" % number for number in range(5000))
    names = [
        git(workspace, "hash-object", "-w", "--stdin", give=data).decode().strip()
        for data in (text, text + b"more\n", text[100:])
    ]
    told = "".join(f"{name}\n" for name in names).encode()
    pack = git(workspace, "pack-objects", "--stdout", "--no-reuse-delta", "--window=50", give=told)
    other = ShadowWorkspace(tmp_path / "elsewhere", tmp_path / "state2")
    other.git.create()
    git(other, "index-pack", "--stdin", give=pack)  # without --delta-base-offset, bases are given by name
    assert [other.store.read(name) for name in names] == [(BLOB, text), (BLOB, text + b"more\n"), (BLOB, text[100:])]


def test_an_object_that_rotted_is_an_error_and_never_other_content(workspace: ShadowWorkspace, tmp_path: Path) -> None:
    (workspace.root / "a").write_text("a")
    found = workspace.snapshot()
    blob = workspace.entries(found.tree)[b"a"].blob
    place = workspace.git.directory / "objects" / blob[:2] / blob[2:]
    whole = place.read_bytes()
    for rotten in (b"", whole[:5], whole[:-6] + b"rotten", b"x" * 20):
        place.chmod(0o644)
        place.write_bytes(rotten)
        with pytest.raises(WorkspaceError, match="damaged"):
            workspace.read(found.tree, "a")
    (workspace.git.directory / "objects" / "pack" / "pack-x.idx").write_bytes(b"")
    again = ShadowWorkspace(workspace.root, tmp_path / "state")
    assert again.snapshot() == found
    ref = workspace.git.directory / "refs" / "runner" / "r1"
    ref.mkdir(parents=True)
    (ref / "0").write_bytes(b"\0" * 41)
    with pytest.raises(StateError, match="damaged"):
        workspace.checkpoint("r1", 0)


def test_an_index_of_a_pack_beyond_two_gigabytes_gives_its_places(tmp_path: Path) -> None:
    rows = [
        (hashlib.sha1(b"%d" % number).digest(), number, 12 + number * 0x1000_0000) for number in range(40)
    ]  # fmt: skip
    path = tmp_path / "pack-x.idx"
    path.write_bytes(stores._index_of(list(rows), b"c" * 20))
    index = PackIndex(str(path))
    assert [index.find(raw) for raw, _, _ in rows] == [at for _, _, at in rows]
    assert index.find(b"\xff" * 20) is None
    assert index.among({rows[3][0], b"\xff" * 20}) == {rows[3][0]}
    data = path.read_bytes()
    assert data.endswith(hashlib.sha1(data[:-20]).digest())
    told = subprocess.run(["git", "show-index"], input=data, env=ENV, capture_output=True, check=True).stdout.split(
        b"\n"
    )
    assert sorted(line.split(b" ")[0] for line in told if line) == sorted(b"%d" % at for _, _, at in rows)
    assert struct.unpack_from(">256I", data, 8)[255] == 40


def test_kinds_have_the_names_git_gives_them(workspace: ShadowWorkspace) -> None:
    found = workspace.snapshot()
    commit = workspace.commit(found, run="r1", number=0, parent=None, at=0, message="x")
    for name, kind, word in ((found.tree, TREE, b"tree"), (commit, COMMIT, b"commit")):
        assert git(workspace, "cat-file", "-t", name).strip() == word
        read = workspace.store.read(name)
        assert read is not None
        assert read[0] == kind


def test_a_crowded_store_is_packed_when_the_lock_is_given_back(workspace: ShadowWorkspace) -> None:
    trees = []
    with workspace.lock():
        parent = None
        for number in range(3):
            for name in range(5):
                pack = Pack(workspace.store, set())
                for other in range(17):
                    pack.add(BLOB, 20, [b"%020d" % (number * 1000 + name * 100 + other)])
                pack.store()
                pack.close()
            (workspace.root / "a").write_text(str(number))
            found = workspace.snapshot()
            trees.append(found.tree)
            parent = workspace.commit(found, run="r1", number=number, parent=parent, at=0, message="x")
        for number in range(6000):
            data = b"loose %d" % number
            if name_of(data).startswith("17"):
                workspace.store.put([(name_of(data), BLOB, data)])
        (workspace.root / "a").write_text("in no checkpoint")
        trees.append(workspace.snapshot().tree)
        crowded = [workspace.store.is_crowded]
    assert [*crowded, workspace.store.is_crowded] == [True, False]
    assert [workspace.read(tree, "a") for tree in trees] == [b"0", b"1", b"2", b"in no checkpoint"]
    git(workspace, "fsck", "--strict")
    assert workspace.snapshot().tree == trees[-1]


def test_two_processes_with_one_state_do_not_disturb_each_other(workspace: ShadowWorkspace, tmp_path: Path) -> None:
    root = workspace.root
    for number in range(40):
        (root / f"f{number}").write_text(str(number))
    other = ShadowWorkspace(root, tmp_path / "state")
    for number in range(10):
        (root / f"f{number}").write_text(f"changed {number}")
        one, two = (workspace, other) if number % 2 else (other, workspace)
        first, second = one.snapshot(), two.snapshot()
        assert first == second
        commit = one.commit(first, run="r1", number=number, parent=None, at=0, message="x")
        assert two.commit(second, run="r1", number=number, parent=None, at=0, message="x") == commit
        if number == 5:
            one.tidy()
        assert two.read(first.tree, f"f{number}") == f"changed {number}".encode()
    git(workspace, "fsck", "--strict")


def files_open() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_a_long_run_keeps_no_file_open_for_each_of_its_packs(workspace: ShadowWorkspace, tmp_path: Path) -> None:
    chance = random.Random(3)
    before, packs = files_open(), 40
    trees = list[str]()
    for _ in range(packs):
        (workspace.root / "large").write_bytes(chance.randbytes(1_050_000))
        trees.append(workspace.snapshot().tree)
    assert len(list((workspace.git.directory / "objects" / "pack").glob("*.idx"))) == packs
    assert files_open() == before
    again = ShadowWorkspace(workspace.root, tmp_path / "state")
    for tree in trees:
        assert len(again.read(tree, "large") or b"") == 1_050_000
    assert files_open() <= before + 32


class Unlucky(Beneath):
    """A workspace with one directory that the disk does not give right now."""

    def look(self, path: bytes) -> int:
        if path == b"d":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().look(path)


def test_a_directory_that_cannot_be_read_just_now_is_not_taken_for_deleted(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").write_text("x")
    nothing = Tracked(Index(), {}, is_seen=False)
    with Unlucky(tmp_path) as beneath, pytest.raises(WorkspaceError, match="d/ cannot be read: Input/output error"):
        scan(beneath, Folder(b"", None), lambda _: set(), nothing, has_rules=False, without=None)


@pytest.mark.parametrize("damage", ["no pack", "half an index"])
def test_an_index_that_lost_its_pack_or_its_end_holds_nothing(
    workspace: ShadowWorkspace, tmp_path: Path, damage: str
) -> None:
    for number in range(30):
        (workspace.root / str(number)).write_text(str(number))
    found = workspace.snapshot()
    packs = workspace.git.directory / "objects" / "pack"
    for path in packs.iterdir():
        if damage == "no pack" and path.suffix == ".pack":
            path.unlink()
        elif damage == "half an index" and path.suffix == ".idx":
            path.chmod(0o600)
            os.truncate(path, 100)
    again = ShadowWorkspace(workspace.root, tmp_path / "state")
    assert again.store.missing([found.tree]) == {found.tree}
    assert again.snapshot() == found
    assert again.read(found.tree, "7") == b"7"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("packed-refs", b"\xff\xfe junk\n"),
        ("packed-refs", b"half\n"),
    ],
)
def test_what_is_damaged_is_named(workspace: ShadowWorkspace, tmp_path: Path, file: str, content: bytes) -> None:
    found = workspace.snapshot()
    (workspace.git.directory / file).write_bytes(content)
    again = ShadowWorkspace(workspace.root, tmp_path / "state")
    with pytest.raises((StateError, WorkspaceError), match="is damaged"):
        again.commit(found, run="r1", number=0, parent=None, at=0, message="x")
