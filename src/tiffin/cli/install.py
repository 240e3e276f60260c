"""``tiffin install``: what a cluster needs for Tiffin to run there, for ``kubectl apply``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tiffin.cli import output


def install(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Where the operator runs.")
    ] = "tiffin-system",
    crds: Annotated[
        str, typer.Option(help="Whose kinds to define: kserve,seldon,tiffin; none leaves all of them out.")
    ] = "kserve,seldon,tiffin",
    gateway: Annotated[
        str, typer.Option(help="The Gateway that routes attach to: namespace/name[/listener], or none.")
    ] = "tiffin-system/tiffin",
    ingress_class: Annotated[
        str, typer.Option(help="The class of Ingresses, where there is no Gateway API; none are made without one.")
    ] = "",
    domain: Annotated[str, typer.Option(help="What host names of deployments end in.")] = "example.com",
    watch_namespace: Annotated[
        list[str] | None, typer.Option(help="Look after this namespace only; may be given again.")
    ] = None,
    image: Annotated[str, typer.Option(help="What runs: see `tiffin image --runtime`.")] = "",
    replicas: Annotated[int, typer.Option(help="How many operators and activators; one operator leads.")] = 1,
    takeover: Annotated[
        bool,
        typer.Option(
            "--takeover", help="Look after InferenceServices and SeldonDeployments although another system does."
        ),
    ] = False,
    no_webhook: Annotated[
        bool, typer.Option("--no-webhook", help="Leave out what has the API server ask the operator.")
    ] = False,
    form: Annotated[Literal["yaml", "json"], typer.Option("--output", "-o", help="yaml or json.")] = "yaml",
) -> None:
    """Print the objects of an installation; nothing is changed, and no cluster is asked.

    tiffin install | kubectl apply --server-side -f -
    """
    import msgspec

    from tiffin.kube import install as installing
    from tiffin.kube.install import options

    chosen = options.Options(namespace=namespace, domain=domain, ingress_class=ingress_class, replicas=replicas)
    chosen = msgspec.structs.replace(
        chosen,
        crds=() if crds == "none" else tuple(word.strip() for word in crds.split(",") if word.strip()),
        gateway=options.gateway(gateway),
        watched=tuple(watch_namespace or ()),
        image=image or chosen.image,
        takeover=takeover,
        webhook=not no_webhook,
    )
    found = installing.manifests(chosen)
    if form == "json":
        output.data({"apiVersion": "v1", "kind": "List", "items": list(found)})
    else:
        print(installing.text(found), end="")
    others = [word for word in chosen.crds if word != "tiffin"]
    if others:
        output.say(
            f"note: the kinds of {' and '.join(others)} are defined too; where these run in the cluster, leave"
            " theirs alone with --crds tiffin"
        )
