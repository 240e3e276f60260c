"""The front ends: files as users of four systems write them, as one typed ``spec.Deployment``.

Lives here: ``read`` (a path in, deployments out), ``read_all`` (several that refer to each other), ``gather``
(the objects they refer to), ``read_object`` (a live object of a cluster), ``combine`` (several that run
together), ``check_update`` (what may not change of one), ``convert`` (a deployment as a file of another system),
``native_status`` (what is observed, in a system's own words), and modules for each dialect: ``tiffin``,
``kserve``, ``seldon``, ``bentoml``. Next door: ``spec``, which they all end in. The rule of the place: text in,
values out. Nothing here touches the network or imports user code, only ``read`` and ``read_all`` open files, and
every field of a file is honoured, refused by its path, or listed as a warning.
"""

from __future__ import annotations

from pathlib import Path

from tiffin.dialects import routes, sources
from tiffin.dialects.combining import combine
from tiffin.dialects.live import read_object, read_resource
from tiffin.dialects.resources import Resources
from tiffin.dialects.sources import gather, parse
from tiffin.dialects.statuses import native_status
from tiffin.dialects.together import read_all
from tiffin.dialects.updating import check_update
from tiffin.dialects.writing import Converted, convert
from tiffin.spec import Deployment, Target

__all__ = [
    "Converted",
    "Resources",
    "check_update",
    "combine",
    "convert",
    "gather",
    "native_status",
    "parse",
    "read",
    "read_all",
    "read_object",
    "read_resource",
]


def read(
    path: Path, *, domain: str = routes.DOMAIN, resources: Resources | None = None, target: Target = "local"
) -> list[Deployment]:
    """The deployments a path describes.

    A YAML or JSON file is read by the kind it declares; ``bentofile.yaml``, a ``pyproject.toml`` with
    ``[tool.bentoml.build]`` and ``service.py`` are BentoML services; a saved model (``iris.joblib``) becomes a
    deployment named after the file, or after its directory when the file's name says nothing (``model.joblib``).
    A directory is a BentoML service when it has one of their files, else all its YAML and JSON files that have an
    ``apiVersion``, else the saved model in it. ``domain`` is the end of the deployments' host names; ``resources``
    are objects a deployment may refer to, beside those in its own file or directory. ``target`` is where they are
    to run: what it cannot do is refused or warned of, and what concerns another one only is left out.

    Raises:
        SpecError: nothing can be read there, or a file does not say what it must; ``place`` is ``file:line``.
    """
    return sources.read(Path(path), domain, resources or Resources(), target)
