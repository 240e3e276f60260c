"""The values that cross every layer: datatypes and tensor signatures.

Nothing here imports numpy: the platform side (specs, gateway, CLI) describes tensors without having it.
"""

from tiffin.types.datatypes import DATATYPES, Datatype, datatype_of
from tiffin.types.signature import ANY, TensorSpec

__all__ = ["ANY", "DATATYPES", "Datatype", "TensorSpec", "datatype_of"]
