"""``from tiffin.validators import Shape``: the names of ``tiffin.service.validators``."""

from tiffin.service.validators import (
    ContentType,
    DataframeSchema,
    DType,
    FileSchema,
    PILImageEncoder,
    Shape,
    TensorSchema,
)

__all__ = ["ContentType", "DType", "DataframeSchema", "FileSchema", "PILImageEncoder", "Shape", "TensorSchema"]
