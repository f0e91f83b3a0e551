"""Values taken apart and put together again: each type that a result's field may have."""

import json
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from convscope.packing import plain_of, put_together, tensors_of


@dataclass(frozen=True)
class Inner:
    name: str
    values: Tensor
    window: tuple[int, float] | None = None


@dataclass(frozen=True)
class Outer:
    pair: tuple[Inner, Inner]
    several: tuple[Inner, ...]
    by_name: dict[str, Tensor]
    counts: dict[str, int]
    names: tuple[tuple[str, ...], ...]
    order: list[int]
    maybe: Inner | None
    target: int | str | tuple[int, ...]
    logit: Tensor | None = None


def value(**changes: object) -> Outer:
    own = {
        "pair": (Inner("a", torch.ones(2)), Inner("b", torch.zeros(1, 1), (3, 0.5))),
        "several": (),
        "by_name": {"conv/1.weight": torch.arange(3), "0": torch.tensor(2.0)},
        "counts": {"x": 1},
        "names": (("one",), ()),
        "order": [2, 1],
        "maybe": None,
        "target": (4, 5),
        "logit": torch.rand(2),
    }
    return Outer(**{**own, **changes})


def same(one: object, other: object) -> bool:
    mine, theirs = tensors_of(one), tensors_of(other)
    alike = all(torch.equal(mine[name], theirs[name]) for name in mine)
    return plain_of(one) == plain_of(other) and mine.keys() == theirs.keys() and alike


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"maybe": Inner("c", torch.ones(1)), "several": (Inner("d", torch.eye(2)),) * 11},
        {"target": "cat", "logit": None, "by_name": {}},
        {"target": 3, "counts": {}},
    ],
)
def test_what_is_taken_apart_is_put_together_again(changes):
    whole = value(**changes)
    found = put_together(Outer, json.loads(json.dumps(plain_of(whole))), tensors_of(whole))
    assert same(found, whole)
    assert isinstance(found.pair[1], Inner)
    assert (type(found.names[0]), type(found.order)) == (tuple, list)
    assert found.target == whole.target


def test_tensors_are_named_by_where_they_are():
    assert list(tensors_of(value())) == [
        "pair/0/values", "pair/1/values", "by_name/conv%2F1.weight", "by_name/0", "logit"
    ]  # fmt: skip
    assert plain_of(value(), with_tensors=True)["pair"][1]["values"] == [[0.0]]


def test_something_else_is_refused():
    with pytest.raises(TypeError):
        put_together(Inner, {"name": "a"}, {})
    with pytest.raises(KeyError):
        put_together(Inner, {"name": "a", "colour": "red"}, {"values": torch.ones(1)})
