"""BentoML with its defaults, in an environment of its own: its pins clash with ours."""

from __future__ import annotations

from pathlib import Path

NAME = "bentoml"
DESCRIPTION = "bentoml serve, defaults"

BENTOML = Path(__file__).resolve().parents[2] / ".venv-bench-bentoml" / "bin" / "bentoml"


def missing() -> str:
    """Why it cannot run here; empty when it can."""
    return "" if BENTOML.exists() else f"{BENTOML.parent.parent.name} is not there: `make bench` makes it"


def command(service: Path, port: int) -> list[str]:
    """The command that serves the service of a directory on 127.0.0.1:``port``."""
    return [str(BENTOML), "serve", str(service), "--host", "127.0.0.1", "--port", str(port)]
