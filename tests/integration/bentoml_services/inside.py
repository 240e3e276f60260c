"""What an author's own scripts and tests do in one process: prints what each step gave, as lines of JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pydantic
from starlette.testclient import TestClient


@bentoml.service
class Inner:
    @bentoml.api
    def twice(self, x: int) -> int:
        return 2 * x


@bentoml.service(resources={"cpu": "1"}, traffic={"timeout": 7}, labels={"a": "b"})
class Outer:
    inner = bentoml.depends(Inner)
    kept = bentoml.models.BentoModel("kept:one")

    def __init__(self) -> None:
        self.word = Path(self.kept.path_of("word.txt")).read_text()

    @bentoml.api
    def say(self, n: int = pydantic.Field(default=2, ge=1)) -> str:
        return self.word * self.inner.twice(x=n)

    @bentoml.api
    async def say_too(self, n: int) -> str:
        return self.word * await self.inner.to_async.twice(x=n)

    @bentoml.api
    def picture(self, x: np.ndarray) -> np.ndarray:
        return x + 1

    @bentoml.api
    def refuse(self) -> str:
        raise bentoml.exceptions.NotFound("no such thing")


def told(step: str, make: Any) -> None:
    """Do one step and print what it gave, or the kind of error."""
    try:
        found = make()
    except Exception as error:
        found = f"{type(error).__name__}"
        print(step, repr(error), file=sys.stderr)
    print(json.dumps([step, found], default=str))


def is_not_found(ask: Any) -> str:
    """The way services look for what may not be there."""
    try:
        ask("nobody:one")
    except bentoml.exceptions.NotFound:
        return "not there"
    return "there"


def models() -> None:
    with bentoml.models.create("kept:one", labels={"of": "mine"}, metadata={"acc": 0.5}) as model:
        Path(model.path_of("word.txt")).write_text("ha")
    told("tag", lambda: str(bentoml.models.get("kept:latest").tag))
    told("labels", lambda: dict(bentoml.models.get("kept").info.labels))
    told("metadata", lambda: dict(bentoml.models.get("Kept:ONE").info.metadata))
    told("listed", lambda: [str(model.tag) for model in bentoml.models.list()])
    told("again", lambda: bentoml.models.create("kept:one").__enter__())
    for ask in (bentoml.models.get, bentoml.models.delete, bentoml.get, bentoml.delete):
        told(f"missing: {ask.__name__}", lambda ask=ask: is_not_found(ask))
    told(
        "exported", lambda: Path(bentoml.models.export_model("kept:one", str(Path.cwd() / "kept.bentomodel"))).name
    )
    told("deleted", lambda: bentoml.models.delete("kept:one"))
    told("gone", lambda: [str(model.tag) for model in bentoml.models.list()])
    told("imported", lambda: str(bentoml.models.import_model(str(Path.cwd() / "kept.bentomodel")).tag))


def helpers() -> None:
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    told("sklearn saved", lambda: bentoml.sklearn.save_model("line", fitted, labels={"k": "v"}).tag.name)
    told("sklearn loaded", lambda: round(float(bentoml.sklearn.load_model("line:latest").predict([[3.0]])[0]), 6))
    told("sklearn got", lambda: bentoml.sklearn.get("line").info.module.partition(".")[2])
    told("its own model", lambda: type(bentoml.models.get("line").load_model()).__name__)


def calls() -> None:
    made = Outer()
    told("direct", lambda: made.say(n=1))
    told("direct, default", lambda: made.say())
    told("direct array", lambda: made.picture(np.ones(2)).tolist())
    told("name", lambda: Outer.name)
    told("inner", lambda: Outer.inner.__name__)
    told("apis", lambda: sorted(Outer.apis))
    told("dependencies", lambda: sorted(Outer.dependencies))
    told("routes", lambda: sorted(route["route"] for route in Outer.schema()["routes"]))
    with TestClient(Outer.to_asgi()) as client:
        for path, body in (
            ("say", {}),
            ("say", {"n": 0}),
            ("say_too", {"n": 3}),
            ("picture", {"x": [1]}),
            ("refuse", {}),
        ):
            answer = client.post(f"/{path}", json=body)
            told(f"{path} {body}", lambda answer=answer: [answer.status_code, answer.text])
        told("nowhere", lambda: client.get("/nowhere").status_code)
        told("ready", lambda: client.get("/readyz").status_code)


def images() -> None:
    image = bentoml.images.Image(python_version="3.11", distro="debian").python_packages("numpy", "pandas==2.0")
    image = image.system_packages("curl").run("echo hello")
    told("image", lambda: type(image).__name__)


def names() -> None:
    told("tag", lambda: [bentoml.Tag.from_taglike("A:B").name, bentoml.Tag.from_taglike("A:B").version])
    told("statuses", lambda: [
        int(getattr(bentoml.exceptions, name).error_code)
        for name in ("BentoMLException", "InvalidArgument", "BadInput", "NotFound", "ServiceUnavailable",
                     "InternalServerError", "UnprocessableEntity", "StateException", "BentoMLConfigException")
    ])  # fmt: skip


if __name__ == "__main__":
    for part in (models, helpers, calls, images, names):
        try:
            part()
        except Exception as error:
            print(json.dumps([part.__name__, type(error).__name__]))
            print(part.__name__, repr(error), file=sys.stderr)
