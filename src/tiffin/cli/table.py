"""All commands: name, where the function is, the line that ``tiffin --help`` shows, and under which heading."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    name: str
    home: str
    """``module:function``; the module is not imported before the command is used."""
    help: str
    group: str


RUN = "Run"
DESIRE = "Say what should run"
LOOK = "See what runs"
RELEASE = "Release a new version"
BUNDLE = "Pack code"
OTHER = "Other"

COMMANDS: tuple[Entry, ...] = (
    Entry("serve", "tiffin.cli.serve:serve", "Serve one model or service in this process, for development.", RUN),
    Entry("up", "tiffin.cli.up:up", "Run deployments here behind one gateway; -d in the background.", RUN),
    Entry("down", "tiffin.cli.down:down", "Stop what runs here, also what a killed `tiffin up` left behind.", RUN),
    Entry("check", "tiffin.cli.check:check", "Read files and say what they mean; start nothing.", DESIRE),
    Entry("plan", "tiffin.cli.plan:plan", "Say what applying files would change.", DESIRE),
    Entry("diff", "tiffin.cli.plan:diff", "Show the differences between files and what is desired.", DESIRE),
    Entry("apply", "tiffin.cli.apply:apply", "Make what files say be so.", DESIRE),
    Entry("deploy", "tiffin.cli.deploy:deploy", "Build, push and apply to a cluster; print the address.", DESIRE),
    Entry("delete", "tiffin.cli.delete:delete", "Delete deployments, or bundles by their tag.", DESIRE),
    Entry("scale", "tiffin.cli.scale:scale", "Change how many replicas a deployment has.", DESIRE),
    Entry("convert", "tiffin.cli.convert:convert", "Write a file in the words of another system.", DESIRE),
    Entry("get", "tiffin.cli.get:get", "Show deployments and what belongs to them, or a bundle.", LOOK),
    Entry("describe", "tiffin.cli.describe:describe", "Show all about a deployment.", LOOK),
    Entry("logs", "tiffin.cli.logs:logs", "Print what the replicas of a deployment write.", LOOK),
    Entry("events", "tiffin.cli.events:events", "Show what happened.", LOOK),
    Entry("wait", "tiffin.cli.wait:wait", "Wait until a deployment is ready, deleted or as you say.", LOOK),
    Entry("top", "tiffin.cli.top:top", "Show what replicas use: cores, memory, calls.", LOOK),
    Entry("tasks", "tiffin.cli.tasks:tasks", "List, fetch, cancel and retry tasks of services.", LOOK),
    Entry("doctor", "tiffin.cli.doctor:doctor", "Check what this machine has, and what is wrong with it.", LOOK),
    Entry("rollout", "tiffin.cli.rollout:rollout", "Show and steer how a new revision takes over.", RELEASE),
    Entry("shadow", "tiffin.cli.shadow:shadow", "Report how the answers of a shadow differ.", RELEASE),
    Entry("replay", "tiffin.cli.replay:replay", "Send recorded requests to a revision and compare.", RELEASE),
    Entry("new", "tiffin.cli.new:new", "Make a project that serves, tests and builds.", BUNDLE),
    Entry("client", "tiffin.cli.client:client", "Write a typed Python client of a service.", BUNDLE),
    Entry("build", "tiffin.cli.build:build", "Make a bundle of a service or class, and give it a tag.", BUNDLE),
    Entry("list", "tiffin.cli.bundles:list_bundles", "List the bundles in the local store.", BUNDLE),
    Entry("bundles", "tiffin.cli.bundles:bundles", "List, show and delete bundles.", BUNDLE),
    Entry("models", "tiffin.cli.models:models", "List, show, save and delete models of the local store.", BUNDLE),
    Entry("export", "tiffin.cli.archiving:export", "Write a bundle and its models into a file.", BUNDLE),
    Entry("import", "tiffin.cli.archiving:import_", "Store the bundle of a file, or a .bento.", BUNDLE),
    Entry("prune", "tiffin.cli.prune:prune", "Delete what no tag leads to and nothing needs.", BUNDLE),
    Entry("push", "tiffin.cli.pushing:push", "Push a bundle or a model to a registry.", BUNDLE),
    Entry("pull", "tiffin.cli.pushing:pull", "Pull a bundle, with its models, or a model.", BUNDLE),
    Entry("sign", "tiffin.cli.signing:sign", "Sign a bundle, a model or files.", BUNDLE),
    Entry("verify", "tiffin.cli.signing:verify", "Check a signature, and that nothing changed since.", BUNDLE),
    Entry("image", "tiffin.cli.image:image", "Make a container image of a bundle; needs no engine.", BUNDLE),
    Entry("containerize", "tiffin.cli.containerize:containerize", "As `image`, in the words of BentoML.", BUNDLE),
    Entry("install", "tiffin.cli.install:install", "Print what a cluster needs for Tiffin to run there.", OTHER),
    Entry("version", "tiffin.cli.version:version", "Show the versions of Tiffin and of what it runs on.", OTHER),
)
