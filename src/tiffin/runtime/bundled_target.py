"""What a bundle serves, where an order leaves that to the bundle: on a cluster only the image itself knows."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tiffin.bundle import read_bundle
from tiffin.errors import BundleError
from tiffin.spec import ClassSource, ReplicaSpec, ServiceSource


def named(spec: ReplicaSpec) -> ReplicaSpec:
    """The order with its target.

    Raises:
        BundleError: there is no bundle at the order's path, or its manifest is broken.
    """
    source = spec.component.source
    if not isinstance(source, ServiceSource | ClassSource) or source.target:
        return spec
    bundle = read_bundle(Path(spec.path))
    if bundle is None:
        raise BundleError(
            f"expected a bundle at {spec.path}, found none",
            hint="name what is served, module:Name, or an image that `tiffin image` made",
        )
    source = msgspec.structs.replace(source, target=bundle.target)
    return msgspec.structs.replace(spec, component=msgspec.structs.replace(spec.component, source=source))
