"""Odd networks as people write them: things that hooks, shapes or names of layers don't expect."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class Stem(nn.Module):
    """Two convolutions that every network here has, for there to be units before and after."""

    shape = (3, 20, 24)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.act = nn.ReLU()
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.act2 = nn.ReLU()
        self.head = nn.Linear(8, 5)
        self.build()

    def build(self) -> None:
        """Make what is odd."""

    def odd(self, x: Tensor) -> Tensor:
        """Compute it, from maps of 6 channels."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.odd(self.act(self.first(x)))
        return self.head(self.act2(self.second(x)).mean((2, 3)))


class SpectrogramNorm(Stem):
    """Batch norm over mel bins by a transposition, as audio taggers have it."""

    shape = (1, 40, 40)

    def build(self) -> None:
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(40)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x.transpose(1, 3)).transpose(1, 3))


class TurnedMaps(Stem):
    """Convolves maps whose rows and columns changed places."""

    def odd(self, x: Tensor) -> Tensor:
        return x.transpose(2, 3)


class ChannelsAsRows(Stem):
    """A convolution over channels and columns, as if they were an image."""

    def build(self) -> None:
        self.across = nn.Conv2d(20, 20, 3, padding=1)

    def odd(self, x: Tensor) -> Tensor:
        return self.across(x.transpose(1, 2)).transpose(1, 2)


class RowPReLU(Stem):
    """PReLU with one slope a row."""

    def build(self) -> None:
        self.slopes = nn.PReLU(20)

    def odd(self, x: Tensor) -> Tensor:
        return self.slopes((x - 0.5).transpose(1, 2)).transpose(1, 2)


class FourierMagnitude(Stem):
    """Adds the magnitude of a Fourier transform."""

    def odd(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.fft.fft2(x).abs()


class FourierFilter(Stem):
    """Filters globally in the Fourier domain (GFNet, FNO)."""

    def build(self) -> None:
        self.filter = nn.Parameter(torch.randn(6, 20, 13, 2) * 0.3)

    def odd(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, norm="ortho") * torch.view_as_complex(self.filter)
        return torch.fft.irfft2(spectrum, s=x.shape[2:], norm="ortho")


class FunctionalReLU(Stem):
    """Every rectifier is a function."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(F.relu(self.first(x)) - 0.2)
        return self.head(self.second(x).relu().mean((2, 3)))


class ReusedReLU(Stem):
    """One ReLU module is used three times."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.act(self.first(x)) - 0.3)
        return self.head(self.act(self.second(x)).mean((2, 3)))


class ReusedConvolution(Stem):
    """One convolution is applied three times (recurrent convolution)."""

    def build(self) -> None:
        self.again = nn.Conv2d(6, 6, 3, padding=1)

    def odd(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = F.relu(self.again(x) + x)
        return x


class InPlace(Stem):
    """In-place rectifiers and sums, and a slice written to."""

    def odd(self, x: Tensor) -> Tensor:
        x = F.relu_((x * 1.5).sub_(0.4)) * 2
        x[:, :2] += 0.7 * x[:, 2:4]
        return x


class SeveralOutputs(Stem):
    """Gives a tuple: classes, and maps."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.act2(self.second(self.act(self.first(x))))
        return self.head(maps.mean((2, 3))), maps


class DictOutput(Stem):
    """Gives a dictionary of two heads."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.act2(self.second(self.act(self.first(x))))
        return {"classes": self.head(maps.mean((2, 3))), "box": maps.amax((2, 3))}


class SoftmaxInside(Stem):
    """Ends with the softmax."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class SigmoidInside(Stem):
    """Ends with a sigmoid for each label."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid()


class OneNumber(Stem):
    """Gives one number an image, without a dimension for it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 0]


class LSTMHead(Stem):
    """Reads the columns one after the other (CRNN)."""

    def build(self) -> None:
        self.lstm = nn.LSTM(8, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.act2(self.second(self.act(self.first(x))))
        steps, _ = self.lstm(maps.mean(2).transpose(1, 2))
        return self.head(steps[:, -1])


class SelfAttention(Stem):
    """Attention over all positions, by torch's own module."""

    def build(self) -> None:
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def odd(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        found, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return x + found.transpose(1, 2).reshape(x.shape)


class NonLocal(Stem):
    """A non-local block by matrix products."""

    def build(self) -> None:
        self.theta, self.phi, self.g = (nn.Conv2d(6, 3, 1) for _ in range(3))
        self.back = nn.Conv2d(3, 6, 1)

    def odd(self, x: Tensor) -> Tensor:
        theta, phi, g = (m(x).flatten(2) for m in (self.theta, self.phi, self.g))
        weights = torch.softmax(theta.transpose(1, 2) @ phi, dim=2)
        return x + self.back((g @ weights.transpose(1, 2)).view(len(x), 3, *x.shape[2:]))


class TransformerHead(Stem):
    """An encoder layer over the maps as tokens."""

    def build(self) -> None:
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.avg_pool2d(self.act2(self.second(self.act(self.first(x)))), 4)
        return self.head(self.encoder(maps.flatten(2).transpose(1, 2)).mean(1))


class SqueezeExcite(Stem):
    """A gate from the whole map."""

    def build(self) -> None:
        self.down, self.up = nn.Linear(6, 3), nn.Linear(3, 6)

    def odd(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class SpatialAttention(Stem):
    """CBAM's gate from the mean and the largest channel."""

    def build(self) -> None:
        self.gate = nn.Conv2d(2, 1, 7, padding=3)

    def odd(self, x: Tensor) -> Tensor:
        both = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.gate(both))


class WeightNormed(Stem):
    """Weight norm and spectral norm as parametrizations."""

    def build(self) -> None:
        self.extra = parametrizations.weight_norm(nn.Conv2d(6, 6, 3, padding=1))
        self.spectral = parametrizations.spectral_norm(nn.Conv2d(6, 6, 1))

    def odd(self, x: Tensor) -> Tensor:
        return F.relu(self.spectral(F.relu(self.extra(x))))


class OldWeightNorm(Stem):
    """Weight norm as a hook, the old way."""

    def build(self) -> None:
        self.extra = nn.utils.weight_norm(nn.Conv2d(6, 6, 3, padding=1))

    def odd(self, x: Tensor) -> Tensor:
        return F.relu(self.extra(x))


class StandardisedWeights(Stem):
    """Standardises its weights at every call."""

    def odd(self, x: Tensor) -> Tensor:
        weight = self.second.weight[:6]
        centred = weight - weight.mean((1, 2, 3), keepdim=True)
        return F.relu(F.conv2d(x, centred / centred.std((1, 2, 3), keepdim=True), padding=1))


class GroupNormed(Stem):
    """Group norm, instance norm and local response norm."""

    def build(self) -> None:
        self.group, self.instance = nn.GroupNorm(2, 6), nn.InstanceNorm2d(6, affine=True)
        self.response = nn.LocalResponseNorm(3)

    def odd(self, x: Tensor) -> Tensor:
        return self.response(F.relu(self.instance(F.relu(self.group(x)))))


class ChannelsLastLinear(Stem):
    """Layer norm and linear layers with the channels last (ConvNeXt's block)."""

    def build(self) -> None:
        self.depthwise = nn.Conv2d(6, 6, 7, padding=3, groups=6)
        self.norm, self.wide, self.thin = nn.LayerNorm(6), nn.Linear(6, 12), nn.Linear(12, 6)

    def odd(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.thin(F.gelu(self.wide(y))).permute(0, 3, 1, 2)


class WindowAttention(Stem):
    """Splits the map into windows of 4x4 and mixes each (Swin)."""

    def build(self) -> None:
        self.mix = nn.Linear(16, 16)

    def odd(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tiles = x.roll((-2, -2), (2, 3)).view(n, c, h // 4, 4, w // 4, 4)
        tiles = self.mix(tiles.permute(0, 1, 2, 4, 3, 5).reshape(n, c, h // 4, w // 4, 16))
        x = tiles.view(n, c, h // 4, w // 4, 4, 4).permute(0, 1, 2, 4, 3, 5).reshape(n, c, h, w)
        return F.relu(x.roll((2, 2), (2, 3)))


class SpatialMLP(Stem):
    """Mixes along columns, then along rows, by linear layers (ViP, Hire-MLP)."""

    def build(self) -> None:
        self.columns, self.rows = nn.Linear(24, 24), nn.Linear(20, 20)

    def odd(self, x: Tensor) -> Tensor:
        return F.relu(self.columns(x) + self.rows(x.transpose(2, 3)).transpose(2, 3))


class SwishByHand(Stem):
    """Activations written as products and maxima."""

    def odd(self, x: Tensor) -> Tensor:
        x = (x - 0.3) * torch.sigmoid(x - 0.3)
        x = torch.maximum(x, torch.zeros_like(x)) + torch.where(x > 0.1, x, 0.0)
        return x * (x > 0.2).to(x.dtype)


class Activations(Stem):
    """Many activations one after the other."""

    def odd(self, x: Tensor) -> Tensor:
        for function in (F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.hardswish, F.relu6):
            x = function(x - 0.1)
        for function in (F.softplus, F.softsign, F.logsigmoid, F.hardtanh, F.selu, F.celu):
            x = function(x - 0.1)
        return x.clamp(min=0) + x.clamp(-0.5, 0.5)


class MaxOut(Stem):
    """The largest of pairs of channels, and their soft maximum."""

    def odd(self, x: Tensor) -> Tensor:
        x = x - 0.2
        largest = torch.max(x[:, :3], x[:, 3:])
        return torch.cat([largest, torch.logsumexp(x.view(len(x), 3, 2, *x.shape[2:]), 2)], 1)


class Pools(Stem):
    """Pools of all kinds."""

    def build(self) -> None:
        self.last = nn.ConvTranspose2d(6, 6, 3, stride=2, padding=1, output_padding=1)

    def odd(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(x, 3, 2, 1) + F.avg_pool2d(x, 3, 2, 1)
        x = x + F.adaptive_avg_pool2d(F.adaptive_max_pool2d(x, (7, 9)), x.shape[2:])
        return F.relu(self.last(x + F.pad(F.lp_pool2d(x.abs() + 0.1, 2, 3, 1), (1, 1, 1, 1))))


class Resized(Stem):
    """Upsampling of all kinds, up and down."""

    def odd(self, x: Tensor) -> Tensor:
        for mode in ("nearest", "bilinear", "bicubic", "nearest-exact", "area"):
            x = F.interpolate(F.interpolate(x, size=(13, 17), mode=mode), size=(20, 24), mode=mode)
        return F.interpolate(x, scale_factor=1.5, mode="bilinear", align_corners=True)


class Borders(Stem):
    """Pads by reflection, replication and around, and crops."""

    def odd(self, x: Tensor) -> Tensor:
        for mode in ("reflect", "replicate", "circular", "constant"):
            x = self.act(F.conv2d(F.pad(x, (2, 1, 1, 2), mode), self.second.weight[:6]))
        return x[:, :, 1:-1, ::2].flip(3).roll(3, 2)


class DilatedPyramid(Stem):
    """Dilated convolutions beside one another, and the mean of the image (ASPP)."""

    def build(self) -> None:
        self.arms = nn.ModuleList(nn.Conv2d(6, 3, 3, padding=d, dilation=d) for d in (1, 3, 7))
        self.pooled, self.join = nn.Conv2d(6, 3, 1), nn.Conv2d(12, 6, 1)

    def odd(self, x: Tensor) -> Tensor:
        whole = self.pooled(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return F.relu(self.join(torch.cat([*(arm(x) for arm in self.arms), whole], 1)))


class PixelShuffled(Stem):
    """Space to depth and back (super-resolution, Focus)."""

    def build(self) -> None:
        self.deep = nn.Conv2d(24, 24, 3, padding=1)

    def odd(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.relu(self.deep(F.pixel_unshuffle(x, 2))), 2)


class Unfolded(Stem):
    """A convolution as a matrix product of patches, and folded again."""

    def odd(self, x: Tensor) -> Tensor:
        columns = F.unfold(x, 3, padding=1)
        x = (self.second.weight[:6].flatten(1) @ columns).view(x.shape)
        return F.fold(F.unfold(F.relu(x), 2, stride=2), x.shape[2:], 2, stride=2)


class SampledGrid(Stem):
    """A spatial transformer: the image decides where it is sampled."""

    def build(self) -> None:
        self.where = nn.Linear(6, 6)

    def odd(self, x: Tensor) -> Tensor:
        theta = torch.eye(2, 3, dtype=x.dtype) + 0.1 * self.where(x.mean((2, 3))).view(-1, 2, 3)
        return F.grid_sample(
            x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False
        )


class Einsum(Stem):
    """Mixes channels and positions by einsum."""

    def odd(self, x: Tensor) -> Tensor:
        weight = self.second.weight[:6, :, 1, 1]
        scores = torch.einsum("nchw,ndhw->ncd", x, x) / x[0, 0].numel()
        return F.relu(torch.einsum("nchw,dc->ndhw", x, weight)) + torch.einsum(
            "ncd,ndhw->nchw", scores, x
        )


class Multiplied(Stem):
    """Products of two branches, a quotient, a power and a root."""

    def odd(self, x: Tensor) -> Tensor:
        other = F.conv2d(x, self.second.weight[:6], padding=1)
        return (
            x * torch.tanh(other) + (x / (1 + other**2)) - torch.sqrt(x + 0.5) * other.exp().log1p()
        )


class Sorted(Stem):
    """Sorts channels, adds up along rows, keeps the three largest."""

    def odd(self, x: Tensor) -> Tensor:
        x = x.sort(1).values + 0.1 * x.cumsum(2)
        return torch.cat([x.topk(3, 1).values, x[:, :3].gather(3, x[:, :3].argsort(3))], 1)


class BatchReshaped(Stem):
    """Puts the quarters of an image into the batch and back."""

    def odd(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tiles = (
            x.view(n, c, 2, h // 2, 2, w // 2)
            .permute(0, 2, 4, 1, 3, 5)
            .reshape(-1, c, h // 2, w // 2)
        )
        tiles = F.relu(F.conv2d(tiles, self.second.weight[:6], padding=1))
        return tiles.view(n, 2, 2, c, h // 2, w // 2).permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)


class AlongOneDimension(Stem):
    """Convolves the flattened image along one dimension."""

    def build(self) -> None:
        self.along = nn.Conv1d(6, 6, 5, padding=2)

    def odd(self, x: Tensor) -> Tensor:
        return F.relu(self.along(x.flatten(2)).view(x.shape))


class AsVolume(Stem):
    """Takes the channels for depth and convolves in three dimensions."""

    def build(self) -> None:
        self.volume = nn.Conv3d(1, 1, 3, padding=1)

    def odd(self, x: Tensor) -> Tensor:
        return F.relu(self.volume(x.unsqueeze(1)).squeeze(1))


class DynamicFilter(Stem):
    """Filters made from the image itself (CondConv)."""

    def build(self) -> None:
        self.mix = nn.Linear(6, 2)

    def odd(self, x: Tensor) -> Tensor:
        share = torch.softmax(self.mix(x.mean((2, 3))), 1)
        kernels = torch.stack([self.second.weight[:6], self.second.weight[2:8]])
        weight = torch.einsum("ne,eoihw->noihw", share, kernels).flatten(0, 1)
        found = F.conv2d(x.reshape(1, -1, *x.shape[2:]), weight, padding=1, groups=len(x))
        return F.relu(found.view(x.shape))


class BinaryWeights(Stem):
    """Signs of weights, and a step that passes its gradient straight through."""

    def odd(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.second.weight[:6].sign(), padding=1) / 50)
        return x + (x.round() - x).detach()


class Masked(Stem):
    """Keeps what exceeds the mean of its map."""

    def odd(self, x: Tensor) -> Tensor:
        return x.masked_fill(x < x.mean((2, 3), keepdim=True), 0.0)


class NoRectifier(Stem):
    """Tanh everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.second(torch.tanh(self.first(x))))
        return self.head(x.mean((2, 3)))


class DropoutLeftOn(Stem):
    """Dropout that stays on: a functional one without ``training``."""

    def odd(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.3)


class Noisy(Stem):
    """Adds noise at every call."""

    def odd(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)


class BranchOnPixels(Stem):
    """Goes another way for dark images."""

    def odd(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean() > 0.5 else x


class TwoInputs(Stem):
    """Takes two images."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return super().forward(x) + super().forward(other)


class InputNorm(Stem):
    """Scales its pixels itself and pads them to a square."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.new_tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)
        return super().forward(F.pad((x - mean) / 0.25, (0, 0, 2, 2)))


class SiameseHalves(Stem):
    """Compares the left half of the image with the right one, by shared layers."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = (self.second(self.act(self.first(half))) for half in x.chunk(2, 3))
        return self.head((self.act2(left) - self.act2(right)).abs().mean((2, 3)))


class Parallel(nn.DataParallel):
    """A network in DataParallel."""

    def __init__(self) -> None:
        super().__init__(Stem())


ODD = [
    kind
    for kind in list(globals().values())
    if isinstance(kind, type) and kind.__module__ == __name__
]
