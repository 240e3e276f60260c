"""What may not change of an object that is there already."""

from __future__ import annotations

from tiffin.dialects.documents import child
from tiffin.dialects.kserve_context import MODE
from tiffin.errors import SpecError
from tiffin.spec import Deployment, ModelSource


def check_update(before: Deployment, after: Deployment) -> None:
    """Whether ``after`` may take the place of ``before``, as KServe's webhook decides for an InferenceService.

    Raises:
        SpecError: another deployment mode, or another name of the predictor with the same model.
    """
    if before.dialect != "kserve" or after.dialect != "kserve":
        return
    # KServe compares with the mode of the status, which is Knative where no annotation says otherwise.
    old, new = before.annotations.get(MODE, "Knative"), after.annotations.get(MODE)
    if new is not None and new != old:
        raise SpecError(
            f"update rejected: deploymentMode cannot be changed from '{old}' to '{new}'",
            at=child("metadata.annotations", MODE),
            place=after.file,
            hint="delete the InferenceService and apply it again",
        )
    if before.variant != after.variant and (uri := _uri(before)) and uri == _uri(after):
        raise SpecError(
            f"expected {_name(before)} as before, found {_name(after)} with the same storageUri {uri}: "
            "another name is another predictor, which needs a model of its own",
            at="spec.predictor.name",
            place=after.file,
            hint="change storageUri with it, or keep the name",
        )


def _name(deployment: Deployment) -> str:
    return "no name" if deployment.variant == "main" else f'"{deployment.variant}"'


def _uri(deployment: Deployment) -> str:
    source = deployment.components[0].source
    return source.artefact.uri if isinstance(source, ModelSource) else ""
