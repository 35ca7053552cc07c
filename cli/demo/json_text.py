"""JSON as people read it: on one line where it fits, and broken where it does not."""

from typing import Any

import msgspec


def json_text(value: Any, width: int, indent: str = "", beside: int = 0) -> str:
    """Return a value as JSON in lines of at most `width` characters, where it can be broken so.

    All lines but the first begin with `indent`, which counts for the first one too, as do `beside` characters: a name
    in front and a comma behind. What is indented by the whole width is not broken, or values that nest deep would
    never end.
    """
    line = msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
    fits = len(indent) + len(line) + beside <= width or len(indent) >= width
    if fits or not isinstance(value, dict | list) or not value:
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        items = [_named(json_text(name, width), item, width, deeper) for name, item in value.items()]
        return _block("{", items, "}", indent)
    return _block("[", [json_text(item, width, deeper, len(",")) for item in value], "]", indent)


def _named(name: str, item: Any, width: int, indent: str) -> str:
    return f"{name}: {json_text(item, width, indent, len(name) + len(': ,'))}"


def _block(start: str, items: list[str], end: str, indent: str) -> str:
    lines = ",\n".join(f"{indent}  {item}" for item in items)
    return f"{start}\n{lines}\n{indent}{end}"
