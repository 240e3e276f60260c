"""The local target: deployments as processes of this machine, behind one Envoy.

    reading ──> preparing ──> Target: replicas + gateway ──> until Ctrl-C ──> drained, everything removed
    (files)     (artefacts)      │
                                 └── runs: what each `tiffin up` owns on disk, and what a killed one left

``lives`` and ``addresses`` decide and are pure; ``replica`` runs one process; ``target`` brings it together.
User code is never imported here: services are described, and replicas run, in processes of their own.
"""
