"""The filters a call passes, and what a route says to each of them.

    tokens ──> sticky ──> hold ──> limit ──> router

All but the router are off unless a route turns them on, so a call that needs none pays for none. ``tokens`` is
read from a file of its own, since the keys of issuers come and go with deployments: the listener never changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from tiffin.gateway.clusters import ACTIVATOR
from tiffin.gateway.resources import FILTERS, TYPE, Resource, duration
from tiffin.gateway.router import HOLD_HEADER, POOL_HEADER
from tiffin.spec import Jwt

TOKENS, STICKY, HOLD, LIMIT = "tokens", "sticky", "hold", "limit"
CLAIMS = "claims"
HOLD_SECONDS = 600.0
VISITOR = "tiffin.visitor"
COOKIE = "tiffin.cookie"
TOKENS_TYPE = FILTERS + "jwt_authn.v3.JwtAuthentication"


def http_filters(tokens: Resource) -> list[Resource]:
    """The filters of the listener; ``tokens`` is the source of the filter that checks tokens."""
    return [
        {
            "name": TOKENS,
            "disabled": True,
            "config_discovery": {"config_source": tokens, "type_urls": [TOKENS_TYPE]},
        },
        {"name": STICKY, "disabled": True, "typed_config": _sticky()},
        {"name": HOLD, "disabled": True, "typed_config": _hold()},
        {
            "name": LIMIT,
            "disabled": True,
            "typed_config": {"@type": FILTERS + "buffer.v3.Buffer", "max_request_bytes": 1},
        },
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": FILTERS + "router.v3.Router", "suppress_envoy_headers": True},
        },
    ]


def token_checks(issuers: Iterable[Jwt]) -> Resource:
    """What the filter ``tokens`` knows: every issuer, and a requirement of the same name."""
    providers: Resource = {}
    requirements: Resource = {}
    for jwt in issuers:
        name = requirement(jwt)
        providers[name] = _provider(jwt)
        needed: Resource = {"provider_name": name}
        if not jwt.required:
            # A bad token is as good as none: it gives its bearer nothing.
            needed = {"requires_any": {"requirements": [needed, {"allow_missing_or_failed": {}}]}}
        requirements[name] = needed
    return {"@type": TOKENS_TYPE, "providers": providers, "requirement_map": requirements}


def requirement(jwt: Jwt) -> str:
    """The name of what a token must fulfil: another one for another content."""
    return hashlib.sha256(msgspec.json.encode(jwt)).hexdigest()[:24]


def _provider(jwt: Jwt) -> Resource:
    provider: Resource = {
        "issuer": jwt.issuer,
        "local_jwks": {"inline_string": jwt.jwks},
        # What it says is matched by routes as metadata, which no caller can write.
        "payload_in_metadata": CLAIMS,
        "clear_route_cache": True,
        "forward": True,
    }
    if jwt.audiences:
        provider["audiences"] = list(jwt.audiences)
    return provider


def check_token(jwt: Jwt) -> Resource:
    """For a route: a token as ``jwt`` says."""
    return {TOKENS: {"@type": FILTERS + "jwt_authn.v3.PerRouteConfig", "requirement_name": requirement(jwt)}}


def _sticky(cookie: str = "") -> Resource:
    """Gives a caller without a cookie a number, then chooses its route again by that number."""
    visitor = _remembered(VISITOR, "envoy.hashable_string", "%UNIQUE_ID%")
    return {
        "@type": FILTERS + "set_filter_state.v3.Config",
        "on_request_headers": [visitor, *([_remembered(COOKIE, "envoy.string", cookie)] if cookie else [])],
        "clear_route_cache": True,
    }


def _remembered(key: str, factory: str, text: str) -> Resource:
    return {
        "object_key": key,
        "factory_key": factory,
        "format_string": {"text_format_source": {"inline_string": text}},
    }


def number_visitor(cookie: str) -> Resource:
    """For a route: as ``sticky``. ``cookie`` is the whole cookie, with the filter state ``VISITOR`` in it.

    It is written here, not where the answer gets it, since a call that an earlier filter answers has no number:
    it must get no cookie, and Envoy leaves out only a header that is empty as a whole.
    """
    return {STICKY: {"@type": TYPE + "envoy.config.route.v3.FilterConfig", "config": _sticky(cookie)}}


def _hold() -> Resource:
    """Asks the activator whether a call may go on, by its headers alone; the body waits at Envoy.

    When the activator cannot be asked, the call goes on: there may be replicas by now, and where there are
    none it is answered 503 in the next step.
    """
    return {
        "@type": FILTERS + "ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": True,
        "http_service": _ask_activator(""),
    }


def _ask_activator(pool: str) -> Resource:
    service: Resource = {
        "server_uri": {"uri": "http://tiffin", "cluster": ACTIVATOR, "timeout": duration(HOLD_SECONDS)},
        "path_override": "/hold",
        "authorization_response": {
            "allowed_client_headers": {"patterns": [{"exact": "retry-after"}, {"exact": "content-type"}]}
        },
    }
    if pool:
        service["authorization_request"] = {
            "headers_to_add": [{"key": POOL_HEADER, "value": pool}, {"key": HOLD_HEADER, "value": "check"}]
        }
    return service


def hold(pool: str) -> Resource:
    """For a route or one cluster of a split: wait until the activator lets calls to this pool go."""
    settings = {"check_settings": {"http_service": _ask_activator(pool)}}
    return {HOLD: {"@type": FILTERS + "ext_authz.v3.ExtAuthzPerRoute", **settings}}


def no_hold() -> Resource:
    """As ``hold``, but for calls that may go on at once.

    Which filters a call passes is settled when its route is first chosen. Where it may be chosen again (claims,
    cookies), the filter must be there from the beginning, and be told to do nothing.
    """
    return {HOLD: {"@type": FILTERS + "ext_authz.v3.ExtAuthzPerRoute", "disabled": True}}


def limit(most_bytes: int) -> Resource:
    """For a route: collect the body first, and answer 413 when it is larger."""
    return {LIMIT: {"@type": FILTERS + "buffer.v3.BufferPerRoute", "buffer": {"max_request_bytes": most_bytes}}}
