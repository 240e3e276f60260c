"""The code of the guide to services runs, and answers what the guide says."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "services.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("the_guide")
    monkeypatch.setitem(sys.modules, "the_guide", made)
    exec(BLOCKS[0], vars(made))
    return made


def test_the_first_service_scores_as_shown(module):
    shown = re.search(r"curl -d '.*?\[\[(.*?)\]\].*?\n\[\[(.*?)\]\]", GUIDE.read_text(), re.DOTALL)
    row = [float(number) for number in shown[1].split(",")]
    assert repr(module.Iris().score(np.array([row])).tolist()) == f"[[{shown[2]}]]"


def test_the_annotated_service_can_be_served(module):
    exec(BLOCKS[1], vars(module))
    module.Shapes.check()
    assert module.Shapes.schema()["paths"].keys() == {"/limited", "/listen", "/square"}


def test_the_blocks_about_calls_and_life_are_python(module):
    exec("import tiffin\n\nclass Block:\n" + re.sub("^", "    ", BLOCKS[2], flags=re.MULTILINE), vars(module))
    exec(BLOCKS[3], vars(module))
