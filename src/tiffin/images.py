"""``from tiffin.images import Image``: the names of ``tiffin.service.images``."""

from tiffin.service.images import Image

__all__ = ["Image"]
