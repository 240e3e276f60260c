"""Which image a component runs from."""

from __future__ import annotations

import re

from tiffin.errors import SpecError
from tiffin.spec import ClassSource, Component, ContainerSource, ModelSource

_SCHEMES = ("oci://", "docker://")
_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
    r"(?P<version>:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})+",
    re.ASCII,
)
_HINT = (
    "a cluster has none of your files: build its image with `tiffin image` and push it, then name it as "
    "`bundle: registry/name:tag`; or `tiffin deploy`, which does all of it"
)


def of_source(component: Component) -> str:
    """The image of a component's service, class or program.

    Raises:
        SpecError: it is in a directory, or in no image.
    """
    source = component.source
    if isinstance(source, ContainerSource):
        return source.image
    if isinstance(source, ClassSource) and source.image:
        return source.image
    assert not isinstance(source, ModelSource)
    uri = source.artefact.uri
    name = next((uri.removeprefix(scheme) for scheme in _SCHEMES if uri.startswith(scheme)), "")
    if name or _REFERENCE.fullmatch(uri):
        return name or uri
    kind = "class" if isinstance(source, ClassSource) else "service"
    raise SpecError(
        f"expected the image that the {kind} is in, registry/name:tag, found {uri or 'nothing'}",
        hint=_HINT,
        at=f"{component.name}.{kind}",
    )
