"""The HTTP API for people to read, out of the OpenAPI document that programs get."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Schema = Mapping[str, Any]

#: What is looked for most comes first; the rest follows as the document has it.
FIRST = ("runs", "steering", "threads", "graphs", "streaming", "dead letters", "bulk", "schedules")


class Parameter(NamedTuple):
    """What goes into the address or the headers of a request, or into its body."""

    name: str
    where: str  #: ``path query header body``
    kind: str
    required: bool
    text: str


class Operation(NamedTuple):
    """One method at one address."""

    method: str
    path: str
    summary: str
    text: str
    parameters: Sequence[Parameter]
    answers: Sequence[tuple[str, str]]  #: statuses with what they mean
    command: str  #: for curl


def operations_of(
    document: Mapping[str, Any], base: str, *, authenticated: bool
) -> dict[str, list[Operation]]:
    """The operations below ``/api`` by their tags, as the document has them.

    ``base`` is the server's address, for the commands; ``authenticated``: they need a token.
    """
    found: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/api/"):
                made = _operation(document, method.upper(), path, operation, base, authenticated)
                found.setdefault(operation["tags"][0], []).append(made)
    order = [*(tag for tag in FIRST if tag in found), *(tag for tag in found if tag not in FIRST)]
    return {tag: found[tag] for tag in order}


def _operation(
    document: Mapping[str, Any], method: str, path: str, operation: Schema, base: str, authenticated: bool
) -> Operation:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = _resolved(document, content.get("schema", {}))
    words = ["curl"] if method == "GET" else ["curl", "-X", method]
    words.append(base + path)
    if authenticated:
        words += ["-H", "authorization: Bearer $PETIOLE_TOKEN"]
    if content:
        example = _example(body)
        sent = json.dumps(example, ensure_ascii=False) if example else "@FILE"
        words += ["-H", "content-type: application/json", "-d", sent]
    return Operation(
        method,
        path,
        operation["summary"],
        operation.get("description", ""),
        [*_parameters(document, operation), *_fields(document, body)],
        [(status, answer["description"]) for status, answer in sorted(operation["responses"].items())],
        " ".join(_quoted(word) for word in words),
    )


def _example(body: Schema) -> Any:
    """The body's own example, else one of its fields'."""
    if body.get("examples"):
        return body["examples"][0]
    fields = body.get("properties", {})
    return {name: schema["examples"][0] for name, schema in fields.items() if schema.get("examples")}


def _parameters(document: Mapping[str, Any], operation: Schema) -> Iterator[Parameter]:
    for one in operation.get("parameters", ()):
        schema = one.get("schema", {})
        yield Parameter(
            one["name"],
            one["in"],
            _kind(document, schema),
            one.get("required", False),
            one.get("description", ""),
        )


def _fields(document: Mapping[str, Any], body: Schema) -> Iterator[Parameter]:
    needed = body.get("required", ())
    for name, schema in body.get("properties", {}).items():
        text = schema.get("description", "")
        yield Parameter(name, "body", _kind(document, schema), name in needed, text)


def _resolved(document: Mapping[str, Any], schema: Schema) -> Schema:
    """What a reference means; of something that may be left out, what it is where it is there."""
    if "$ref" in schema:
        found: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return _resolved(document, choice)
    return schema


def _kind(document: Mapping[str, Any], schema: Schema) -> str:
    """A schema in a word or two."""
    found = _resolved(document, schema)
    if found.get("enum"):
        return ", ".join(map(str, found["enum"]))
    if found.get("type") == "array":
        return f"list of {_kind(document, found.get('items', {}))}"
    return str(found.get("format") or found.get("type") or "any")


def _quoted(word: str) -> str:
    """For a shell that is to fill in ``$PETIOLE_TOKEN``."""
    return f'"{word}"' if "$PETIOLE_TOKEN" in word else shlex.quote(word)
