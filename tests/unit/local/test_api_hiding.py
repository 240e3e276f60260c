import msgspec
import pytest

from tiffin.local.api.hiding import HIDDEN, hidden
from tiffin.spec import Artefact, Component, ContainerSource, Deployment, ModelSource, Variant

ARTEFACT = Artefact(uri="s3://m")


@pytest.mark.parametrize(
    "source",
    [
        ModelSource(artefact=ARTEFACT, credentials={"AWS_SECRET_ACCESS_KEY": "topsecret"}),
        ContainerSource(image="x", mounts={"/m": ARTEFACT}, credentials={"AWS_SECRET_ACCESS_KEY": "topsecret"}),
    ],
)
def test_credentials_are_shown_by_name_only_wherever_they_are(source):
    environment = {"A": "1", "TOKEN": "topsecret"}
    component = Component(source=source, environment=environment, secret_variables=("TOKEN",))
    variant = Variant(name="b", components=(component,))
    given = Deployment(name="iris", components=(component,), variants=(variant,))
    shown = hidden(given)
    assert b"topsecret" not in msgspec.json.encode(shown)
    assert shown.components[0].source.credentials == {"AWS_SECRET_ACCESS_KEY": HIDDEN}
    assert shown.variants[0].components[0].environment == {"A": "1", "TOKEN": HIDDEN}
    assert given.components[0].source.credentials["AWS_SECRET_ACCESS_KEY"] == "topsecret"
