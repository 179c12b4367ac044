"""Forms made from a JSON Schema, and what is filled in read back as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

#: Keys under which an interrupt's value may hold the schema of the answer.
CONVENTIONAL = ("schema", "json_schema", "jsonSchema", "answer_schema", "response_schema", "input_schema")
#: Before the names of a form's fields, so that they meet no other's.
PREFIX = "v."

Kind = Literal["boolean", "choice", "integer", "number", "text", "long", "json"]


class Field(msgspec.Struct, kw_only=True):
    """One field. ``text`` is what stands in it, ``fault`` what is wrong with that."""

    name: str
    label: str
    kind: Kind
    required: bool = False
    description: str = ""
    choices: list[str] = []  #: as JSON
    minimum: float | None = None
    maximum: float | None = None
    text: str = ""
    fault: str = ""


def schema_in(value: Any) -> dict[str, Any] | None:
    """The JSON Schema of the answer that an interrupt's value holds, if it holds one of an object."""
    if not isinstance(value, Mapping):
        return None
    for key in CONVENTIONAL:
        schema = value.get(key)
        if isinstance(schema, dict) and schema.get("type") == "object" and schema.get("properties"):
            return schema
    return None


def fields_of(schema: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> list[Field]:
    """The fields of an object's schema; ``values`` are what they start with, else the schema's defaults."""
    required = schema.get("required") or ()
    fields = []
    for name, given in schema["properties"].items():
        part = given if isinstance(given, dict) else {}
        start = values.get(name) if values is not None else part.get("default")
        kind = _kind(part)
        fields.append(
            Field(
                name=PREFIX + name,
                label=str(part.get("title") or name),
                kind=kind,
                required=name in required,
                description=str(part.get("description") or ""),
                choices=[json.dumps(one, ensure_ascii=False) for one in part.get("enum", ())],
                minimum=part.get("minimum"),
                maximum=part.get("maximum"),
                text="" if start is None else _text(start, kind),
            )
        )
    return fields


def read(fields: list[Field], form: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """What was filled in, and whether all of it is right; faults are written into the fields."""
    values: dict[str, Any] = {}
    for field in fields:
        field.text = str(form.get(field.name, ""))
        field.fault = ""
        if not field.text.strip() and field.kind not in ("text", "long"):
            if field.required:
                field.fault = "is needed"
            continue
        if not field.text and not field.required:
            continue
        try:
            values[field.name.removeprefix(PREFIX)] = _value(field)
        except ValueError as error:
            field.fault = str(error)
    return values, not any(field.fault for field in fields)


def json_of(text: str) -> Any:
    """The value of JSON text. Raises ValueError that says where it is wrong."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None


def _kind(part: Mapping[str, Any]) -> Kind:
    if part.get("enum"):
        return "choice"
    kind = part.get("type")
    if kind == "string":
        return (
            "long"
            if part.get("format") in ("textarea", "markdown") or part.get("maxLength", 0) > 200
            else "text"
        )
    return kind if kind in ("boolean", "integer", "number") else "json"


def _text(value: Any, kind: Kind) -> str:
    return (
        value
        if kind in ("text", "long") and isinstance(value, str)
        else json.dumps(value, ensure_ascii=False)
    )


def _value(field: Field) -> Any:
    text = field.text
    if field.kind in ("text", "long"):
        return text
    if field.kind == "choice":
        if text not in field.choices:
            raise ValueError("is none of the choices")
        return json.loads(text)
    if field.kind == "boolean":
        if text not in ("true", "false"):
            raise ValueError("is neither true nor false")
        return text == "true"
    if field.kind == "json":
        try:
            return json_of(text)
        except ValueError as error:
            raise ValueError(f"is {error}") from None
    try:
        number = int(text) if field.kind == "integer" else float(text)
    except ValueError:
        raise ValueError(f"is no {'whole number' if field.kind == 'integer' else 'number'}") from None
    if field.minimum is not None and number < field.minimum:
        raise ValueError(f"is below {field.minimum:g}")
    if field.maximum is not None and number > field.maximum:
        raise ValueError(f"is above {field.maximum:g}")
    return number
