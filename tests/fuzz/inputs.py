"""What a reader is given: random bytes, valid files with damage, and JSON of the wrong kinds."""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import PurePath
from typing import Any

from hypothesis import strategies as st

LARGEST = 2_000_000  # bytes of an input
DEEP, HUGE = "@@deep@@", "@@huge@@"  # stand for text that Python's own JSON cannot write
DEPTHS = (200, 3_000, 100_000)

TOKENS = (
    b"",
    b"\0",
    b"\xef\xbb\xbf",  # a byte order mark
    b"\xff\xfe",
    b"\xed\xa0\x80",  # half of a surrogate pair
    b"\\ud800",
    "\u2028".encode(),
    "\u202e".encode(),  # text from right to left
    b"\x85",
    b"\r",
    b"\n",
    b"\n\n\n",
    b"\t",
    b",",
    b'"',
    b"\\",
    b"{",
    b"]",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5_000,
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"x" * 140_000,
    b"\x1b[2J",
    b"[/x]",
    b"<script>",
    b"../../",
    b"/dev/null",
    b"=1+1",
)
STRANGE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**64),
    10**400,
    HUGE,
    0.5,
    -0.0,
    1e308,
    -1e308,
    5e-324,
    float("inf"),
    float("nan"),
    "",
    " ",
    "\0",
    "\ud800",
    "\ufeff",
    "\u2028",
    "\u202e",
    "\x1b[31m",
    "[/x]",
    "$\\frac{",
    "{{7*7}}",
    "${oc.env:HOME}",
    "</script>",
    "../../outside",
    "/dev/null",
    "a/" * 2_500,
    "n" * 5_000,
    "nan",
    [],
    [[]],
    [None],
    [1, "a", None, {}],
    {},
    {"": None},
    {"a": {"a": []}},
    DEEP,
)


@st.composite
def attacks(draw: st.DrawFn, files: Mapping[str, bytes], attacked: tuple[str, ...]) -> tuple[str, bytes]:
    """One of the attacked files, and what it holds instead."""
    name = draw(st.sampled_from(attacked))
    ways = [st.binary(max_size=300), damaged(files[name]), damaged(files[name])]
    structured = {".json": _json, ".jsonl": _jsonl, ".safetensors": _safetensors}.get(PurePath(name).suffix)
    if structured is not None:
        ways += [structured(files[name])] * 4
    return name, draw(st.one_of(ways))[:LARGEST]


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A valid file, cut, flipped, doubled, spliced or with strange bytes in it, one to four times."""
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(content)))
        end = min(len(content), begin + draw(st.integers(0, 64)))
        match draw(st.sampled_from(("truncate", "flip", "double", "splice", "replace", "insert"))):
            case "truncate":
                content = content[:begin]
            case "flip":
                flipped = bytes(byte ^ draw(st.integers(1, 255)) for byte in content[begin : begin + 1])
                content = content[:begin] + flipped + content[begin + 1 :]
            case "double":
                content = content[:end] + content[begin:]
            case "splice":
                other = draw(st.integers(0, len(content)))
                content = content[:begin] + content[other : other + 200] + content[end:]
            case "replace":
                content = content[:begin] + draw(st.sampled_from(TOKENS)) + content[end:]
            case "insert":
                content = content[:begin] + draw(st.sampled_from(TOKENS)) + content[begin:]
        content = content[:LARGEST]
    return content


@st.composite
def altered(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value, in which one to three places are of another kind, missing, doubled or in one another's place."""
    tree = [deepcopy(value)]
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(tree))
        parent, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(("strange", "strange", "drop", "wrap", "other", "rename"))):
            case "strange":
                parent[key] = deepcopy(draw(st.sampled_from(STRANGE)))
            case "drop" if parent is not tree:
                del parent[key]
            case "wrap":
                parent[key] = draw(st.sampled_from(([parent[key]], {"a": parent[key]}, str(parent[key]))))
            case "other":
                other, name = draw(st.sampled_from(places))
                parent[key] = deepcopy(other[name])
            case "rename" if isinstance(parent, dict):
                parent[draw(st.sampled_from(("", "\ud800", "id", "constructor", "[/x]")))] = parent.pop(key)
    return tree[0]


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value, as its parent and its key there."""
    keys: Any = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    found = []
    for key in keys:
        found += [(tree, key), *_places(tree[key])]
    return found


@st.composite
def _text(draw: st.DrawFn, value: Any) -> bytes:
    """A JSON value as bytes, with what Python's own JSON cannot write in its place."""
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    if DEEP in text:
        depth = draw(st.sampled_from(DEPTHS))
        opened, closed = draw(st.sampled_from((("[", "]"), ('{"a":', "}"))))
        text = text.replace(f'"{DEEP}"', opened * depth + "1" + closed * depth)
    text = text.replace(f'"{HUGE}"', "9" * 5_000)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def _json(draw: st.DrawFn, content: bytes) -> bytes:
    return draw(_text(draw(altered(json.loads(content)))))


@st.composite
def _jsonl(draw: st.DrawFn, content: bytes) -> bytes:
    lines = content.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        try:
            row = json.loads(lines[number])
        except (ValueError, RecursionError):  # altered before
            continue
        lines[number] = draw(_text(draw(altered(row))))
    ends = st.sampled_from((b"\n", b"\n", b"\r\n", b"\n\n", "\u2028".encode()))
    return draw(ends).join(lines) + draw(st.sampled_from((b"\n", b"")))


@st.composite
def _safetensors(draw: st.DrawFn, content: bytes) -> bytes:
    """A file of tensors with another header, whose length may be wrong, too."""
    size = int.from_bytes(content[:8], "little")
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size :]
    metadata = header.get("__metadata__", {})
    inner = [key for key, text in metadata.items() if text.startswith("{")]
    if inner and draw(st.booleans()):
        key = draw(st.sampled_from(inner))
        metadata[key] = draw(_text(draw(altered(json.loads(metadata[key]))))).decode("utf-8", "replace")
        text = json.dumps(header).encode()
    else:
        text = draw(_text(draw(altered(header))))
    length = draw(st.sampled_from((len(text), len(text), len(text), 0, len(text) + 1, 2**40, 2**63)))
    return length.to_bytes(8, "little") + text + rest
