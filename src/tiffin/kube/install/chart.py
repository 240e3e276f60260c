"""The installation as a Helm chart: the same objects, with what people choose as values.

Objects are made with words that stand for the choices, and written with Helm's expressions in their place.
"""

from __future__ import annotations

import re

import msgspec

import tiffin
from tiffin.kube import crds
from tiffin.kube import install as whole
from tiffin.kube.install import programs, rights
from tiffin.kube.install.options import Options
from tiffin.kube.manifests import Manifest

NAME = "tiffin"

_NAMESPACE, _WATCHED, _IMAGE, _REPLICAS = "the-release-namespace", "the-watched-namespace", "the-image", 987_654
_WIDE = 100_000
"""Nothing that is replaced may be broken over lines."""


def files() -> dict[str, str]:
    """The chart's files by their path in it."""
    chosen = Options(namespace=_NAMESPACE, image=_IMAGE, replicas=_REPLICAS)
    return {
        "Chart.yaml": _CHART.format(version=tiffin.__version__),
        "values.yaml": _VALUES.format(image=Options().image, groups=", ".join(crds.GROUPS)),
        "templates/NOTES.txt": _NOTES,
        **{f"templates/crds-{group}.yaml": _definitions(group) for group in crds.GROUPS},
        "templates/rights.yaml": _rights(chosen),
        "templates/programs.yaml": _programs(msgspec.structs.replace(chosen, watched=(_WATCHED,))),
    }


def _definitions(group: str) -> str:
    """Kept when the release goes: with a definition go all objects of its kind."""
    found = [_kept(one) for one in crds.manifests((group,))]
    return f'{{{{- if has "{group}" .Values.crds }}}}\n{whole.text(found)}{{{{- end }}}}\n'


def _kept(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"] | {"annotations": {"helm.sh/resource-policy": "keep"}}
    return manifest | {"metadata": metadata}


def _rights(chosen: Options) -> str:
    return (
        _filled(whole.text((*rights.accounts(chosen), *rights.general(chosen)), width=_WIDE))
        + "{{- if .Values.watchNamespaces }}\n{{- range .Values.watchNamespaces }}\n"
        + _filled(whole.text(rights.within(_WATCHED, chosen), width=_WIDE), release="$", watched="{{ . }}")
        + "{{- end }}\n{{- else }}\n"
        + _filled(whole.text(rights.everywhere(chosen), width=_WIDE))
        + "{{- end }}\n"
    )


def _programs(chosen: Options) -> str:
    settings = programs.settings(chosen)
    settings["data"] = {"settings.yaml": "SETTINGS"}
    text = whole.text((settings, *programs.around(chosen), *programs.deployments(chosen)), width=_WIDE)
    text = text.replace("data: {settings.yaml: SETTINGS}", _SETTINGS)
    lasting = (
        f"{{{{ ternary {programs.SEVERAL_SECONDS} {programs.ALONE_SECONDS} (gt (int .Values.replicas) 1) }}}}"
    )
    text = text.replace(f"--lease-seconds, '{programs.SEVERAL_SECONDS}'", f"--lease-seconds, '{lasting}'")
    for flag in ("--watch", "--namespace"):
        each = "{{ range .Values.watchNamespaces }}, " + flag + ", {{ . }}{{ end }}"
        text = text.replace(f", {flag}, {_WATCHED}", each)
    webhook = whole.text((programs.webhook(chosen),), width=_WIDE)
    selector = re.search(r"(?m)^  namespaceSelector:\n(?:    .*\n)+", webhook)
    assert selector is not None
    chosen_only = selector[0].replace(f"[{_WATCHED}]", "{{ toJson .Values.watchNamespaces }}")
    guarded = "{{- if .Values.watchNamespaces }}\n" + chosen_only + "{{- end }}\n"
    webhook = webhook.replace(selector[0], guarded)
    return _filled(text) + "{{- if .Values.webhook }}\n" + _filled(webhook) + "{{- end }}\n"


def _filled(text: str, *, release: str = "", watched: str = "") -> str:
    text = text.replace(_NAMESPACE, "{{ " + release + ".Release.Namespace }}").replace(_WATCHED, watched)
    text = text.replace(_IMAGE, "{{ .Values.image | quote }}")
    return text.replace(str(_REPLICAS), "{{ .Values.replicas }}")


_SETTINGS = """data:
  settings.yaml: |
    {{- merge (dict "runtimeImage" .Values.image) .Values.settings | toYaml | nindent 4 }}"""

_CHART = """\
apiVersion: v2
name: tiffin
description: Serves machine-learning models from KServe's, Seldon's and Tiffin's own files.
type: application
version: {version}
appVersion: {version}
kubeVersion: ">=1.29.0-0"
"""

_VALUES = """\
# The image of the operator, the activator, replicas of saved models and what fetches them.
image: {image}
# How many operators and activators there are; one operator leads.
replicas: 1
# Whose kinds to define. Leave out those of a KServe or Seldon that runs in the cluster.
crds: [{groups}]
# Namespaces to look after; all of them when empty.
watchNamespaces: []
# Have the API server ask the operator about objects; without an answer they are taken.
webhook: true
# What the ConfigMap tiffin-settings says: domain, gateway, ingressClass, takeover and others.
settings: {{}}
"""

_NOTES = """\
Tiffin runs in the namespace {{ .Release.Namespace }}. Apply an InferenceService, a SeldonDeployment or a
Deployment of tiffin.dev/v1, and look at it: kubectl get isvc,sdep,tiffin
"""
