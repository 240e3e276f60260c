"""Values in and out of bytes: what an endpoint's annotations mean on the wire.

Lives here: the table from an annotation to its schema, decoder and encoder (``annotations``), one module for each
kind of value (``tensors``, ``frames``, ``files``), JSON text and forms, and the two halves an endpoint uses,
``inputs.Input`` and ``outputs.Output``. Next door: ``service`` reads signatures, ``protocol.named_json`` picks the
decoder by media type. numpy, pandas, PIL and torch are imported only when an annotation or a value is theirs.
"""
