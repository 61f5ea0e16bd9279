"""`runner approvals serve` and `link`: people who can prove who they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runner.app.serving import Place
    from runner.notify.webhook import Webhook

SECRET = "RUNNER_APPROVALS_SECRET"
SOCKET = "RUNNER_APPROVALS_SOCKET"


def serve(
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where links are answered; port 0 takes any.")
    ] = "127.0.0.1:8733",
    url: Annotated[str, typer.Option("--url", metavar="URL", help="How links begin, behind a proxy with TLS.")] = "",
    socket: Annotated[
        str, typer.Option("--socket", metavar="PATH", help="The Unix socket, where others can reach it.")
    ] = "",
    webhook: Annotated[
        list[str] | None,
        typer.Option("--webhook", metavar="URL", help="Send what waits as signed JSON, each person's link apart."),
    ] = None,
    slack: Annotated[
        list[str] | None,
        typer.Option("--slack", metavar="URL", help="Send what waits as a message of Slack's form, without links."),
    ] = None,
) -> int:
    """Take approvals from people who prove who they are.

    Two doors. A Unix socket: the kernel says which OS user asks, and `runner approvals` uses it by itself
    (RUNNER_APPROVALS_SOCKET names another). One-time links: signed, for one person, one question and its time; opening
    one shows the question and changes nothing, the button answers. Nobody approves what their own run asks unless its
    gate says so. Serves until it is stopped.

    --webhook sends every question as JSON, signed with RUNNER_APPROVALS_SECRET (HMAC-SHA256), once for each person
    with that person's link; again at half of its time. Addresses may also stand in RUNNER_APPROVALS_WEBHOOK and
    RUNNER_APPROVALS_SLACK: a command line is seen by every user of this machine.

    Example:
      runner approvals serve --socket /run/runner/approvals.sock
    """
    import signal
    import threading

    from runner.app import reach, serving
    from runner.cli.output import say

    access, _ = reach.reach(os.environ, create=True)
    secret = os.environ.get(SECRET, "").encode()
    programs = _hooks(webhook, "RUNNER_APPROVALS_WEBHOOK", secret)
    chats = _hooks(slack, "RUNNER_APPROVALS_SLACK", b"")
    _refuse_unsigned(programs)
    place = _place(listen, url, socket, serving.socket_of(access.state))
    stop = threading.Event()

    def end(_number: int, _frame: object) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with serving.serving(access, place, programs=programs, chats=chats) as served:
        say(f"links   {served.url}/a/…")
        say(f"socket  {served.socket or 'none: this system does not say who asks at one'}")
        say(*(f"tells   {hook.host}" for hook in (*programs, *chats)))
        _flush()
        served.work(stop)
    return 0


def link(
    approval: Annotated[str, typer.Argument(metavar="APPROVAL", help="Its id, the start of one, or `last`.")],
    person: Annotated[str, typer.Argument(metavar="PERSON", help="Who answers with it, as the policy's group says.")],
    url: Annotated[str, typer.Option("--url", metavar="URL", help="How links begin, as `serve` says.")] = "",
) -> int:
    """Print a one-time link for one person, to be handed over by hand.

    It is answered by `runner approvals serve`, once, until the question's time is over. Whoever holds it is taken for
    that person: give it to nobody else.

    Example:
      runner approvals link a-12 alice
    """
    from runner.app import reach, serving
    from runner.app.links import fresh
    from runner.app.questions import Questions
    from runner.cli.output import say
    from runner.errors import RefusedError

    access, _ = reach.reach(os.environ)
    question = Questions(access.database).find(approval)
    if person not in question.people:
        among = ", ".join(question.people) or "nobody: its gates name no one"
        raise RefusedError(f"{person} cannot answer this", hint=f"those who can: {among}")
    request = question.request
    made = fresh(
        run=question.run,
        approval=request.approval,
        action=request.decision.action,
        person=person,
        until=request.expires_at,
    )
    base = url.rstrip("/") or f"http://127.0.0.1:{serving.PORT}"
    say(f"{base}/a/{serving.key_of(access.state).sign(made)}")
    return 0


def _place(listen: str, url: str, socket: str, usual: Path) -> Place:
    from runner.app.serving import Place
    from runner.errors import ConfigError

    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"--listen {listen}: not a host and a port", hint="--listen 127.0.0.1:8733")
    where = Path(socket).absolute() if socket else usual
    return Place(socket=where, host=host.strip("[]"), port=int(port), url=url)


def _hooks(typed: list[str] | None, variable: str, secret: bytes) -> tuple[Webhook, ...]:
    from runner.notify.webhook import Webhook

    return tuple(Webhook(url=one, secret=secret) for one in (*(typed or ()), *os.environ.get(variable, "").split()))


def _refuse_unsigned(hooks: tuple[Webhook, ...]) -> None:
    from runner.errors import ConfigError

    if hooks and not hooks[0].secret:
        msg = "a webhook that is not signed could come from anybody"
        raise ConfigError(msg, hint=f"give {SECRET} to this command and to the receiver: openssl rand -hex 32")


def _flush() -> None:
    import sys

    sys.stdout.flush()


# ---- the other side: what the commands of people ask a server ------------------------------------------------


def asked(request: dict[str, object], *, elsewhere: bool = False) -> dict[str, object] | None:
    """What a server of approvals says, where one serves; None where none does.

    `elsewhere`: only the one that RUNNER_APPROVALS_SOCKET names, whose state directory may be closed to this user.
    """
    from runner.app import reach, serving
    from runner.app.socketside import through
    from runner.config import load
    from runner.errors import StateError

    named = os.environ.get(SOCKET, "")
    if not named and elsewhere:
        return None
    path = Path(named) if named else serving.socket_of(reach.state_of(load(os.environ)))
    reply = through(path, request)
    if reply is None and named:
        raise StateError(f"nobody serves approvals at {named}", hint="runner approvals serve")
    return None if reply is None else dict(reply)
