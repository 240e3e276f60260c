"""Signatures of bundles and models, in the format of sigstore's model-signing: made and checked with a local key.

Lives here: keys (``keys``), what a signature says (``statement``), making one (``making``), checking what is on
disk (``checking``), and where signatures are kept beside what they are of (``kept``). The extra ``sign`` brings
the package ``model-signing``, whose own command verifies what is signed here, and signs what is verified here.
"""
