"""The client of a controller's API, which the CLI uses: requests, lists, watches. Knows no server code.

::

    from tiffin import client

    controller = client.connect()
    for change in controller.watch():
        print(change.type, change.object.metadata.name)

``places``: where a controller listens. ``transport``: HTTP by the standard library. ``sse``: server-sent events
from lines. ``calls``: the ``Client``, a method for each operation. Everything blocks; a thread each is fine.

Next to it, and apart from it, the clients of services: ``service_blocking`` and ``service_async`` send, by httpx;
``service_routes``, ``service_values``, ``service_files`` and ``service_answers`` decide what. ``writing`` writes a
client as a module, on top of ``standalone``.
"""

from tiffin.client.calls import Client, connect
from tiffin.client.places import Place
from tiffin.client.transport import NoController

__all__ = ["Client", "NoController", "Place", "connect"]
