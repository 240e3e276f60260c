"""Which target a command line is about."""

import pytest

from tiffin.cli import targets
from tiffin.cli.targets import Target
from tiffin.errors import SpecError


@pytest.mark.parametrize(
    ("line", "variable", "target", "rest"),
    [
        ("get iris", "", Target("local"), "iris"),
        ("get --target kubernetes iris", "", Target("kubernetes"), "iris"),
        ("get iris --target=k8s -o yaml", "", Target("kubernetes"), "iris -o yaml"),
        ("get iris --context dev", "", Target("kubernetes", "dev"), "iris"),
        ("get --kubeconfig=f --context=dev", "", Target("kubernetes", "dev", "f"), ""),
        ("get iris", "kubernetes", Target("kubernetes"), "iris"),
        ("get iris --target local", "kubernetes", Target("local"), "iris"),
        ("get -- --target x", "", Target("local"), "-- --target x"),
        ("build --target kubernetes", "kubernetes", Target("local"), "--target kubernetes"),
    ],
)
def test_a_line_names_its_target(line, variable, target, rest):
    command, *arguments = line.split()
    assert targets.taken(command, arguments, {"TIFFIN_TARGET": variable}) == (target, rest.split())


@pytest.mark.parametrize(
    ("line", "variable", "message"),
    [
        ("get --target mars", "", "--target: expected local or kubernetes, found 'mars'"),
        ("get", "mars", "TIFFIN_TARGET: expected local or kubernetes, found 'mars'"),
        ("get --context", "", "--context: expected a value, found nothing"),
        ("get --target local --context dev", "", "expected kubernetes beside --context or --kubeconfig"),
    ],
)
def test_what_names_none_is_refused(line, variable, message):
    command, *arguments = line.split()
    with pytest.raises(SpecError) as raised:
        targets.taken(command, arguments, {"TIFFIN_TARGET": variable})
    assert message in str(raised.value)
