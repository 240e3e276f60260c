"""Every operation of the API: method, path, what it takes and gives."""

from __future__ import annotations

from typing import Any, NamedTuple

from tiffin.plan import objects, state

ONE = "/v1/namespaces/{namespace}/deployments/{name}"


class Parameter(NamedTuple):
    """A query parameter; ``kind`` is its JSON type."""

    name: str
    kind: str
    help: str


class Operation(NamedTuple):
    """``name`` is the handler's. ``takes`` and ``gives`` are types, ``None`` for nothing.

    ``streams`` is the type of each item of an answer that goes on. ``failures``: statuses beside the usual ones.
    """

    name: str
    method: str
    path: str
    help: str
    takes: Any = None
    gives: Any = None
    parameters: tuple[Parameter, ...] = ()
    streams: Any = None
    failures: tuple[int, ...] = ()


NAMESPACE = Parameter("namespace", "string", "Only those of this namespace.")
WATCH = Parameter("watch", "boolean", "Go on with what happens, as server-sent events.")
VERSION = Parameter("resourceVersion", "integer", "The version that the caller saw.")

OPERATIONS: tuple[Operation, ...] = (
    Operation("health", "GET", "/healthz", "Whether the controller runs; needs no token.", gives=objects.Done),
    Operation("openapi", "GET", "/openapi.json", "This description.", gives=dict[str, Any]),
    Operation(
        "list",
        "GET",
        "/v1/deployments",
        "All deployments; with watch, their changes.",
        gives=objects.Listing,
        parameters=(NAMESPACE, WATCH, VERSION),
        streams=objects.Watched,
        failures=(410,),
    ),
    Operation("get", "GET", ONE, "One deployment.", gives=objects.Object, failures=(404,)),
    Operation(
        "put",
        "PUT",
        ONE,
        "Make the deployment be as this document says, in YAML or JSON, of any of the kinds that are read.",
        takes=dict[str, Any],
        gives=objects.Applied,
        parameters=(VERSION,),
        failures=(409, 413, 422, 507),
    ),
    Operation(
        "delete",
        "DELETE",
        ONE,
        "Desire it no longer; its replicas drain and stop after the answer.",
        gives=objects.Done,
        parameters=(VERSION,),
        failures=(404, 409),
    ),
    Operation("status", "GET", f"{ONE}/status", "How it is.", gives=state.DeploymentStatus, failures=(404,)),
    Operation(
        "native",
        "GET",
        f"{ONE}/native",
        "The object and its status in the words of the system its file was written for.",
        gives=dict[str, Any],
        failures=(404,),
    ),
    Operation(
        "events",
        "GET",
        f"{ONE}/events",
        "What happened to it.",
        gives=objects.EventListing,
        parameters=(WATCH,),
        streams=state.Event,
        failures=(404,),
    ),
    Operation(
        "revisions",
        "GET",
        f"{ONE}/revisions",
        "Its revisions, also those that serve no more and can be gone back to.",
        gives=objects.RevisionListing,
        failures=(404,),
    ),
    Operation(
        "logs",
        "GET",
        f"{ONE}/logs",
        "What its replicas wrote: plain lines, JSON lines or server-sent events, as the Accept header asks.",
        parameters=(
            Parameter("follow", "boolean", "Go on with what they write."),
            Parameter("replica", "string", "Only this replica."),
            Parameter("tail", "integer", "How many of the last lines of each; 100 when absent."),
        ),
        streams=objects.LogLine,
        failures=(404,),
    ),
    Operation(
        "rollout",
        "POST",
        f"{ONE}/rollout",
        "Steer its rollout.",
        takes=objects.RolloutRequest,
        gives=objects.Done,
        failures=(404,),
    ),
    Operation(
        "scale",
        "POST",
        f"{ONE}/scale",
        "Change the bounds of a component until the deployment is applied again.",
        takes=objects.ScaleRequest,
        gives=objects.Done,
        failures=(404,),
    ),
    Operation(
        "report",
        "GET",
        f"{ONE}/shadow-report",
        "What the judge of its rollout and shadow says.",
        gives=dict[str, Any],
        failures=(404,),
    ),
    Operation(
        "replay",
        "POST",
        f"{ONE}/replay",
        "Send recorded requests to a revision and compare.",
        takes=objects.ReplayRequest,
        gives=dict[str, Any],
        failures=(404,),
    ),
    Operation(
        "apply",
        "POST",
        "/v1/apply",
        "Make these desired, all or none.",
        takes=objects.ApplyRequest,
        gives=objects.AppliedListing,
        failures=(409, 413, 422, 507),
    ),
    Operation(
        "all_events",
        "GET",
        "/v1/events",
        "What happened to all deployments.",
        gives=objects.EventListing,
        parameters=(NAMESPACE, WATCH),
        streams=state.Event,
    ),
    Operation("top", "GET", "/v1/top", "What runs and what it uses.", gives=objects.UseListing),
    Operation(
        "resources",
        "GET",
        "/v1/resources",
        "What deployments can refer to: runtimes, names of secrets, service accounts.",
        gives=objects.ResourceListing,
    ),
    Operation("shutdown", "POST", "/v1/shutdown", "Stop everything, as Ctrl-C does.", gives=objects.Done),
)
