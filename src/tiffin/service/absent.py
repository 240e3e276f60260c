"""Names of BentoML that this version does not have: they import, and say so when they are used."""

from __future__ import annotations

from typing import Any, NoReturn

from tiffin.errors import ServiceError

_ABSENT = {
    "runner_service": "write a class with @service",
    "Runner": "write a class with @service",
    "Runnable": "write a class with @service",
    "push": "use `tiffin build` and its bundles",
    "pull": "use `tiffin build` and its bundles",
    "ray": "serve the application beside the service",
    "triton": "serve the model with its own format",
    "batch": "call the endpoint",
    "cloud": "Tiffin deploys to your own machines",
    "deployment": "Tiffin deploys to your own machines",
    "api_token": "Tiffin deploys to your own machines",
    **dict.fromkeys(
        (
            "unsloth",
            "pytorch_lightning",
            "diffusers",
            "fastai",
            "flax",
            "detectron",
            "easyocr",
            "diffusers_simple",
        ),
        "keep the files with models.create, and load them with the framework",
    ),
    **dict.fromkeys(("BentoCloudClient", "ApiToken", "ApiTokenAPI"), "Tiffin deploys to your own machines"),
    **dict.fromkeys(("HTTPServer", "GrpcServer", "start"), "use serve(...)"),
    **dict.fromkeys(("Strategy", "Resource"), "use @service(resources=..., workers=...)"),
    "set_serialization_strategy": "models are kept as their framework's helper writes them",
    **dict.fromkeys(("ModelContext", "ModelOptions"), "models.create notes the versions, and takes metadata"),
    "container": "use `tiffin image`",
    "io": "annotate the method's parameters",
    "legacy": "write a class with @service",
    "server": "run `tiffin serve MODULE:SERVICE`",
}

NAMES = frozenset(_ABSENT)


class Absent:
    """Stands for a name; every use raises ServiceError."""

    def __init__(self, name: str, instead: str) -> None:
        self.__dict__.update(_name=name, _instead=instead)

    def _refuse(self) -> NoReturn:
        raise ServiceError(f"{self._name} is not part of this version of Tiffin", hint=self._instead)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse."""
        self._refuse()

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse; names of Python itself are simply absent, so that tools can look at the object."""
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    def __repr__(self) -> str:
        return f"<{self._name}, which this version of Tiffin does not have>"


def __getattr__(name: str) -> Any:
    if name in _ABSENT:
        return Absent(name, _ABSENT[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
