"""The fields of ``tiffin.dev/v1``, kind ``Deployment``: the table that is its parser and its JSON Schema.

``docs/reference/tiffin-file.md`` shows each of them with an example.
"""

from __future__ import annotations

from typing import get_args

from tiffin.dialects.kserve import FORMATS
from tiffin.dialects.seldon_graph import METHODS
from tiffin.dialects.tiffin_shapes import (
    AMOUNT,
    DURATION,
    PERCENT,
    QUANTITY,
    SHARE,
    SIZE,
    TIMEOUT,
    AnyText,
    Anything,
    Choice,
    Either,
    Field,
    Flag,
    Foreign,
    ListOf,
    MapOf,
    Number,
    Record,
    Scalar,
    Text,
    Whole,
    Written,
)
from tiffin.spec import Measure
from tiffin.spec.scaling import Autoscaler

API_VERSIONS = ("tiffin.dev/v1",)
KIND = "Deployment"

_DOTTED = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_TARGET = Text(rf"{_DOTTED}:{_DOTTED}", '"module:Name"')
_LABEL = Text(
    "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?",
    "up to 63 lower case letters, digits and dashes, with a letter or digit at both ends",
)
_URL = Text(r"https?://[^/\s].*", "http:// or https:// and a host")
_PATH = Text("/.*", "a path that starts with /")
_HEADER = Text("[A-Za-z0-9!#$%&'*+.^_`|~-]+", "the name of a header")
_VARIABLE = Text("[-._a-zA-Z][-._a-zA-Z0-9]*", "the name of a variable")
_TEXTS = MapOf(AnyText())

PROTOCOLS = {"v2": "open-inference", "v1": "kserve-v1", "seldon": "seldon", "json": "named-json"}
METRICS = ("concurrency", "rps", "cpu", "memory")
AUTOSCALERS = tuple(name for name in get_args(Autoscaler) if name)


# ---- what is served

_MODEL = Record(
    {
        "uri": Field(
            Text(), "A path, file://, https://, s3:// or gs://; a relative path starts from the file's directory.",
            required=True, example="s3://models/iris/",
        ),
        "format": Field(Choice(FORMATS), "Found by looking when absent.", example="sklearn"),
        "method": Field(Choice(METHODS), "What the estimator is asked.", example="predict_proba"),
    }
)  # fmt: skip
_WHERE = {
    "target": Field(_TARGET, "module:Name; a bundle knows its own.", example="service:Iris"),
    "directory": Field(Text(), "Where the module is; the file's own directory when absent.", example="src"),
    "bundle": Field(Text(), "A bundle instead of a directory.", example="iris:v1"),
}
_CLASS = Record(
    _WHERE | {"parameters": Field(MapOf(Scalar()), "Arguments of the constructor.", example={"threshold": 0.5})},
    at_least=(("target", "bundle"),),
    not_both=(("directory", "bundle"),),
)
_CONTAINER = Record(
    {
        "image": Field(Text(), "A local bundle of that tag, else an image.", required=True, example="iris:v1"),
        "command": Field(ListOf(Text()), "Instead of the image's own.", example=["python", "-m", "server"]),
        "args": Field(ListOf(AnyText()), "Arguments of the command.", example=["--verbose"]),
        "port": Field(Whole(1, 65535), "Where it speaks HTTP; 8080 when absent.", example=8000),
        "readyPath": Field(_PATH, "What answers 200 once it can serve.", example="/v2/health/ready"),
        "mounts": Field(
            MapOf(Text(), _PATH), "Artefacts by their directory in the container.",
            example={"/mnt/models": "s3://models/iris"},
        ),
    }
)  # fmt: skip


# ---- how it runs

_REPLICAS = Record(
    {
        "min": Field(Whole(0), "0: none while nobody calls. 1 when absent.", example=0),
        "max": Field(Whole(0), "0: as many as the machine holds. As many as min when absent.", example=10),
    },
    at_least=(("min", "max"),),
)
_LOAD = Written(
    rf"(?:(?=.*[1-9])[0-9]{{1,6}}(?:\.[0-9]{{1,9}})?%|{QUANTITY})",
    'a percentage of what a replica asks for, such as "70%", or an amount such as "500m" or "2Gi"',
    str,
)
_SCALE = Record(
    {
        "concurrency": Field(Number(above=0), "Calls at once per replica.", example=50),
        "rps": Field(Number(above=0), "Calls a second per replica.", example=200),
        "cpu": Field(_LOAD, "A percentage of what a replica asks for, or an amount of cores.", example="70%"),
        "memory": Field(_LOAD, "A percentage of what a replica asks for, or an amount of bytes.", example="2Gi"),
        "utilization": Field(PERCENT, "How much of the target is aimed at; 70 % when absent.", example="80%"),
        "window": Field(TIMEOUT, "The time calls are averaged over; 60 s when absent.", example="30s"),
        "panicWindow": Field(PERCENT, "A part of the window that shows bursts; 10 %.", example="10%"),
        "panicThreshold": Field(Number(least=100), "Percent of capacity that makes a burst; 200.", example=200),
        "burst": Field(
            Either('a number or "unlimited"', number=Number(least=0), str=Choice({"unlimited": -1.0})),
            "Knative's target-burst-capacity, without effect on one machine; 211.", example="unlimited",
        ),
        "downDelay": Field(DURATION, "How long a smaller number must be enough; 0 s.", example="30s"),
        "zeroGrace": Field(
            DURATION, "Knative's scale-to-zero-grace-period, without effect on one machine; 30 s.", example="10s",
        ),
        "zeroAfter": Field(DURATION, "How long the last replica stays without calls; 0 s.", example="10m"),
        "first": Field(Whole(0), "Replicas of a new revision at first; 1.", example=2),
        "wake": Field(Whole(1), "The least number when leaving zero; 1.", example=2),
        "maxUpRate": Field(Number(above=1), "How many times as many at most, at once; 1000.", example=10),
        "maxDownRate": Field(Number(above=1), "How many times fewer at most, at once; 2.", example=2),
        "upWindow": Field(DURATION, "For cpu and memory: rise to the least of this time; 0 s.", example="0s"),
        "downWindow": Field(DURATION, "For cpu and memory: fall to the most of this time; 5 m.", example="5m"),
        "tolerance": Field(SHARE, "For cpu and memory: a difference that is none; 10 %.", example="10%"),
        "autoscaler": Field(
            Choice(AUTOSCALERS), "Who changes the number on a cluster; by what is measured when absent.",
            example="keda",
        ),
        "autoscalerSpec": Field(
            Foreign(), "Laid over the spec of a HorizontalPodAutoscaler or a ScaledObject, in its own words.",
            example={"triggers": [{"type": "cron", "metadata": {"timezone": "UTC", "desiredReplicas": "2"}}]},
        ),
    }
)  # fmt: skip
_POD = Record(
    {
        "labels": Field(_TEXTS, "Labels of the pods.", example={"team": "garden"}),
        "annotations": Field(_TEXTS, "Annotations of the pods.", example={"prometheus.io/scrape": "true"}),
        "spec": Field(
            Foreign(), "Laid over the PodSpec, in Kubernetes' own words; containers are told apart by name.",
            example={"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
        ),
        "container": Field(
            _LABEL, "The name of the component's own container in spec; main when absent.", example="server"
        ),
        "strategy": Field(Foreign(), "How a Deployment replaces pods.", example={"type": "Recreate"}),
        "disruption": Field(
            Foreign(), "A PodDisruptionBudget: minAvailable or maxUnavailable.", example={"maxUnavailable": 1}
        ),
        "progressDeadline": Field(TIMEOUT, "An update that does not get on for so long has failed; 10 m.",
                                  example="5m"),
        "readOnly": Field(Flag(), "Whether the model's files are mounted so; true when absent.", example=False),
    }
)  # fmt: skip
_RESOURCES = Record(
    {
        "cpu": Field(AMOUNT, "Cores.", example="500m"),
        "memory": Field(AMOUNT, "Bytes.", example="2Gi"),
        "memoryLimit": Field(SIZE, "A replica that uses more is ended.", example="4Gi"),
        "gpu": Field(AMOUNT, "Devices.", example=1),
    }
)
_BATCHING = Record(
    {
        "maxRows": Field(Whole(1), "Rows of one batch; 1024 when absent.", example=64),
        "maxBytes": Field(SIZE, "Bytes of one batch; 256Ki when absent.", example="1Mi"),
    }
)
_LOGGER = Record(
    {
        "url": Field(_URL, "Who gets CloudEvents.", required=True, example="http://logger.example.com"),
        "mode": Field(Choice(("all", "request", "response")), "all when absent.", example="request"),
        "headers": Field(ListOf(_HEADER), "Headers of the call that go with them.", example=["x-user"]),
        "style": Field(Choice(("kserve", "seldon")), "Whose event types; kserve when absent.", example="seldon"),
    }
)

RUN = {
    "replicas": Field(
        Either(
            "a number or a mapping of min and max",
            number=Whole(1, hint="write replicas: {min: 0, max: 1} to scale to zero, or stopped: true"),
            dict=_REPLICAS,
        ),
        "How many run: a number, or bounds; 1 when absent.", example={"min": 0, "max": 10},
    ),
    "scale": Field(
        Either("a metric or a mapping", str=Choice({name: Measure(metric=name) for name in METRICS}), dict=_SCALE),  # type: ignore[arg-type]
        "What their number follows between the bounds; concurrency when absent.", example={"concurrency": 50},
    ),
    "modelName": Field(
        Text("[A-Za-z0-9][-._A-Za-z0-9]*", "letters, digits, dots, dashes and underscores"),
        "What callers name it in /v2/models/NAME; the deployment's name when absent.", example="flowers",
    ),
    "workers": Field(
        Either('a number or "cpu"', number=Whole(1, 1024), str=Choice(("cpu",))),
        "Processes that share one replica's address, or cpu for one per core; 1 when absent.", example="cpu",
    ),
    "threads": Field(Whole(1, 4096), "Threads of one worker for synchronous methods.", example=4),
    "timeout": Field(TIMEOUT, "The longest a call may take; 60 s when absent.", example="10s"),
    "maxConcurrency": Field(Whole(1), "Calls at once in one replica.", example=32),
    "retries": Field(
        Flag(), "Whether a call may be asked again after its replica broke off; saved models only when absent.",
        example=True,
    ),
    "grpc": Field(Flag(), "Whether it answers gRPC as well as HTTP; not programs in images.", example=True),
    "resources": Field(_RESOURCES, "What one replica asks for.", example={"cpu": 2, "memory": "4Gi"}),
    "env": Field(MapOf(AnyText(), _VARIABLE), "Variables of the environment.", example={"OMP_NUM_THREADS": "1"}),
    "batching": Field(
        Either("true, false or a mapping", bool=Flag(), dict=_BATCHING),
        "Calls that arrive together are computed together; on for saved models when absent.",
        example={"maxRows": 64},
    ),
    "logger": Field(
        Either("an address or a mapping", str=_URL, dict=_LOGGER),
        "Where requests and answers go, as CloudEvents.", example="http://logger.example.com",
    ),
    "pod": Field(
        _POD, "What its pods say on a cluster; without effect on one machine.",
        example={"spec": {"nodeSelector": {"disk": "ssd"}}},
    ),
}  # fmt: skip
_APART = Record({name: field for name, field in RUN.items() if name not in ("modelName", "batching", "grpc")})
_SERVICE = Record(
    _WHERE
    | {
        "dependencies": Field(
            Either(
                '"separate", "in-process" or a mapping of services to settings',
                str=Choice(("separate", "in-process")),
                dict=MapOf(_APART, Text(r"[^\W\d][-.\w]*", "the name of a service")),
            ),
            "Which services it depends on run as components of their own: all, none, or those named,"
            " each with settings. None when absent.",
            example={"Encoder": {"replicas": 2}},
        )
    },
    at_least=(("target", "bundle"),),
    not_both=(("directory", "bundle"),),
)
SOURCES = {
    "model": Field(
        Either("a string or a mapping", str=Text(), dict=_MODEL),
        "A saved model: its address, or more about it.", example="model.joblib",
    ),
    "service": Field(
        Either("a string or a mapping", str=_TARGET, dict=_SERVICE),
        "An authored service.", example="service:Iris",
    ),
    "class": Field(
        Either("a string or a mapping", str=_TARGET, dict=_CLASS),
        "A plain class with predict(self, X).", example="iris:Iris",
    ),
    "container": Field(
        Either("a string or a mapping", str=Text(), dict=_CONTAINER),
        "A program in an image that speaks HTTP.", example="registry.example.com/iris:1",
    ),
}  # fmt: skip
_PART = Record({**SOURCES, **RUN}, one_of=(tuple(SOURCES),))
BESIDE = {
    "transformer": Field(
        _PART, "Gets the calls first and asks the model itself.", example={"class": "features:Features"}
    ),
    "explainer": Field(_PART, "Answers why, and asks the model itself.", example={"service": "why:Why"}),
}


# ---- who gets which

_VARIANT = Record(
    {
        "weight": Field(PERCENT, "Its share of the calls; the main variant has the rest.", example="10%"),
        "mirror": Field(PERCENT, "A shadow: it gets copies, and its answers go nowhere.", example="100%"),
        "labels": Field(_TEXTS, "Labels of its own.", example={"team": "b"}),
        **SOURCES,
        **RUN,
        **BESIDE,
    },
    one_of=(("weight", "mirror"), tuple(SOURCES)),
)
_MATCH = Either(
    "a string, true, or a mapping of prefix or regex",
    str=AnyText(),
    bool=Flag(only=True),
    dict=Record(
        {
            "prefix": Field(Text(), "What it begins with.", example="eu-"),
            "regex": Field(Text(), "A regular expression that matches all of it.", example="v[0-9]+"),
        },
        one_of=(("prefix", "regex"),),
    ),
)
_RULE = Record(
    {
        "header": Field(
            MapOf(_MATCH, _HEADER, least=1), "Values by header: the value, true (any), or {prefix} or {regex}.",
            example={"x-team": "beta"},
        ),
        "claim": Field(
            MapOf(_MATCH, least=1), "The same for claims of the token; a.b is b in a.", example={"plan": "pro"}
        ),
        "to": Field(
            Text(), "A variant's name, or main, or stable and canary for revisions of the main variant.",
            required=True, example="candidate",
        ),
    },
    at_least=(("header", "claim"),),
)  # fmt: skip
_TRAFFIC = Record(
    {
        "sticky": Field(
            Record(
                {
                    "header": Field(_HEADER, "By the value of a header.", example="x-user"),
                    "cookie": Field(_HEADER, "By a cookie, set where there is none.", example="session"),
                    "ttl": Field(DURATION, "How long the cookie lives; a session when absent.", example="1h"),
                },
                one_of=(("header", "cookie"),),
                needs={"ttl": "cookie"},
            ),
            "The same caller gets the same variant.", example={"cookie": "session", "ttl": "1h"},
        ),
        "rules": Field(ListOf(_RULE), "Tried in their order, before the weights.",
                       example=[{"header": {"x-team": "beta"}, "to": "candidate"}]),
        "jwt": Field(
            Record(
                {
                    "issuer": Field(Text(), "The iss of tokens.", required=True, example="https://id.example.com"),
                    "audiences": Field(ListOf(Text()), "One of them must be in aud.", example=["iris"]),
                    "jwks": Field(Text(), "The keys, as JSON text.", example='{"keys": []}'),
                    "jwksFile": Field(Text(), "The keys, in a file.", example="keys.json"),
                    "required": Field(Flag(), "Calls without a token are answered 401; true.", example=False),
                },
                one_of=(("jwks", "jwksFile"),),
            ),
            "Whose tokens are taken.", example={"issuer": "https://id.example.com", "jwksFile": "keys.json"},
        ),
        "tags": Field(Flag(), "Host names of revisions, canary-iris...; true when absent.", example=False),
        "maxBody": Field(SIZE, "Larger requests are answered 413.", example="10Mi"),
    }
)  # fmt: skip


# ---- how a new revision takes over

_STEP = Either(
    "a percentage or a mapping",
    number=Number(least=0, most=100),
    str=Written(
        r"(?:100|[0-9]{1,2}(?:\.[0-9]{1,9})?)%", "a percentage, such as 5%", lambda text: float(text[:-1])
    ),
    dict=Record(
        {
            "weight": Field(PERCENT, "The share of the new revision.", required=True, example="50%"),
            "for": Field(DURATION, "How long before the next step.", example="2m"),
            "pause": Field(Flag(), "Then wait for tiffin rollout resume.", example=True),
        },
        not_both=(("for", "pause"),),
    ),
)
_GATES = Record(
    {
        "errorRate": Field(SHARE, "How many more of its calls may fail than the stable one's.", example="1%"),
        "latency": Field(
            MapOf(Number(above=0), Text(r"p[1-9][0-9]?(?:\.[0-9]{1,4})?", "a quantile such as p95"), least=1),
            "By quantile: how many times the stable one's it may be.", example={"p95": 1.2},
        ),
        "agreement": Field(
            Either(
                'a percentage with its sign, such as "99%", or a mapping',
                str=SHARE,
                dict=Record(
                    {
                        "least": Field(SHARE, "The share of equal answers.", required=True, example="99%"),
                        "tolerance": Field(Number(least=0), "Difference of equal numbers; 1e-6.", example=0.001),
                    }
                ),
            ),
            "How many mirrored answers must equal the stable one's.", example="99%",
        ),
        "query": Field(
            ListOf(
                Record(
                    {
                        "expr": Field(Text(), "PromQL.", required=True, example="drift{job='iris'}"),
                        "server": Field(_URL, "Prometheus.", required=True, example="http://127.0.0.1:9090"),
                        "min": Field(Number(), "At least.", example=0),
                        "max": Field(Number(), "At most.", example=0.2),
                    },
                    at_least=(("min", "max"),),
                )
            ),
            "Queries whose value must be within bounds.",
            example=[{"expr": "drift", "server": "http://127.0.0.1:9090", "max": 0.2}],
        ),
    }
)  # fmt: skip
_ROLLOUT = Record(
    {
        "steps": Field(
            ListOf(_STEP, least=1, most=100), "From little to all.", required=True,
            example=[5, 25, {"weight": 50, "for": "2m"}],
        ),
        "gates": Field(_GATES, "What must hold; errorRate 1 % when absent.", example={"errorRate": "1%"}),
        "mirror": Field(PERCENT, "How many calls are copied to the new revision, for agreement.", example="10%"),
        "falseAlarm": Field(SHARE, "The chance to roll an equal revision back; 5 %.", example="1%"),
        "minCalls": Field(Whole(1), "Fewer calls say nothing; 50.", example=200),
        "rollback": Field(Flag(), "Whether a failed gate rolls back by itself; true.", example=False),
    }
)  # fmt: skip
_RECORD = Record(
    {
        "percent": Field(PERCENT, "How many of the calls; all when absent.", example="10%"),
        "maxSize": Field(SIZE, "Of all files; the oldest go first. 256Mi when absent.", example="1Gi"),
        "maxBody": Field(SIZE, "Larger bodies are left out; 1Mi when absent.", example="64Ki"),
    }
)

_POLICY = Record(
    {
        "requireSignature": Field(
            Either(
                "true, false or a mapping of keys",
                bool=Flag(),
                dict=Record(
                    {
                        "keys": Field(
                            ListOf(Text(), least=1), "Public keys, files or PEM; one of them must have signed it.",
                            required=True, example=["keys/team.pub"],
                        )
                    }
                ),
            ),
            "Start nothing without a signature. true: by one of the platform's own keys.",
            required=True, example={"keys": ["keys/team.pub"]},
        ),
    }
)  # fmt: skip

SPEC = Record(
    {
        **SOURCES,
        **RUN,
        **BESIDE,
        "protocol": Field(
            Choice(PROTOCOLS), "What it is called with first; by what is served when absent.", example="v1"
        ),
        "stopped": Field(Flag(), "Kept, with nothing running.", example=True),
        "variant": Field(_LABEL, "The name of what is described here; main when absent.", example="control"),
        "variants": Field(
            MapOf(_VARIANT, _LABEL), "What runs beside it, by name.",
            example={"candidate": {"model": "new.joblib", "weight": "10%"}},
        ),
        "canary": Field(
            PERCENT, "What the newest revision gets; the one before keeps the rest. Leave it out to promote.",
            example="10%",
        ),
        "rollout": Field(_ROLLOUT, "How a new revision takes over.", example={"steps": [5, 25, 50]}),
        "traffic": Field(_TRAFFIC, "Who gets which.", example={"sticky": {"header": "x-user"}}),
        "record": Field(
            Either("true, false or a mapping", bool=Flag(), dict=_RECORD),
            "Keep requests and answers, for replay and comparison.", example={"percent": "10%"},
        ),
        "policy": Field(
            _POLICY, "What must hold before anything is opened or imported.",
            example={"requireSignature": {"keys": ["keys/team.pub"]}},
        ),
    },
    one_of=(tuple(SOURCES),),
    not_both=(("canary", "rollout"),),
)  # fmt: skip

# What an API server writes into an object; it asks for nothing.
_SERVER = ("creationTimestamp", "createdAt", "generation", "managedBy", "managedFields", "resourceVersion", "uid")
_METADATA = Record(
    {
        "name": Field(_LABEL, "Unique in its namespace.", required=True, example="iris"),
        "namespace": Field(_LABEL, "default when absent.", example="flowers"),
        "labels": Field(_TEXTS, "In lists; on a cluster on all that is made of it.", example={"team": "garden"}),
        "annotations": Field(_TEXTS, "Kept as they are.", example={"owner": "ada"}),
        **{name: Field(Anything(), "Written by a server.") for name in _SERVER},
    }
)
DEPLOYMENT = Record(
    {
        "apiVersion": Field(Choice(API_VERSIONS), required=True),
        "kind": Field(Choice((KIND,)), required=True),
        "metadata": Field(_METADATA, "What it is called.", required=True),
        "spec": Field(SPEC, "What is served, and how.", required=True),
        "status": Field(Anything(), "Written by a server."),
    }
)
