"""Which model a run uses, and what it is told when there is none."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runner.errors import ConfigError, NotFoundError
from runner.models.catalog import DEFAULT_MODELS, Choice, build, choose, key_of, refuse_unusable
from runner.models.keys import FOREIGN_KEYS, KNOWN_KEYS, is_key, is_provider_key, key_for
from runner.models.server import Api, Server
from runner.pricing.book import Book

BOOK = Book.load()
KEY = {"OPENAI_API_KEY": "sk-test"}


def test_a_key_chooses_its_providers_default_which_has_a_price():
    choice = choose(None, KEY, BOOK)
    assert choice == Choice(kind="responses", name=DEFAULT_MODELS["openai"], why="the default for OPENAI_API_KEY")
    assert BOOK.lookup(choice.name).price.output > 0


@pytest.mark.parametrize("keys", [{}, {"OPENAI_API_KEY": ""}])
def test_without_a_key_every_way_to_set_one_is_told(keys: dict[str, str]):
    with pytest.raises(ConfigError) as caught:
        choose(None, keys, BOOK)
    assert caught.value.exit_code == 2
    for way in ("OPENAI_API_KEY", ".env", "--model replay:FILE", "OPENAI_BASE_URL"):
        assert way in caught.value.hint


def test_the_second_provider_is_chosen_by_its_key_alone():
    choice = choose(None, {"ANTHROPIC_API_KEY": "x"}, BOOK)
    assert choice == Choice(kind="anthropic", name=DEFAULT_MODELS["anthropic"], why="the default for ANTHROPIC_API_KEY")
    assert BOOK.lookup(choice.name).price.output > 0
    assert choose(None, KEY | {"ANTHROPIC_API_KEY": "x"}, BOOK).kind == "responses"


def test_a_key_that_litellm_would_send_chooses_nothing_by_itself():
    with pytest.raises(ConfigError, match="GROQ_API_KEY found, but no model was named") as caught:
        choose(None, {"GROQ_API_KEY": "x"}, BOOK)
    assert "--model groq/NAME" in caught.value.hint


def test_a_named_model_needs_its_key_unless_a_server_of_ones_own_is_named():
    assert choose("openai/gpt-5-mini", KEY, BOOK).name == "openai/gpt-5-mini"
    assert choose("openai/gpt-5-mini", {}, BOOK, base_url="http://localhost:8000/v1").name == "openai/gpt-5-mini"
    with pytest.raises(ConfigError, match="needs OPENAI_API_KEY"):
        choose("openai/gpt-5-mini", {}, BOOK)


@pytest.mark.parametrize(
    ("model", "what", "hint"),
    [
        ("gpt-5-mini", "unknown model 'gpt-5-mini'", "Did you mean 'openai/gpt-5-mini'?"),
        ("opnai/gpt-5", "unknown model", "Did you mean 'openai/gpt-5'?"),
        ("replay/x", "unknown model", "replay:…"),
        ("openai/", "unknown model", "openai/NAME, anthropic/NAME or replay:FILE"),
        ("litellm/groq", "unknown model", "litellm/PROVIDER/NAME"),
        ("desk/", "unknown model", "openai/NAME"),
        ("replay:", "replay: names no file", "replay:FILE"),
        ("anthropic/claude-opus-5", "model 'anthropic/claude-opus-5' needs ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY"),
        ("groq/x", "model 'groq/x' needs GROQ_API_KEY", "set GROQ_API_KEY in the environment"),
        ("openai/gpt-99", "no price is known for model 'openai/gpt-99'", '[models."openai/gpt-99"]'),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_with_the_fix(model: str, what: str, hint: str):
    with pytest.raises(ConfigError) as caught:
        choose(model, KEY, BOOK)
    assert what in caught.value.message
    assert hint in caught.value.hint


def test_every_key_name_is_known():
    assert {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", *FOREIGN_KEYS.values()} == KNOWN_KEYS


@pytest.mark.parametrize("name", [*sorted(KNOWN_KEYS), "RUNNER_KEY_DESK"])
def test_what_is_a_key_is_told_by_its_name(name: str):
    assert is_key(name)


@pytest.mark.parametrize(
    "name",
    ["HOSTED_VLLM_API_KEY", "REPLICATE_API_TOKEN", "A_ACCESS_TOKEN", "B_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "C_SECRET_KEY"],
)  # fmt: skip
def test_what_has_the_form_of_a_key_is_one_but_tools_may_be_given_it(name: str):
    assert is_key(name)
    assert not is_provider_key(name)


def test_every_provider_has_the_name_of_a_key():
    assert key_for("groq") == "GROQ_API_KEY"
    assert key_for("together_ai") == key_for("together") == "TOGETHER_API_KEY"
    assert key_for("nvidia-nim.x") == "NVIDIA_NIM_X_API_KEY"
    assert is_key(key_for("nvidia-nim.x"))


@pytest.mark.parametrize(
    "name",
    ["RUNNER_KEY_", "RUNNER_KEYS_FD", "RUNNER_MODEL", "OPENAI_BASE_URL", "PATH", "_API_KEY", "my_API_KEY", "MAX_TOKENS"],
)  # fmt: skip
def test_what_is_no_key_is_told_by_its_name(name: str):
    assert not is_key(name)


# ---- servers of the user's, and litellm --------------------------------------------------------------------


def test_litellm_is_never_left_to_look_for_a_key():
    book = Book.load(
        'as_of = 2026-11-01\n[models."hosted_vllm/m"]\ninput = "1"\noutput = "2"\ncontext = 8192\nmax_output = 2048\n'
    )
    with pytest.raises(ConfigError, match="needs HOSTED_VLLM_API_KEY, and it is not set") as caught:
        choose("litellm/hosted_vllm/m", KEY, book)
    assert "[providers.NAME]" in caught.value.hint
    choice = choose("litellm/hosted_vllm/m", {"HOSTED_VLLM_API_KEY": "v"}, book)
    assert key_of(choice) == "HOSTED_VLLM_API_KEY"


DESK = Server(name="desk", base_url="http://127.0.0.1:11434/v1", local=True)
GLM = Server(name="glm", base_url="https://glm.test/v4", key="ZAI_API_KEY")
PRICED = Book.load(
    'as_of = 2026-11-01\n[models."desk/llama"]\nlocal = true\ninput = "0"\noutput = "0"\ncontext = 8192\nmax_output = 2048\n'
    '[models."glm/glm-5.2"]\ninput = "1.4"\noutput = "4.4"\ncontext = 1000000\nmax_output = 128000\n'
    '[models."groq/llama"]\ninput = "1"\noutput = "2"\ncontext = 8192\nmax_output = 2048\n'
)
SERVERS = {"desk": DESK, "glm": GLM}

FREE = Book.load(
    "as_of = 2026-11-01\n"
    + "".join(f'[models."{name}"]\nlocal = true\ninput = "0"\noutput = "0"\n' for name in DEFAULT_MODELS.values())
)


@pytest.mark.parametrize("provider", sorted(DEFAULT_MODELS))
@pytest.mark.parametrize("named", [True, False])
def test_nothing_is_free_at_a_providers_own_address(provider: str, named: bool):
    model, keys = DEFAULT_MODELS[provider], {f"{provider.upper()}_API_KEY": "v"}
    with pytest.raises(ConfigError, match=r"would be called at .* own address") as caught:
        choose(model if named else None, keys, FREE)
    assert f"{provider.upper()}_BASE_URL" in caught.value.hint
    own = {provider: Server(name=provider, base_url="http://127.0.0.1:1/v1", key="", api="messages", local=True)}
    assert choose(model if named else None, keys, FREE, servers=own).name == model
    if provider == "openai":
        assert choose(model if named else None, keys, FREE, base_url="http://127.0.0.1:1/v1").name == model


@pytest.mark.parametrize(
    ("model", "kind", "name", "server"),
    [
        ("desk/llama", "chat", "desk/llama", DESK),
        ("glm/glm-5.2", "chat", "glm/glm-5.2", GLM),
        ("groq/llama", "litellm", "groq/llama", None),
        ("litellm/groq/llama", "litellm", "groq/llama", None),
        ("litellm/openai/gpt-5", "litellm", "openai/gpt-5", None),
        ("anthropic/claude-opus-5", "anthropic", "anthropic/claude-opus-5", None),
    ],
)
def test_a_name_is_resolved_by_its_first_part(model: str, kind: str, name: str, server: Server | None):
    keys = KEY | {"ZAI_API_KEY": "z", "GROQ_API_KEY": "g", "ANTHROPIC_API_KEY": "a"}
    choice = choose(model, keys, PRICED, servers=SERVERS)
    assert (choice.kind, choice.name, choice.server) == (kind, name, server)
    assert choose(choice.asked, keys, PRICED, servers=SERVERS) == choice


@pytest.mark.parametrize(("api", "kind"), [("chat", "chat"), ("responses", "responses"), ("messages", "anthropic")])
def test_a_server_of_a_providers_name_stands_in_for_it_and_speaks_what_it_says(api: Api, kind: str):
    own = Server(name="openai", base_url="http://127.0.0.1:9/v1", key="OPENAI_API_KEY", api=api)
    assert choose("openai/gpt-5", KEY, BOOK, servers={"openai": own}).kind == kind
    assert choose(None, KEY, BOOK, servers={"openai": own}).server == own


def test_a_reasoning_model_is_called_through_responses_unless_a_server_of_ones_own_is_named():
    book = Book({"openai/gpt-5": replace(BOOK.lookup("openai/gpt-5"), api="responses")})
    assert choose("openai/gpt-5", KEY, book).kind == "responses"
    assert choose("openai/gpt-5", KEY, book, base_url="http://127.0.0.1:9/v1").kind == "chat"


def test_a_server_without_a_key_needs_none_and_one_with_a_key_needs_its_own():
    assert key_of(choose("desk/llama", {}, PRICED, servers=SERVERS)) == ""
    with pytest.raises(ConfigError, match=r"model .glm/glm-5\.2. needs ZAI_API_KEY") as caught:
        choose("glm/glm-5.2", KEY, PRICED, servers=SERVERS)
    assert caught.value.hint == "set ZAI_API_KEY in the environment"


def test_a_model_of_a_server_without_a_price_is_refused_with_the_table_to_write():
    with pytest.raises(ConfigError, match="no price is known for model 'desk/qwen'") as caught:
        choose("desk/qwen", {}, PRICED, servers=SERVERS)
    assert '[providers.desk.models."qwen"]\ninput = ' in caught.value.hint
    assert "[models." not in caught.value.hint


def test_without_litellm_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ConfigError, match="model 'groq/llama' needs litellm, which is not installed") as caught:
        choose("groq/llama", {"GROQ_API_KEY": "g"}, PRICED)
    assert caught.value.hint == "pip install 'agent-loop-runner[litellm]'"


def test_a_key_that_cannot_be_one_is_refused_where_it_would_be_sent_only():
    keys = {"OPENAI_API_KEY": "sk-good", "ANTHROPIC_API_KEY": "two words"}
    choice = choose("openai/gpt-5", keys, BOOK)
    refuse_unusable(keys, None, source="test", choice=choice)
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY cannot be a key: it holds a space"):
        refuse_unusable(keys, None, source="test", choice=choose("anthropic/claude-opus-5", keys, BOOK))


def test_a_recording_is_built_with_the_sizes_of_the_model_it_names(tmp_path: Path):
    (tmp_path / "r.jsonl").write_text('{"recording": 1, "model": "openai/gpt-4o"}\n')
    built = build(choose("replay:r.jsonl", {}, BOOK), book=BOOK, keys={}, folder=tmp_path)
    assert (built.name, built.max_output) == ("openai/gpt-4o", 16_384)


def test_a_recording_that_is_not_there_or_has_no_price_is_refused(tmp_path: Path):
    with pytest.raises(NotFoundError, match=r"no recording at r\.jsonl"):
        build(choose("replay:r.jsonl", {}, BOOK), book=BOOK, keys={}, folder=tmp_path)
    (tmp_path / "r.jsonl").write_text('{"recording": 1, "model": "openai/gpt-99"}\n')
    with pytest.raises(ConfigError, match="no price"):
        build(choose("replay:r.jsonl", {}, BOOK), book=BOOK, keys={}, folder=tmp_path)


def test_no_provider_sdk_loads_until_a_call_is_made():
    code = (
        "import sys; from runner.models.catalog import choose, build; from runner.pricing.book import Book; b = Book.load();"
        "m = build(choose('openai/gpt-5', {'OPENAI_API_KEY': 'k'}, b), book=b, keys={'OPENAI_API_KEY': 'k'});"
        "print(m.name, sorted({'openai', 'httpx', 'anthropic', 'litellm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "openai/gpt-5 []\n"
