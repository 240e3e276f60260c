"""Bundles: an author's files with how to run them, by content, in a local store.

Lives here: what goes in (``selection``), what is served (``entry_point``), both together (``plan``), the record
(``manifest``), what it is called (``reference``), and where it is kept (``store``). Sources are read, never
imported. A bundle does not change: its digest is that of its manifest, which lists the digest of every file.
"""

from tiffin.bundle.manifest import Bundle, File, Manifest, read_bundle, verify
from tiffin.bundle.plan import Plan, plan
from tiffin.bundle.reference import Reference
from tiffin.bundle.store import BundleStore, Tagged

__all__ = [
    "Bundle",
    "BundleStore",
    "File",
    "Manifest",
    "Plan",
    "Reference",
    "Tagged",
    "plan",
    "read_bundle",
    "verify",
]
