import json

import pytest

from tiffin.dialects import seldon_images
from tiffin.errors import SpecError
from tiffin.spec import Artefact, ClassSource, Component, ContainerSource, Parameter


def test_an_image_is_told_what_seldon_tells_it():
    source = ClassSource(
        artefact=Artefact("iris:1"),
        target="Iris:Iris",
        parameters=(Parameter("a", 0.5), Parameter("b", True), Parameter("c", 3), Parameter("d", "x")),
        unit="clf",
        image="iris:1",
    )
    found = seldon_images.program(Component(source=source, environment={"MODEL_NAME": "Iris"}, workers=2), source)
    assert found.source == ContainerSource(image="iris:1", port=9000)
    assert (found.workers, found.environment["MODEL_NAME"]) == (2, "Iris")
    assert (found.environment["PREDICTIVE_UNIT_ID"], found.environment["PREDICTIVE_UNIT_IMAGE"]) == (
        "clf",
        "iris:1",
    )
    assert found.environment["PREDICTIVE_UNIT_HTTP_SERVICE_PORT"] == "9000"
    assert json.loads(found.environment["PREDICTIVE_UNIT_PARAMETERS"]) == [
        {"name": "a", "value": "0.5", "type": "FLOAT"},
        {"name": "b", "value": "true", "type": "BOOL"},
        {"name": "c", "value": "3", "type": "INT"},
        {"name": "d", "value": "x", "type": "STRING"},
    ]


def test_what_the_file_sets_counts():
    source = ClassSource(artefact=Artefact("iris:1"), unit="clf", image="iris:1")
    component = Component(source=source, environment={"PREDICTIVE_UNIT_ID": "mine"})
    assert seldon_images.program(component, source).environment["PREDICTIVE_UNIT_ID"] == "mine"


def test_a_class_understands_what_its_container_was_told():
    parameters = (Parameter("a", 0.5), Parameter("b", True), Parameter("c", 3), Parameter("d", "x"))
    source = ClassSource(artefact=Artefact("iris:1"), parameters=parameters, unit="clf", image="iris:1")
    told = seldon_images.program(Component(source=source), source).environment
    found = seldon_images.told(ClassSource(artefact=Artefact(".")), told)
    assert (found.unit, found.image, found.parameters) == ("clf", "iris:1", parameters)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected a JSON list"),
        ('[{"name": "a", "value": "x", "type": "INT"}]', "expected a text that is INT"),
        ('"a"', "parameters"),
    ],
)
def test_parameters_that_are_none_are_refused(text, message):
    with pytest.raises(SpecError, match=message):
        seldon_images.told(ClassSource(artefact=Artefact(".")), {"PREDICTIVE_UNIT_PARAMETERS": text})
