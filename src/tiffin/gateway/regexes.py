"""Regular expressions that the gateway can match in linear time."""

from __future__ import annotations

import re

from tiffin.errors import SpecError

ESCAPE = re.compile(r"\\(.)", re.DOTALL)
BEYOND_ESCAPES = frozenset("123456789NuUGRXKkgZ")
NAMED_CLASS = re.compile(r"\[:\^?\w+:\]")
CLASS = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|[^\]])*\]")
BEYOND = re.compile(r"\(\?(?:[=!>#(aLux&R]|<[=!]|P=|P>)|[+*?}]\+")
REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
MOST_REPEATS = 1000
HINT = "only what can be matched in linear time: no looking ahead or back, no references to groups"


def checked(pattern: str) -> str:
    """The pattern, when it is in the syntax that Python and RE2 share; raises SpecError otherwise."""
    if not pattern:
        raise SpecError("expected a regular expression, found an empty text", hint='use "present" for any value')
    for escape in ESCAPE.finditer(pattern):
        if escape.group(1) in BEYOND_ESCAPES:
            raise SpecError(f"the regular expression {pattern!r} has {escape.group()!r}", hint=HINT)
    bare = CLASS.sub("x", ESCAPE.sub("x", pattern))
    if found := BEYOND.search(bare):
        raise SpecError(f"the regular expression {pattern!r} has {found.group()!r}", hint=HINT)
    if any(int(number or 0) > MOST_REPEATS for match in REPEAT.finditer(bare) for number in match.groups()):
        raise SpecError(f"the regular expression {pattern!r} repeats more than {MOST_REPEATS} times", hint=HINT)
    try:
        re.compile(NAMED_CLASS.sub("x", pattern))
    except (re.error, RecursionError, OverflowError) as error:
        raise SpecError(f"{pattern!r} is no regular expression: {error}", hint=HINT) from error
    return pattern
