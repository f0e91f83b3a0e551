"""Operations that no table knows: complex numbers, whole numbers, orders, several outputs.

What torch has a derivative of equals torch's gradient; what it has none of brings no signal, or is
refused in one sentence.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope as cs
from convscope.errors import RuleError, UnitError
from convscope.network import Network
from products import some

pytestmark = pytest.mark.usefixtures("by_windows")

fft = torch.fft
GENERATOR = torch.Generator().manual_seed(0)
FACTOR = torch.randn(4, 8, 8, dtype=torch.complex128, generator=GENERATOR)
HALF = torch.randn(4, 8, 5, dtype=torch.complex128, generator=GENERATOR)
MIX = torch.randn(4, 4, dtype=torch.complex128, generator=GENERATOR)
KERNEL = torch.randn(4, 4, 1, 1, dtype=torch.complex128, generator=GENERATOR)
TABLE = torch.randn(11, generator=GENERATOR, dtype=torch.float64)


def in_place(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 1:3, ::2] = x[:, :2, 1::2]
    y[:, 0] += 1
    return y


COMPLEX = {
    "a filter": lambda x: fft.ifft2(fft.fft2(x) * FACTOR).real,
    "a filter of real values": lambda x: fft.irfft2(fft.rfft2(x) * HALF),
    "a filter in pairs": lambda x: fft.irfft2(
        fft.rfft2(x) * torch.view_as_complex(torch.view_as_real(HALF))),
    "absolute": lambda x: fft.fft2(x).abs(),
    "angle": lambda x: fft.fft2(x).angle(),
    "parts": lambda x: torch.cat([fft.fft2(x).real, fft.fft2(x).imag], 1)[:, 2:6],
    "pairs": lambda x: torch.view_as_real(fft.fft2(x)).mean(-1),
    "real and complex": lambda x: (x * FACTOR + fft.fft2(x) - x).real,
    "linear": lambda x: fft.ifft2(
        F.linear(fft.fft2(x).permute(0, 2, 3, 1), MIX).permute(0, 3, 1, 2)).real,
    "convolution": lambda x: fft.ifft2(F.conv2d(fft.fft2(x), KERNEL)).real,
    "conjugate": lambda x: fft.ifft2(fft.fft2(x).conj() * FACTOR).imag,
    "polar": lambda x: fft.ifft2(torch.polar(fft.fft2(x).abs().sqrt(), fft.fft2(x).angle())).real,
    "norm": lambda x: fft.ifft2(fft.fft2(x) / (fft.fft2(x).abs() + 1)).real,
    "mean": lambda x: x * fft.fft2(x).mean((2, 3), keepdim=True).real,
    "shift": lambda x: fft.ifft2(fft.ifftshift(fft.fftshift(fft.fft2(x)) * FACTOR)).real,
    "pad": lambda x: fft.ifft2(F.pad(fft.fft2(x), (0, 1, 1, 0))).real,
}  # fmt: skip

REAL = {
    "mask": lambda x: x * (x > 0.2),
    "masks": lambda x: x * ((x > 0.2) & ~(x > 1)).to(x.dtype),
    "mask filled": lambda x: x.masked_fill(x < 0.1, 2.0),
    "where": lambda x: torch.where(x > x.mean((2, 3), keepdim=True), x, 2 * x),
    "a truth value added": lambda x: x + (x > 0.3),
    "argmax": lambda x: x * (1 + x.argmax(1, keepdim=True)),
    "one hot": lambda x: x * F.one_hot(x.argmax(1), 4).permute(0, 3, 1, 2),
    "bucketize": lambda x: x + TABLE[torch.bucketize(x, torch.linspace(-1, 1, 10).double())],
    "embedding": lambda x: x + TABLE[(x * 3).long().clamp(0, 10)],
    "rounded": lambda x: x + x.round(),
    "straight through": lambda x: x + (x.round() - x).detach(),
    "floor": lambda x: x - x.floor(),
    "sign": lambda x: x.sign() * x.abs().sqrt(),
    "whole numbers": lambda x: x + (x * 4).int() // 2,
    "whole numbers joined": lambda x: x + torch.cat(
        [(x * 4).int(), (x * 2).int()], 1)[:, 2:6].double(),
    "whole numbers negated": lambda x: x * -(x * 4).long().abs(),
    "sort": lambda x: x.sort(1).values,
    "sort, order": lambda x: x.gather(1, x.sort(1, descending=True).indices),
    "topk": lambda x: torch.cat(x.topk(2, 1)[::1][:1], 1).repeat(1, 2, 1, 1),
    "max of channels": lambda x: x - x.max(1, keepdim=True).values,
    "max, both": lambda x: x.max(1, keepdim=True)[0] * (1 + x.max(1, keepdim=True)[1]) + 0 * x,
    "minimum": lambda x: torch.minimum(x, x.flip(3)),
    "median": lambda x: x - x.median(1, keepdim=True).values,
    "running maximum": lambda x: x.cummax(2).values,
    "variance and mean": lambda x: torch.var_mean(x, 1, keepdim=True)[0] * x,
    "standard deviation": lambda x: x / (x.std((2, 3), keepdim=True) + 0.1),
    "unbind": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "meshgrid": lambda x: x * torch.stack(torch.meshgrid(
        torch.arange(8.0).double(), torch.arange(8.0).double(), indexing="ij")).sum(0),
    "grid sample": lambda x: F.grid_sample(
        x, torch.linspace(-1, 1, 128).double().view(1, 8, 8, 2).expand(len(x), -1, -1, -1),
        align_corners=False),
    "affine grid": lambda x: F.grid_sample(x, F.affine_grid(
        torch.eye(2, 3).double().expand(len(x), 2, 3) * x.mean((1, 2, 3))[:, None, None],
        [len(x), 4, 8, 8], align_corners=False), align_corners=False),
    "fold": lambda x: F.fold(F.unfold(x, 2, stride=2), (8, 8), 2, stride=2),
    "einsum": lambda x: torch.einsum("nchw,ndhw->ncd", x, x)[:, :, :, None] + x[..., :4, :],
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "in place": lambda x: x.clone().add_(1).mul_(x).clamp_(max=3),
    "in place, part": in_place,
    "scatter": lambda x: torch.zeros_like(x).scatter_add(1, x.argsort(1), x),
    "unpooling": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "power of powers": lambda x: x.abs() ** x.sigmoid(),
    "remainder": lambda x: torch.remainder(x, 0.7) + x,
    "erf": lambda x: torch.erf(x) + torch.lgamma(x.abs() + 1) + torch.atan2(x, x.flip(1) + 3),
    "log sum": lambda x: x.logsumexp(1, keepdim=True) + x,
    "p pooling": lambda x: F.lp_pool2d(x.abs() + 0.1, 3, 2),
    "distances": lambda x: torch.cdist(x, x),
}  # fmt: skip

OPERATIONS = {
    **{f"complex, {name}": operation for name, operation in COMPLEX.items()},
    **{f"real, {name}": operation for name, operation in REAL.items()},
}


class Odd(nn.Module):
    def __init__(self, operation) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a = nn.Conv2d(2, 4, 3, padding=1).double()
        self.b = nn.Conv2d(4, 3, 2).double()
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.operation(F.relu(self.a(x)))).mean((2, 3))


@pytest.mark.filterwarnings("ignore:torch.searchsorted")  # of torch 2.15, to itself
@pytest.mark.parametrize("name", some([*OPERATIONS][::3], OPERATIONS))
def test_the_gradient_is_torchs(name):
    operation = OPERATIONS[name]
    module = Odd(operation)
    images = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(4)).double()
    net = Network(module, images[:1])
    assert torch.allclose(net(images), module(images), rtol=0, atol=1e-12)
    for select in ("peak", "map"):
        p = cs.project(net, images, "b", [0, 2], rule="gradient", select=select)
        for n, k in [(0, 0), (0, 1), (1, 0), (1, 1)]:
            leaf = images[n : n + 1].clone().requires_grad_()
            maps = module.b(operation(F.relu(module.a(leaf))))[0, (0, 2)[k]]
            row, column = p.position[n, k].tolist()
            value = maps[row, column] if select == "peak" else maps
            (value.square().sum() / 2).backward()
            assert torch.allclose(p.pixels[n, k], leaf.grad[0], rtol=1e-10, atol=1e-10)
    exact, full = (
        cs.occlude(net, images[:1], 3, 3, "black", method=method) for method in ("exact", "full")
    )
    assert torch.allclose(exact.logit, full.logit, rtol=0, atol=1e-12)
    assert exact.notes == net.notes


def test_what_has_no_derivative_is_refused_plainly():
    module = Odd(lambda x: x + torch.heaviside(x, x))
    image = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(4)).double()
    net = Network(module, image)
    assert torch.allclose(net(image), module(image))
    with pytest.raises(RuleError, match="'heaviside', whose derivative PyTorch does not know"):
        cs.project(net, image, "b", [0], rule="gradient")
    assert cs.project(net, image, "a", [0], rule="gradient").pixels.any()


@pytest.mark.parametrize(
    ("operation", "dtype"),
    [
        (REAL["where"], torch.bool),
        (lambda x: x.unflatten(1, (2, 2)).max(2)[1] + x[:, 2:], torch.int64),
        (COMPLEX["a filter of real values"], torch.complex128),
    ],
)
def test_what_is_no_real_number_is_no_layer(operation, dtype):
    module = Odd(lambda x: F.pad(operation(x), (0, 0, 0, 0, 0, 2))[:, :4])
    image = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(4)).double()
    net = Network(module, image)
    steps = [step.name for step in net.graph.steps if step.dtype == dtype and len(step.shape) == 4]
    assert not {*steps} & {*net.layers}
    for ask in (  # each of which failed in torch's own words
        lambda: cs.project(net, image, steps[0], [0], rule="gradient"),
        lambda: cs.occlude(net, image, 3, 3, layer=steps[0], channel=0),
        lambda: cs.look(net, image).occlude(2, 2, 3, layer=steps[0]),
        lambda: cs.visualize(net, steps[0], [0], steps=1),
        lambda: cs.trace_unit(net, image, steps[0], 0),
        lambda: cs.attribute(net, image, method="grad-cam", layer=steps[0]),
    ):
        with pytest.raises(UnitError, match=f"gives no real numbers but {str(dtype)[6:]}"):
            ask()
    assert cs.project(net, image, [*net.layers][:4], top=1, rule="gradient").pixels.any()
