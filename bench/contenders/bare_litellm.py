"""The loop everybody writes first: litellm's `completion(messages=…)`, streamed as runner does.

Nothing is kept, nothing is limited.
"""

import json

import litellm
from tool import MESSAGES, TOOLS, shell


def ask(messages):
    text, calls = "", []
    for chunk in litellm.completion(
        model="openai/bench",
        messages=messages,
        tools=TOOLS,
        stream=True,
        stream_options={"include_usage": True},
        max_retries=0,
    ):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for part in choice.delta.tool_calls or []:
                if part.id:
                    function = {"name": part.function.name, "arguments": ""}
                    calls.append({"id": part.id, "type": "function", "function": function})
                calls[part.index]["function"]["arguments"] += part.function.arguments or ""
    return text, calls


def main():
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
    main()
