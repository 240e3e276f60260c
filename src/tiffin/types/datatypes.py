"""The datatypes of the Open Inference Protocol and their numpy names."""

from __future__ import annotations

import msgspec


class Datatype(msgspec.Struct, frozen=True):
    """One datatype.

    ``numpy`` is a dtype string (little-endian, as the binary tensor extension lays it out);
    ``size`` is bytes per element, 0 for BYTES, whose elements have a length of their own.
    """

    name: str
    numpy: str
    size: int
    kind: str  # bool | int | uint | float | bytes


DATATYPES: dict[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        Datatype("BOOL", "|b1", 1, "bool"),
        Datatype("UINT8", "|u1", 1, "uint"),
        Datatype("UINT16", "<u2", 2, "uint"),
        Datatype("UINT32", "<u4", 4, "uint"),
        Datatype("UINT64", "<u8", 8, "uint"),
        Datatype("INT8", "|i1", 1, "int"),
        Datatype("INT16", "<i2", 2, "int"),
        Datatype("INT32", "<i4", 4, "int"),
        Datatype("INT64", "<i8", 8, "int"),
        Datatype("FP16", "<f2", 2, "float"),
        Datatype("FP32", "<f4", 4, "float"),
        Datatype("FP64", "<f8", 8, "float"),
        Datatype("BYTES", "|O", 0, "bytes"),
    )
}

_BY_KIND_AND_SIZE = {(d.numpy[1:]): d.name for d in DATATYPES.values() if d.size}


def datatype_of(dtype: str) -> str:
    """The protocol's name for a numpy dtype string such as ``<f4``; strings and objects are ``BYTES``.

    Raises:
        KeyError: for a dtype with no equivalent, for example complex numbers or dates.
    """
    if dtype[1:2] in "OUST" or dtype.startswith("StringDType"):
        return "BYTES"
    return _BY_KIND_AND_SIZE[dtype.lstrip("<>|=")]
