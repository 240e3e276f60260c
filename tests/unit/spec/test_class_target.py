"""How a class is named."""

import pytest

from tiffin.errors import SpecError
from tiffin.spec.target import class_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Iris", "Iris:Iris"),
        ("Iris.py", "Iris:Iris"),
        ("package.module.Iris", "package.module:Iris"),
        ("module:Iris", "module:Iris"),
        (" module:Outer.Inner ", "module:Outer.Inner"),
    ],
)
def test_every_way_to_name_a_class_is_one_target(text, target):
    assert class_target(text) == target
    assert class_target(target) == target


@pytest.mark.parametrize("text", ["", ":", "a:", ":A", "a/b", "../a", "a b", "1a", "a:b:c"])
def test_what_names_no_class_is_refused(text):
    with pytest.raises(SpecError, match="expected module:Class"):
        class_target(text)
