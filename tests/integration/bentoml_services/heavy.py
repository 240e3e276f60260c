"""Frames, pictures and FastAPI, where they are installed."""

from typing import Annotated

import bentoml
import numpy as np
import pandas as pd
from bentoml.validators import DataframeSchema
from fastapi import FastAPI
from PIL import Image

app = FastAPI()


@app.get("/free")
def free(n: int = 1) -> dict[str, int]:
    return {"n": n}


@bentoml.service(name="heavy")
@bentoml.asgi_app(app, path="/api")
class Heavy:
    def __init__(self) -> None:
        self.word = "mine"

    @app.get("/word")
    def say(self) -> dict[str, str]:
        return {"word": self.word}

    @app.post("/word/{times}")
    async def repeat(self, times: int) -> str:
        return self.word * times

    @bentoml.api
    def frame(self, df: pd.DataFrame) -> pd.DataFrame:
        return df

    @bentoml.api
    def columns(
        self, df: Annotated[pd.DataFrame, DataframeSchema(orient="columns", columns=["a", "b"])]
    ) -> Annotated[pd.DataFrame, DataframeSchema(orient="columns")]:
        return df

    @bentoml.api
    def root_frame(self, df: pd.DataFrame, /) -> int:
        return len(df)

    @bentoml.api
    def size(self, picture: Image.Image) -> list[int]:
        return list(picture.size)

    @bentoml.api
    def sizes(self, pictures: list[Image.Image]) -> list[int]:
        return [picture.size[0] for picture in pictures]

    @bentoml.api
    def root_size(self, picture: Image.Image, /) -> list[int]:
        return list(picture.size)

    @bentoml.api
    def drawn(self, n: int) -> Image.Image:
        return Image.new("RGB", (n, n), "red")

    @bentoml.api
    def flipped(self, picture: Image.Image) -> Image.Image:
        return picture

    @bentoml.api
    def mean(self, x: np.ndarray) -> float:
        return float(x.mean())
