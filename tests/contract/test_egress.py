"""The way out from behind the walls: who is let through, who is not, and that bytes arrive as they were sent."""

import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from runner.sandbox import forward
from runner.sandbox.proxy import Destination, Proxy, forbidden

MEGABYTES = bytes(range(256)) * 4096 * 3


@contextmanager
def echo() -> Generator[int]:
    """A server of loopback that sends back all it is sent."""

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                caller, _ = server.accept()
                threading.Thread(target=back, args=(caller,), daemon=True).start()

    def back(caller: socket.socket) -> None:
        with caller:
            while data := caller.recv(65_536):
                caller.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def said(caller: socket.socket, request: bytes) -> bytes:
    """What the proxy answers before anything else."""
    caller.settimeout(20)
    caller.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = caller.recv(4096)
        if not piece:
            break
        answer += piece
    return answer


def to(proxy: Proxy) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(proxy.path))
    return made


def through(caller: socket.socket, data: bytes) -> bytes:
    """Send it all, say that it was all, and take what comes back."""

    def send() -> None:
        caller.sendall(data)
        caller.shutdown(socket.SHUT_WR)

    threading.Thread(target=send, daemon=True).start()
    back = b""
    while piece := caller.recv(65_536):
        back += piece
    return back


def test_bytes_go_both_ways_unchanged_to_a_host_on_the_list(tmp_path: Path) -> None:
    with echo() as port, Proxy([Destination("localhost", port)], tmp_path) as proxy, to(proxy) as caller:
        answer = said(caller, b"CONNECT LocalHost:%d HTTP/1.1\r\nHost: x\r\n\r\nfirst" % port)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.partition(b"\r\n\r\n")[2] + through(caller, MEGABYTES) == b"first" + MEGABYTES


@pytest.mark.parametrize(
    "asked",
    [
        "localhost:{other}",
        "127.0.0.1:{port}",
        "[::1]:{port}",
        "2130706433:{port}",
        "0x7f.1:{port}",
        "elsewhere.invalid:{port}",
        "localhost.evil.invalid:{port}",
        "xlocalhost:{port}",
        "169.254.169.254:80",
    ],
)
def test_what_is_not_on_the_list_is_refused_and_named(tmp_path: Path, asked: str) -> None:
    with echo() as port, echo() as other, Proxy([Destination("localhost", port)], tmp_path) as proxy:
        wanted = asked.format(port=port, other=other)
        with to(proxy) as caller:
            answer = said(caller, f"CONNECT {wanted} HTTP/1.1\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert proxy.refused == [f"{wanted} is not on the list of hosts that may be reached"]


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET http://localhost/ HTTP/1.1\r\n\r\n",
        b"CONNECT localhost HTTP/1.1\r\n\r\n",
        b"CONNECT localhost:99999999 HTTP/1.1\r\n\r\n",
        b"CONNECT a\0b:443 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"x" * 20_000,
    ],
)
def test_what_is_no_request_to_connect_is_refused(tmp_path: Path, request_line: bytes) -> None:
    with Proxy([Destination("localhost", 443)], tmp_path) as proxy:
        with to(proxy) as caller:
            assert said(caller, request_line).startswith(b"HTTP/1.1 403 ")
        assert len(proxy.refused) == 1


def test_names_below_a_domain_are_allowed_and_no_others() -> None:
    below = Destination("*.packages.example", 443)
    assert [below.allows(name, 443) for name in ("a.packages.example", "a.b.packages.example")] == [True, True]
    others = ("packages.example", "evilpackages.example", "packages.example.x", "a.packages.example.x")
    assert not any(below.allows(name, 443) for name in others)
    assert not below.allows("a.packages.example", 80)


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("203.0.113.7", True),
        ("10.1.2.3", True),
        ("2001:db8::7", True),
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("0.0.0.0", False),
        ("::", False),
        ("169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_a_listed_name_that_leads_to_this_machine_or_to_a_clouds_metadata_is_refused(address: str, fine: bool) -> None:
    assert (forbidden(address, "packages.example") == "") is fine


def test_a_listed_name_of_this_machine_is_believed() -> None:
    assert [forbidden("127.0.0.1", "localhost"), forbidden("127.0.0.1", "127.0.0.1")] == ["", ""]
    assert forbidden("0.0.0.0", "localhost") != ""


def test_a_host_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with Proxy([Destination("localhost", port)], tmp_path) as proxy, to(proxy) as caller:
        said(caller, b"CONNECT localhost:%d HTTP/1.1\r\n\r\n" % port)
        assert "Connection refused" in proxy.refused[0]


def test_the_socket_is_this_users_alone_and_goes_away(tmp_path: Path) -> None:
    with Proxy([], tmp_path) as proxy:
        assert proxy.path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError), to(proxy):
        pass


def test_a_program_goes_through_the_forwarder_however_long_the_way_to_the_socket_is(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with echo() as port, Proxy([Destination("localhost", port)], deep) as proxy:
        inside = subprocess.Popen([sys.executable, "-I", "-S", forward.__file__, str(proxy.port), str(proxy.path)])
        try:
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", proxy.port)) as caller:
                    assert said(caller, b"CONNECT localhost:%d HTTP/1.1\r\n\r\n" % port).startswith(b"HTTP/1.1 200 ")
                    assert through(caller, MEGABYTES) == MEGABYTES
                    break
                assert inside.poll() is None
        finally:
            inside.kill()
            inside.wait()


def test_a_hundred_at_once_are_served(tmp_path: Path) -> None:
    with echo() as port, Proxy([Destination("localhost", port)], tmp_path) as proxy:
        done: list[bytes] = []

        def one(number: int) -> None:
            with to(proxy) as caller:
                said(caller, b"CONNECT localhost:%d HTTP/1.1\r\n\r\n" % port)
                done.append(through(caller, b"%d" % number))

        threads = [threading.Thread(target=one, args=(number,)) for number in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(done, key=int) == [b"%d" % number for number in range(100)]
