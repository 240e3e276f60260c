"""What whoever installs Tiffin into a cluster decides."""

from __future__ import annotations

import re

import msgspec

from tiffin.errors import SpecError
from tiffin.kube.crds import GROUPS
from tiffin.kube.settings import NAMESPACE, Gateway, Settings

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """``crds`` are words of ``crds.GROUPS``; ``watched`` the namespaces to look after (none: all of them).

    ``replicas`` is how many operators and activators there are; one operator leads. ``gateway`` is as in
    ``Settings``. ``webhook``: have the API server ask the operator what it thinks of an object.
    """

    namespace: str = NAMESPACE
    crds: tuple[str, ...] = tuple(GROUPS)
    gateway: Gateway | None = Gateway()
    ingress_class: str = ""
    domain: str = Settings().domain
    watched: tuple[str, ...] = ()
    image: str = Settings().runtime_image
    replicas: int = 1
    takeover: bool = False
    webhook: bool = True

    def settings(self) -> Settings:
        """What is put into the ConfigMap."""
        return Settings(
            namespace=self.namespace,
            watched=self.watched,
            runtime_image=self.image,
            domain=self.domain,
            gateway=self.gateway,
            ingress_class=self.ingress_class,
            takeover=self.takeover,
        )


def check(options: Options) -> Options:
    """The options, when objects can be made of them.

    Raises:
        SpecError: which one, and what was expected.
    """
    for flag, names in (("--namespace", [options.namespace]), ("--watch-namespace", options.watched)):
        for name in names:
            if not _NAME.fullmatch(name):
                raise SpecError(f"expected the name of a namespace, found {name!r}", at=flag)
    if not _HOST.fullmatch(options.domain):
        raise SpecError(f"expected a domain such as example.com, found {options.domain!r}", at="--domain")
    if not options.image or options.image.split() != [options.image]:
        raise SpecError(f"expected the name of an image, found {options.image!r}", at="--image")
    if options.replicas < 1:
        raise SpecError(f"expected at least 1, found {options.replicas}", at="--replicas")
    return options


def gateway(text: str) -> Gateway | None:
    """``namespace/name`` or ``namespace/name/listener``; ``none`` for no Gateway at all.

    Raises:
        SpecError: it is neither.
    """
    if text == "none":
        return None
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(_NAME.fullmatch(part) for part in parts):
        raise SpecError(
            f"expected namespace/name of a Gateway, found {text!r}",
            hint="`kubectl get gateways -A` lists them; a listener may follow: namespace/name/listener; or none",
            at="--gateway",
        )
    return Gateway(namespace=parts[0], name=parts[1], section=parts[2] if len(parts) == 3 else "")
