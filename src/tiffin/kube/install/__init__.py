"""What is put into a cluster for Tiffin to run there, as plain objects. Pure.

``rights`` (who may do what) | ``programs`` (the operator, the activator and what stands around them) | ``chart``
(the same as a Helm chart). ``tiffin install``, ``deploy/`` and ``charts/`` all come from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from tiffin.kube import crds
from tiffin.kube.install import programs, rights
from tiffin.kube.install.naming import OPERATOR, labels
from tiffin.kube.install.options import Options, check
from tiffin.kube.manifests import Manifest


def manifests(options: Options) -> tuple[Manifest, ...]:
    """Every object of an installation, in an order in which they can be applied.

    Raises:
        SpecError: an option cannot be followed.
    """
    check(options)
    return (namespace(options), *crds.manifests(options.crds), *objects(options))


def namespace(options: Options) -> Manifest:
    """Where the programs run; nothing in it may be more than Kubernetes' strictest rules let it."""
    strict = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": options.namespace, "labels": labels(OPERATOR) | strict}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def objects(options: Options) -> tuple[Manifest, ...]:
    """All but the namespace and the definitions."""
    places = options.watched
    bound = [one for place in places for one in rights.within(place, options)] or rights.everywhere(options)
    return (
        *rights.accounts(options),
        *bound,
        *rights.general(options),
        programs.settings(options),
        *programs.around(options),
        *programs.deployments(options),
        *((programs.webhook(options),) if options.webhook else ()),
    )


# libyaml is ten times as fast; wheels of PyYAML have it.
_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]  # PyYAML says no types
    def ignore_aliases(self, data: Any) -> bool:
        return True


def text(found: Iterable[Manifest], *, width: int = 110) -> str:
    """As YAML, a document each."""
    return "".join(
        "---\n"
        + yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=width, allow_unicode=True, default_flow_style=None)
        for one in found
    )
