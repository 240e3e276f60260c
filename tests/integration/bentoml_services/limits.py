"""One call at a time, and hooks that say no."""

import time

import bentoml


@bentoml.service(name="limits", traffic={"timeout": 1, "max_concurrency": 1}, threads=4)
class Limits:
    def __is_ready__(self) -> bool:
        return True

    def __is_alive__(self) -> bool:
        return False

    @bentoml.api
    def hold(self, seconds: float) -> str:
        time.sleep(seconds)
        return "held"
