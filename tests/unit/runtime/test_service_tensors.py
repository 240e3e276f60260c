"""Methods of services as models of tensors: their names, and what there is without numpy."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiffin
from tiffin.errors import NotImplementedHere, PredictError, TooManyCalls
from tiffin.protocol.tensors import TensorCall
from tiffin.runtime.service_application import ServiceApplication
from tiffin.runtime.service_models import Refused, told
from tiffin.service.exceptions import BentoMLException, InvalidArgument
from tiffin.spec import Artefact, Component, ReplicaSpec, ServiceSource


def application(service: Any, name: str = "deployed") -> ServiceApplication:
    source = ServiceSource(artefact=Artefact("."), target="module:Name")
    spec = ReplicaSpec(deployment=name, model_name=name, component=Component(source=source), path=".")
    return ServiceApplication(spec, service)


@tiffin.service
class Several:
    @tiffin.api
    def predict(self, x: list[int]) -> list[int]:
        return x

    @tiffin.api
    def other(self, x: list[int]) -> list[int]:
        return x

    @tiffin.api
    def picture(self, file: Path) -> int:
        return 1

    @tiffin.api
    def made(self) -> Path:
        return Path()


@tiffin.service
class Single:
    @tiffin.api
    def run(self, x: list[int]) -> list[int]:
        return x


@tiffin.service
class Nameless:
    @tiffin.api
    def one(self, x: list[int]) -> list[int]:
        return x

    @tiffin.api
    def two(self, x: list[int]) -> list[int]:
        return x


def names(service: Any, name: str = "deployed") -> dict[str, str]:
    return {known: model.name for known, model in application(service, name).tensor_models().items()}


def test_the_deployments_name_is_that_of_predict_or_of_the_only_method() -> None:
    assert names(Several) == {"predict": "predict", "other": "other", "deployed": "predict"}
    assert names(Single) == {"run": "run", "deployed": "run"}
    assert names(Nameless) == {"one": "one", "two": "two"}


def test_a_method_keeps_its_name_from_a_deployment_that_is_called_the_same() -> None:
    assert names(Several, "other") == {"predict": "predict", "other": "other"}


def ask(one: ServiceApplication, model: str, *tensors: Any) -> Any:
    async def run() -> Any:
        one.load()
        await one.start()
        try:
            call = TensorCall([f"x{n}" if n else "x" for n in range(len(tensors))], list(tensors))
            return await one.tensor_models()[model].infer(call, {})
        finally:
            await one.stop()

    return asyncio.run(run())


def test_a_method_is_asked_with_tensors() -> None:
    ((name, array),) = ask(application(Single), "run", np.array([1, 2]))
    assert (name, array.tolist()) == ("output-0", [1, 2])


def test_without_numpy_tensors_are_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    one = application(Single)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(NotImplementedHere, match=r"pip install 'tiffin\[numpy\]'"):
        one.tensor_models()["run"].describe()


@pytest.mark.parametrize(
    ("raised", "kind", "status", "text"),
    [
        (InvalidArgument("not so"), Refused, 400, "not so"),
        (BentoMLException("secret", error_code=403), Refused, 403, "Authorization error"),
        (BentoMLException("secret", error_code=503), Refused, 503, "An unexpected error"),
        (BentoMLException("secret"), PredictError, 500, "run raised"),
        (RuntimeError("secret"), PredictError, 500, "run raised"),
    ],
)  # fmt: skip
def test_what_a_method_raises_has_its_status(raised: Any, kind: Any, status: int, text: str) -> None:
    error = told(raised, "run")
    assert (type(error), error.status) == (kind, status)
    assert str(error).startswith(text)
    if kind is Refused and status != 400:
        assert "secret" not in str(error)


def test_a_call_above_the_limit_is_turned_away() -> None:
    one = application(Single)
    one._limit = 0
    with pytest.raises(TooManyCalls):
        ask(one, "run", np.array([1]))
