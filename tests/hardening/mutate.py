"""Small changes of files: of bytes, of numbers written in text, of values in JSON; an input is a list of files."""

from __future__ import annotations

import json
import random
import re
from typing import Any

LONGEST = 1 << 16
NUMBERS = (
    *("0", "-0", "-1", "1", "2", "127", "255", "256", "65535", "2147483647", "2147483648", "4294967295", "-2147483649"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551615", "1" + "0" * 400, "9" * 5000),
    *("1e308", "-1.7976931348623157e308", "1e309", "1e-320", "0.1", "NaN", "Infinity", "-Infinity", "nan", "inf", "1e"),
)
TOKENS = (
    *(
        "null",
        "true",
        "false",
        '""',
        "[]",
        "{}",
        "[[[[",
        "}}",
        '"',
        "'",
        ",",
        ";",
        "\t",
        "\n",
        "\r\n",
        "\n\n",
        ":",
        "#",
    ),
    *("[" * 20000, '{"a":' * 8000, "\x00", "\ufeff", "\ud800", "\\ud800", "\u202e", "é", "../../etc/passwd", "qid:1"),
    *("__class__", "object", "<f8", ">U9", "|O", "float16", "M8[ns]", "V0", "S0", "inf", "-inf", "%00", "&target=0"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**63, 2**64, 10**400, -(10**400), 0.5, -0.0, 1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf"), "", "0", "nan", "a", "object", "float16", "<U0", "\x00", "\ud800"),
    *([], {}, [[]], [None], {"": 0}, ["a", "a"], [1, "a"], [0] * 1000, "x" * 5000),
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def mutate(parts: list[bytes], others: list[list[bytes]], rng: random.Random) -> list[bytes]:
    """Return the files with a few changes, one of them sometimes in the place of another input's."""
    parts = list(parts)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(parts))
        if rng.random() < 0.05:
            parts[at] = rng.choice(rng.choice(others))
        else:
            parts[at] = rng.choice(CHANGES)(parts[at], rng)[:LONGEST]
    return parts


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8))):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def set_bytes(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data or b"\0")
    at, n = rng.randrange(len(found)), rng.choice((1, 2, 4, 8))
    found[at : at + n] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80", b"0", rng.randbytes(1))) * n
    return bytes(found)


def cut(data: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.choices(range(len(data) + 1), k=2))
    return rng.choice((data[:start], data[start:], data[:start] + data[stop:], b"", data[:1]))


def repeat(data: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.choices(range(len(data) + 1), k=2))
    return data[:stop] + data[start:stop] * rng.choice((1, 1, 2, 50)) + data[stop:]


def insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    token = rng.choice(TOKENS + NUMBERS).encode("utf-8", "surrogatepass")
    return data[:at] + rng.choice((token, rng.randbytes(rng.choice((1, 4, 40))))) + data[at:]


def change_number(data: bytes, rng: random.Random) -> bytes:
    numbers = list(_NUMBER.finditer(data))
    if not numbers:
        return insert(data, rng)
    one = rng.choice(numbers)
    return data[: one.start()] + rng.choice(NUMBERS).encode() + data[one.end() :]


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Replace, drop or double one value of a JSON document, or of the JSON header that safetensors has."""
    try:
        if data[8:9] == b"{":
            size = int.from_bytes(data[:8], "little")
            header = change_json(data[8 : 8 + size], rng)
            return len(header).to_bytes(8, "little") + header + data[8 + size :]
        document = json.loads(data)
        places = [(None, None, document), *_places(document)]
        # What lies deep is most of a document and would be changed most of the time.
        holder, key, value = min(rng.choices(places, k=2), key=lambda _: rng.random())
        if holder is None:
            document = rng.choice(VALUES)
        elif isinstance(holder, dict) and rng.random() < 0.3:
            del holder[key]
        elif isinstance(holder, list) and rng.random() < 0.3:
            holder[key : key + 1] = rng.choice(([], [value, value]))
        else:
            holder[key] = rng.choice((*VALUES, rng.choice(places)[2]))
        return json.dumps(document).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return change_number(data, rng)


def _places(value: Any) -> list[tuple[Any, Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in pairs for place in ((value, key, one), *_places(one))]


CHANGES = (flip_bits, set_bytes, cut, repeat, insert, change_number, change_json, change_json)


def pack(parts: list[bytes]) -> bytes:
    """Return the files as one string of bytes: each after its length."""
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def unpack(data: bytes, n_parts: int) -> list[bytes]:
    """Return the files that any string of bytes stands for."""
    parts = []
    for _ in range(n_parts):
        size = int.from_bytes(data[:4], "little")
        parts.append(data[4 : 4 + size])
        data = data[4 + size :]
    return parts
