"""The controller of the Kubernetes target: watches deployments, applies what ``kube.render`` says, reports.

``python -m tiffin.operator`` runs it in a cluster; ``python -m tiffin.operator.activator`` runs the process that
holds calls for what has no replica.
"""
