"""The JSON Schema of a log line, generated from the events themselves."""

from __future__ import annotations

from runner.events.codec import KINDS, Json

_HASH: Json = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def schema() -> Json:
    """Describe every line a log may hold (JSON Schema 2020-12). Readers allow kinds and fields they do not know."""
    import msgspec.json

    kinds = list(KINDS.values())
    bodies, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    lines: list[Json] = [
        {"properties": {"kind": {"const": kind.__name__}, "body": body}}
        for kind, body in zip(kinds, bodies, strict=True)
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of a runner log",
        "type": "object",
        "required": ["seq", "at", "run", "kind", "prev", "hash", "body", "v", "sum"],
        "properties": {
            "seq": {"type": "integer", "description": "Place in the journal."},
            "at": {"type": "string", "format": "date-time", "description": "When it was recorded, UTC, milliseconds."},
            "run": {"type": "string"},
            "kind": {"enum": list(KINDS)},
            "prev": {**_HASH, "description": "The hash of the event before; zeros for the first."},
            "hash": {**_HASH, "description": "SHA-256 over the event in the journal, `prev` included."},
            "body": {"type": "object", "description": "The event's fields; long text cut, key-like text masked."},
            "v": {"type": "integer", "description": "Version of the line's form."},
            "masked": {
                "const": True,
                "description": "A known secret that stood in the journal is masked in this line.",
            },
            "sum": {**_HASH, "description": "SHA-256 over the line before `sum`."},
        },
        "oneOf": lines,
        "$defs": {name: definitions[name] for name in sorted(definitions)},
    }
