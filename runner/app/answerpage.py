"""The pages behind a link: GET shows a question and changes nothing, POST answers it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

from runner.app import rendering
from runner.app.answers import Answers, Person, Word
from runner.app.clock import SystemClock
from runner.app.links import Link, LinkKey
from runner.app.questions import Question
from runner.errors import NotFoundError, RefusedError, RunnerError, StateError

PREFIX = "/a/"
_LONGEST_FORM = 4_096
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
pre{{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid;padding:1rem}}
button{{font:inherit;padding:.5rem 1.5rem;margin-right:1rem}}</style>
<h1>{title}</h1>
{body}
</html>
"""
_FORM = """<form method="post">
<p><label>A note for the record<br><input name="note" maxlength="500" size="60"></label></p>
<p><button name="answer" value="approve">Approve</button><button name="answer" value="deny">Deny</button></p></form>
<p>You answer as <b>{person}</b>. This link answers once.</p>"""


class Pages:
    """What a request with a link gets: a status and a page."""

    def __init__(self, answers: Answers, key: LinkKey, mask: Callable[[str], str]) -> None:
        self._answers, self._key, self._mask = answers, key, mask

    def shown(self, text: str) -> tuple[HTTPStatus, str]:
        """The question a link is for. Nothing changes, however often it is looked at."""
        return self._guarded(text, self._question_page)

    def answered(self, text: str, form: str) -> tuple[HTTPStatus, str]:
        """The answer that a form gives."""
        fields = parse_qs(form, max_num_fields=8)
        word = fields.get("answer", [""])[0]
        if word not in {"approve", "deny"}:
            return HTTPStatus.BAD_REQUEST, _page("No answer", [_p("An answer is approve or deny.")])

        def record(link: Link, question: Question) -> tuple[HTTPStatus, str]:
            said = Word(approve=word == "approve", note=fields.get("note", [""])[0], link=link.token)
            told = self._answers.answer(question, Person(link.person, "link"), said)
            return HTTPStatus.OK, _page("Recorded", [_p(f"{word}: {told}."), _p(f"Approval {link.approval}.")])

        return self._guarded(text, record)

    def _guarded(self, text: str, give: Callable[[Link, Question], tuple[HTTPStatus, str]]) -> tuple[HTTPStatus, str]:
        try:
            link = self._key.read(text)
            return give(link, self._answers.of_link(link))
        except (RefusedError, NotFoundError) as error:
            return HTTPStatus.GONE, _page("No answer is taken", [_p(error.message)])
        except StateError:
            return HTTPStatus.SERVICE_UNAVAILABLE, _page("Try again later", [_p("The answer was not recorded.")])
        except RunnerError as error:
            return HTTPStatus.CONFLICT, _page("No answer is taken", [_p(error.message)])

    def _question_page(self, link: Link, question: Question) -> tuple[HTTPStatus, str]:
        now = SystemClock().now()
        lines = (*rendering.page(question.request, missing=question.tally(now).missing, now=now), "",
                 *rendering.facts(question.request))  # fmt: skip
        body = [
            f"<pre>{html.escape(self._mask(chr(10).join(lines)))}</pre>",
            _FORM.format(person=html.escape(link.person)),
        ]
        return HTTPStatus.OK, _page(f"Approval {question.request.approval}", body)


def _page(title: str, body: Iterable[str]) -> str:
    return _PAGE.format(title=html.escape(title), body="\n".join(body))


def _p(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def handler(pages: Pages) -> type[BaseHTTPRequestHandler]:
    """A handler of requests for these pages."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0  # whoever sends nothing holds no thread
        server_version, sys_version = "runner", ""

        def do_GET(self) -> None:
            self._give(*self._routed(pages.shown))

        def do_HEAD(self) -> None:
            status, page = self._routed(pages.shown)
            self._give(status, page, body=False)

        def do_POST(self) -> None:
            size = self.headers.get("Content-Length", "")
            if not size.isdecimal() or int(size) > _LONGEST_FORM:
                self.close_connection = True
                return self._give(HTTPStatus.BAD_REQUEST, _page("No answer", [_p("This is no form of ours.")]))
            form = self.rfile.read(int(size)).decode("utf-8", "replace")
            return self._give(*self._routed(lambda text: pages.answered(text, form)))

        def _routed(self, page: Callable[[str], tuple[HTTPStatus, str]]) -> tuple[HTTPStatus, str]:
            if not self.path.startswith(PREFIX):
                return HTTPStatus.NOT_FOUND, _page("Nothing here", [_p("Links begin with /a/.")])
            return page(self.path.removeprefix(PREFIX))

        def _give(self, status: HTTPStatus, page: str, *, body: bool = True) -> None:
            data = page.encode("utf-8", "replace")
            self.send_response(status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        # the signature is the standard library's
        def log_message(self, format: str, *_: object) -> None:  # noqa: A002  as above
            """Say nothing: an address with a link in it is a secret."""

    return Handler
