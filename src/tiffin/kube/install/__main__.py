"""``python -m tiffin.kube.install DIR`` writes ``deploy/`` and ``charts/`` of a checkout anew."""

from __future__ import annotations

import sys
from pathlib import Path

from tiffin.kube import install
from tiffin.kube.install import chart
from tiffin.kube.install.options import Options


def files() -> dict[str, str]:
    """What is kept in the repository, by path."""
    found = {"deploy/tiffin.yaml": install.text(install.manifests(Options()))}
    return found | {f"charts/{chart.NAME}/{path}": text for path, text in chart.files().items()}


if __name__ == "__main__":
    for path, text in files().items():
        place = Path(sys.argv[1] if len(sys.argv) > 1 else ".", path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
