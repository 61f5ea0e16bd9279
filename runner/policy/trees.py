"""The shipped policies read ahead: each YAML file's tree as JSON, so that no run waits for YAML to be parsed.

A tree names the digest of the text it was made of. Where that is not the file's, the file itself is read.
`python -m runner.policy.trees` makes them anew.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import cast

import msgspec

from runner.spec.frontmatter import Map, Node, Place, Scalar, Seq, document

_SEQ, _MAP = "[", "{"


class _Kept(msgspec.Struct):
    of: str
    tree: list[object]


def packed(text: str) -> bytes:
    """The tree of a YAML file as JSON, one node a line of numbers and texts."""
    return msgspec.json.encode(_Kept(of=_digest(text), tree=_pack(document(text, "", noun="policy"))))


def unpacked(data: bytes, text: str, path: str) -> Map | None:
    """The tree of `text`, the file at `path`; None where the JSON is of another text, or is none."""
    try:
        kept = msgspec.json.decode(data, type=_Kept)
    except msgspec.MsgspecError:
        return None
    found = _unpack(kept.tree, path) if kept.of == _digest(text) else None
    return found if isinstance(found, Map) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _pack(node: Node) -> list[object]:
    at = node.at
    match node:
        case Scalar():
            return [at.line, at.column, at.length, node.text, node.plain]
        case Seq():
            return [at.line, at.column, _SEQ, [_pack(item) for item in node.items]]
        case Map():
            return [at.line, at.column, _MAP, [_pack(part) for entry in node.entries for part in entry]]


def _unpack(node: list[object], path: str) -> Node:
    # as `_pack` wrote it: line and column, then a scalar's length, text and whether it is plain, or what is inside
    line, column, kind, content, *plain = node
    at = Place(path, cast("int", line), cast("int", column), kind if isinstance(kind, int) else 0)
    if isinstance(content, str):
        return Scalar(at, content, plain=bool(plain[0]))
    nodes = [_unpack(part, path) for part in cast("list[list[object]]", content)]
    if kind == _SEQ:
        return Seq(at, tuple(nodes))
    # a key is a scalar: the parser saw to it
    return Map(at, tuple(zip(cast("list[Scalar]", nodes[::2]), nodes[1::2], strict=True)))


def main() -> None:
    """Make the trees of all shipped policies."""
    folder = Path(__file__).parent.parent / "policies"
    (folder / "trees").mkdir(exist_ok=True)
    for path in sorted(folder.glob("*.yaml")):
        (folder / "trees" / f"{path.stem}.json").write_bytes(packed(path.read_text("utf-8")) + b"\n")


if __name__ == "__main__":
    main()
