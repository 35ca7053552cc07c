"""What a column's name and default tell of its values, where nobody has counted them."""

from __future__ import annotations

import re
from typing import Final

from crosskey.catalog.model import Column

_FLAGS: Final = re.compile(
    r"^(is|has|can|was|should|must|allow|allows|enable|use)_"
    r"|(^|_)(flag|active|enabled|disabled|deleted|archived|admin|staff|superuser|private|visible|hidden|verified"
    r"|approved|published|locked|done)$"
)
_KINDS: Final = re.compile(
    r"(^|_)(type|types|kind|kinds|status|statuses|state|states|level|priority|severity|mode|role|gender|lang|language"
    r"|languages|locale|locales|country|countries|currency|currencies|timezone|timezones|unit|units)(_(id|code|name|key))?$"
)
_PROSE: Final = re.compile(
    r"(^|_)(title|headline|subject|description|summary|abstract|body|content|contents|text|comment|comments|message"
    r"|note|notes|bio|caption|label|html|markdown)$"
)
_CONSTANT: Final = re.compile(r"\(?('(?:[^']|'')*'|-?\d+(?:\.\d+)?|true|false)\)?(::.+)?")


def few_by_name(name: str) -> bool:
    """Whether a column of that name has few values: a flag, a kind, a state, or what names a row of a list of such."""
    return _FLAGS.search(name) is not None or _KINDS.search(name) is not None


def is_kind(name: str) -> bool:
    """Whether a table of that name is a list of kinds, languages, countries and the like."""
    return _KINDS.search(name) is not None


def is_prose(name: str) -> bool:
    """Whether a column of that name holds what people write: nothing by which rows belong together."""
    return _PROSE.search(name) is not None


def has_constant_default(column: Column) -> bool:
    """Whether rows that say nothing all get one value."""
    return _CONSTANT.fullmatch(column.default or "") is not None
