"""The local target: deployments as processes of this machine, behind one Envoy, looked after by one controller.

    applying ──> store ──> controller ──> Deploying (one task each) ──> Replica (one task each) ──> launchers
    (sources)   (SQLite)       │              │ shares, numbers: ``plan``
                               │              └──> routing ──> gateway
                               └── ticking: measures; asks the decider and the judge

``home`` is what a controller owns on disk and what a killed one left; ``up`` is ``tiffin up`` without its
command line; ``parts`` is what a controller is made of; ``api`` is how it is asked. Others plug in at ``seams``:
``launching``, ``zygotes`` and ``containers`` start replicas, ``activator`` holds calls, ``judging`` judges.
User code is never imported here: services are described, and replicas run, in processes of their own.
"""
