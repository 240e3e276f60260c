"""What goes beside a type in an annotation: ``Annotated[np.ndarray, Shape((2, 2)), DType("float32")]``."""

from tiffin.codec.files import FileSchema, PILImageEncoder
from tiffin.codec.frames import DataframeSchema
from tiffin.codec.markers import ContentType, DType, Shape
from tiffin.codec.tensors import TensorSchema

__all__ = ["ContentType", "DType", "DataframeSchema", "FileSchema", "PILImageEncoder", "Shape", "TensorSchema"]
