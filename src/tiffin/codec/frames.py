"""pandas data frames as lists of records, or as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import core_schema


@dataclass(frozen=True)
class DataframeSchema:
    """How a frame travels.

    Args:
        orient: ``records``, a list of objects; or ``columns``, an object of lists.
        columns: The columns kept, in this order; ``None`` keeps what comes.
    """

    orient: str = "records"
    columns: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Check ``orient``."""
        if self.orient not in ("records", "columns"):
            raise ValueError(
                f"DataframeSchema(orient=...): expected 'records' or 'columns', found {self.orient!r}"
            )

    def decode(self, value: Any) -> Any:
        """Records or columns to a frame; raises ValueError when they do not fit together."""
        import pandas

        if isinstance(value, pandas.DataFrame):
            return value
        if not isinstance(value, (list, dict)):
            raise ValueError(  # noqa: TRY004 - pydantic's way
                f"expected a list of objects or an object of lists, found {type(value).__name__}"
            )
        try:
            return pandas.DataFrame(value, columns=None if self.columns is None else list(self.columns))
        except ValueError:
            raise
        except Exception as error:  # pandas lets many kinds out for values it cannot lay out
            raise ValueError(str(error)) from error

    def encode(self, value: Any, info: core_schema.SerializationInfo) -> Any:
        """A frame to records or columns."""
        if info.mode != "json":
            return value
        return value.to_dict(orient="records" if self.orient == "records" else "list")

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
        if self.orient == "records":
            return {"type": "array", "items": {"type": "object"}}
        return {"type": "object", "additionalProperties": {"type": "array"}}
