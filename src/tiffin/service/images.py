"""``images.Image``: the recipe of a container image, recorded for ``tiffin build``; serving does not need it."""

from __future__ import annotations

from typing import Any


class Image:
    """A base image and the steps on top of it; each step method returns the image, so that steps chain.

    Attributes:
        options: Keywords as given.
        steps: ``(method, arguments)``, in order.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.steps: list[tuple[str, tuple[Any, ...]]] = []

    def _step(self, name: str, arguments: tuple[Any, ...]) -> Image:
        self.steps.append((name, arguments))
        return self

    def python_packages(self, *packages: str) -> Image:
        """Install packages by requirement."""
        return self._step("python_packages", packages)

    def requirements_file(self, path: str) -> Image:
        """Install what a requirements file lists."""
        return self._step("requirements_file", (path,))

    def pyproject_toml(self, path: str = "pyproject.toml") -> Image:
        """Install a project's dependencies."""
        return self._step("pyproject_toml", (path,))

    def uv_lock(self, path: str = "uv.lock") -> Image:
        """Install what a uv lock file lists."""
        return self._step("uv_lock", (path,))

    def system_packages(self, *packages: str) -> Image:
        """Install packages of the distribution."""
        return self._step("system_packages", packages)

    def run(self, command: str) -> Image:
        """Run a shell command."""
        return self._step("run", (command,))

    def run_script(self, path: str) -> Image:
        """Run a script of the project."""
        return self._step("run_script", (path,))

    def build_include(self, *patterns: str) -> Image:
        """Have files in place before packages are installed."""
        return self._step("build_include", patterns)
