"""What is kept by content on this machine: trees of files on a shelf, and models among them.

Lives here: the record of files (``files``), what things are called (``reference``, ``tags``), the shelf that
bundles and models are kept on (``shelf``), and models (``manifest``, ``models``).
"""

from tiffin.store.files import File
from tiffin.store.reference import Reference
from tiffin.store.shelf import Shelf

__all__ = ["File", "Reference", "Shelf"]
