"""Flags and subcommands of a program's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.policy.characters import names

_GIT_LONE = (
    "-p --paginate -P --no-pager --bare --no-replace-objects --no-lazy-fetch --no-optional-locks --no-advice "
    "--literal-pathspecs --glob-pathspecs --noglob-pathspecs --icase-pathspecs --version --help -v -h"
)
_KUBE = "-n --namespace --context --kubeconfig -s --server --cluster --user --token --as --as-group"
_VALUED: Mapping[str, str] = {
    "apt": "-o -c -t -a",
    "apt-get": "-o -c -t -a",
    "aws": "--profile --region --output --endpoint-url --query --color --ca-bundle --cli-read-timeout",
    "cargo": "--color --config -C -Z",
    "docker": "-H --host -c --context --config -l --log-level --tlscacert --tlscert --tlskey",
    "gcloud": "--project --account --configuration --format --verbosity",
    "git": "-C -c --git-dir --work-tree --namespace --config-env --super-prefix --attr-source",
    "go": "-C",
    "helm": "--kube-context " + _KUBE,
    "hg": "-R --repository --cwd --config",
    "kubectl": _KUBE,
    "npm": "--prefix -C -w --workspace --userconfig --loglevel",
    "pip": "--log --proxy --retries --timeout --cert --client-cert --cache-dir --python",
    "pip3": "--log --proxy --retries --timeout --cert --client-cert --cache-dir --python",
    "pnpm": "-C --dir -F --filter",
    "podman": "-H --url --connection -c --log-level --root --runroot",
    "poetry": "-C --directory -P --project",
    "systemctl": "-H --host -M --machine -t --type -p --property -o --output -n --lines --root",
    "tmux": "-L -S -f -c",
    "uv": "--directory --project --color --cache-dir --config-file --python",
    "yarn": "--cwd",
}
_LONE: Mapping[str, str] = {
    "apt": "-y --yes -q -qq -s",
    "apt-get": "-y --yes -q -qq -s",
    "cargo": "-q --quiet -v -vv --verbose --locked --offline --frozen",
    "git": _GIT_LONE,
    "npm": "-g --global -s --silent -q --quiet",
    "pip": "-q --quiet -v --verbose --no-input --disable-pip-version-check --isolated --no-color",
    "pip3": "-q --quiet -v --verbose --no-input --disable-pip-version-check --isolated --no-color",
    "pnpm": "-r --recursive -w --workspace-root -s --silent",
    "poetry": "-n --no-interaction -q --quiet -v --no-ansi --no-plugins",
    "systemctl": "--user --system --no-pager -q --quiet --no-block --now -f --force",
    "uv": "-q --quiet -v --verbose -n --no-cache --offline --no-progress",
}
_WITH_VALUE = {name: names(text) for name, text in _VALUED.items()}
_WITHOUT = {name: names(text) for name, text in _LONE.items()}


def flags_of(argv: Sequence[str]) -> tuple[str, ...]:
    """Every flag the words may be read as, before a lone `--`: `-rf` gives -rf, -r and -f; `--a=b` gives --a."""
    found: dict[str, None] = {}
    for word in argv[1:]:
        if word == "--":
            break
        if len(word) < 2 or word[0] != "-":
            continue
        flag = word.partition("=")[0]
        if len(flag) < 2:
            continue
        found[flag] = None
        if flag[1] != "-":
            found.update((f"-{letter}", None) for letter in word[1:] if letter != "=")
    return tuple(found)


def subcommands_of(argv: Sequence[str]) -> tuple[str, ...]:
    """The words that may be the subcommand: one where that is certain, several where an unknown option precedes."""
    name = argv[0].rpartition("/")[2] if argv else ""
    valued, lone = _WITH_VALUE.get(name, frozenset[str]()), _WITHOUT.get(name, frozenset[str]())
    words = iter(argv[1:])
    for word in words:
        if word == "--":
            continue
        if not word.startswith("-") or word == "-":
            return (word,)
        option, equals, _ = word.partition("=")
        if word in valued:
            next(words, "")
        elif (equals and (option in valued or option.startswith("--"))) or word in lone:
            continue
        else:
            # an option nobody told us of: it may take the next word or not
            rest = [other for other in words if not other.startswith("-")]
            return tuple(rest)
    return ()
