"""Which addresses each of several deployments has."""

from __future__ import annotations

import pytest

from tiffin import dialects
from tiffin.errors import SpecError
from tiffin.local import settling
from tiffin.spec import Deployment, Route

FILE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: %s}
spec: {predictor: {model: {modelFormat: {name: sklearn}, storageUri: /m}}}
"""


def deployment(name: str) -> Deployment:
    (found,) = dialects.parse(FILE % name)
    return found


def shared(one: Deployment) -> set[str]:
    return {route.path for route in one.routes if route.path == "/v2"}


def test_what_several_want_goes_to_the_first_of_them() -> None:
    one, two, memory = deployment("one"), deployment("two"), settling.Settling()
    assert shared(memory.of(one, [one, two])) == {"/v2"}
    assert shared(memory.of(two, [one, two])) == set()
    assert shared(memory.of(two, [two])) == {"/v2"}
    assert shared(memory.of(two, [two, one])) == {"/v2"}


def test_it_is_settled_once_for_all_and_again_when_one_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, real = [], settling.together
    monkeypatch.setattr(settling, "together", lambda every: counted.append(len(every)) or real(every))
    every, memory = [deployment(name) for name in ("a", "b", "c")], settling.Settling()
    for one in every:
        memory.of(one, list(every))
    assert counted == [3]
    every[1] = deployment("b")
    assert memory.of(every[1], every).key == "default/b"
    assert counted == [3, 3]


def test_those_that_contradict_each_other_are_as_they_were_written() -> None:
    route = Route(path="/", hosts=("same.example.com",))
    one, two = (
        Deployment(name=name, components=deployment(name).components, routes=(route,)) for name in ("one", "two")
    )
    with pytest.raises(SpecError):
        settling.together([one, two])
    assert settling.Settling().of(one, [one, two]) is one
