"""When half precision is taken: where it is told to exist, and seen to be faster."""

import pytest
import torch

from convscope.network import precision


@pytest.mark.parametrize(
    ("told", "speedup", "taken"),
    [
        ({"avx512_bf16": True}, 2.0, True),
        ({"avx512_bf16": True}, 0.55, False),  # the instructions are there, and slow
        ({"avx512_bf16": True}, 1.1, False),  # not worth what rounding loses
        ({"amx_bf16": True}, 8.0, True),
        ({}, 2.0, False),
    ],
)
def test_halves_are_taken_where_they_are_seen_to_be_faster(monkeypatch, told, speedup, taken):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    monkeypatch.setattr(precision, "_speedup_by_halves", lambda: speedup)
    assert precision.halves_are_fast("cpu") == taken


def test_the_measured_speedup_is_one_of_a_real_processor_and_kept():
    speedup = precision._speedup_by_halves()
    assert 0.001 < speedup < 100
    assert precision._speedup_by_halves() == speedup
