"""The same loop without an SDK: httpx and json. `bare_httpx.py stream|whole`.

Nothing is kept, nothing is limited. `stream` asks for a stream of events, as runner does; `whole` for one reply.
"""

import json
import os
import sys

import httpx
from tool import MESSAGES, TOOLS, shell

URL = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
HEADERS = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
client = httpx.Client(timeout=600, headers=HEADERS)


def whole(messages):
    response = client.post(URL, json={"model": "bench", "messages": messages, "tools": TOOLS})
    response.raise_for_status()
    message = response.json()["choices"][0]["message"]
    return message["content"], message.get("tool_calls", [])


def stream(messages):
    text, calls = "", []
    asked = {
        "model": "bench",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": messages,
        "tools": TOOLS,
    }
    with client.stream("POST", URL, json=asked) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            for choice in json.loads(line[6:])["choices"]:
                delta = choice["delta"]
                text += delta.get("content") or ""
                for part in delta.get("tool_calls", []):
                    if "id" in part:
                        function = {"name": part["function"]["name"], "arguments": ""}
                        calls.append({"id": part["id"], "type": "function", "function": function})
                    calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    return text, calls


def main(ask):
    messages = list(MESSAGES)
    while True:
        text, calls = ask(messages)
        if not calls:
            return
        messages.append({"role": "assistant", "content": text, "tool_calls": calls})
        for call in calls:
            output = shell(json.loads(call["function"]["arguments"])["command"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})


if __name__ == "__main__":
    main({"stream": stream, "whole": whole}[sys.argv[1]])
