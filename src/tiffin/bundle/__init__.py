"""Bundles: an author's files with how to run them, by content, in a local store.

Lives here: what goes in (``selection``), what is served (``entry_point``), both together (``plan``), the record
(``manifest``), and where it is kept (``store``, on a shelf of ``tiffin.store``). Sources are read, never
imported. A bundle does not change: its digest is that of its manifest, which lists the digest of every file.
"""

from tiffin.bundle.manifest import Bundle, Manifest, read_bundle, verify
from tiffin.bundle.plan import Plan, plan
from tiffin.bundle.store import BundleStore, Tagged
from tiffin.store.files import File
from tiffin.store.reference import Reference

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
