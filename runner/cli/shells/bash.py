"""Completion for bash, from 3.2 (macOS) on; it needs no other package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runner.cli.pages import Page
from runner.cli.shells.values import Values, arguments, values, walked

_HEAD = """\
# bash completion for runner, made by `runner completion bash`
# shellcheck shell=bash

"""

_BODY = r"""
_runner_fill() { # what completes the word under the cursor, see the tables above
    local part rest name
    local IFS=';'
    for part in $1; do
        rest=${part#* }
        IFS=$' \t\n'
        case ${part%% *} in
        words)
            for name in $rest; do
                [[ $name == "$current"* ]] && COMPREPLY+=("$name")
            done
            ;;
        asked)
            while IFS=$'\t' read -r name _; do
                [[ $name == "$current"* ]] && COMPREPLY+=("$name")
            done < <("$program" _complete "$rest" "$first" 2>/dev/null)
            compopt -o nosort 2>/dev/null
            ;;
        files) _runner_files "$rest" '' ;;
        lead)
            if [[ $current == "$rest"* ]]; then
                _runner_files '*' "$rest"
            elif [[ $rest == "$current"* ]]; then
                COMPREPLY+=("$rest")
                compopt -o nospace 2>/dev/null
            fi
            ;;
        esac
    done
}

_runner_files() { # files that match $1, and directories; $2 stands before each
    local name
    compopt -o filenames 2>/dev/null
    while IFS= read -r name; do
        if [[ -d ${name/#\~\//$HOME/} ]]; then
            compopt -o nospace 2>/dev/null
            COMPREPLY+=("$2$name/")
        else
            # a pattern is meant
            # shellcheck disable=SC2053
            [[ $name == $1 ]] && COMPREPLY+=("$2$name")
        fi
    done < <(compgen -f -- "${current#"$2"}")
}

_runner() {
    local program=${COMP_WORDS[0]} command='' first='' expect='' reply='' lead='' glue='' only=''
    local current word i place=0
    local -a typed=()
    COMPREPLY=()
    # bash takes `replay:FILE` and `--model=NAME` apart
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $i -gt 0 && (-n $glue || $word == [:=]*) ]]; then
            typed[${#typed[@]} - 1]+=$word
        else
            typed+=("$word")
        fi
        if [[ $word == [:=] ]]; then glue=1; else glue=''; fi
    done
    for ((i = 1; i < ${#typed[@]} - 1; i++)); do
        word=${typed[i]}
        if [[ -n $expect ]]; then
            expect=''
        elif [[ -z $only && $word == -- ]]; then
            only=1
        elif [[ -z $only && $word == -* ]]; then
            [[ $word == *=* ]] && continue
            _runner_value "$command $word"
            expect=$reply
        else
            _runner_commands "$command"
            if [[ " $reply " == *" $word "* ]]; then
                command="$command${command:+ }$word"
            else
                [[ $place -eq 0 ]] && first=$word
                place=$((place + 1))
            fi
        fi
    done
    current=${typed[${#typed[@]} - 1]}
    word=${COMP_WORDS[COMP_CWORD]}
    [[ $word == [:=] ]] && word=''
    # what stands before the part bash will replace
    lead=${current%"$word"}
    if [[ -n $expect ]]; then
        _runner_fill "$expect"
    elif [[ -z $only && $current == --*=* ]]; then
        _runner_value "$command ${current%%=*}"
        local option=${current%%=*}=
        current=${current#*=}
        _runner_fill "$reply"
        COMPREPLY=("${COMPREPLY[@]/#/$option}")
    elif [[ -z $only && $current == -* ]]; then
        _runner_options "$command"
        _runner_fill "words $reply"
    else
        _runner_commands "$command"
        [[ -n $reply ]] && _runner_fill "words $reply"
        _runner_argument "$command" "$place"
        [[ -n $reply ]] && _runner_fill "$reply"
    fi
    [[ -n $lead ]] && COMPREPLY=("${COMPREPLY[@]#"$lead"}")
    return 0
}

complete -F _runner runner
"""


def script(root: Page) -> str:
    """The whole script."""
    pages = list(walked(root))
    tables = (
        _table("_runner_commands", ((_path(one), _inner(one)) for one in pages if one.pages)),
        _table("_runner_options", ((_path(one), _flags(one)) for one in pages)),
        _table("_runner_value", (row for one in pages for row in _valued(root, one))),
        _table("_runner_argument", (row for one in pages for row in _arguments(root, one)), subject="$1 $2"),
    )
    return f"{_HEAD}{chr(10).join(tables)}{_BODY}"


def _path(page: Page) -> str:
    return _quoted(" ".join(page.words))


def _inner(page: Page) -> str:
    return " ".join(one.words[-1] for one in page.pages)


def _flags(page: Page) -> str:
    return " ".join(flag for one in page.options for flag in (*one.flags, *one.others))


def _valued(root: Page, page: Page) -> Iterator[tuple[str, str]]:
    """The options that take a value, each by all its names."""
    command = " ".join(page.words)
    for one in page.options:
        if one.value:
            names = " | ".join(_quoted(f"{command} {flag}") for flag in one.flags)
            yield names, _told(values(root, page, one)) or "nothing"


def _arguments(root: Page, page: Page) -> Iterator[tuple[str, str]]:
    command = " ".join(page.words)
    for place, one in arguments(page):
        # the rest: whatever its number
        number = "*" if place is None else f"'{place}'"
        if told := _told(values(root, page, one)):
            yield f"{_quoted(f'{command} ')}{number}", told


def _told(one: Values) -> str:
    parts = (
        f"words {' '.join(one.words)}" if one.words else "",
        f"asked {one.asked}" if one.asked else "",
        f"files {one.files}" if one.files else "",
        f"lead {one.lead}" if one.lead else "",
    )
    return ";".join(part for part in parts if part)


def _table(name: str, rows: Iterable[tuple[str, str]], *, subject: str = "$1") -> str:
    cases = "".join(f"    {case}) reply={_quoted(told)} ;;\n" for case, told in rows)
    return f"{name}() {{\n    case \"{subject}\" in\n{cases}    *) reply='' ;;\n    esac\n}}\n"


def _quoted(text: str) -> str:
    inside = text.replace("'", "'\\''")
    return f"'{inside}'"
