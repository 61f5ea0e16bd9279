"""Completion for zsh, with what each word means beside it."""

from __future__ import annotations

from collections.abc import Iterator

from runner.cli.pages import Page, Parameter
from runner.cli.shells.values import Values, arguments, values, walked

_HEAD = """\
#compdef runner
# zsh completion for runner, made by `runner completion zsh`

"""

_BODY = r"""
_runner_asked() { # KIND: names that runner itself knows, in its order
    local -a found
    local line word run
    for word in ${words[2,CURRENT-1]}; do
        [[ $word != -* ]] && run=$word && break
    done
    for line in ${(f)"$(${~_runner_program} _complete $1 $run 2>/dev/null)"}; do
        found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    _describe -V -t $1 $1 found
}

_runner_lead() { # WORD: WORD with a file's name at once after it
    if compset -P $1; then
        _files
    else
        compadd -S '' -- $1
    fi
}

# loaded by the completion system it is the function's body; sourced, it registers itself
if [[ $funcstack[1] == _runner ]]; then
    _runner "$@"
elif (( $+functions[compdef] )); then
    compdef _runner runner
fi
"""


def script(root: Page) -> str:
    """The whole script."""
    functions = [_function(root, one) for one in walked(root)]
    mixed = dict.fromkeys(
        found
        for page in walked(root)
        for one in (*page.options, *page.arguments)
        if len(_actions(found := values(root, page, one))) > 1
    )
    return f"{_HEAD}{chr(10).join((*functions, *(_alternatives(one) for one in mixed)))}{_BODY}"


def _name(page: Page) -> str:
    return "_".join(("_runner", *page.words)) if page.words else "_runner"


def _function(root: Page, page: Page) -> str:
    """One function for each command."""
    specs = [*(spec for one in page.options for spec in _option(root, page, one)), *_arguments(root, page)]
    lines = " \\\n".join(f"        {spec}" for spec in specs)
    if not page.pages:
        return f"{_name(page)}() {{\n    _arguments -s -S \\\n{lines}\n}}\n"
    start = "    typeset -g _runner_program=$words[1]\n" if not page.words else ""
    commands = "".join(f"            {_quoted(f'{one.words[-1]}:{one.line}')}\n" for one in page.pages)
    cases = "".join(f"            {one.words[-1]}) {_name(one)} ;;\n" for one in page.pages)
    return (
        f"{_name(page)}() {{\n"
        f"    local curcontext=$curcontext state line\n    typeset -A opt_args\n{start}"
        f"    _arguments -C -S \\\n{lines} \\\n        '1: :->command' \\\n        '*:: :->rest' && return\n"
        f"    case $state in\n    command)\n        local -a commands=(\n{commands}        )\n"
        f"        _describe -V -t commands command commands\n        ;;\n"
        f"    rest)\n        curcontext=${{curcontext%:*:*}}:{'-'.join(('runner', *page.words))}-$words[1]:\n"
        f"        case $words[1] in\n{cases}        esac\n        ;;\n    esac\n}}\n"
    )


def _option(root: Page, page: Page, one: Parameter) -> Iterator[str]:
    """An option by each of its names; one of them excludes the others."""
    every = (*one.flags, *one.others)
    away = f"({' '.join(every)})" if not one.many else "*"
    value = f":{_escaped(one.value)}:{_action(values(root, page, one))}" if one.value else ""
    for flag in every:
        glue = ("=" if flag.startswith("--") else "+") if value else ""
        yield _quoted(f"{away}{flag}{glue}[{_escaped(one.about)}]{value}")


def _arguments(root: Page, page: Page) -> Iterator[str]:
    for place, one in arguments(page):
        lead = "*" if place is None else ":"
        yield _quoted(f"{lead}:{_escaped(one.value)}:{_action(values(root, page, one))}")


def _action(one: Values) -> str:
    """What completes a value. A blank in front keeps zsh from putting options of its own before our words."""
    actions = _actions(one)
    action = actions[0] if len(actions) == 1 else _mixed(one) if actions else ""
    return action if action.startswith(("(", "_files")) else f" {action}"


def _actions(one: Values) -> list[str]:
    actions = (
        f"({' '.join(one.words)})" if one.words else "",
        f"_runner_asked {one.asked}" if one.asked else "",
        "" if not one.files else "_files" if one.files == "*" else f'_files -g "{one.files}(-.)"',
        f"_runner_lead {one.lead}" if one.lead else "",
    )
    return [action for action in actions if action]


def _mixed(one: Values) -> str:
    """The function for values of several kinds."""
    return "_".join(("_runner", *one.words, one.asked, "or", "more"))


def _alternatives(one: Values) -> str:
    lines = "".join(f"    {action} && done=0\n" for action in _actions(one)[1:])
    words = _actions(one)[0]
    first = f"compadd -- {words[1:-1]}" if words.startswith("(") else words
    return f"{_mixed(one)}() {{\n    local done=1\n    {first} && done=0\n{lines}    return done\n}}\n"


def _escaped(text: str) -> str:
    for mark in "\\[]:":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("`", "\\`")


def _quoted(text: str) -> str:
    inside = text.replace("'", "'\\''")
    return f"'{inside}'"
