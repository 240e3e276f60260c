"""Data frames of pandas, polars and pyarrow as lists of records, or as columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import PydanticSerializationUnexpectedValue

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import core_schema


Library = Literal["pandas", "polars", "polars-lazy", "pyarrow"]


@dataclass(frozen=True)
class DataframeSchema:
    """How a frame travels.

    Args:
        orient: ``records``, a list of objects; or ``columns``, an object of lists.
        columns: The columns kept, in this order; ``None`` keeps what comes.
        library: Whose frame the method takes or gives; the annotation says it.
    """

    orient: str = "records"
    columns: Sequence[str] | None = None
    library: Library = "pandas"

    def __post_init__(self) -> None:
        """Check ``orient``."""
        if self.orient not in ("records", "columns"):
            raise ValueError(
                f"DataframeSchema(orient=...): expected 'records' or 'columns', found {self.orient!r}"
            )

    def decode(self, value: Any) -> Any:
        """Records or columns to a frame; raises ValueError when they do not fit together."""
        if _is_frame(value):
            return value
        if not isinstance(value, (list, dict)):
            raise ValueError(  # noqa: TRY004 - pydantic's way
                f"expected a list of objects or an object of lists, found {type(value).__name__}"
            )
        columns = None if self.columns is None else list(self.columns)
        try:
            return _READERS[self.library](value, columns)
        except ValueError:
            raise
        except Exception as error:  # frames' libraries let many kinds out for values they cannot lay out
            raise ValueError(str(error)) from error

    def encode(self, value: Any, info: core_schema.SerializationInfo) -> Any:
        """A frame to records or columns; also one of another library than the annotation's."""
        if info.mode != "json":
            return value
        if not _is_frame(value):  # another member of a union
            raise PydanticSerializationUnexpectedValue("expected a data frame")
        return plain_frame(value, self.orient)

    def describe(self) -> dict[str, Any]:
        """The schema clients build frames from."""
        described: dict[str, Any] = {"type": "dataframe", "orient": self.orient}
        if self.columns:
            described["columns"] = list(self.columns)
        return described

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validation by ``decode``, serialisation by ``encode``."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            self.decode,
            core_schema.any_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(self.encode, info_arg=True),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """``describe()``, or plain JSON types where OpenAPI reads it."""
        if handler.mode == "validation":
            return self.describe()
        hint = {"x-tiffin-type": self.describe()}
        if self.orient == "records":
            return {"type": "array", "items": {"type": "object"}, **hint}
        return {"type": "object", "additionalProperties": {"type": "array"}, **hint}


def _is_frame(value: Any) -> bool:
    package = type(value).__module__.partition(".")[0]
    return package in ("pandas", "polars", "pyarrow") and type(value).__name__ in (
        "DataFrame",
        "LazyFrame",
        "Table",
    )


def plain_frame(value: Any, orient: str = "records") -> Any:
    """A frame of any of the libraries as records, or as columns; a lazy one is computed."""
    package = type(value).__module__.partition(".")[0]
    if package == "polars":
        value = value.collect() if type(value).__name__ == "LazyFrame" else value
        return value.to_dicts() if orient == "records" else value.to_dict(as_series=False)
    if package == "pyarrow":
        return value.to_pylist() if orient == "records" else value.to_pydict()
    return value.to_dict(orient="records" if orient == "records" else "list")


def _pandas(value: Any, columns: list[str] | None) -> Any:
    import pandas

    return pandas.DataFrame(value, columns=columns)


def _polars(value: Any, columns: list[str] | None) -> Any:
    import polars

    if isinstance(value, list) and not all(isinstance(row, dict) for row in value):
        # polars reads a list of lists as columns, where pandas sees rows.
        frame = polars.DataFrame(value, orient="row", schema=columns)
    else:
        frame = polars.DataFrame(value)
    return frame if columns is None else frame.select(columns)


def _lazy(value: Any, columns: list[str] | None) -> Any:
    return _polars(value, columns).lazy()


def _pyarrow(value: Any, columns: list[str] | None) -> Any:
    import pyarrow

    table = pyarrow.Table.from_pylist(value) if isinstance(value, list) else pyarrow.Table.from_pydict(value)
    return table if columns is None else table.select(columns)


_READERS: dict[Library, Callable[[Any, list[str] | None], Any]] = {
    "pandas": _pandas,
    "polars": _polars,
    "polars-lazy": _lazy,
    "pyarrow": _pyarrow,
}
