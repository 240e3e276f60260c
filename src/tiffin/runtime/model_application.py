"""A saved model behind the tensor protocols: Open Inference Protocol V2, KServe V1 and Seldon, all at once.

Which of them is shown first (``/tiffin/example``) is the deployment's; the others answer as well.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson

from tiffin.errors import CallError, NotImplementedHere, TiffinError
from tiffin.models import formats
from tiffin.models.loading import framework, load_file
from tiffin.models.model import ModelInfo, SavedModel
from tiffin.protocol import kserve_v1, open_inference, seldon_tensors
from tiffin.protocol.kserve_v1 import KServeV1
from tiffin.protocol.open_inference import OpenInference
from tiffin.protocol.reply import Reply
from tiffin.protocol.seldon_tensors import SeldonTensors
from tiffin.protocol.tensors import Array, TensorCall
from tiffin.runtime import phases
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.runner import Outcome, Runner
from tiffin.runtime.tensor_models import Models, SavedTensorModel
from tiffin.spec import ModelSource, ReplicaSpec
from tiffin.types import ANY, TensorSpec

log = logging.getLogger(__name__)

_WARM_UPS = 12


class ModelApplication:
    """One saved model, loaded once per worker."""

    server_header = b"tiffin"

    def __init__(self, spec: ReplicaSpec, model: SavedModel | None = None) -> None:
        self._spec = spec
        self._name = spec.model_name
        self._model = model
        self._runner: Runner | None = None
        self._predict_seconds = 0.0
        self._v2: OpenInference | None = None
        self._v1: KServeV1 | None = None
        self._seldon: SeldonTensors | None = None
        self._metrics: Metrics | None = None
        self._example: tuple[Array, ...] | None = None

    # -- life ----------------------------------------------------------------------------------------------

    def use(self, metrics: Metrics, worker: int = 0) -> None:
        """Where to count batches; given by the worker before ``start``."""
        self._metrics = metrics

    def open(self) -> SavedModel:
        """Load the model without warming it up: what may happen before a fork."""
        if self._model is None:
            source = self._spec.component.source
            assert isinstance(source, ModelSource)
            # A wish for cores is honoured as the threads one predict may use, by frameworks that have their own.
            threads = max(1, int(self._spec.component.resources.cpu or 1))
            found = formats.find(Path(self._spec.path), source.format)
            framework(found.format)
            phases.start.end("import")
            self._model = load_file(found, method=source.method, trust=source.trust, threads=threads)
            phases.start.end("load")
        return self._model

    def load(self) -> None:
        """Load, predict an example until warm, and measure it."""
        # Of a caller's 1e300 as FP32, or its odd NaN: the model's own check refuses what is not finite.
        warnings.filterwarnings("ignore", "(overflow|invalid value) encountered in cast", RuntimeWarning)
        model = self.open()
        _name_output(model, self._spec.component.source)
        self._example = model.example()
        if self._example is not None:
            times: list[float] = []
            for _ in range(_WARM_UPS):
                began = time.perf_counter()
                model.predict(self._example)
                times.append(time.perf_counter() - began)
                if sum(times) > 2.0:
                    break
            self._predict_seconds = sorted(times)[len(times) // 2]
        else:
            self._predict_seconds = 1.0  # Unknown: not on the event loop.
        info = model.info
        log.info("%s", _summary(info))
        outputs = [spec.name for spec in info.outputs]
        limit = self._spec.limits.max_tensor_bytes
        first = info.inputs[0].name if info.inputs else "input-0"
        self._v2 = OpenInference(self._name, outputs, max_tensor_bytes=limit)
        self._v1 = KServeV1(self._name, first, outputs, max_tensor_bytes=limit)
        image = f"{info.format}:{info.framework_version}"
        nesting = self._spec.limits.max_nesting
        self._seldon = SeldonTensors(self._name, image, info, max_tensor_bytes=limit, max_nesting=nesting)

    async def start(self) -> None:
        """Bind the batcher to the loop."""
        assert self._model is not None
        assert self._metrics is not None
        self._runner = Runner(
            self._model, self._spec.component.batching, self._deliver, self._metrics, self._predict_seconds
        )
        self._runner.start()

    async def stop(self) -> None:
        """End the predict thread."""
        if self._runner is not None:
            self._runner.stop()

    async def is_ready(self) -> bool:
        """A loaded model is ready."""
        return True

    async def is_alive(self) -> bool:
        """A replica whose loop turns is alive."""
        return True

    @property
    def model(self) -> SavedModel:
        """The loaded model."""
        assert self._model is not None
        return self._model

    # -- endpoints -----------------------------------------------------------------------------------------

    def endpoints(self) -> Iterable[Endpoint]:
        """The paths of all protocols, for this model's name."""
        name = self._name
        v1, v2 = f"/v1/models/{name}", f"/v2/models/{name}"
        return [
            Endpoint("GET", "/", self._alive, exempt=True),
            Endpoint("GET", "/v1/models", self._list_v1, exempt=True),
            Endpoint("GET", v1, self._status_v1, exempt=True),
            Endpoint("POST", f"{v1}:predict", self._infer_v1),
            Endpoint("POST", f"{v1}:explain", self._no_explainer),
            Endpoint("GET", "/v2", self._server_metadata, exempt=True),
            Endpoint("GET", "/v2/health/live", self._live, exempt=True),
            Endpoint("GET", "/v2/health/ready", self._ready, exempt=True),
            Endpoint("GET", "/v2/models", self._list_v2, exempt=True),
            Endpoint("GET", v2, self._metadata),
            Endpoint("GET", f"{v2}/ready", self._model_ready, exempt=True),
            Endpoint("POST", f"{v2}/infer", self._infer_v2),
            Endpoint("POST", "/api/v1.0/predictions", self._infer_seldon),
            Endpoint("POST", "/api/v0.1/predictions", self._infer_seldon),
            Endpoint("POST", "/predict", self._infer_seldon),
            Endpoint("GET", "/api/v1.0/health/status", self._ready, exempt=True),
            Endpoint("GET", "/tiffin/example", self._show_example),
            Endpoint("GET", "/tiffin/model", self._show_model),
        ]

    def render_error(self, path: str, error: TiffinError) -> Reply:
        """An error in the style of the protocol of ``path``; an unknown model is named as KServe names it."""
        if path.startswith(("/api/", "/predict")):
            return seldon_tensors.error(error)
        if error.status == 404:
            error = self._unknown(path, error)
        if path.startswith("/v1/"):
            return kserve_v1.error(error)
        return open_inference.error(error)

    def _unknown(self, path: str, error: TiffinError) -> TiffinError:
        parts = path.split("/")
        if len(parts) > 3 and parts[1] in ("v1", "v2") and parts[2] == "models":
            name = parts[3].partition(":")[0]
            if name != self._name:
                error.message = f"Model with name {name[:64]} does not exist."
            elif len(parts) > 4 and parts[4] == "versions":
                return NotImplementedHere("Model versions are not served; leave /versions/... out of the path.")
        return error

    def _infer_v2(self, exchange: Exchange) -> None:
        assert self._v2 is not None
        self._submit(exchange, self._v2.read(exchange.head, exchange.body), self._v2.write)

    def _infer_v1(self, exchange: Exchange) -> None:
        assert self._v1 is not None
        self._submit(exchange, self._v1.read(exchange.head, exchange.body), self._v1.write)

    def _infer_seldon(self, exchange: Exchange) -> None:
        assert self._seldon is not None
        self._submit(exchange, self._seldon.read(exchange.head, exchange.body), self._seldon.write)

    def _submit(self, exchange: Exchange, call: TensorCall, write: Any) -> None:
        assert self._runner is not None
        assert self._model is not None
        call.arrays = self._model.conform(call.names, call.arrays)
        call.exchange = exchange
        call.write = write
        exchange.on_close = call.cancel
        self._runner.submit(call)

    def _deliver(self, call: TensorCall, outcome: Outcome) -> None:
        if call.cancelled:
            return
        if call.done is not None:
            call.done(outcome)
            return
        exchange: Exchange = call.exchange
        try:
            if isinstance(outcome, TiffinError):
                raise outcome
            reply = call.write(call, outcome)
        except TiffinError as error:
            if not isinstance(error, CallError):
                log.error("a predict failed: %s", error, exc_info=error.__cause__)
            reply = self.render_error(exchange.head.path, error)
        except Exception as error:
            log.exception("a reply could not be written")
            reply = self.render_error(exchange.head.path, TiffinError(str(error)))
        exchange.reply(reply)

    def tensor_models(self) -> Models:
        """The model, for calls that did not come over HTTP."""
        assert self._runner is not None
        timeout = self._spec.component.timeout_seconds
        return {self._name: SavedTensorModel(self._name, self.model, self._runner, timeout)}

    # -- small answers -------------------------------------------------------------------------------------

    def _is_ready(self) -> bool:
        return self._runner is not None

    def _alive(self, exchange: Exchange) -> None:
        # KServe answers this to anybody; a browser is shown the page.
        if self._model is None or b"text/html" not in exchange.head.header(b"accept"):
            exchange.reply(Reply(200, b'{"status":"alive"}'))
            return
        from tiffin.runtime.page import page
        from tiffin.runtime.page.of_model import describe_model

        values = None if self._example is None else [_shown(array) for array in self._example]
        exchange.reply(page(describe_model(self._name, self._model.info, values)))

    def _live(self, exchange: Exchange) -> None:
        exchange.reply(Reply(200, b'{"live":true}'))

    def _ready(self, exchange: Exchange) -> None:
        if self._is_ready():
            exchange.reply(Reply(200, b'{"ready":true}'))
        else:
            exchange.reply(open_inference.error_reply(503, "Server is not ready."))

    def _model_ready(self, exchange: Exchange) -> None:
        if self._v2 is None or not self._is_ready():
            exchange.reply(open_inference.error_reply(503, f"Model with name {self._name} is not ready."))
        else:
            exchange.reply(self._v2.ready(True))

    def _status_v1(self, exchange: Exchange) -> None:
        if self._v1 is None or not self._is_ready():
            exchange.reply(open_inference.error_reply(503, f"Model with name {self._name} is not ready."))
        else:
            exchange.reply(self._v1.status(True))

    def _list_v1(self, exchange: Exchange) -> None:
        exchange.reply(Reply(200, orjson.dumps({"models": [self._name]})))

    _list_v2 = _list_v1

    def _server_metadata(self, exchange: Exchange) -> None:
        from tiffin import __version__

        body = {"name": "tiffin", "version": __version__, "extensions": ["binary_tensor_data"]}
        exchange.reply(Reply(200, orjson.dumps(body)))

    def _metadata(self, exchange: Exchange) -> None:
        assert self._v2 is not None
        info = self.model.info
        exchange.reply(self._v2.metadata(f"{info.format}_{info.estimator}".lower(), info.inputs, info.outputs))

    def _no_explainer(self, exchange: Exchange) -> None:
        raise NotImplementedHere(f"Model with name {self._name} has no explainer.")

    def _show_model(self, exchange: Exchange) -> None:
        assert self._runner is not None
        facts = msgspec.to_builtins(self.model.info)
        facts["predict_microseconds"] = round(self._predict_seconds * 1e6)
        facts["predicts_in"] = "the event loop" if self._runner.is_inline else "a thread"
        exchange.reply(Reply(200, orjson.dumps(facts)))

    def _show_example(self, exchange: Exchange) -> None:
        if self._example is None:
            raise CallError("there is no example for this model: its inputs are not known")
        exchange.reply(Reply(200, orjson.dumps(self.example_request(), option=orjson.OPT_SERIALIZE_NUMPY)))

    def example_request(self) -> dict[str, Any]:
        """A request this model answers, in its deployment's own protocol: path, headers and JSON body."""
        assert self._example is not None
        headers = {"content-type": "application/json"}
        values = [_shown(array) for array in self._example]
        protocol = self._spec.protocol
        body: dict[str, Any]
        if protocol == "kserve-v1":
            path, body = f"/v1/models/{self._name}:predict", {"instances": values[0]}
        elif protocol == "seldon":
            path, body = "/api/v1.0/predictions", {"data": {"ndarray": values[0]}}
        else:
            path = f"/v2/models/{self._name}/infer"
            body = {
                "inputs": [
                    _tensor(s, a, v) for s, a, v in zip(self.model.info.inputs, self._example, values, strict=True)
                ]
            }
        return {"path": path, "headers": headers, "body": body}


def _name_output(model: SavedModel, source: object) -> None:
    """Call the only output what the deployment's own system calls it."""
    if isinstance(source, ModelSource) and source.output and len(model.info.outputs) == 1:
        renamed = msgspec.structs.replace(model.info.outputs[0], name=source.output)
        model.info = msgspec.structs.replace(model.info, outputs=(renamed,))


def _summary(info: ModelInfo) -> str:
    """What was found, in one line: format, versions, inputs, outputs, classes, and what predicts."""
    written = (
        f", written by {info.artefact_version}"
        if info.artefact_version not in ("", info.framework_version)
        else ""
    )
    classes = f"; classes {', '.join(map(str, info.classes[:8]))}" if info.classes else ""
    more = f" and {len(info.classes) - 8} more" if len(info.classes) > 8 else ""
    return (
        f"{info.file}: {info.format} {info.framework_version}{written}, {info.estimator}.{info.method}"
        f"; takes {_listed(info.inputs)}; gives {_listed(info.outputs)}{classes}{more}; computed by {info.engine}"
    )


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(
        f"{s.name} {s.datatype}{['?' if d == ANY else d for d in s.shape]}".replace("'", "") for s in specs
    )


def _shown(array: Array) -> list[Any]:
    values: list[Any] = np.asarray(array).tolist()
    return values


def _tensor(spec: Any, array: Array, values: Sequence[Any]) -> dict[str, Any]:
    shape = [
        size if declared == ANY else declared for size, declared in zip(array.shape, spec.shape, strict=False)
    ]
    return {"name": spec.name, "shape": shape or list(array.shape), "datatype": spec.datatype, "data": values}
