"""``kserve.model_server``: the command line of model programs, and the server they start."""

from __future__ import annotations

import argparse
from typing import Any

from . import context
from .constants.constants import DEFAULT_GRPC_PORT, DEFAULT_HTTP_PORT, MAX_GRPC_MESSAGE_LENGTH
from .model_repository import ModelRepository
from .predictor_config import PredictorConfig
from .utils.utils import strtobool

_PROTOCOLS = ("v1", "v2", "grpc-v2")

parser = argparse.ArgumentParser(add_help=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
_NOT_HERE = "Accepted; Tiffin's own server has its own setting."
parser.add_argument("--http_port", default=DEFAULT_HTTP_PORT, type=int, help=_NOT_HERE)
parser.add_argument("--grpc_port", default=DEFAULT_GRPC_PORT, type=int, help=_NOT_HERE)
parser.add_argument("--workers", default=1, type=int, help=_NOT_HERE)
parser.add_argument("--max_threads", default=4, type=int, help=_NOT_HERE)
parser.add_argument("--max_asyncio_workers", default=None, type=int, help=_NOT_HERE)
parser.add_argument("--enable_grpc", default=True, type=strtobool, help=_NOT_HERE)
parser.add_argument("--enable_docs_url", default=False, type=strtobool, help=_NOT_HERE)
parser.add_argument("--enable_latency_logging", default=True, type=strtobool, help=_NOT_HERE)
parser.add_argument("--configure_logging", default=True, type=strtobool, help=_NOT_HERE)
parser.add_argument("--log_config_file", default=None, type=str, help=_NOT_HERE)
parser.add_argument("--access_log_format", default=None, type=str, help=_NOT_HERE)
parser.add_argument("--event-loop", default="auto", choices=("auto", "asyncio", "uvloop"), help=_NOT_HERE)
parser.add_argument("--timeout-keep-alive", default=65, type=int, help=_NOT_HERE)
parser.add_argument("--ssl_certfile", default=None, type=str, help=_NOT_HERE)
parser.add_argument("--ssl_keyfile", default=None, type=str, help=_NOT_HERE)
parser.add_argument("--grpc_max_send_message_length", default=MAX_GRPC_MESSAGE_LENGTH, type=int, help=_NOT_HERE)
parser.add_argument("--grpc_max_receive_message_length", default=MAX_GRPC_MESSAGE_LENGTH, type=int, help=_NOT_HERE)
parser.add_argument("--model_name", default="model", type=str, help="The name of the model in paths.")
parser.add_argument("--predictor_host", default=None, type=str, help="Where a transformer finds its predictor.")
parser.add_argument("--protocol", default="v1", choices=_PROTOCOLS, help="Use --predictor_protocol.")
parser.add_argument(
    "--predictor_protocol", default="v1", choices=_PROTOCOLS, help="How to speak to the predictor."
)
parser.add_argument("--predictor_use_ssl", default=False, type=strtobool, help="HTTPS to the predictor.")
parser.add_argument(
    "--predictor_request_timeout_seconds", default=600, type=int, help="How long a predictor may take."
)
parser.add_argument(
    "--predictor_request_retries", default=0, type=int, help="Tries after one that did not connect."
)
parser.add_argument("--enable_predictor_health_check", action="store_true", help=_NOT_HERE)
args, _ = parser.parse_known_args()


class ModelServer:
    """Holds the models; serving is the replica's, which puts its own ``start`` in place."""

    def __init__(
        self,
        http_port: int = args.http_port,
        grpc_port: int = args.grpc_port,
        workers: int = args.workers,
        max_threads: int = args.max_threads,
        max_asyncio_workers: int | None = args.max_asyncio_workers,
        registered_models: ModelRepository | None = None,
        enable_grpc: bool = args.enable_grpc,
        enable_docs_url: bool = args.enable_docs_url,
        enable_latency_logging: bool = args.enable_latency_logging,
        access_log_format: str | None = args.access_log_format,
        event_loop: str = args.event_loop,
        timeout_keep_alive: int = args.timeout_keep_alive,
        grace_period: int = 30,
        predictor_config: PredictorConfig | None = None,
        **other: Any,
    ) -> None:
        self.http_port = http_port
        self.grpc_port = grpc_port
        self.workers = workers
        self.enable_grpc = enable_grpc
        self.registered_models = registered_models if registered_models is not None else ModelRepository()
        context.set_predictor_config(
            predictor_config
            or PredictorConfig(
                predictor_host=args.predictor_host,
                predictor_protocol=args.predictor_protocol,
                predictor_use_ssl=args.predictor_use_ssl,
                predictor_request_timeout_seconds=args.predictor_request_timeout_seconds,
                predictor_request_retries=args.predictor_request_retries,
                predictor_health_check=args.enable_predictor_health_check,
            )
        )

    def start(self, models: list[Any]) -> None:
        """Serve the models; only inside of a replica."""
        raise RuntimeError("this program is to be run by Tiffin, or with the kserve package: pip install kserve")

    def register_model(self, model: Any, name: str | None = None) -> None:
        """Serve this model as well."""
        if not model.name:
            raise ValueError("Failed to register model, model.name must be provided.")
        self.registered_models.update(model, name)

    def register_exception_handler(self, handler: Any) -> None:
        """Accepted; errors go to the log."""

    def stop(self, sig: int) -> None:
        """Accepted; the replica stops by itself."""
