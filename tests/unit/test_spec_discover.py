"""Which spec `runner loop` takes by itself, and what it refuses to read."""

import io
import os
import time
from pathlib import Path

import pytest

from runner.errors import ConfigError
from runner.spec.discover import STDIN_PATH, find_spec, read_spec, read_stream


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n", "utf-8")


@pytest.mark.parametrize("name", ["spec.md", "SPEC.md", "PROMPT.md", ".ralph/PROMPT.md", "specs/anything.md"])
def test_the_only_spec_is_found(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "README.md", "specs/README.md", "specs/notes.txt", "docs/spec.md")
    (tmp_path / "specs" / "folder.md").mkdir()
    assert find_spec(tmp_path) == tmp_path / name


def test_several_specs_are_listed(tmp_path: Path) -> None:
    write(tmp_path, "PROMPT.md", "specs/b.md", "specs/a.md")
    with pytest.raises(ConfigError) as caught:
        find_spec(tmp_path)
    assert str(caught.value) == (
        "more than one spec here: PROMPT.md, specs/a.md, specs/b.md\n  name one: runner loop PROMPT.md"
    )


def test_one_file_under_two_names_is_one_spec(tmp_path: Path) -> None:
    write(tmp_path, "SPEC.md")
    (tmp_path / "spec.md").symlink_to("SPEC.md")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "linked.md").hardlink_to(tmp_path / "SPEC.md")
    assert find_spec(tmp_path).resolve() == (tmp_path / "SPEC.md").resolve()


def test_no_spec_tells_the_ways_on(tmp_path: Path) -> None:
    (tmp_path / "spec.md").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="no spec in ") as caught:
        find_spec(tmp_path)
    assert "runner init" in caught.value.hint
    with pytest.raises(ConfigError, match="no spec in "):
        find_spec(tmp_path / "absent")


def test_a_spec_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "spec.md").write_bytes("# é\r\ntext".encode())
    assert read_spec(tmp_path / "spec.md") == "# é\r\ntext"


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "spec.md"
    with path.open("wb") as file:
        file.truncate(10 * 1024 * 1024 * 1024)
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        read_spec(path)
    assert time.process_time() - started < 1
    assert str(caught.value).startswith(f"{path}:1: the spec is larger than 1,000,000 bytes\n  ")


def test_an_endless_stream_is_read_to_the_limit_alone() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            self.given += len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(ConfigError, match="larger than 1,000,000 bytes"):
        read_stream(io.BufferedReader(endless))
    assert endless.given < 2_000_000


def test_standard_input_goes_by_a_name_of_its_own() -> None:
    assert read_stream(io.BytesIO(b"# x")) == "# x"
    with pytest.raises(ConfigError) as caught:
        read_stream(io.BytesIO(b"ab\ncd\xe9\xff"))
    assert str(caught.value) == f"{STDIN_PATH}:2:3: the spec is not UTF-8: byte 0xe9\n  save it as UTF-8"


def test_what_is_no_readable_file_is_refused_with_a_way_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    said = {}
    for name in ("absent.md", "pipe", ".", "x" * 300):
        with pytest.raises(ConfigError) as caught:
            read_spec(tmp_path / name)
        assert caught.value.hint
        said[name[:9]] = caught.value.message
    assert said == {
        "absent.md": "there is no such file",
        "pipe": "the spec is not a regular file",
        ".": "the spec is a folder",
        "x" * 9: "the spec cannot be read: File name too long",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.md"
    path.write_text("# x", "utf-8")
    path.chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        read_spec(path)
