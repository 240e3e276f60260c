"""One PromQL expression asked of a Prometheus server: a number, or why there is none. Never raises."""

from __future__ import annotations

import http.client
import json
import urllib.parse

TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 1_048_576


def query(server: str, expression: str) -> tuple[float | None, str]:
    """Ask ``server`` (``http://host:9090``, a path before ``/api`` is kept); blocks for at most some seconds.

    The value and why there is none.
    """
    try:
        return _value(_ask(server, expression))
    except (OSError, http.client.HTTPException) as failure:
        return None, f"{server} cannot be reached: {str(failure) or type(failure).__name__}"
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as failure:
        return None, f"{server} did not answer like Prometheus: {str(failure) or type(failure).__name__}"


def _ask(server: str, expression: str) -> object:
    address = urllib.parse.urlsplit(server)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"expected an address like http://host:9090, found {server!r}")
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname, address.port, timeout=TIMEOUT_SECONDS)
    try:
        body = urllib.parse.urlencode({"query": expression})
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        connection.request("POST", f"{address.path.rstrip('/')}/api/v1/query", body, headers)
        response = connection.getresponse()
        content = response.read(_MOST_BYTES)
    finally:
        connection.close()
    if response.status not in (200, 400, 422, 503):  # With these, Prometheus says in JSON what is wrong.
        raise ValueError(f"status {response.status}")
    return json.loads(content)


def _value(answer: object) -> tuple[float | None, str]:
    if not isinstance(answer, dict):
        raise TypeError("expected an object")
    if answer.get("status") != "success":
        return None, f"the query is refused: {str(answer.get('error'))[:300]}"
    kind, result = answer["data"]["resultType"], answer["data"]["result"]
    if kind == "scalar":
        return float(result[1]), ""
    if kind != "vector":
        return None, f"expected a query that gives a number, found one that gives a {kind}"
    if not result:
        return None, "the query gives no value (yet)"
    if len(result) > 1:
        return None, f"expected one value, found {len(result)} series: aggregate them, for example by sum(...)"
    return float(result[0]["value"][1]), ""
