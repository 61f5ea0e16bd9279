"""Models: a recording, and one module for each kind of provider API.

`catalog` chooses and builds; `wire` encodes Chat Completions; `recording` and `replay` answer from a file;
`openai_chat` is every server that speaks Chat Completions. An adapter of another API is a module beside it.
"""
