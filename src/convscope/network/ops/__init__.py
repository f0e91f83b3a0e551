"""The table of operations: all there is to know about each, one entry an operation.

An entry says how the operation runs and what it must remember on the way up, how it reverses on the
way down under a rule, which input rows an output row reads, where the spatial axes go, and how many
multiply-adds it costs.
"""

from convscope.network.ops.base import MAPS, Axes, Generated, Operation, Saved, Window
from convscope.network.ops.convolution import Convolution
from convscope.network.ops.pointwise import BatchNorm, Rectifier, ReLU
from convscope.network.ops.pooling import AdaptiveMaxPool, AveragePool, MaxPool
from convscope.network.ops.table import OUTSIDE, TABLE, operation_for

__all__ = [
    "MAPS",
    "OUTSIDE",
    "TABLE",
    "AdaptiveMaxPool",
    "AveragePool",
    "Axes",
    "BatchNorm",
    "Convolution",
    "Generated",
    "MaxPool",
    "Operation",
    "ReLU",
    "Rectifier",
    "Saved",
    "Window",
    "operation_for",
]
