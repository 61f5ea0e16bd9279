"""Completion for fish, with what each word means beside it."""

from __future__ import annotations

from collections.abc import Iterator

from runner.cli.pages import Page, Parameter
from runner.cli.shells.values import Values, arguments, values, walked

_HEAD = """\
# fish completion for runner, made by `runner completion fish`

"""

_BODY = r"""
function __runner_words
    # the command that is being typed, then its arguments so far
    set -l words (commandline -opc)
    set -e words[1]
    set -l at
    set -l found
    set -l skip 0
    for word in $words
        if test $skip = 1
            set skip 0
        else if string match -qr -- '^-.*=' $word
            continue
        else if string match -q -- '-*' $word
            contains -- "$at $word" $__runner_valued; and set skip 1
        else if test (count $found) = 0; and contains -- (string trim -- "$at $word") $__runner_commands
            set at (string trim -- "$at $word")
        else
            set -a found $word
        end
    end
    echo $at
    set -q found[1]; and printf '%s\n' $found
end

function __runner_at --argument-names command place
    set -l words (__runner_words)
    test "$words[1]" = "$command"; or return 1
    test -z "$place"; or test $place = (math (count $words) - 1)
end

function __runner_asked --argument-names kind
    set -l program (string replace -r '^~/' "$HOME/" -- (commandline -opc)[1])
    type -q $program; and $program _complete $kind (__runner_words)[2] 2>/dev/null
end

function __runner_lead --argument-names lead
    set -l current (commandline -ct | string replace -r '^--[a-z-]+=' '')
    if string match -q -- "$lead*" $current
        __fish_complete_path (string replace -- $lead '' $current) | string replace -r '^' $lead
    else
        echo $lead
    end
end

"""


def script(root: Page) -> str:
    """The whole script."""
    pages = list(walked(root))
    commands = " ".join(_quoted(" ".join(one.words)) for one in pages if one.words)
    valued = " ".join(
        _quoted(f"{' '.join(page.words)} {flag}") for page in pages for one in page.options if one.value
        for flag in one.flags
    )  # fmt: skip
    lists = f"set -g __runner_commands {commands}\nset -g __runner_valued {valued}\n"
    lines = "\n".join(line for page in pages for line in _lines(root, page))
    return f"{_HEAD}{lists}{_BODY}complete -c runner -f\n{lines}\n"


def _lines(root: Page, page: Page) -> Iterator[str]:
    at = f"complete -c runner -n {_quoted(f'__runner_at {_quoted(chr(32).join(page.words))}')}"
    # fish shows what is stated last first
    for one in reversed(page.pages):
        here = _quoted(f"__runner_at {_quoted(' '.join(page.words))} 0")
        yield f"complete -c runner -n {here} -k -a {_quoted(one.words[-1])} -d {_quoted(one.line)}"
    for option in page.options:
        yield f"{at} {_option(root, page, option)} -d {_quoted(option.about)}"
        for flag in option.others:
            yield f"{at} -l {flag[2:]} -d {_quoted(option.about)}"
    for place, argument in arguments(page):
        condition = f"__runner_at {_quoted(' '.join(page.words))}{'' if place is None else f' {place}'}"
        if filled := _filled(values(root, page, argument)):
            yield f"complete -c runner -n {_quoted(condition)} {filled}"


def _option(root: Page, page: Page, one: Parameter) -> str:
    names = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in one.flags)
    if not one.value:
        return names
    filled = _filled(values(root, page, one))
    return f"{names} {filled or '-x'}" if filled.startswith("-x") or not filled else f"{names} -r {filled}"


def _filled(one: Values) -> str:
    """The words that complete a value. -k keeps their order: the newest run comes first."""
    if one.files == "*":
        return "-F"
    parts = (
        " ".join(one.words),
        f"(__runner_asked {one.asked})" if one.asked else "",
        f"(__fish_complete_suffix {one.files.removeprefix('*')})" if one.files else "",
        f"(__runner_lead {one.lead})" if one.lead else "",
    )
    stated = " ".join(part for part in parts if part)
    return f"-x -k -a {_quoted(stated)}" if stated else ""


def _quoted(text: str) -> str:
    inside = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{inside}'"
