"""The scripted provider as a program: what it billed is on disk, whatever happens to it or its clients."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.errors import LostError
from runner.models.openai_chat import OpenAIChat
from runner.ports import Interrupt, UserText
from runner.testing.provider import ScriptedProvider, read_ledger
from runner.testing.script import Fault, Script
from runner.values import CallId


def start(folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], str]:
    port_file = folder / "port"
    argv = [sys.executable, "-m", "runner.testing.provider", "--port-file", str(port_file)]
    process = subprocess.Popen([*argv, "--ledger", str(folder / "ledger"), *options])
    deadline = time.monotonic() + 30
    while not port_file.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process, f"http://127.0.0.1:{port_file.read_text().strip()}/v1"


def send(url: str, *, text: str = "Iteration 3\nGo.") -> int:
    chat = OpenAIChat("openai/gpt-5", base_url=url, api_key=None, max_output=100, timeout_s=20, idle_s=10)
    body = chat.body([chat.encode(UserText(text))], 100)
    return chat.complete(CallId(1, 1, 1), body, interrupt=Interrupt(), on_text=lambda _: None).usage.output_tokens


def test_as_a_program_it_bills_on_disk_before_it_answers_and_survives_its_own_end(tmp_path: Path):
    process, url = start(tmp_path, "--seed", "5", "--random-usage", "--faults", "none,drop")
    try:
        output = send(url)
        with pytest.raises(LostError):
            send(url)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    first, second = read_ledger(tmp_path / "ledger")
    assert (first["number"], first["iteration"], first["step"], first["fault"]) == (1, 3, 1, "")
    usage = first["usage"]
    assert isinstance(usage, dict)
    assert usage["output_tokens"] == output
    assert second["fault"] == "drop"
    assert int(str(second["billed_nano_usd"])) > 0


def test_it_ends_cleanly_when_asked(tmp_path: Path):
    process, _ = start(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_clients_that_vanish_leave_it_serving():
    with ScriptedProvider(Script(seed=1)) as provider:
        body = json.dumps({"model": "gpt-5", "max_completion_tokens": 5, "stream": True, "messages": []}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
        for sent in (head, head + body[:10], head + body):
            with socket.create_connection(("127.0.0.1", provider.port)) as client:
                client.sendall(sent)
        assert provider.wait_for(1)
        assert send(provider.url) >= 0


def test_without_streaming_the_whole_reply_comes_at_once():
    with ScriptedProvider(Script(seed=1)) as provider:
        body = json.dumps({"model": "gpt-5", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        with socket.create_connection(("127.0.0.1", provider.port)) as client:
            client.sendall(head % len(body) + body)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
    reply = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["prompt_tokens"] <= len(body)


def test_a_script_decides_the_same_again():
    script = Script(seed=9, fault_rate=0.5)
    faults = [script.fault(number) for number in range(1, 200)]
    assert faults == [script.fault(number) for number in range(1, 200)]
    assert 60 < len([fault for fault in faults if fault]) < 140
    assert Fault.DROP in faults
