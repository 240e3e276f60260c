"""What whoever installs the operator decides; a ConfigMap holds it, and it is followed while it changes."""

from __future__ import annotations

import re

import msgspec

from tiffin.dialects import kubernetes

NAMESPACE = "tiffin-system"
_DIRECTORY = re.compile(r"/(?!(?:.*/)?\.\.(?:/|$))[^:]*")
"""What a kubelet mounts: no colon, and no way upwards."""


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """The Gateway that routes attach to. ``section`` is a listener's name; empty is all of them."""

    name: str = "tiffin"
    namespace: str = NAMESPACE
    section: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Settings of the Kubernetes target.

    ``namespace`` is where the operator and the activator run; ``watched`` the namespaces it looks after (none:
    all). ``runtime_image`` runs saved models and fetches artefacts; ``image_pull_policy`` is for it. ``domain``
    is what host names end in, ``host_template`` how they are made of ``{name}``, ``{namespace}``, ``{domain}``;
    ``url_scheme`` is ``http`` or ``https``. ``gateway`` is used where there is the Gateway API,
    ``ingress_class`` where there is not; both empty: only addresses within the cluster. ``takeover``: also look
    after InferenceServices while a KServe runs. ``default_mode`` is of InferenceServices that name none.
    """

    namespace: str = NAMESPACE
    watched: tuple[str, ...] = ()
    runtime_image: str = "tiffin/runtime:0.1.0"
    image_pull_policy: str = "IfNotPresent"
    domain: str = "example.com"
    host_template: str = "{name}-{namespace}.{domain}"
    url_scheme: str = "http"
    gateway: Gateway | None = Gateway()
    ingress_class: str = ""
    default_mode: str = "Standard"
    cluster_domain: str = "cluster.local"
    takeover: bool = False
    network_policies: bool = False
    model_cache: str = ""
    """A directory of each node that fetched artefacts are kept in; empty: an ``emptyDir`` of the pod."""
    model_cache_size: str = ""
    """What may be left in it after a fetch, such as ``50Gi``; empty: it grows."""
    fetch_cpu: str = "100m"
    fetch_memory: str = "256Mi"
    fetch_memory_limit: str = "1Gi"

    def __post_init__(self) -> None:
        """Raises ValueError: no host name can be made of ``host_template``, or the cache is none."""
        known = {"name": "n", "namespace": "s", "domain": "d"}
        try:
            self.host_template.format(**known)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            expected = "`hostTemplate` of " + ", ".join(f"{{{one}}}" for one in known)
            raise ValueError(f"expected {expected}, found {self.host_template}") from None
        if self.model_cache and not _DIRECTORY.fullmatch(self.model_cache):
            raise ValueError(f"expected a whole path as `modelCache`, found {self.model_cache}")
        if self.model_cache_size and not self.model_cache_bytes:
            raise ValueError(f"expected `modelCacheSize` such as 50Gi, found {self.model_cache_size}")
        if self.model_cache_size and not self.model_cache:
            raise ValueError(f"expected `modelCache` beside `modelCacheSize`, found {self.model_cache_size} alone")

    @property
    def model_cache_bytes(self) -> int:
        """``model_cache_size`` in bytes; 0 when there is none, or it is no quantity."""
        return int(kubernetes.number(self.model_cache_size) or 0)
