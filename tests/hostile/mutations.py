"""Seeded changes to valid files: bytes, lines, and values of JSON, also within the header of a safetensors file."""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

Mutate = Callable[[bytes, random.Random], bytes]

BYTES = (
    *(b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\x85", b"\r", b"\r\n"),
    *(b"\n", b"\n\n", b"\t", b"\t\t", b" ", b'"', b"'", b"#", b":", b"- ", b"{", b"[", b"}", b"]", b"&a ", b"*a"),
    *(b"-1", b"1e999", b"NaN", b"0x10", b"1_0", b"9" * 5000, b"99999999999999999999", b"4611686018427387904"),
    *(b"../../", b"/etc/passwd", b"null", b"2026-01-31", b"x" * 100_000, b"[" * 5000, b"{a: " * 200),
    *(b"\n<<: *a\n", b"!!python/object/apply:os.system ['touch EXECUTED']"),
    b'{"class_path": "subprocess.getoutput", "init_args": {"cmd": "touch EXECUTED"}}',
    b"cos\nsystem\n(S'touch EXECUTED'\ntR.",
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 2**31, 2**62, 2**64, 1.5, -0.0, float("nan"), float("inf"), 1e308),
    *("", "x", "\x00", "\ud800", "../../etc", "/etc/passwd", "os.system", "F32", "I64", "9" * 5000, "x" * 10_000),
    *([], {}, [[]], [None], [-1], [0, 0], [2**62, 2**62], list(range(1000)), {"": 0}, {"class_path": "os.system"}),
)

# Entries of a config that make lists, modules or downloads of what they say, whether they were there or not.
ADDED: tuple[tuple[str, Any], ...] = (
    *(("num_labels", 10**5), ("num_labels", 2 * 10**7), ("num_hidden_layers", 999), ("num_hidden_layers", 10**10)),
    *(("num_hidden_groups", 1000), ("num_hidden_groups", 10**7), ("inner_group_num", 3000), ("n_layer", 10**9)),
    *(("num_layers", 10**9), ("encoder_layers", 10**9), ("attention_types", [[["global"], 10**9]])),
    *(("max_position_embeddings", 10**6), ("type_vocab_size", 10**8), ("model_type", "albert"), ("model_type", "gpt2")),
    *(("attn_implementation", "evil/kernel"), ("experts_implementation", "evil/kernel"), ("use_kernels", True)),
    *(("auto_map", {"AutoConfig": "evil.Evil"}), ("configuration_files", ["config.4.0.0.json"])),
)


def in_bytes(content: bytes, draw: random.Random) -> bytes:
    """Change, insert, remove, repeat or cut off bytes, one to four times."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(content))
        end = min(len(content), at + draw.choice((1, 1, 2, 8, 64, 1024)))
        kind = draw.randrange(5)
        if kind == 0:
            content = content[:at] + draw.choice(BYTES) + content[at:]
        elif kind == 1:
            content = content[:at] + content[end:]
        elif kind == 2:
            content = content[:end] + content[at:end] * draw.choice((1, 3, 50)) + content[end:]
        elif kind == 3:
            content = content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]
        else:
            content = content[:at]
    return content


def in_lines(content: bytes, draw: random.Random) -> bytes:
    """Swap, repeat, remove or join lines, or put something else in place of a field."""
    lines = content.split(b"\n")
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    kind = draw.randrange(5)
    if kind == 0:
        lines[first], lines[second] = lines[second], lines[first]
    elif kind == 1:
        lines[first:first] = [lines[first]] * draw.choice((1, 2, 500))
    elif kind == 2:
        del lines[first]
    elif kind == 3:
        lines[first : first + 2] = [b"".join(lines[first : first + 2])]
    else:
        gap = draw.choice((b"\t", b" ", b": "))
        fields = lines[first].split(gap)
        fields[draw.randrange(len(fields))] = draw.choice(BYTES)
        lines[first] = gap.join(fields)
    return b"\n".join(lines)


def in_json(content: bytes, draw: random.Random) -> bytes:
    """Replace, remove, add or rename a value of a JSON file."""
    return json.dumps(changed(json.loads(content), draw)).encode()


def in_header(content: bytes, draw: random.Random) -> bytes:
    """Change a value of a safetensors header, or of the JSON in its metadata; or its length."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    held = [key for key, value in header.get("__metadata__", {}).items() if value.startswith("{")]
    if held and draw.random() < 0.6:
        key = draw.choice(held)
        header["__metadata__"][key] = json.dumps(changed(json.loads(header["__metadata__"][key]), draw))
    else:
        header = changed(header, draw)
    text = json.dumps(header).encode()
    claimed = len(text) if draw.random() < 0.9 else draw.choice((0, 1, 2**32, 2**63, 2**64 - 1))
    return struct.pack("<Q", claimed) + text + content[8 + length :]


def changed(content: Any, draw: random.Random) -> Any:
    """A copy of a JSON value with a change somewhere inside."""
    places: list[tuple[Any, Any]] = []
    root = [json.loads(json.dumps(content))]
    waiting: list[Any] = [root]
    while waiting:
        holder = waiting.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            places.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    if draw.random() < 0.2:
        for name, value in draw.sample(ADDED, draw.choice((1, 2, 3))):
            mapping = draw.choice([holder[key] for holder, key in places if isinstance(holder[key], dict)] or [{}])
            mapping[name] = json.loads(json.dumps(value))
    for _ in range(draw.choice((1, 1, 2))):
        holder, key = draw.choice(places)
        if (isinstance(holder, dict) and key not in holder) or (isinstance(holder, list) and key >= len(holder)):
            continue  # Its holder has been replaced or has become shorter.
        kind = draw.randrange(6)
        if kind == 0 and holder is not root:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[draw.choice(("", "x", "../x", "__class__", "\x00"))] = holder.pop(key)
        elif kind == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = draw.choice((holder[key] + 1, holder[key] - 1, -holder[key], holder[key] * 10**6, 2**62))
        elif kind == 3 and isinstance(holder[key], list):
            holder[key] = holder[key] * draw.choice((0, 2, 100))
        else:
            holder[key] = draw.choice(VALUES)
    return root[0]
