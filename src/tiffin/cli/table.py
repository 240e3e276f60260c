"""All commands: name, where the function is, and the line that ``tiffin --help`` shows."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    name: str
    home: str
    """``module:function``; the module is not imported before the command is used."""
    help: str


COMMANDS: tuple[Entry, ...] = (
    Entry("serve", "tiffin.cli.serve:serve", "Serve one model file or service in this process, for development."),
    Entry("up", "tiffin.cli.up:up", "Run deployment files here, behind one gateway, until Ctrl-C."),
    Entry("down", "tiffin.cli.down:down", "Stop what runs here, also what a killed `tiffin up` left behind."),
    Entry("check", "tiffin.cli.check:check", "Read deployment files and say what they mean; start nothing."),
    Entry("build", "tiffin.cli.build:build", "Make a bundle of a service or class, and give it a tag."),
    Entry("list", "tiffin.cli.bundles:list_bundles", "List the bundles in the local store."),
    Entry("get", "tiffin.cli.bundles:get_bundle", "Show one bundle."),
    Entry("delete", "tiffin.cli.bundles:delete_bundle", "Delete a bundle from the local store."),
    Entry("version", "tiffin.cli.version:version", "Show the versions of Tiffin and of what it runs on."),
)
