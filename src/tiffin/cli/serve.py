"""``tiffin serve``: one model or service in this process, for development and for a container."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from tiffin.cli import output, stored
from tiffin.errors import SpecError

if TYPE_CHECKING:
    from tiffin.spec import ClassSource, ContainerSource, Listen, ModelSource, ReplicaSpec, ServiceSource
    from tiffin.spec.deployment import Protocol

    Source = ModelSource | ServiceSource | ClassSource | ContainerSource


LOOPBACK = "127.0.0.1"


def serve(
    target: Annotated[str, typer.Argument(help="A model file, directory or address; MODULE:CLASS.")] = ".",
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; the service's own, or 127.0.0.1.", envvar=["TIFFIN_HOST", "BENTOML_HOST"]
        ),
    ] = "",
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            "-p",
            min=0,
            max=65535,
            help="The service's own, or 3000, when not given; 0 chooses a free one.",
            envvar=["TIFFIN_PORT", "BENTOML_PORT", "PORT"],
        ),
    ] = None,
    unix: Annotated[str, typer.Option(help="Listen on this Unix socket instead.")] = "",
    grpc_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Answer gRPC here too; 0 chooses a free one.", envvar="TIFFIN_GRPC_PORT"
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model in paths; from the file when not given.")] = "",
    workers: Annotated[
        str, typer.Option(help="Worker processes: a number, or cpu for one a core; the service's own, or 1.")
    ] = "",
    threads: Annotated[int, typer.Option(min=0, help="Threads for the methods of a service; 0 chooses.")] = 0,
    timeout: Annotated[
        float, typer.Option(min=0, help="Seconds a call may take; 0 is the service's own, or none.")
    ] = 0.0,
    method: Annotated[str, typer.Option(help="predict, predict_proba or decision_function.")] = "predict",
    model_format: Annotated[
        str, typer.Option("--format", help="sklearn, xgboost, lightgbm or onnx; found when not given.")
    ] = "",
    protocol: Annotated[str, typer.Option(help="The protocol shown in examples: v2, v1 or seldon.")] = "v2",
    trust: Annotated[bool, typer.Option("--trust", help="Open a pickle with imports not on the list.")] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Restart on every change of a file.")] = False,
    working_dir: Annotated[Path, typer.Option("--working-dir", help="Where the target is looked for.")] = Path(),
    arg: Annotated[
        list[str] | None, typer.Option("--arg", help="NAME=VALUE for use_arguments(); may be given again.")
    ] = None,
    arg_file: Annotated[Path | None, typer.Option("--arg-file", help="YAML with such names and values.")] = None,
    tasks: Annotated[str, typer.Option(help="Where tasks are kept: a file, postgresql:// or redis://.")] = "",
    max_body: Annotated[int, typer.Option("--max-body", min=1, help="Largest body, in bytes.")] = 67_108_864,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
) -> None:
    """Serve one model file or service in this process.

    A model answers the Open Inference Protocol (V2), KServe's V1 and the Seldon protocol; a service its methods.
    """
    from tiffin.runtime import target as targets
    from tiffin.spec import Component, Limits, Listen, ReplicaSpec

    if quiet:
        os.environ["TIFFIN_LOG_LEVEL"] = "WARNING"
    found = stored.target_of(target, working_dir.resolve()) or targets.resolve(target, working_dir.resolve())
    path = found.path or _fetch(found.address, working_dir)
    source = _with_options(found.source, method=method, model_format=model_format, trust=trust)
    spec = ReplicaSpec(
        deployment=name or found.name,
        model_name=name or found.name,
        protocol=_protocol(protocol),
        component=Component(
            source=source,
            workers=_workers(workers or "1"),
            threads=threads or None,
            timeout_seconds=timeout or None,
        ),
        path=str(path),
        listen=Listen(unix=unix) if unix else Listen(host=host or LOOPBACK, port=3000 if port is None else port),
        grpc=_grpc(grpc_port, host or LOOPBACK, source),
        tasks=tasks or _tasks_store(name or found.name, path),
        limits=Limits(max_body_bytes=max_body),
    )
    left_open = {"host": not (host or unix), "port": port is None and not unix, "workers": not workers}
    own = [name for name, is_open in left_open.items() if is_open]
    if arg or arg_file:
        os.environ["TIFFIN_ARGS"] = _arguments(arg or [], arg_file)
    _become_replica(spec, watched=(path if path.is_dir() else path.parent) if reload else None, own=own)


def _arguments(words: list[str], file: Path | None) -> str:
    import json

    from tiffin.service import arguments

    return json.dumps(arguments.parse(words, str(file) if file is not None else None))


def _tasks_store(name: str, path: Path) -> str:
    """A file of this directory's own, unless the environment says otherwise."""
    from tiffin.kits import paths
    from tiffin.spec.tasks import store_url

    root = paths.data_directory().root
    return store_url(os.environ, root, namespace="default", deployment=name, directory=str(path))


def _grpc(port: int | None, host: str, source: Source) -> Listen | None:
    from tiffin.kits import extras
    from tiffin.spec import ContainerSource, Listen

    if port is None:
        return None
    if isinstance(source, ContainerSource):
        raise SpecError("--grpc-port is for saved models, services and classes; KServe's own programs answer HTTP")
    extras.require_grpc()
    return Listen(host=host, port=port)


def _become_replica(spec: ReplicaSpec, *, watched: Path | None, own: list[str]) -> NoReturn:
    """Replace this process by the replica: it then holds no more in memory than one that ``tiffin up`` starts."""
    import msgspec

    # Libraries read these when they are imported: one of several workers should not take every core.
    if spec.component.workers != 1:
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(variable, "1")
    arguments = ["-m", "tiffin.runtime", "--announce"]
    arguments += ["--reload", str(watched)] if watched is not None else ["--own", ",".join(own)]
    order = msgspec.json.encode(spec).decode("utf-8")
    os.execv(sys.executable, [sys.executable, *arguments, "--replica-json", order])


def _fetch(uri: str, base: Path) -> Path:
    from tiffin.kits import paths
    from tiffin.models import storage

    downloads = output.Downloads()
    try:
        return storage.fetch(
            uri,
            base=base,
            cache=paths.data_directory().make().cache,
            progress=lambda now: downloads.show(now.uri, now.done, now.total),
        )
    finally:
        downloads.close()


def _workers(text: str) -> int | Literal["cpu"]:
    if text == "cpu":
        return "cpu"
    if not text.isdigit() or int(text) < 1:
        raise SpecError(f"expected --workers to be a number from 1, or cpu, found {text!r}")
    return int(text)


def _protocol(text: str) -> Protocol:
    known: dict[str, Protocol] = {"v2": "open-inference", "v1": "kserve-v1", "seldon": "seldon"}
    if text not in known:
        raise SpecError(f"expected --protocol to be one of {', '.join(known)}, found {text!r}")
    return known[text]


def _with_options(source: Source, *, method: str, model_format: str, trust: bool) -> Source:
    import msgspec

    from tiffin.spec import ModelSource

    if isinstance(source, ModelSource):
        return msgspec.structs.replace(source, method=method, format=model_format, trust=trust)
    if method != "predict" or model_format or trust:
        raise SpecError("--method, --format and --trust are for saved models; this target is none")
    return source
