"""Two services, one of which calls the other with an array of as many bytes as the caller says."""

import time

import bentoml
import numpy as np


@bentoml.service(traffic={"timeout": 30})
class Inner:
    @bentoml.api
    async def double(self, x: np.ndarray) -> np.ndarray:
        return x * 2


@bentoml.service(traffic={"timeout": 30})
class Outer:
    inner = bentoml.depends(Inner)

    def __init__(self):
        self.arrays = {}

    @bentoml.api
    async def hop(self, size: int) -> float:
        """Seconds that the call of the other service took."""
        x = self.arrays.setdefault(size, np.ones(max(1, size // 8)))
        began = time.perf_counter()
        found = await self.inner.double(x)
        seconds = time.perf_counter() - began
        assert found.shape == x.shape
        assert found[0] == 2
        return seconds
