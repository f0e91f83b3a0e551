"""The table of operations: one entry each, in the names that torch.export gives them.

To teach convscope a new operation, add its entry here; if none of the classes fits, write one
beside its like. What has no entry still works, by its vector-Jacobian product and with the whole
map as its window.
"""

from typing import Any

import torch
from torch import Tensor

from convscope.network.calls import Call, Input
from convscope.network.ops.arrangement import (
    Arrangement,
    Concatenation,
    Flip,
    Pad,
    PixelShuffle,
    Roll,
    Slice,
    View,
    kept,
    permuted,
    same,
    selected,
    shuffled,
    untouched,
)
from convscope.network.ops.base import LinearOperation, Operation
from convscope.network.ops.convolution import Convolution
from convscope.network.ops.pointwise import (
    Add,
    BatchNorm,
    Floored,
    FullyConnected,
    GatedHalves,
    Norm,
    Pointwise,
    Rectifier,
    ReLU,
    Scale,
    all_but_first,
    all_places,
    last_dimensions,
)
from convscope.network.ops.pooling import (
    AdaptiveMaxPool,
    AveragePool,
    Interpolation,
    MaxPool,
    Mean,
    Resize,
)

aten = torch.ops.aten

CONVOLUTION, TRANSPOSED = Convolution(transposed=False), Convolution(transposed=True)
MAX_POOL = MaxPool()
SCALE, GATE = Scale("scale"), Pointwise("product")
RECTIFIER, FLOORED = Rectifier("rectifier"), Floored("rectifier")
OUTSIDE = Operation()

TABLE: dict[Any, Operation] = {
    aten.conv2d.default: CONVOLUTION,
    aten.conv2d.padding: CONVOLUTION,
    aten.conv_transpose2d.input: TRANSPOSED,
    aten.convolution.default: CONVOLUTION,
    aten.linear.default: FullyConnected(),
    aten.addmm.default: LinearOperation("linear"),
    aten._native_batch_norm_legit_no_training.default: BatchNorm("batch norm"),
    aten.layer_norm.default: Norm("layer norm", last_dimensions),
    aten.rms_norm.default: Norm("layer norm", last_dimensions),  # without the mean
    aten.group_norm.default: Norm("group norm", all_but_first),
    aten._native_batch_norm_legit.no_stats: Norm("batch norm", all_but_first),  # the batch's own
    aten.instance_norm.default: Norm("instance norm", all_places),
    # Pooling and resizing.
    aten.max_pool2d.default: MAX_POOL,
    aten.max_pool2d_with_indices.default: MAX_POOL,
    aten.adaptive_max_pool2d.default: AdaptiveMaxPool(),
    aten.avg_pool2d.default: AveragePool(),
    aten.avg_pool3d.default: AveragePool(),  # local response normalisation sums over channels so
    aten.adaptive_avg_pool2d.default: Resize("average pool"),
    aten._adaptive_avg_pool2d.default: Resize("average pool"),
    aten.mean.dim: Mean(),
    aten.upsample_nearest2d.vec: Interpolation(0, 0, "corner"),
    aten._upsample_nearest_exact2d.vec: Interpolation(0, 0, "centre"),
    aten.upsample_bilinear2d.vec: Interpolation(0, 1, "between"),
    aten.upsample_bicubic2d.vec: Interpolation(-1, 2, "between"),
    # Rectifiers, where the rules differ.
    aten.relu.default: ReLU("rectifier"),
    aten.relu6.default: FLOORED,
    aten.hardtanh.default: FLOORED,
    aten.leaky_relu.default: RECTIFIER,
    aten.rrelu.default: RECTIFIER,
    aten.prelu.default: RECTIFIER,
    aten.elu.default: RECTIFIER,
    aten.celu.default: RECTIFIER,
    aten.selu.default: RECTIFIER,
    aten.gelu.default: RECTIFIER,
    aten.silu.default: RECTIFIER,
    aten.hardswish.default: RECTIFIER,
    aten.mish.default: RECTIFIER,
    aten.softplus.default: FLOORED,
    aten.threshold.default: FLOORED,
    aten.clamp.default: FLOORED,
    aten.clamp_min.default: FLOORED,
    # Sums, products and other pointwise functions.
    aten.add.Tensor: Add("add", 1),
    aten.sub.Tensor: Add("add", -1),
    aten.mul.Tensor: GATE,
    aten.div.Tensor: GATE,
    aten.glu.default: GatedHalves(),
    aten.neg.default: SCALE,
    aten.rsub.Scalar: SCALE,
    aten.sigmoid.default: Pointwise("sigmoid"),
    aten.log_sigmoid.default: Pointwise("sigmoid"),
    aten.hardsigmoid.default: Pointwise("sigmoid"),
    aten.tanh.default: Pointwise("tanh"),
    aten.exp.default: Pointwise("exponential"),
    aten.pow.Tensor_Scalar: Pointwise("power"),
    aten.sqrt.default: Pointwise("power"),
    aten.abs.default: Pointwise("absolute value"),
    aten.sign.default: Pointwise("sign"),
    # Values moved about.
    aten.cat.default: Concatenation(),
    aten.clone.default: View("copy", same),
    aten.reshape.default: View("view", kept),
    aten.squeeze.dim: View("view", kept),
    aten.squeeze.dims: View("view", kept),
    aten.unsqueeze.default: View("view", kept),
    aten.permute.default: Arrangement("permutation", permuted),
    aten.transpose.int: Arrangement("permutation", permuted),
    aten.split.Tensor: Arrangement("slice", untouched),
    aten.split_with_sizes.default: Arrangement("slice", untouched),
    aten.slice.Tensor: Slice(),
    aten.select.int: Arrangement("slice", selected),
    aten.channel_shuffle.default: Arrangement("channel shuffle", shuffled),
    aten.pixel_shuffle.default: PixelShuffle(),
    aten.pixel_unshuffle.default: PixelShuffle(),
    aten.flip.default: Flip(),
    aten.roll.default: Roll(),
    aten.pad.default: Pad(),
    aten.constant_pad_nd.default: Pad(),
}


def operation_for(call: Call) -> Operation:
    """Return the table's entry for *call*, or the default for an operation outside the table."""
    operation, arguments = TABLE.get(call.target, OUTSIDE), call.arguments
    if call.item == 1 and isinstance(operation, MaxPool | AdaptiveMaxPool):
        return OUTSIDE  # the places of its maxima, as the network passes them on to an unpooling
    if _is_beyond(operation, call):
        return OUTSIDE
    if operation is CONVOLUTION and arguments.get("transposed"):
        return TRANSPOSED
    if operation is GATE and not isinstance(arguments["other"], Input):
        return SCALE
    if call.target is aten.mul.Tensor and not isinstance(arguments["self"], Input):
        return SCALE
    return operation


def _is_beyond(operation: Operation, call: Call) -> bool:
    """Return whether *call* uses the operation in a way that its entry does not cover."""
    arguments = call.arguments
    if any(isinstance(arguments.get(name), Input) for name in ("weight", "bias", "mat2")):
        return True  # weights computed from the image have no constant transpose
    weight = arguments.get("weight")
    if (
        operation in (CONVOLUTION, TRANSPOSED)
        and isinstance(weight, Tensor)
        and weight.is_complex()
    ):
        return True
    if operation in (CONVOLUTION, TRANSPOSED, MAX_POOL) and len(call.shape) != 4:
        return True  # along one dimension or three, or on maps without a batch
    # A clamp is a rectifier only where it starts at zero.
    return call.target in (aten.clamp.default, aten.clamp_min.default) and arguments["min"] != 0
