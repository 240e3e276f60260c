"""Classes with fields that pydantic cannot read alone: because of what is in them, or because of what they are.

===========================  ===============================  ====================
class                        on the wire                      reaches the method as
===========================  ===============================  ====================
msgspec.Struct               an object                        the struct
dataclass with our types     an object                        the dataclass
typing.TypedDict             an object                        a dict
NamedTuple with our types    an array, or an object           the named tuple
pydantic model with ours     an object                        a subclass of the model
===========================  ===============================  ====================

"Our types" are those of the table in ``annotations``: arrays, frames, pictures, files.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic_core import PydanticSerializationUnexpectedValue
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import core_schema

Kind = Literal["struct", "dataclass", "dict", "tuple", "model"]
_PLAIN = (int, float, str, bool, type(None))


def kind_of(source: Any) -> Kind | None:
    """Which of these classes it is, if any; imports nothing."""
    if not isinstance(source, type):
        return None
    if any(base.__module__ == "msgspec" and base.__name__ == "Struct" for base in source.__mro__):
        return "struct"
    if issubclass(source, BaseModel):
        return "model"
    if dataclasses.is_dataclass(source):
        return "dataclass"
    if isinstance(getattr(source, "__total__", None), bool) and issubclass(source, dict):
        return "dict"
    return "tuple" if issubclass(source, tuple) and hasattr(source, "_fields") else None


def needs_help(source: Any, is_ours: Callable[[Any], bool]) -> bool:
    """Whether pydantic would fail on a class; ``is_ours`` knows the table of annotations."""
    kind = kind_of(source)
    if kind is None:
        return False
    # ``typing.TypedDict`` is refused by pydantic before Python 3.12.
    return kind in ("struct", "dict") or _holds(source, is_ours, set())


def _holds(annotation: Any, is_ours: Callable[[Any], bool], seen: set[Any]) -> bool:
    if is_ours(annotation):
        return True
    kind = kind_of(annotation)
    if kind is None:
        return any(_holds(argument, is_ours, seen) for argument in get_args(annotation))
    if kind in ("struct", "dict"):
        return True
    if annotation in seen:
        return False
    seen.add(annotation)
    return any(_holds(field, is_ours, seen) for field in _fields(annotation).values())


@functools.cache
def _fields(source: Any) -> dict[str, Any]:
    """Annotations of the fields by name."""
    if kind_of(source) == "model":
        return {
            name: Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            for name, field in source.model_fields.items()
        }
    hints = typing.get_type_hints(source, include_extras=True)
    if kind_of(source) == "dataclass":
        wanted = {field.name for field in dataclasses.fields(source) if field.init}
    elif kind_of(source) == "struct":
        wanted = set(source.__struct_fields__)
    else:
        return hints
    return {name: hint for name, hint in hints.items() if name in wanted}


def _defaults(source: Any) -> dict[str, Any]:
    """Fields that may be left out, with their default where it can be shown, else ``...``."""
    kind = kind_of(source)
    if kind == "tuple":
        return dict(source._field_defaults)
    if kind == "dict":
        return dict.fromkeys(source.__optional_keys__, ...)
    if kind == "struct":
        import msgspec

        fields = msgspec.structs.fields(source)
        return {f.name: f.default if f.default is not msgspec.NODEFAULT else ... for f in fields if not f.required}
    missing = dataclasses.MISSING
    return {
        f.name: ... if f.default is missing else f.default
        for f in dataclasses.fields(source)
        if f.default is not missing or f.default_factory is not missing
    }


@functools.cache
def _members(source: Any) -> Any:
    """A TypedDict with the fields, ours adapted; the same one each time, so that a class may contain itself."""
    from tiffin.codec.annotations import adapt

    defaults = _defaults(source)
    members: dict[str, Any] = {}
    for name, hint in _fields(source).items():
        while get_origin(hint) in (typing.Required, NotRequired):
            (hint,) = get_args(hint)
        hint = adapt(_constrained(hint))
        if name in defaults:
            default = defaults[name]
            if isinstance(default, _PLAIN):
                hint = Annotated[hint, Field(json_schema_extra={"default": default})]
            hint = NotRequired[hint]
        members[_wire_name(source, name)] = hint
    make: Any = TypedDict  # with a name that is known at run time
    made = make(source.__name__, members)
    made.__module__, made.__doc__ = source.__module__, source.__doc__
    return made


_LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")
_WORDS = ("title", "description", "examples")


def _constrained(hint: Any) -> Any:
    """An annotation with pydantic's Field in place of msgspec's Meta, which pydantic does not know."""
    if get_origin(hint) is not Annotated:
        return hint
    source, *metadata = get_args(hint)
    found = []
    for each in metadata:
        if type(each).__module__ != "msgspec" or type(each).__name__ != "Meta":
            found.append(each)
            continue
        if each.tz is not None:
            raise TypeError("msgspec.Meta(tz=...) is not served: check it in __post_init__")
        given: dict[str, Any] = {word: getattr(each, word) for word in (*_LIMITS, *_WORDS)}
        found.append(Field(**{word: value for word, value in given.items() if value is not None}))
    return Annotated[(source, *found)]


def _wire_name(source: Any, name: str) -> str:
    """What a struct with ``rename`` calls its field in JSON."""
    if kind_of(source) != "struct":
        return name
    return str(source.__struct_encode_fields__[source.__struct_fields__.index(name)])


@dataclasses.dataclass(frozen=True)
class RecordSchema:
    """How one class is read and written."""

    source: Any

    def __post_init__(self) -> None:
        """Refuse what would travel otherwise than msgspec says."""
        if kind_of(self.source) == "struct" and self.source.__struct_config__.array_like:
            raise TypeError(f"{self.source.__name__} has array_like=True, which is not served: take it away")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validation by the fields, then the class; an instance of the class passes as it is."""
        from pydantic_core import core_schema

        kind = kind_of(self.source)
        inner = handler.generate_schema(self._stand_in(kind))
        return core_schema.no_info_wrap_validator_function(
            getattr(self, f"_read_{kind}"),
            inner,
            serialization=core_schema.wrap_serializer_function_ser_schema(
                getattr(self, f"_write_{kind}"), schema=inner
            ),
        )

    def _stand_in(self, kind: Kind | None) -> Any:
        from tiffin.codec.annotations import adapt
        from tiffin.codec.io_model import described

        if kind == "model":
            return described(self.source)
        if kind == "tuple":
            return tuple[tuple(adapt(hint) for hint in _fields(self.source).values())]  # type: ignore[misc]
        return _members(self.source)

    def _read_dict(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(value)

    def _read_model(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        return value if isinstance(value, self.source) else handler(value)

    def _read_dataclass(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        return value if isinstance(value, self.source) else self._made(handler(value))

    def _read_struct(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        if isinstance(value, self.source):
            return value
        value = _untagged(self.source, value)
        if self._config.forbid_unknown_fields and isinstance(value, dict):
            unknown = sorted(value.keys() - set(self.source.__struct_encode_fields__))
            if unknown:
                raise ValueError(f"{self.source.__name__} has no member {', '.join(map(str, unknown))}")
        found = handler(value)
        return self._made({n: found[w] for n in self.source.__struct_fields__ if (w := self._wire(n)) in found})

    def _made(self, values: dict[str, Any]) -> Any:
        try:
            return self.source(**values)
        except TypeError as error:  # pydantic answers only for ValueError
            raise ValueError(str(error)) from error

    def _read_tuple(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        if isinstance(value, self.source):
            return value
        names, defaults = self.source._fields, self.source._field_defaults
        if isinstance(value, dict):
            missing = [name for name in names if name not in value and name not in defaults]
            if missing:
                raise ValueError(f"expected the members {', '.join(names)}, found no {missing[0]}")
            value = [value.get(name, defaults.get(name)) for name in names]
        elif isinstance(value, (list, tuple)) and len(value) < len(names):
            left = names[len(value) :]
            value = [*value, *(defaults[name] for name in left)] if left[0] in defaults else value
        return self.source(*handler(value))

    def _write_dict(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(value)

    def _write_tuple(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        self._mine(value)
        return handler(tuple(value))

    def _write_dataclass(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        self._mine(value)
        return handler({name: getattr(value, name) for name in _fields(self.source)})

    def _write_struct(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        self._mine(value)
        tag = {self._config.tag_field: self._config.tag} if self._config.tag is not None else {}
        return tag | handler({self._wire(name): getattr(value, name) for name in _fields(self.source)})

    def _write_model(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        from tiffin.codec.io_model import described

        self._mine(value)
        model = described(self.source)
        return handler(value if isinstance(value, model) else model.model_construct(**value.__dict__))

    def _mine(self, value: Any) -> None:
        if not isinstance(value, self.source):
            # In a union this is how pydantic is told to try the next one.
            raise PydanticSerializationUnexpectedValue(f"expected {self.source.__name__}")

    def _wire(self, name: str) -> str:
        return _wire_name(self.source, name)

    @property
    def _config(self) -> Any:
        return self.source.__struct_config__


def _untagged(source: Any, value: Any) -> Any:
    """A tagged struct's object without its tag, which decides between the structs of a union."""
    config = source.__struct_config__
    if config.tag is None or not isinstance(value, dict):
        return value
    if value.get(config.tag_field) != config.tag:
        raise ValueError(f"expected {config.tag_field} {config.tag!r}, found {value.get(config.tag_field)!r}")
    return {name: item for name, item in value.items() if name != config.tag_field}
