"""The Kubernetes target: from a deployment to the objects of a cluster, and the client that talks to one.

Lives here: ``render`` (a deployment and where it stands -> manifests; pure), names, settings, the custom resource
definitions, the client. Next door: ``operator`` (the process that watches a cluster and applies what is rendered),
``local`` (the same for one machine).
"""
