"""Models: a recording, and one module for each kind of provider API.

`catalog` chooses and builds. `openai_chat` is every server that speaks Chat Completions, `openai_responses` OpenAI's
Responses, `anthropic_messages` Anthropic's Messages, `litellm_chat` whatever else litellm knows; `recording` and
`replay` answer from a file. An adapter encodes (`wire`), reads events (`assembly`) and leaves the rest to what all of
them share: `sending` makes one call, on a connection that is watched; `outcomes` and `usage` say what an answer proves.
"""
