"""OCI: the records, a layout on disk, and registries. Nothing here knows what a bundle or a model is.

Sources: image-spec 1.1 and distribution-spec 1.1 of the Open Container Initiative.
"""
