"""The loop everybody writes first: the openai SDK's `create(messages=…)`. `bare_openai.py stream|whole`.

Nothing is kept, nothing is limited. `stream` asks for a stream of events, as runner does; `whole` for one reply.
"""

import json
import sys

from openai import OpenAI
from tool import MESSAGES, TOOLS, shell

client = OpenAI()


def whole(messages):
    message = client.chat.completions.create(model="bench", messages=messages, tools=TOOLS).choices[0].message
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        for call in message.tool_calls or []
    ]
    return message.content, calls


def stream(messages):
    text, calls = "", []
    with client.chat.completions.create(
        model="bench", messages=messages, tools=TOOLS, stream=True, stream_options={"include_usage": True}
    ) as chunks:
        for chunk in chunks:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for part in choice.delta.tool_calls or []:
                    if part.id:
                        function = {"name": part.function.name, "arguments": ""}
                        calls.append({"id": part.id, "type": "function", "function": function})
                    calls[part.index]["function"]["arguments"] += part.function.arguments or ""
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
