"""JSON Schemas of typed dicts as users declare them: those of ``typing``, on every Python."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from petiole_workers.graph.json_schema import json_schema_of


class Item(TypedDict):
    name: str
    price: NotRequired[float]


@dataclass
class Address:
    town: str


class Order(TypedDict, total=False):
    items: Annotated[list[Item], operator.add]
    by_name: dict[str, Item | None]
    kind: Literal["a", "b"]
    address: Address
    anything: Any
    parent: Order


def test_typed_dicts_within_typed_dicts_are_described() -> None:
    schema = json_schema_of(Order)
    assert "required" not in schema
    assert set(schema["properties"]) == {"items", "by_name", "kind", "address", "anything", "parent"}
    assert schema["properties"]["kind"]["enum"] == ["a", "b"]
    item = schema["$defs"]["Item"]
    assert (item["required"], item["properties"]["price"]["type"]) == (["name"], "number")
    assert schema["$defs"]["Address"]["properties"]["town"]["type"] == "string"


@dataclass
class Branch:
    name: str
    below: list[Branch]


def test_the_root_of_a_type_that_holds_itself_has_its_properties() -> None:
    schema = json_schema_of(Branch)
    assert set(schema["properties"]) == {"name", "below"}
    assert schema["properties"]["below"]["items"]["$ref"] == "#/$defs/Branch"
    assert set(schema["$defs"]["Branch"]["properties"]) == {"name", "below"}


def test_what_is_required_stays_so() -> None:
    assert json_schema_of(Item)["required"] == ["name"]
