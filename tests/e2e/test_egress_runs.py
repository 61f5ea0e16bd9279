"""Whom a run's commands reach: whom the policy names, through the proxy, and nobody else."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.contract.walled import needs_bubblewrap

pytestmark = needs_bubblewrap
DEFAULT = Path(__file__).parents[2] / "runner" / "policies" / "default.yaml"
FETCH = """\
import http.client, os, sys, urllib.parse
proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=20)
connection.set_tunnel(sys.argv[1], int(sys.argv[2]))
connection.request("GET", "/")
open(sys.argv[3], "wb").write(connection.getresponse().read())
"""
DONE = {"otherwise": True, "text": "Nothing more to do."}


@contextmanager
def server() -> Generator[int]:
    """A server of this machine, outside the walls."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made.server_port
        made.shutdown()


def fetched(runner, step: int, *words: str) -> dict[str, object]:
    arguments = {"argv": ["python3", "fetch.py", *words]}
    return {"iteration": 1, "step": step, "text": "", "tools": [{"name": "run", "arguments": arguments}]}


def under(runner, network: str) -> None:
    """Let the policy of the run be the default one, with this to say of the network."""
    path = runner.cwd.parent / "policy.yaml"
    path.write_text(f"{DEFAULT.read_text('utf-8')}\nnetwork:\n{network}", "utf-8")
    runner.env |= {"RUNNER_POLICY": str(path), "RUNNER_SANDBOX": "bubblewrap"}


def test_tools_reach_whom_the_policy_names_and_nobody_else(runner):
    runner.write("fetch.py", FETCH)
    runner.write("spec.md", "---\nchecks: ['grep hello a && test ! -e b']\n---\n# Fetch\n\nFetch it.\n")
    with server() as named, server() as other:
        under(runner, f"  egress: [{{host: localhost, ports: [{named}]}}]\n")
        model = runner.recording(
            fetched(runner, 1, "localhost", str(named), "a"), fetched(runner, 2, "localhost", str(other), "b"), DONE
        )
        done = runner("loop", "spec.md", "--model", model)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (one["body"] for one in runner.events("ToolFinished"))
    assert (first["ok"], second["ok"]) == (True, False)
    assert "403" in second["text"]


def test_without_a_word_of_the_policy_tools_have_no_way_out(runner):
    runner.write("fetch.py", FETCH)
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Fetch\n\nFetch it.\n")
    runner.env["RUNNER_SANDBOX"] = "bubblewrap"
    with server() as port:
        done = runner(
            "loop", "spec.md", "--model", runner.recording(fetched(runner, 1, "localhost", str(port), "a"), DONE)
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (only,) = runner.events("ToolFinished")
    assert "HTTPS_PROXY" in only["body"]["text"]
    assert not (runner.cwd / "a").exists()


def test_setup_reaches_whom_the_policy_names_and_its_refusals_are_said(runner):
    runner.write("fetch.py", FETCH)
    front = (
        "---\nchecks: ['grep hello a']\nsetup: [[python3, fetch.py, localhost, '{port}', a]]\n---\n# Fetch\n\nFetch.\n"
    )
    with server() as named, server() as other:
        under(runner, f"  setup: [{{host: localhost, ports: [{named}]}}]\n")
        runner.write("spec.md", front.format(port=named))
        done = runner("loop", "spec.md", "--model", runner.recording(DONE))
        assert done.returncode == 0, done.stdout + done.stderr
        assert runner.events("SetupFinished")[0]["body"]["sandbox"] == "bubblewrap"
        assert runner.events("ChecksFinished")[0]["body"]["sandbox"] == "bubblewrap"
        shown = json.loads(runner("show", "last", "--json").stdout)
        assert shown["sandbox"] == "bubblewrap"
        assert "reached under bubblewrap" in runner("show", "last").stdout
        runner.write("spec.md", front.format(port=other))
        refused = runner("loop", "spec.md", "--model", runner.recording(DONE))
    assert refused.returncode == 1
    assert f"localhost:{other} is not on the list of hosts that may be reached" in refused.stdout + refused.stderr
