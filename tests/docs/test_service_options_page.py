"""The table of options in the guide is the one the code reads."""

import re
from pathlib import Path

from tiffin.service.options import OPTIONS

PAGE = Path(__file__).parents[2] / "docs/guides/service-options.md"


def rows():
    lines = re.findall(r"^\| `([a-z_.]+)` \| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {path: (meaning, default) for path, meaning, default in lines}


def test_every_option_is_in_the_guide_and_no_other():
    assert list(rows()) == [option.path for option in OPTIONS]


def test_what_is_not_acted_on_is_said_so():
    for option in OPTIONS:
        meaning, _ = rows()[option.path]
        assert meaning == f"a warning: {option.remark}" if option.remark else not meaning.startswith("a warning")


def test_defaults_are_those_of_the_table():
    for option in OPTIONS:
        said = rows()[option.path][1].strip("`").replace(" ", "")
        assert said == ("" if option.default is None else str(option.default).replace(" ", ""))
