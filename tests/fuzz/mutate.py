"""Inputs that nobody meant: seeds changed by bytes, cells, JSON nodes and header fields."""

from __future__ import annotations

import copy
import gzip
import json
import random
import struct
import tomllib

import tomli_w

TOKENS = (
    b"9" * 400,
    b"-" + b"1" * 320,
    b"1e999",
    b"-1e-999",
    b"NaN",
    b"inf",
    b"-inf",
    b"n/a",
    b"",
    b"\0",
    b"\xff",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\\u0000",
    b"\\u001b[31m",
    b"a" * 6000,
    b"a" * 300,
    b"../" * 200,
    b"/etc/passwd",
    b"bids::",
    b"bids:x:y",
    b"bids::../../x",
    b"1_000",
    "\u0661".encode(),
    b"\t",
    b"\n",
    b"\r",
    b"\x0c",
    "\u2028".encode(),
    b'"',
    b"'",
    b"[",
    b"]",
    b"{",
    b"}",
    b"[" * 2000,
    b"{" * 2000,
    b",",
    b":",
    b"=",
    b"#",
    b"0",
    b"-0",
    b"-1",
    b"1",
    b"2",
    b"1e300",
    b"1e-300",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"4294967296",
    b"65536",
    b"0.1",
    b"true",
    b"null",
    b"None",
    b"0x10",
    b"1,2,3",
    b"<script>alert(1)</script>",
    b"${HOME}",
    b"%s%n",
    b"!!python/object/apply:os.system ['true']",
    b"&a [*a]",
    b"2001-99-99",
    b"\x1f\x8b",
    b"/annex/objects/x",
    b"version https://git-lfs",
)
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    0.5,
    -0.0,
    1e308,
    1e-308,
    10**9,
    10**400,
    2**63,
    "",
    "a",
    "on",
    "rad",
    "\ud800",
    "\0",
    "\x1b[31m",
    "a" * 6000,
    "../" * 300,
    "bids::x",
    [],
    {},
    [[]],
    [None],
    [1],
    ["a"],
    {"a": 1},
    [[1, 2], [3]],
    {"Units": "rad"},
    float("nan"),
    float("inf"),
    "n/a",
    "1e999",
)
NUMBERS = (0, 1, -1, 2, 7, 8, 255, 127, -128, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**62)
FLOATS = (0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e38, 1e-38, 352.0, 1e9)


def of_bytes(rng: random.Random, content: bytes) -> bytes:
    """Bytes flipped, cut, doubled, moved, or replaced by a nasty token."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        place = rng.randrange(len(data) + 1)
        length = min(len(data) - place, rng.choice((1, 2, 4, 8, 32, 256)))
        match rng.randrange(7):
            case 0 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = data[place : place + length] * rng.choice((1, 2, 50))
            case 3:
                data[place : place + length] = rng.choice(TOKENS)
            case 4:
                data[place:place] = rng.choice(TOKENS)
            case 5:
                data[place : place + length] = rng.randbytes(length)
            case _:
                del data[place:]
    return bytes(data)


def of_json(rng: random.Random, content: bytes) -> bytes:
    """A node replaced, removed, repeated or wrapped; now and then one key twice."""
    value = copy.deepcopy(json.loads(content))
    for _ in range(rng.choice((1, 1, 2, 5))):
        holder, key = rng.choice(list(_nodes(value)) or [([None], 0)])
        if isinstance(holder, list) and not 0 <= key < len(holder):
            continue
        match rng.randrange(6):
            case 0 | 1 | 2:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
            case 3:
                del holder[key]
            case 4:
                holder[key] = [holder[key]] * rng.choice((1, 2, 30))
            case _ if isinstance(holder, dict):
                holder[str(rng.choice(VALUES))] = holder.pop(key)
            case _:
                holder.append(copy.deepcopy(rng.choice(VALUES)))
    text = json.dumps(value, ensure_ascii=True)
    if rng.random() < 0.05:
        text = text[:-1] + f', "{rng.choice(list(json.loads(content)))}": 3}}'
    if rng.random() < 0.03:
        depth = rng.choice((50, 500, 5000, 100_000))
        text = text.replace("null", "[" * depth + "]" * depth)
    return text.encode("utf-8", "surrogatepass")


def of_toml(rng: random.Random, content: bytes) -> bytes:
    """As :func:`of_json`, of a TOML text."""
    changed = of_json(rng, json.dumps(tomllib.loads(content.decode())).encode())
    try:
        changed = json.loads(changed)
        return tomli_w.dumps(_without_null(changed)).encode("utf-8", "surrogatepass")
    except (TypeError, AttributeError, ValueError, RecursionError):  # TOML has no such thing
        return content


def _without_null(value):
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


def _nodes(value):
    items = enumerate(value) if isinstance(value, list) else value.items()
    for key, item in list(items):
        yield value, key
        if isinstance(item, list | dict):
            yield from _nodes(item)


def of_table(rng: random.Random, content: bytes) -> bytes:
    """Cells, rows and columns replaced, removed and doubled."""
    rows = [line.split(b"\t") for line in content.rstrip(b"\n").split(b"\n")]
    for _ in range(rng.choice((1, 1, 2, 6))):
        row = rng.choice(rows)
        column = rng.randrange(len(rows[0]) + 1)
        match rng.randrange(7):
            case 0 | 1 | 2 if row:
                row[min(column, len(row) - 1)] = rng.choice(TOKENS)
            case 3:
                cell = rng.choice(TOKENS)
                for other in rows[1:]:
                    if column < len(other):
                        other[column] = cell
            case 4 if len(rows) > 1:
                rows.remove(row)
            case 5:
                rows.insert(rng.randrange(len(rows) + 1), list(row))
                rows += [list(row) for _ in range(rng.choice((0, 0, 3, 300)))]
            case _:
                for other in rows:
                    if column < len(other):
                        del other[column]
    return b"\n".join(b"\t".join(row) for row in rows) + b"\n"


def of_header(rng: random.Random, content: bytes) -> bytes:
    """Fields of a NIfTI header set to what no image has; compressed at times, then damaged."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rng.random() < 0.7:
            kind, place = rng.choice((("<h", 2 * rng.randrange(20, 60)), (">h", 40), ("<i", 0)))
            number = rng.choice(NUMBERS)
        else:
            kind, place = "<f", 4 * rng.randrange(19, 82)
            number = rng.choice(FLOATS)
        if kind != "<f":
            size = 8 * struct.calcsize(kind)
            number = (number + 2 ** (size - 1)) % 2**size - 2 ** (size - 1)
        if place + struct.calcsize(kind) <= len(data):
            struct.pack_into(kind, data, place, number)
    if rng.random() < 0.2:
        data = bytearray(of_bytes(rng, bytes(data)))
    return bytes(data)


def of_safetensors(rng: random.Random, content: bytes) -> bytes:
    """The header of a safetensors file as JSON or as bytes, or its length."""
    length = int.from_bytes(content[:8], "little")
    header, body = content[8 : 8 + length], content[8 + length :]
    match rng.randrange(4):
        case 0:
            header = of_json(rng, header)
        case 1:
            header = of_bytes(rng, header)
        case 2:
            return of_bytes(rng, content)
        case _:
            body = of_bytes(rng, body[:200]) + body[200:]
    length = len(header) if rng.random() < 0.9 else rng.choice((0, 7, 2**31, 2**62, 2**63))
    return length.to_bytes(8, "little") + header + body


def squeezed(rng: random.Random, content: bytes) -> bytes:
    """Compressed, and at times damaged then."""
    packed = gzip.compress(content, 1, mtime=0)
    return of_bytes(rng, packed) if rng.random() < 0.3 else packed
