"""Images of bundles, written without a container engine.

An image is a base, layers on top of it and a record of how it is started. Nothing is run to make one: the layers
are tars of files whose content is known (wheels, Debian packages, models, sources), so that the same bundle makes
the same digest, and what did not change is neither built nor uploaded again.

Lives here: the base and what it has (``base``, ``looking``, ``host``), layers (``members``, ``layers``,
``packages``, ``system``, ``contents``), the record (``config``), all together (``building``); and the other way, a
Dockerfile for an engine (``dockerfile``, ``engines``). ``entry`` and ``health`` run inside an image.
"""
