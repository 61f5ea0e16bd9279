"""The loop everybody writes first: the anthropic SDK's `create(messages=…)`, streamed as runner does.

Nothing is kept, nothing is limited.
"""

import json

from anthropic import Anthropic
from tool import MESSAGES, TOOLS, shell

client = Anthropic()
FUNCTION = TOOLS[0]["function"]
OFFERED = [{"name": FUNCTION["name"], "description": FUNCTION["description"], "input_schema": FUNCTION["parameters"]}]


def ask(messages):
    blocks = []
    with client.messages.create(
        model="bench",
        max_tokens=16384,
        system=MESSAGES[0]["content"],
        messages=messages,
        tools=OFFERED,
        stream=True,
    ) as events:
        for event in events:
            if event.type == "content_block_start":
                block = event.content_block
                if block.type == "text":
                    blocks.append({"type": "text", "text": ""})
                else:
                    blocks.append({"type": "tool_use", "id": block.id, "name": block.name, "input": ""})
            elif event.type == "content_block_delta":
                if event.delta.type == "text_delta":
                    blocks[event.index]["text"] += event.delta.text
                else:
                    blocks[event.index]["input"] += event.delta.partial_json
    for block in blocks:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block["input"])
    return blocks


def main():
    messages = list(MESSAGES[1:])
    while True:
        blocks = ask(messages)
        messages.append({"role": "assistant", "content": blocks})
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": shell(block["input"]["command"])}
            for block in blocks
            if block["type"] == "tool_use"
        ]
        if not results:
            return
        messages.append({"role": "user", "content": results})


if __name__ == "__main__":
    main()
