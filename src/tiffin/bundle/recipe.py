"""From a build file and the decorator's image to a recipe: what stands around the sources in an image.

Both may say things; the decorator's come first and the build file's after them, as in BentoML. Paths they name are
read below the directory that is built.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import msgspec

from tiffin.bundle import requirements
from tiffin.bundle.manifest import Recipe
from tiffin.dialects.bentoml import BuildConfig
from tiffin.errors import BundleError
from tiffin.spec import SpecWarning
from tiffin.spec.description import ImageDescription
from tiffin.store.files import sha256_of

REQUIREMENTS = "requirements.txt"
LOCKS = ("requirements.lock", "requirements.lock.txt")
_UNPACKED = "has no effect: git packages are pinned to a commit, not packed"
_OPTIONS = frozenset(
    {"base_image", "distro", "python_version", "commands", "lock_python_packages", "pack_git_packages",
     "python_requirements", "post_commands", "build_include_paths", "name", "scripts"}
)  # fmt: skip


class Around(msgspec.Struct, kw_only=True):
    """What a build found out about everything but the sources.

    ``requirements`` and ``constraints`` are texts as pip reads them; ``locks`` is an author's own lock, empty when
    there is none; ``is_locking`` whether the author wants one; ``arguments`` are for the resolver alone;
    ``inputs`` has the digests of the files that were read; ``files`` are files the bundle must hold.
    """

    recipe: Recipe = Recipe()
    requirements: str = ""
    constraints: str = ""
    own_lock: str = ""
    python: str = ""
    is_locking: bool = True
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    inputs: dict[str, str] = {}
    files: list[str] = []
    warnings: list[SpecWarning] = []


def around(root: Path, config: BuildConfig | None, image: ImageDescription | None) -> Around:
    """Read all of it.

    Raises:
        BundleError: a file that is named is missing, or a step has arguments it cannot have.
    """
    found = Around()
    steps = _Steps(root, found)
    if image is not None:
        steps.options(image.options)
        for name, arguments in image.steps:
            steps.take(name, arguments)
    if config is not None:
        steps.config(config)
    elif image is None and (root / REQUIREMENTS).is_file():
        steps.requirements_file(REQUIREMENTS)
    steps.finish()
    return found


class _Steps:
    """Collects steps in order; what comes after the packages runs after them."""

    def __init__(self, root: Path, found: Around) -> None:
        self.root = root
        self.found = found
        self.before: list[str] = []
        self.after: list[str] = []
        self.system: list[str] = []
        self.include: list[str] = []
        self.text: list[str] = []
        self.has_packages = False
        self.base_image = self.distro = ""

    def options(self, options: dict[str, Any]) -> None:
        for name in sorted(options.keys() - _OPTIONS):
            self.found.warnings.append(SpecWarning(f"image.{name}", "is not known to Tiffin, and has no effect"))
        self.base_image = str(options.get("base_image") or "")
        self.distro = str(options.get("distro") or "")
        self.found.python = str(options.get("python_version") or "")
        self.before += _texts(options.get("commands"), "image.commands")
        self.after += _texts(options.get("post_commands"), "image.post_commands")
        self.include += _texts(options.get("build_include_paths"), "image.build_include_paths")
        self.found.is_locking = options.get("lock_python_packages") is not False
        if options.get("pack_git_packages") is False:
            self._unpacked("image.pack_git_packages")
        if written := options.get("python_requirements"):
            self.packages(str(written).splitlines())

    def take(self, name: str, arguments: tuple[Any, ...]) -> None:
        match name, arguments:
            case "python_packages", _:
                self.packages(_texts(arguments, f"image.{name}"))
            case "requirements_file", (str(path),):
                self.requirements_file(path)
            case "pyproject_toml", (str(path),):
                self.pyproject(path)
            case "uv_lock", (str(path),):
                self.uv_lock(path)
            case "system_packages", _:
                self.system += _texts(arguments, f"image.{name}")
            case "run", (str(command),):
                (self.after if self.has_packages else self.before).append(command)
            case "run_script", (str(path),):
                (self.after if self.has_packages else self.before).append(self.script(path, "image.run_script"))
            case "build_include", _:
                self.include += _texts(arguments, f"image.{name}")
            case _:
                raise BundleError(f"expected a step of images.Image, found {name}{arguments!r}")

    def config(self, config: BuildConfig) -> None:
        python, docker = config.python, config.docker
        self.base_image = docker.base_image or self.base_image
        self.distro = docker.distro or self.distro
        self.found.python = docker.python_version or self.found.python
        self.system += docker.system_packages
        if docker.setup_script:
            self.before.append(self.script(docker.setup_script, "docker.setup_script"))
        if docker.env_file:
            self.found.environment = self.variables(docker.env_file)
        self._indexes(config)
        if python.requirements_txt:
            self.requirements_file(python.requirements_txt)
        elif python.packages:
            self.packages(python.packages)
        if config.conda.pip:
            self.packages(config.conda.pip)
        for wheel in python.wheels:
            self.wheel(wheel)
        if python.lock_packages is not None:
            self.found.is_locking = python.lock_packages
        if python.pack_git_packages is False:
            self._unpacked("python.pack_git_packages")
        self.found.arguments = tuple(shlex.split(python.pip_args))

    def _indexes(self, config: BuildConfig) -> None:
        """Options of pip that its requirements files can hold too."""
        python = config.python
        if python.no_index:
            self.text.append("--no-index")
        for option, values in (
            ("--index-url", (python.index_url,) if python.index_url else ()),
            ("--extra-index-url", python.extra_index_url),
            ("--find-links", python.find_links),
            ("--trusted-host", python.trusted_host),
        ):
            self.text += [f"{option} {value}" for value in values]

    def packages(self, packages: Any) -> None:
        self.has_packages = True
        self.text += [line.strip() for line in packages if line.strip()]

    def requirements_file(self, path: str) -> None:
        self.has_packages = True
        files = requirements.read(self.root, path)
        name = next(iter(files))
        for each in files:
            self._read(each)
        self.text += requirements.flat(files, name).splitlines()
        self.found.constraints += requirements.constraints(files, name)
        for lock in (f"{Path(name).parent.as_posix()}/{lock}".removeprefix("./") for lock in LOCKS):
            if (self.root / lock).is_file() and not requirements.is_lock(requirements.flat(files, name)):
                self._own_lock(lock, requirements.flat(requirements.read(self.root, lock), lock))

    def pyproject(self, path: str) -> None:
        import tomllib

        self.has_packages = True
        place = self._read(path)
        try:
            about = tomllib.loads(place.read_text(encoding="utf-8")).get("project", {})
            self.text += [str(item) for item in about.get("dependencies", [])]
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError, TypeError) as error:
            raise BundleError(f"expected a pyproject.toml: {error}", at=str(place)) from error

    def uv_lock(self, path: str) -> None:
        from tiffin.bundle import uv_lock

        self.has_packages = True
        place = self._read(path)
        self._own_lock(path, uv_lock.requirements(place.read_text(encoding="utf-8"), str(place)))

    def wheel(self, path: str) -> None:
        place = self._read(path)
        self.has_packages = True
        relative = place.relative_to(self.root).as_posix()
        self.found.files.append(relative)
        self.text.append(f"./{relative} --hash=sha256:{sha256_of(place)[0]}")

    def script(self, path: str, said_by: str) -> str:
        """The command that runs a script of the project, with the interpreter its first line names."""
        place = self._read(path, said_by)
        first = place.read_bytes()[:256].partition(b"\n")[0].decode("utf-8", "replace").strip()
        interpreter = first[2:].strip() if first.startswith("#!") else "/bin/sh"
        relative = place.relative_to(self.root).as_posix()
        self.include.append(f"/{relative}")
        self.found.files.append(relative)
        return f"{interpreter} {shlex.quote(f'./{relative}')}"

    def variables(self, path: str) -> dict[str, str]:
        place = self._read(path, "docker.env")
        found = {}
        for number, line in enumerate(place.read_text(encoding="utf-8").splitlines(), 1):
            content = line.strip()
            if not content or content.startswith("#"):
                continue
            name, separator, value = content.partition("=")
            if not separator or not name.strip():
                raise BundleError(f"expected NAME=value, found {content!r}", at=f"{path}:{number}")
            found[name.strip()] = value.strip().strip("'\"")
        return found

    def finish(self) -> None:
        found = self.found
        found.requirements = "".join(f"{line}\n" for line in self.text)
        if found.own_lock:
            found.constraints = ""
        found.recipe = Recipe(
            base_image=self.base_image,
            distro=self.distro,
            system_packages=tuple(dict.fromkeys(self.system)),
            commands=tuple(self.before),
            post_commands=tuple(self.after),
            build_include=tuple(dict.fromkeys(self.include)),
        )

    def _own_lock(self, path: str, text: str) -> None:
        if not requirements.is_lock(text):
            raise BundleError(
                "expected every requirement with == and a hash, found one without",
                hint="make it with `uv pip compile --generate-hashes`, or delete it",
                at=str(self.root / path),
            )
        self._read(path)
        self.found.own_lock += text

    def _read(self, path: str, said_by: str = "") -> Path:
        """A file inside the directory, its digest noted."""
        place = (self.root / path).resolve()
        where = said_by or path
        if not place.is_relative_to(self.root):
            raise BundleError(f"expected a file inside the directory, found {path!r}", at=where)
        if not place.is_file():
            raise BundleError(f"expected the file {path}, found nothing", at=where)
        self.found.inputs[place.relative_to(self.root).as_posix()] = sha256_of(place)[0]
        return place

    def _unpacked(self, path: str) -> None:
        self.found.warnings.append(SpecWarning(path, _UNPACKED))


def _texts(value: Any, where: str) -> list[str]:
    found = list(value or ())
    if not all(isinstance(item, str) for item in found):
        raise BundleError(f"expected text, found {found!r}", at=where)
    return found


def python_version(text: str, otherwise: str) -> str:
    """``3.11`` of ``3.11``, ``3.11.4`` or nothing.

    Raises:
        BundleError: it is no version of Python.
    """
    if not text:
        return otherwise
    match = re.fullmatch(r"(\d+\.\d+)(\.\d+)?", text.strip())
    if match is None:
        raise BundleError(f"expected a version of Python such as 3.11, found {text!r}", at="python_version")
    return match[1]
