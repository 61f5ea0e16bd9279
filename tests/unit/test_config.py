"""Every setting knows where it came from, and nothing the user misspelt is passed over."""

import os
import re
import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Literal, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.app.plan import Chosen
from runner.config import Flags, Settings, env_file, load, state_dir, tool_env, workspace_keys
from runner.config.dotenv import parse
from runner.config.place import network_fs
from runner.config.providers import KEYS as SERVER_KEYS
from runner.config.settings import VARIABLES
from runner.config.userfile import KEYS, example
from runner.errors import ConfigError, StateError
from runner.models.catalog import Choice
from runner.models.keys import FOREIGN_KEYS, KNOWN_KEYS, SUPPORTED_KEYS
from runner.models.server import Server
from runner.pricing.book import builtin
from runner.pricing.cost import Asks

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "config.md"

FULL = """\
# mine
model = "openai/one"
prices = "/p.toml"
project = "shop"
state_dir = "/s"
unattended = true
worktree = true
secrets = ["DB_PASSWORD"]
on_stop = ["notify-send", "runner"]
on_park = ["page"]
min_output = 512
max_output = 8_000
budget_wait = "5m"

[tools]
env = ["CARGO_HOME"]
"""

CALLS = """\
rate_wait = "1m"
patience = "2h"
idle_timeout = "30s"
call_timeout = 90
thinking = 8_000
cache = "1h"
service = "flex"
geo = "us"
policy = "overnight"
sandbox = "landlock"
sandbox_user = "agent"
"""

SERVERS = """\
models = ["anthropic/claude-opus-5", "desk/llama"]
[providers.desk]
base_url = "http://127.0.0.1:11434/v1/"
local = true
models."llama" = { context = 8192, max_output = 2048, as_of = 2026-11-01 }

[providers.glm]
base_url = "https://glm.test/v4"
key = "ZAI_API_KEY"

[providers.glm.models."glm-5.2"]
input = 1.4
output = "4.4"

[providers.mine]
base_url = "https://mine.test"
key = "RUNNER_KEY_MINE"
api = "messages"
local = false
[providers.mine.models.m]
input = "0"
"""


BUILT_IN = {
    "openai_base_url", "rate_wait_s", "patience_s", "idle_timeout_s", "call_timeout_s", "thinking", "cache",
    "service", "geo", "models", "providers", "policy", "sandbox", "sandbox_user",
}  # fmt: skip


def written(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "config.toml"
    path.write_text(text, "utf-8")
    return {"RUNNER_CONFIG": str(path)}


def shown(settings: Settings) -> dict[str, tuple[object, str]]:
    return {name: (value, source) for name, value, source in settings.shown()}


# ---- settings --------------------------------------------------------------------------------------------


def test_without_any_word_everything_is_built_in(tmp_path: Path) -> None:
    settings = load(written(tmp_path, ""))
    assert {source for _, _, source in settings.shown()} == {"built-in"}
    assert (settings.min_output.value, settings.max_output.value, settings.budget_wait_s.value) == (1024, 16384, 600)
    assert settings.model.value is None
    assert settings.state_dir.value.name == "runner"


def test_the_users_file_sets_every_key(tmp_path: Path) -> None:
    environ = written(tmp_path, CALLS + FULL)
    source = environ["RUNNER_CONFIG"]
    assert shown(load(environ)) == {
        "model": ("openai/one", source),
        "prices": (Path("/p.toml"), source),
        "project": ("shop", source),
        "state_dir": (Path("/s"), source),
        "unattended": (True, source),
        "worktree": (True, source),
        "tools_env": (("CARGO_HOME",), source),
        "secrets": (("DB_PASSWORD",), source),
        "on_stop": (("notify-send", "runner"), source),
        "on_park": (("page",), source),
        "min_output": (512, source),
        "max_output": (8000, source),
        "budget_wait_s": (300, source),
        "rate_wait_s": (60, source),
        "patience_s": (7200, source),
        "idle_timeout_s": (30, source),
        "call_timeout_s": (90, source),
        "thinking": ("8000", source),
        "cache": ("1h", source),
        "service": ("flex", source),
        "geo": ("us", source),
        "policy": ("overnight", source),
        "sandbox": ("landlock", source),
        "sandbox_user": ("agent", source),
        "models": ((), "built-in"),
        "providers": ({}, "built-in"),
        "openai_base_url": (None, "built-in"),
    }


def test_a_setting_of_the_file_names_its_line(tmp_path: Path) -> None:
    environ = written(tmp_path, FULL)
    found = load({**environ, "RUNNER_MODEL": "openai/two"}, flags=Flags(unattended=False)).named()
    path = environ["RUNNER_CONFIG"]
    assert {name: setting.place for name, setting in found.items()} == {
        "model": "RUNNER_MODEL",
        "prices": f"{path}:3",
        "project": f"{path}:4",
        "state_dir": f"{path}:5",
        "unattended": "flag",
        "worktree": f"{path}:7",
        "tools_env": f"{path}:16",
        "secrets": f"{path}:8",
        "on_stop": f"{path}:9",
        "on_park": f"{path}:10",
        "min_output": f"{path}:11",
        "max_output": f"{path}:12",
        "budget_wait_s": f"{path}:13",
    } | dict.fromkeys(BUILT_IN, "built-in")


# ---- models, and servers of one's own ----------------------------------------------------------------------


def test_a_list_of_models_stands_where_one_does_and_the_later_source_wins_whichever_it_names(tmp_path: Path) -> None:
    environ = written(tmp_path, SERVERS)
    path = environ["RUNNER_CONFIG"]

    def models(
        environ: dict[str, str], spec: str | tuple[str, ...] | None = None, flag: str | None = None
    ) -> tuple[str | None, str, tuple[str, ...]]:
        one, many = (spec, ()) if isinstance(spec, str) else (None, spec or ())
        found = load(environ, spec_model=one, spec_models=many, flags=Flags(model=flag))
        return found.model.value, found.model.place, found.models.value

    mine = ("anthropic/claude-opus-5", "desk/llama")
    assert models(environ) == (mine[0], f"{path}:1", mine)
    assert models({**environ, "RUNNER_MODEL": "openai/two"}) == ("openai/two", "RUNNER_MODEL", ())
    assert models({**environ, "RUNNER_MODEL": "openai/two"}, ("a/b", "c/d")) == ("a/b", "spec", ("a/b", "c/d"))
    assert models(environ, "openai/four") == ("openai/four", "spec", ())
    assert models(environ, ("a/b", "c/d"), "openai/five") == ("openai/five", "flag", ())


def test_servers_are_read_with_their_prices_and_lines(tmp_path: Path) -> None:
    environ = written(tmp_path, SERVERS)
    settings = load(environ)
    assert settings.providers.value == {
        "desk": Server(name="desk", base_url="http://127.0.0.1:11434/v1", local=True),
        "glm": Server(name="glm", base_url="https://glm.test/v4", key="ZAI_API_KEY"),
        "mine": Server(name="mine", base_url="https://mine.test", key="RUNNER_KEY_MINE", api="messages"),
    }
    path = environ["RUNNER_CONFIG"]
    assert settings.server_lines == {"desk": f"{path}:2", "glm": f"{path}:7", "mine": f"{path}:15"}
    sizes = {"context": 8192, "max_output": 2048, "as_of": date(2026, 11, 1)}
    assert settings.served == {
        "desk": {"llama": {"local": True, "input": "0", "output": "0", **sizes}},
        "glm": {"glm-5.2": {"input": Decimal("1.4"), "output": "4.4"}},
        "mine": {"m": {"local": False, "input": "0"}},
    }


def test_a_variable_leads_anthropics_models_to_another_server(tmp_path: Path) -> None:
    settings = load({**written(tmp_path, ""), "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"})
    assert settings.providers.value == {
        "anthropic": Server(name="anthropic", base_url="http://127.0.0.1:9", key="ANTHROPIC_API_KEY", api="messages")
    }
    assert (settings.providers.source, settings.server_lines) == (
        "ANTHROPIC_BASE_URL", {"anthropic": "ANTHROPIC_BASE_URL"}
    )  # fmt: skip
    with pytest.raises(ConfigError, match="ANTHROPIC_BASE_URL"):
        load({**written(tmp_path, ""), "ANTHROPIC_BASE_URL": "nowhere"})


@pytest.mark.parametrize("name", ["anthropic", "zai"])
def test_a_server_of_a_known_providers_name_takes_its_key_and_its_tongue(tmp_path: Path, name: str) -> None:
    server = load(written(tmp_path, f'[providers.{name}]\nbase_url = "http://x"\n')).providers.value[name]
    assert server.key == {**SUPPORTED_KEYS, **FOREIGN_KEYS}[name]
    assert server.api == ("messages" if name == "anthropic" else "chat")


def test_servers_of_a_file_inside_the_workspace_do_not_count(tmp_path: Path) -> None:
    settings = load(written(tmp_path, SERVERS), workspace=tmp_path)
    assert settings.providers.value == {}
    assert settings.served == {}
    assert "providers" in settings.notes[0]


def test_what_requests_ask_for_is_put_together(tmp_path: Path) -> None:
    assert load(written(tmp_path, CALLS)).asks == Asks(service="flex", geo="us", cache="1h")
    assert load(written(tmp_path, "")).asks == Asks(service="", geo="global", cache="5m")


def test_a_run_works_apart_when_it_is_unattended_and_nobody_said_otherwise(tmp_path: Path) -> None:
    def apart(text: str, *, unattended: bool | None = None, worktree: bool | None = None) -> tuple[bool, str]:
        setting = load(written(tmp_path, text), flags=Flags(unattended=unattended, worktree=worktree)).apart
        return setting.value, setting.source

    path = str(tmp_path / "config.toml")
    assert apart("") == (False, "built-in")
    assert apart("", unattended=True) == (True, "unattended")
    assert apart("", unattended=True, worktree=False) == (False, "flag")
    assert apart("worktree = false\nunattended = true\n") == (False, path)


def test_the_later_source_wins_and_is_named(tmp_path: Path) -> None:
    environ = written(tmp_path, FULL)
    path = tmp_path / "my.env"
    path.write_text("RUNNER_MODEL=openai/three\nOPENAI_BASE_URL=http://x\nOPENAI_API_KEY=k-from-file\n")

    def model(
        *, env: bool = False, file: bool = False, spec: str | None = None, flag: str | None = None
    ) -> tuple[object, str]:
        variables = {**environ, **({"RUNNER_MODEL": "openai/two"} if env else {})}
        settings = load(variables, env_file=path if file else None, spec_model=spec, flags=Flags(model=flag))
        return settings.model.value, settings.model.source

    assert model() == ("openai/one", environ["RUNNER_CONFIG"])
    assert model(env=True) == ("openai/two", "RUNNER_MODEL")
    assert model(env=True, file=True) == ("openai/three", str(path))
    assert model(env=True, file=True, spec="openai/four") == ("openai/four", "spec")
    assert model(env=True, file=True, spec="openai/four", flag="openai/five") == ("openai/five", "flag")


def test_a_named_env_file_is_trusted_wholly_and_its_keys_stand_apart(tmp_path: Path) -> None:
    path = tmp_path / "my.env"
    path.write_text("OPENAI_BASE_URL=http://x\nOPENAI_API_KEY=k-from-file\nRUNNER_STATE_DIR=/elsewhere\nOTHER=1\n")
    settings = load({**written(tmp_path, ""), "OPENAI_API_KEY": "of the shell"}, env_file=path)
    assert shown(settings)["openai_base_url"] == ("http://x", str(path))
    assert shown(settings)["state_dir"] == (Path("/elsewhere"), str(path))
    assert settings.file_keys.get("OPENAI_API_KEY") == "k-from-file"
    assert settings.environ["OTHER"] == "1"
    assert "OPENAI_API_KEY" not in settings.environ
    assert "k-from-file" not in repr(settings)


def test_a_flag_turns_off_what_the_file_turned_on(tmp_path: Path) -> None:
    settings = load(written(tmp_path, FULL), flags=Flags(unattended=False))
    assert (settings.unattended.value, settings.unattended.source) == (False, "flag")


def test_listed_secrets_are_found_and_tools_get_only_listed_names(tmp_path: Path) -> None:
    environ = {"PATH": "/bin", "HOME": "/h", "CARGO_HOME": "/c", "DB_PASSWORD": "hunter22", "EDITOR": "vi"}
    settings = load({**environ, **written(tmp_path, FULL)})
    assert settings.listed_secrets() == {"DB_PASSWORD": "hunter22"}
    assert settings.tool_env() == {"PATH": "/bin", "HOME": "/h", "CARGO_HOME": "/c"}


def test_hooks_of_a_file_inside_the_workspace_do_not_count(tmp_path: Path) -> None:
    settings = load(written(tmp_path, FULL), workspace=tmp_path)
    assert (settings.on_stop.value, settings.on_park.value) == (None, None)
    plain = load(written(tmp_path, ""))
    for name in ("prices", "project", "state_dir", "tools_env"):
        assert settings.named()[name] == plain.named()[name]
    assert settings.secrets.value == ("DB_PASSWORD",), "what masks more is heard"
    assert len(settings.notes) == 6
    calls = load(written(tmp_path, CALLS), workspace=tmp_path)
    assert (calls.service.value, calls.geo.value, len(calls.notes)) == ("standard", "global", 5)
    assert (calls.policy.value, calls.sandbox.value, calls.sandbox_user.value) == ("default", "auto", None)
    assert load(written(tmp_path, FULL), workspace=tmp_path / "sub").on_stop.value == ("notify-send", "runner")


def test_a_misspelt_variable_is_said_and_a_ci_systems_is_not(tmp_path: Path) -> None:
    settings = load({**written(tmp_path, ""), "RUNNER_MODLE": "x", "RUNNER_OS": "Linux", "RUNNER_TEMP": "/t"})
    assert settings.notes == ("RUNNER_MODLE is set and means nothing to runner: did you mean RUNNER_MODEL?",)


WRONG = {
    "misspelt": ('model = "a"\nmodle = "b"\n', 2, "did you mean 'model'?"),
    "unknown": ('\n\ncolour = "b"\n', 3, "known keys: model"),
    "misspelt in a table": ('[tools]\n\nenvs = ["A"]\n', 3, "did you mean 'tools.env'?"),
    "dotted": ('x = 1\ntools.env = "A"\n'.removeprefix("x = 1\n"), 1, "tools.env: write a list of names"),
    "unknown table": ('model = "a"\n[limits]\nusd = 1\n', 2, "known keys"),
    "no toml": ('model = "a"\nmodel = \n', 2, "not TOML"),
    "duplicate": ('model = "a"\nmodel = "b"\n', 2, "not TOML"),
    "type": ("unattended = 1\n", 1, "unattended: write true or false"),
    "command as text": ('on_stop = "rm -rf /"\n', 1, "on_stop: write the command as a list"),
    "empty command": ("on_stop = []\n", 1, "on_stop: write the command as a list"),
    "tokens": ("min_output = 0\n", 1, "min_output: write a whole number of tokens above 0"),
    "tokens as flag": ("max_output = true\n", 1, "max_output: write a whole number"),
    "duration": ('budget_wait = "soon"\n', 1, "not a duration"),
    "key for tools": ('[tools]\nenv = ["OPENAI_API_KEY"]\n', 2, "tools never get one"),
    "no thought": ("thinking = 100\n", 1, "a number of tokens from 1024 on"),
    "thinking aloud": ('thinking = "much"\n', 1, 'write "off", "adaptive"'),
    "service": ('service = "flexi"\n', 1, "did you mean flex?"),
    "no time": ("call_timeout = 0\n", 1, "call_timeout: write a duration above 0"),
    "place": ('geo = "The Moon"\n', 1, "geo: write"),
    "no model": ("models = []\n", 1, "models: write a list of models"),
    "one model twice": ('models = ["a/b", "a/b"]\n', 1, "each once"),
    "model and models": ('model = "a/b"\nmodels = ["a/b"]\n', 2, "both model and models are there"),
    "providers as text": ('providers = "x"\n', 1, "providers is not a table"),
    "a server's name": ('[providers.Desk]\nbase_url = "http://x"\n', 1, "cannot be the name of a server"),
    "a server's taken name": ('[providers.litellm]\nbase_url = "http://x"\n', 1, "cannot be the name of a server"),
    "a server without address": ("\n[providers.desk]\n", 2, "providers.desk has no base_url"),
    "half an address": ('[providers.desk]\nbase_url = "localhost:80"\n', 2, "is not the address of a server"),
    "an address with a password": (
        '[providers.desk]\nbase_url = "https://me:hunter2@gw.test/v1"\n',
        2,
        "a user or a password before its @",
    ),
    "a server's unknown key": (
        '[providers.desk]\nbase_url = "http://x"\nurl = 1\n',
        3,
        "unknown key 'providers.desk.url'",
    ),
    "no key's name": ('[providers.desk]\nbase_url = "http://x"\nkey = "EDITOR"\n', 3, "is not the name of a variable"),
    "tongue": ('[providers.desk]\nbase_url = "http://x"\napi = "grpc"\n', 3, "none of chat, responses, messages"),
    "how local": ('[providers.desk]\nbase_url = "http://x"\nlocal = 1\n', 3, "write true or false"),
    "models as a list": (
        '[providers.desk]\nbase_url = "http://x"\nmodels = []\n',
        3,
        "providers.desk.models is not a table",
    ),
    "min above max": ("min_output = 20000\n", None, "min_output (20000) is above max_output (16384)"),
}


@pytest.mark.parametrize(("text", "line", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_with_line_and_fix(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, text))
    assert error.value.line == line
    assert error.value.path == tmp_path / "config.toml"
    assert said in str(error.value)


def test_a_key_in_place_of_its_variables_name_is_never_quoted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, '[providers.desk]\nbase_url = "http://x"\nkey = "sk-0123456789abcdef"\n'))
    assert "sk-0123" not in str(error.value)
    assert error.value.quotable is False


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load({"RUNNER_CONFIG": str(tmp_path / "none.toml")})


def test_a_provider_key_is_refused_among_the_variables_of_tools() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        tool_env({"OPENAI_API_KEY": "x"}, ["OPENAI_API_KEY"])


# ---- .env ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\n# B=2\n\n export C = 3 # three\n", {"A": "1", "C": "3"}),
        ('A=\'1 # $HOME\' # c\nB="x\\ny \\"z\\" $HOME `id`"\n', {"A": "1 # $HOME", "B": 'x\ny "z" $HOME `id`'}),
        ("A=$(id)\r\nB=a#b\r\nC=\r\nD= # nothing\r\n", {"A": "$(id)", "B": "a#b", "C": "", "D": ""}),
        (
            'KEY="-----BEGIN-----\nabc\n-----END-----" # pem\nB=2\n',
            {"KEY": "-----BEGIN-----\nabc\n-----END-----", "B": "2"},
        ),
        ("\ufeffA=1\nA=2\nB=a=b", {"A": "2", "B": "a=b"}),
    ],
)
def test_lines_are_read_as_they_stand(text: str, expected: dict[str, str]) -> None:
    assert parse(text) == (expected, [])


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    values, _ = parse(text)
    assert all(name.isidentifier() and "\0" not in value for name, value in values.items())


@pytest.mark.parametrize("line", ['A="x', "x\n", 'A="', "A='", "A=\"'\n", 'A="\\\n'])
def test_a_hostile_file_is_read_in_reasonable_time(line: str) -> None:
    start = time.process_time()
    parse(line * (262_144 // len(line)))
    assert time.process_time() - start < 10


def test_a_workspace_gives_keys_and_nothing_else(tmp_path: Path) -> None:
    hostile = "OPENAI_BASE_URL=http://evil\nRUNNER_PRICES=free.toml\nRUNNER_STATE_DIR=/tmp/x\nRUNNER_KEYS_FD=0\nLD_PRELOAD=x.so\n"
    (tmp_path / ".env").write_text(f"export OPENAI_API_KEY='abc-123'\nANTHROPIC_API_KEY=\n{hostile}")
    found = workspace_keys(tmp_path)
    assert found.keys == {"OPENAI_API_KEY": "abc-123"}
    assert found.ignored == ("LD_PRELOAD", "OPENAI_BASE_URL", "RUNNER_KEYS_FD", "RUNNER_PRICES", "RUNNER_STATE_DIR")
    assert all(name in found.warning for name in found.ignored)
    assert "--env-file" in found.warning
    assert "abc-123" not in repr(found) + found.warning


def test_a_hostile_workspace_file_changes_no_setting(tmp_path: Path) -> None:
    before = load(written(tmp_path, ""), workspace=tmp_path)
    (tmp_path / ".env").write_text("".join(f"{name}=/evil\n" for name in VARIABLES))
    assert workspace_keys(tmp_path).ignored == tuple(sorted(VARIABLES))
    assert shown(load(written(tmp_path, ""), workspace=tmp_path)) == shown(before)


def test_an_odd_workspace_file_is_said_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert workspace_keys(tmp_path).warning == ""
    os.mkfifo(path)
    assert "not a regular file" in workspace_keys(tmp_path).warning
    path.unlink()
    (tmp_path / "other").write_text("OPENAI_API_KEY=abc")
    path.symlink_to(tmp_path / "other")
    assert workspace_keys(tmp_path).keys == {}
    assert "symbolic link" in workspace_keys(tmp_path).warning
    path.unlink()
    path.mkdir()
    assert "directory" in workspace_keys(tmp_path).warning
    path.rmdir()
    path.write_bytes(b"A=1\n" * 100_000)
    assert "larger than 256 kB" in workspace_keys(tmp_path).warning
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in workspace_keys(tmp_path).warning
    path.write_text("OPENAI_API_KEY=abc\nsk-half-a-key\n")
    assert workspace_keys(tmp_path).keys == {"OPENAI_API_KEY": "abc"}
    assert "line 2: this line is not NAME=value" in workspace_keys(tmp_path).warning
    assert "half" not in workspace_keys(tmp_path).warning


def test_a_named_env_file_with_a_slip_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "my.env"
    path.write_text('A=1\nB="open\n')
    with pytest.raises(ConfigError) as error:
        env_file(path)
    assert (error.value.path, error.value.line) == (path, 2)
    with pytest.raises(ConfigError, match="no such file"):
        env_file(tmp_path / "none")
    with pytest.raises(ConfigError, match="directory"):
        env_file(tmp_path)


# ---- state directory -------------------------------------------------------------------------------------


def test_the_state_directory_is_made_for_the_user_alone(tmp_path: Path) -> None:
    made = state_dir(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)
    assert state_dir(made).stat().st_mode & 0o777 == 0o700
    assert list(made.iterdir()) == []


def test_a_state_directory_that_cannot_be_written_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/runner")):
        with pytest.raises(StateError) as error:
            state_dir(path)
        assert str(path) in str(error.value)
        assert "RUNNER_STATE_DIR" in str(error.value)


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/me/local xfs rw 0 0
C:\\134 /mnt/c 9p rw,dirsync,aname=drvfs;path=C:\\134 0 0
none /sandbox 9p rw,trans=fd 0 0
me@host: /my\\040disk fuse.sshfs rw 0 0
tmpfs /data tmpfs rw 0 0
//nas/x /data cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x", None),
        ("/home/me/x", "nfs4"),
        ("/home/me/local/x", None),
        ("/homes", None),
        ("/mnt/c/x", "9p"),
        ("/sandbox/x", None),
        ("/my disk/x", "fuse.sshfs"),
        ("/data", "cifs"),
    ],
)
def test_a_network_file_system_is_known_by_its_mount(path: str, kind: str | None) -> None:
    assert network_fs(Path(path), MOUNTS) == kind


# ---- the example ----------------------------------------------------------------------------------------


def uncommented(text: str) -> str:
    return "\n".join(
        line.removeprefix("#") if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines()
    )


def test_the_example_has_every_key_and_sets_none(tmp_path: Path) -> None:
    assert {source for _, _, source in load(written(tmp_path, example())).shown()} == {"built-in"}
    every = uncommented(example())
    set_there: set[str] = set()
    for one in KEYS.values():
        # of two that exclude each other, each in its turn
        if one.instead_of:
            for left_out in (one.name, one.instead_of):
                environ = written(tmp_path, re.sub(rf"(?m)^{left_out} = .*$", "", every))
                settings = load(environ).named()
                set_there |= {name for name, is_set in settings.items() if is_set.source == environ["RUNNER_CONFIG"]}
    assert set_there == {key.field for key in KEYS.values()} | {"providers"}
    for key in KEYS.values():
        assert f"# {key.about}\n# {key.kind}; default: {key.default}" in example()


def test_the_defaults_in_words_are_the_defaults(tmp_path: Path) -> None:
    built_in = load(written(tmp_path, "")).named()
    for key in KEYS.values():
        value = built_in[key.field].value
        words = key.kind == "duration" or isinstance(value, str)
        if words or key.default.isdigit() or key.default in {"true", "false"}:
            text = f'{key.name} = "{key.default}"' if words else f"{key.name} = {key.default}"
            assert load(written(tmp_path, text)).named()[key.field].value == value, key.name
        elif key.name != "state_dir":
            assert not value, key.name


# ---- the reference ---------------------------------------------------------------------------------------


def test_the_reference_lists_every_key_and_every_variable() -> None:
    text = REFERENCE.read_text("utf-8")
    for key in KEYS.values():
        assert f"| `{key.name}` | {key.kind} | {key.default} | {key.about} |" in text
    for name, about in VARIABLES.items():
        assert f"| `{name}` | {about} |" in text
    for name, about in SERVER_KEYS.items():
        assert f"| `providers.NAME.{name}` | {about} |" in text
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert {*KEYS, *VARIABLES, *KNOWN_KEYS, *(f"providers.NAME.{key}" for key in SERVER_KEYS)} == set(rows)


EU, PINNED, OPEN = Asks(geo="eu"), Asks(geo="global"), Asks(geo="global", unpinned=True)


@pytest.mark.parametrize(
    ("kind", "name", "address", "own", "asks"),
    [
        ("chat", "openai/gpt-6.1-sol", "", "", PINNED),
        ("responses", "openai/gpt-6.1-sol", "", "", PINNED),
        ("chat", "openai/gpt-6.1-sol", "https://api.openai.com/v1", "", PINNED),
        ("chat", "openai/gpt-6.1-sol", "https://eu.api.openai.com/v1", "", EU),
        # nobody sells this one by place
        ("chat", "openai/gpt-5-mini", "https://eu.api.openai.com/v1", "", PINNED),
        ("chat", "openai/gpt-6.1-sol", "https://gateway.example/v1", "", OPEN),
        ("responses", "openai/gpt-6.1-sol", "", "https://gateway.example/v1", OPEN),
        ("responses", "openai/gpt-6.1-sol", "https://gateway.example/v1", "https://eu.api.openai.com/v1", EU),
        ("litellm", "openai/gpt-6.1-sol", "", "", OPEN),
        ("litellm", "gemini/gemini-2.5-pro", "", "", PINNED),
        ("chat", "mistral/mistral-large-latest", "", "https://gateway.example/v1", PINNED),
        ("replay", "openai/gpt-6.1-sol", "https://gateway.example/v1", "", PINNED),
        ("anthropic", "anthropic/claude-sonnet-5-5", "https://gateway.example/v1", "", Asks(geo="global", cache="5m")),
    ],
)
def test_where_a_model_of_openais_is_called_says_what_it_may_be_billed_in(
    kind: str, name: str, address: str, own: str, asks: Asks
):
    settings = load({"HOME": "/nowhere", "OPENAI_BASE_URL": address})
    server = Server(name=name.partition("/")[0], base_url=own) if own else None
    # the kinds are the parameters' own
    choice = Choice(kind=cast("Literal['chat']", kind), name=name, why="", server=server)
    assert Chosen(choice=choice, entry=builtin()[name]).asks(settings) == asks


@pytest.mark.parametrize("geo", ["eu", "us"])
def test_a_place_that_was_asked_for_stands_above_that_of_the_address(tmp_path: Path, geo: str):
    (tmp_path / "c.toml").write_text(f'geo = "{geo}"\n')
    settings = load(
        {
            "HOME": str(tmp_path),
            "RUNNER_CONFIG": str(tmp_path / "c.toml"),
            "OPENAI_BASE_URL": "https://us.api.openai.com/v1",
        }
    )
    choice = Choice(kind="chat", name="openai/gpt-6.1-sol", why="")
    assert Chosen(choice=choice, entry=builtin()[choice.name]).asks(settings).geo == geo
