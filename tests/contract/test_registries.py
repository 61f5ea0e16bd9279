"""`package-registries` is what the machine's own clients say: the real ones, each with a configuration of its own."""

import http.server
import os
import shutil
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.app.egress import reach
from runner.policy.book import Egress
from runner.sandbox import registries
from runner.sandbox.proxy import Destination

BARE = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin"}
ELSEWHERE = Path("/no/such/workspace")
needs_pip = pytest.mark.skipif(
    shutil.which("pip", path=BARE["PATH"]) is None, reason="needs pip beside the Python that runs the tests"
)


def asked(env: Mapping[str, str], tmp_path: Path, *programs: str) -> set[str]:
    """The hosts that these clients of the machine name, nobody else's being on PATH before."""
    for program in programs:
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"needs {program}: install it")
        (tmp_path / program).symlink_to(found)
    path = f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin"
    return {str(host) for host in registries.ask({"PATH": path, "HOME": str(tmp_path), **env}, outside=ELSEWHERE).hosts}


@needs_pip
def test_pip_is_asked_for_every_place_it_would_look_at(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://user:word@packages.example:8443/simple\n"
        f"extra-index-url = http://more.example/simple\n  file://{wheels}\n",
        "utf-8",
    )
    env = {**BARE, "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(config), "PIP_FIND_LINKS": str(wheels)}
    found = registries.ask(env, outside=ELSEWHERE)
    assert found.hosts >= {Destination("packages.example", 8443), Destination("more.example", 80)}
    assert wheels in found.paths
    # a pip that does not see this configuration is told the same, but no password
    assert found.variables["PIP_INDEX_URL"] == "https://packages.example:8443/simple"
    blind = {**BARE, "HOME": "/nowhere", "PIP_CONFIG_FILE": os.devnull, **found.variables}
    assert registries.ask(blind, outside=ELSEWHERE).hosts >= {
        Destination("packages.example", 8443),
        Destination("more.example", 80),
    }
    assert wheels in registries.ask(blind, outside=ELSEWHERE).paths


@needs_pip
def test_where_pip_is_not_told_anything_it_names_its_own_index_and_where_that_keeps_files(tmp_path: Path) -> None:
    env = {**BARE, "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    told = {**env, "PIP_INDEX_URL": "https://packages.example/simple"}
    own = registries.ask(env, outside=ELSEWHERE).hosts - registries.ask(told, outside=ELSEWHERE).hosts
    assert len(own) == 2
    assert {host.port for host in own} == {443}


def test_npm_is_asked_for_its_registry_and_those_of_scopes(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text(
        "registry=https://npm.example/\n@ours:registry=https://ours.example:4873/\n", "utf-8"
    )
    assert asked({}, tmp_path, "npm", "node") >= {"npm.example:443", "ours.example:4873"}
    path = {"PATH": f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    told = registries.ask({**path, "HOME": str(tmp_path)}, outside=ELSEWHERE).variables
    again = registries.ask({**path, "HOME": "/nowhere", **told}, outside=ELSEWHERE).hosts
    assert again >= {Destination("npm.example"), Destination("ours.example", 4873)}


@contextmanager
def index() -> Generator[int]:
    """A registry that says where its files are."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"dl": "https://files.example/crates", "api": "https://api.example"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_cargo_is_asked_for_its_index_and_the_index_for_its_files(tmp_path: Path) -> None:
    home = tmp_path / "cargo-home"
    home.mkdir()
    env = {"CARGO_HOME": str(home), "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path("~/.rustup").expanduser()))}
    with index() as port:
        (home / "config.toml").write_text(
            '[source.crates-io]\nreplace-with = "ours"\n'
            f'[source.ours]\nregistry = "sparse+http://127.0.0.1:{port}/index/"\n',
            "utf-8",
        )
        assert asked(env, tmp_path, "cargo", "rustc") >= {f"127.0.0.1:{port}", "files.example:443"}
    assert home / "config.toml" in registries.ask({"PATH": str(tmp_path), **env}, outside=ELSEWHERE).paths
    with (home / "config.toml").open("a", encoding="utf-8") as config:
        config.write('[registry]\ntoken = "secret"\n')
    assert registries.ask({"PATH": str(tmp_path), **env}, outside=ELSEWHERE).paths == frozenset()


@pytest.mark.parametrize(
    ("printed", "hosts"),
    [
        ("https://go.example,direct\nsum.go.example\n", {"go.example:443", "sum.go.example:443"}),
        ("https://a.example|https://b.example:8443,off\noff\n", {"a.example:443", "b.example:8443"}),
        ("direct\nsum.example+1a2b+KEY https://sums.example/x\n", {"sums.example:443"}),
        ("", set[str]()),
    ],
)
def test_what_go_says_is_understood(tmp_path: Path, printed: str, hosts: set[str]) -> None:
    answer = tmp_path / "answer"
    answer.write_text(printed, "utf-8")
    client = tmp_path / "go"
    client.write_text(f'#!/bin/sh\ntest "$*" = "env GOPROXY GOSUMDB" && exec /bin/cat {answer}\n', "utf-8")
    client.chmod(0o755)
    assert {str(host) for host in registries.ask({"PATH": str(tmp_path)}, outside=ELSEWHERE).hosts} == hosts


def test_nobody_there_and_nobody_answering_are_nothing(tmp_path: Path) -> None:
    client = tmp_path / "npm"
    client.write_text("#!/bin/sh\nexec /bin/sleep 60\n", "utf-8")
    client.chmod(0o755)
    assert registries.ask({"PATH": str(tmp_path)}, outside=ELSEWHERE, within_s=1) == registries.Registries()


def test_what_is_no_place_is_left_out(tmp_path: Path) -> None:
    words = [
        "direct",
        "off",
        "",
        "git+ssh://x.example/y",
        "https://",
        "file:///no/such",
        "relative/path",
        "http://[bad",
    ]
    assert registries.read([*words, str(tmp_path)]) == registries.Registries(paths=frozenset({tmp_path}))


def test_a_client_that_the_workspace_holds_is_not_asked(tmp_path: Path) -> None:
    workspace, outside = tmp_path / "workspace", tmp_path / "outside"
    workspace.mkdir()
    outside.mkdir()
    client = workspace / "go"
    client.write_text(f"#!/bin/sh\necho x >> {tmp_path}/ran\necho https://evil.example\n", "utf-8")
    client.chmod(0o755)
    (outside / "go").symlink_to(client)
    for path in (workspace, outside, f"{outside}{os.pathsep}{workspace}"):
        assert registries.ask({"PATH": str(path)}, outside=workspace) == registries.Registries()
    assert not (tmp_path / "ran").exists()


def test_a_run_asks_once_and_keeps_the_answer(tmp_path: Path) -> None:
    client = tmp_path / "go"
    env = {"PATH": str(tmp_path)}
    answers = []
    for host in ("one.example", "two.example"):
        client.write_text(f"#!/bin/sh\necho https://{host}\necho off\n", "utf-8")
        client.chmod(0o755)
        rules = [Egress(registries.WORD), Egress("named.example", (8443,))]
        answers.append(reach(rules, env, workspace=ELSEWHERE, kept=tmp_path / "kept.json"))
    assert answers[0] == answers[1]
    assert {str(host) for host in answers[0].hosts} == {"one.example:443", "named.example:8443"}
    assert answers[0].variables == {"GOPROXY": "https://one.example", "GOSUMDB": "off"}
