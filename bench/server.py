"""A model provider that answers at once: Chat Completions and Messages on loopback, for the benchmark's contenders.

A process of its own. A reply depends only on how many assistant turns the request holds: so many commands are asked
for, then comes the last word. Beside answering it measures: when a request came, how much CPU its client had used by
then, how much memory. The client's CPU is read from its process-wide CPU clock (all threads, those that ended too;
children aside), at the moment the whole body has been read, when the client does nothing but wait.

Commands on standard input, a JSON object a line: `add` a scenario, name its `pid`, take its `samples`. Ends with it.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
TURNS = (b'"role":"assistant"', b'"role": "assistant"')
STREAMED = (b'"stream":true', b'"stream": true')
TOKENS_PER_BYTE = 4


@dataclass
class Sample:
    """One request: times on the monotonic clock, ns; CPU and memory of its client (-1: not known)."""

    turns: int
    came: int
    read: int
    cpu: int
    peak_kb: int
    bytes: int
    sent: int = 0


@dataclass
class Scenario:
    """How one client is answered. `command` has `{n}` for the step's number; `last` is the final command, if any.

    The reply after `long_at` turns has `words` words, each an event of its own.
    """

    key: str
    steps: int
    tool: str = "shell"
    command: str = "echo step {n} >> f"
    last: str = ""
    word: str = "<promise>COMPLETE</promise>"
    hang_at: int = -1
    long_at: int = -1
    words: int = 0
    pid: int = 0
    samples: list[Sample] = field(default_factory=list)

    def reply(self, turns: int) -> tuple[str, str]:
        """The text and the command (none: "") of the reply after so many turns."""
        if turns < self.steps:
            text = "word " * self.words if turns == self.long_at else f"Step {turns + 1}."
            return text, self.command.format(n=turns + 1)
        return ("Done.", self.last) if self.last else (f"All is done.\n{self.word}", "")


def cpu_ns(pid: int) -> int:
    """CPU time of a process, all of its threads: Linux numbers the CPU clock of a process from its id."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return -1


def peak_kb(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/status").read_bytes().partition(b"VmHWM:")[2].split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return -1


class Server:
    """Listens, one thread for each connection."""

    def __init__(self) -> None:
        self.scenarios: dict[str, Scenario] = {}
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.socket.getsockname()[1]

    def serve(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            with connection:
                while self._answer(connection):
                    pass
        except OSError:
            pass  # a client that was killed is part of the measurement

    def _answer(self, connection: socket.socket) -> bool:
        data = connection.recv(65536)
        came = time.monotonic_ns()
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return False
            data += more
        head, _, begun = data.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if length is None:
            connection.sendall(b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\n\r\n")
            return True
        body = bytearray(int(length[1]))
        body[: len(begun)] = begun
        view, at = memoryview(body), len(begun)
        while at < len(body):
            if not (got := connection.recv_into(view[at:])):
                return False
            at += got
        scenario = self.scenarios[head.split(b"/", 2)[1].decode()]
        read = time.monotonic_ns()
        turns = sum(body.count(mark) for mark in TURNS)
        ends = turns in {0, scenario.steps} or turns == scenario.hang_at
        peak = peak_kb(scenario.pid) if scenario.pid and ends else -1
        sample = Sample(turns, came, read, cpu_ns(scenario.pid) if scenario.pid else -1, peak, len(body))
        scenario.samples.append(sample)
        if turns == scenario.hang_at:
            scenario.hang_at = -1
            connection.recv(1)  # until whoever kills the client has done so
            return False
        streamed = any(mark in body for mark in STREAMED)
        if b"/messages" in head.split(b"\r\n", 1)[0]:
            answer = messages(scenario, turns, len(body))
        else:
            answer = (stream if streamed else whole)(scenario, turns, len(body))
        connection.sendall(answer)
        sample.sent = time.monotonic_ns()
        return True


def parts(scenario: Scenario, turns: int, size: int) -> tuple[str, list[dict], str, dict]:
    """Text, tool calls, finish reason and usage of one reply."""
    text, command = scenario.reply(turns)
    usage = {"prompt_tokens": size // TOKENS_PER_BYTE, "completion_tokens": 20}
    usage["total_tokens"] = sum(usage.values())
    if not command:
        return text, [], "stop", usage
    function = {"name": scenario.tool, "arguments": json.dumps({"command": command})}
    return text, [{"id": f"call_{turns + 1}", "type": "function", "function": function}], "tool_calls", usage


def whole(scenario: Scenario, turns: int, size: int) -> bytes:
    """A reply in one piece."""
    text, calls, finish, usage = parts(scenario, turns, size)
    message = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
    body = json.dumps(
        {
            "id": f"chatcmpl-{turns}",
            "object": "chat.completion",
            "created": 1,
            "model": "bench",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": usage,
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def stream(scenario: Scenario, turns: int, size: int) -> bytes:
    """A reply in events: role, text, the call's name, its arguments, the finish, the usage."""
    text, calls, finish, usage = parts(scenario, turns, size)
    deltas: list[dict] = [{"role": "assistant", "content": ""}, *({"content": part} for part in spoken(text))]
    for call in calls:
        function = call["function"]
        deltas += [
            {"tool_calls": [{"index": 0, **call, "function": {**function, "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": function["arguments"]}}]},
        ]
    shared = {"id": f"chatcmpl-{turns}", "object": "chat.completion.chunk", "created": 1, "model": "bench"}
    events: list[dict] = [
        {**shared, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    events.append({**shared, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    events.append({**shared, "choices": [], "usage": usage})
    lines = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    return chunked([*lines, b"data: [DONE]\n\n"])


def spoken(text: str) -> list[str]:
    """A text as it comes: a short one at once, a long one word by word."""
    words = text.split(" ")
    return [text] if len(words) < 20 else [f"{word} " for word in words[:-1]]


def chunked(lines: list[bytes]) -> bytes:
    """A streamed answer, a chunk for each event."""
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in lines)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + pieces + b"0\r\n\r\n"


def messages(scenario: Scenario, turns: int, size: int) -> bytes:
    """A reply of the Messages API in events: its blocks, the reason it ended, the usage."""
    text, command = scenario.reply(turns)
    usage = {"input_tokens": size // TOKENS_PER_BYTE, "output_tokens": 1}
    message = {"id": f"msg_{turns}", "type": "message", "role": "assistant", "model": "bench", "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": usage}  # fmt: skip
    events: list[dict] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": part}}
            for part in spoken(text)
        ),
        {"type": "content_block_stop", "index": 0},
    ]
    if command:
        use = {"type": "tool_use", "id": f"toolu_{turns + 1}", "name": scenario.tool, "input": {}}
        given = {"type": "input_json_delta", "partial_json": json.dumps({"command": command})}
        events += [
            {"type": "content_block_start", "index": 1, "content_block": use},
            {"type": "content_block_delta", "index": 1, "delta": given},
            {"type": "content_block_stop", "index": 1},
        ]
    ended = {"stop_reason": "tool_use" if command else "end_turn", "stop_sequence": None}
    events += [
        {"type": "message_delta", "delta": ended, "usage": {**usage, "output_tokens": 20}},
        {"type": "message_stop"},
    ]
    return chunked([f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events])


def main() -> None:
    """Say the port, then obey until standard input ends."""
    server = Server()
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.port, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        match order.pop("do"):
            case "add":
                server.scenarios[order["key"]] = Scenario(**order)
                answer: object = True
            case "set":
                for name, value in order["values"].items():
                    setattr(server.scenarios[order["key"]], name, value)
                answer = True
            case "samples":
                answer = [asdict(sample) for sample in list(server.scenarios[order["key"]].samples)]
            case "count":
                answer = len(server.scenarios[order["key"]].samples)
            case "drop":
                del server.scenarios[order["key"]]
                answer = True
            case other:
                answer = f"no such order: {other}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
