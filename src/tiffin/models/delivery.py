"""``python -m tiffin.models.delivery URI PATH ...``: bring artefacts to where a container of a pod finds them.

What the init container ``storage-initializer`` of a pod runs, with the fetcher that the local target has. It
says how far it is on standard output, and why it failed as its last lines, which Kubernetes shows with the
container.

Variables:

- ``TIFFIN_CREDENTIALS``: a JSON list of ``dialects.secret_uses.SecretUse``, secrets that are mounted as
  directories and how each is to be understood; other variables (``AWS_ACCESS_KEY_ID`` ...) count as they do
  locally, below these.
- ``TIFFIN_MODEL_CACHE``, ``TIFFIN_MODEL_CACHE_BYTES``: a directory of the node in which downloads are kept, and
  how many bytes of them; see ``nodecache``.
- ``TIFFIN_REQUIRE_SIGNATURE``: public keys, PEM or paths with ``:`` between them, of which one must have signed.

An address ``storage://[key]/path`` is what ``storage: {key, path}`` of an InferenceService says: where it leads is
known once the secret can be read, here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tiffin.dialects import secret_uses
from tiffin.errors import StorageError, TiffinError
from tiffin.models import nodecache, remotes, storage
from tiffin.models.nodecache import PodCache, amount
from tiffin.models.storage import Progress

COULD_NOT_FETCH = 1
WRONG_CALL = 2
ATTEMPTS = 5
SAY_SECONDS = 5.0

Say = Callable[[str], None]


def main(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Fetch what is asked for; the exit code. Everything it has to say goes to standard output."""
    environment = os.environ if environment is None else environment
    if not arguments or len(arguments) % 2:
        _say("error: expected pairs of an address and the path it is wanted at")
        return WRONG_CALL
    try:
        for uri, path in zip(arguments[::2], arguments[1::2], strict=True):
            deliver(uri, Path(path), environment=environment, say=_say)
    except TiffinError as error:
        _say(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""))
        return COULD_NOT_FETCH
    return 0


def deliver(uri: str, path: Path, *, environment: Mapping[str, str], say: Say) -> None:
    """Bring one artefact to a directory, which may exist; its files are whole once this returns.

    A download that is cut off is taken up where it was, ``ATTEMPTS`` times; the next start of the container
    goes on from there too.

    Raises:
        StorageError: it cannot be had, and trying again would not help, or has not.
        SignatureError: a signature is required, and there is none of a trusted key.
    """
    uri, credentials = _resolved(uri, environment)
    environment = {**environment, **credentials}
    started = time.monotonic()
    path.mkdir(parents=True, exist_ok=True)
    cache = nodecache.opened(uri, path, environment, say)
    with cache:
        cache.hold(uri)
        found = _fetched(uri, cache, environment, say)
        cache.hold_content(found)
        _check(found, uri, cache, environment)
        size = _place(found, path, uri, cache)
    taken = time.monotonic() - started
    cache.finish(uri, size)
    # The last line is what an event of the pod says.
    say(f"{remotes.shown(uri)} is at {path}: {amount(size)} in {taken:.1f} s")


def _fetched(uri: str, cache: PodCache, environment: Mapping[str, str], say: Say) -> Path:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return storage.fetch(
                uri,
                base=Path("/"),
                cache=cache.directory,
                progress=_progress(say),
                credentials=environment,
                room=lambda needed: cache.make_room(needed, cache.directory),
            )
        except StorageError as error:
            if attempt == ATTEMPTS or not error.retryable:
                raise
            say(f"attempt {attempt} of {ATTEMPTS} was cut off: {error}")
            time.sleep(2.0 ** (attempt - 1))  # noqa: TID251  Nothing tells when a server is back.
    raise AssertionError("unreachable")


def _progress(say: Say) -> Callable[[Progress], None]:
    last = time.monotonic()

    def told(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < SAY_SECONDS:
            return
        last = now
        whole = (
            f" of {amount(progress.total)} ({100 * progress.done // progress.total} %)" if progress.total else ""
        )
        say(f"fetching {progress.uri}: {amount(progress.done)}{whole}")

    return told


def _check(found: Path, uri: str, cache: PodCache, environment: Mapping[str, str]) -> None:
    """Signatures that the platform or the deployment requires."""
    written = [one for one in _keys(environment.get("TIFFIN_REQUIRE_SIGNATURE", "")) if one]
    if not written:
        return
    from tiffin.signing import checking, keys

    signatures = checking.beside(found)
    if found.is_file() and remotes.scheme_of(uri) not in ("", "file"):
        for candidate in (f"{uri}.sig", f"{uri.rpartition('/')[0]}/model.sig"):
            cache.hold(candidate)
            try:
                signature = storage.fetch(
                    candidate, base=Path("/"), cache=cache.directory, credentials=environment
                )
            except StorageError:
                continue
            signatures.append(signature)
            break
    checking.check(found, signatures, [keys.read(one) for one in written], what=remotes.shown(uri))


def _keys(text: str) -> list[str]:
    """PEM blocks, which have colons in none of their lines, or paths with ``:`` between them."""
    if "-----BEGIN" not in text:
        return text.split(os.pathsep)
    return [f"-----BEGIN{block}".strip() for block in text.split("-----BEGIN")[1:]]


def _place(found: Path, path: Path, uri: str, cache: PodCache) -> int:
    """Put files where they are wanted; the bytes they have. What stood there under the same names is replaced."""
    files = [found] if found.is_file() else [item for item in sorted(found.rglob("*")) if item.is_file()]
    if not files:
        raise StorageError("there are no files in it", hint="check the address")
    root = found.parent if found.is_file() else found
    size = sum(file.stat().st_size for file in files)
    cache.make_room(size, path)
    try:
        for file in files:
            target = path / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            # A program of another user in the pod reads it.
            if cache.is_shared or not file.is_relative_to(path):
                shutil.copyfile(file, target)
            else:
                os.replace(file, target)
            target.chmod(0o644)
    except OSError as error:
        raise StorageError(
            f"{remotes.shown(uri)} was fetched, and cannot be put at {path}: {error.strerror or error}",
            hint=f"it has {amount(size)}; the volume needs room for it",
        ) from error
    return size


def _resolved(uri: str, environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The address, and what the mounted secrets say of how to read it."""
    try:
        return secret_uses.resolved(uri, secret_uses.read(environment), _secret)
    except ValueError as error:
        raise StorageError(str(error), hint="correct the Secret; the pod tries again by itself") from None


def _secret(name: str) -> dict[str, str]:
    """The data of a mounted secret; what is no text is left out, as locally."""
    directory = Path(secret_uses.DIRECTORY) / name
    if not directory.is_dir():
        raise StorageError(f"the secret {name} is not mounted at {directory}", hint="see `kubectl describe pod`")
    found = {}
    for path in directory.iterdir():
        # Kubernetes keeps the files behind links, in directories whose names begin with two dots.
        if path.is_file() and not path.name.startswith(".."):
            with contextlib.suppress(UnicodeDecodeError):
                found[path.name] = path.read_text()
    return found


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
