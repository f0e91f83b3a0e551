"""The networks that convscope defines itself, under torchvision's parameter names if it has them.

Each takes ImageNet pictures, float [N, 3, H, W], to 1,000 logits, float [N, 1000]; vgg16_features
stops at the maps [N, 512, H / 32, W / 32].
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

IMAGENET_CLASSES = 1000
# Channels of the 3x3 convolutions of each block: Simonyan & Zisserman (1409.1556), table 1, D.
VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def _named(**parts: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(parts))


def _classifier(features: Iterable[nn.Module], pool: int, head: Iterable[nn.Module]) -> nn.Module:
    """Return feature layers, average pooling to a fixed size, and fully connected layers."""
    return _named(
        features=nn.Sequential(*features),
        avgpool=nn.AdaptiveAvgPool2d(pool),
        flatten=nn.Flatten(),
        classifier=nn.Sequential(*head),
    )


def _vgg_features(batch_norm: bool) -> Iterator[nn.Module]:
    inputs = 3
    for block in VGG16_BLOCKS:
        for channels in block:
            yield nn.Conv2d(inputs, channels, kernel_size=3, padding=1)
            if batch_norm:
                yield nn.BatchNorm2d(channels)
            yield nn.ReLU(inplace=True)
            inputs = channels
        yield nn.MaxPool2d(kernel_size=2, stride=2)


def _dropout_last_head(inputs: int) -> list[nn.Module]:
    """Two hidden layers of 4,096, each followed by dropout: VGG's order, and Zeiler & Fergus's."""
    return [
        *(nn.Linear(inputs, 4096), nn.ReLU(inplace=True), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout()),
        nn.Linear(4096, IMAGENET_CLASSES),
    ]


def vgg16() -> nn.Module:
    """Build VGG16: 13 convolutions of 3x3 in five blocks, three fully connected layers."""
    return _classifier(_vgg_features(batch_norm=False), 7, _dropout_last_head(512 * 7 * 7))


def vgg16_features() -> nn.Module:
    """Build the 13 convolutions of VGG16, without the fully connected layers and so the classes."""
    return _named(features=nn.Sequential(*_vgg_features(batch_norm=False)))


def vgg16_bn() -> nn.Module:
    """Build VGG16 with batch normalisation after every convolution."""
    return _classifier(_vgg_features(batch_norm=True), 7, _dropout_last_head(512 * 7 * 7))


def alexnet() -> nn.Module:
    """Build the one-tower AlexNet of Krizhevsky (arXiv 1404.5997), as torchvision has it."""
    features = (
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
    )
    head = (
        *(nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True)),
        *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True)),
        nn.Linear(4096, IMAGENET_CLASSES),
    )
    return _classifier(features, 6, head)


def _pool() -> nn.Module:
    """Return a pool of 3x3 windows two apart, of which the last may stick out of the map."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def zfnet() -> nn.Module:
    """Build the network of Zeiler & Fergus (arXiv 1311.2901), figure 3.

    At 224 pixels its maps are 110, 55, 26, 13, 13, 13 and 6 wide. The figure's 55 and 13 need a
    padding or rounding that it does not give: as in the authors' time, pools round up. Nor does it
    give the constants of the contrast normalisation: they are those of Krizhevsky et al. (2012),
    whose alpha of 1e-4 multiplies a sum where torch's multiplies a mean over the 5 maps.
    """

    def contrast() -> nn.Module:
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    features = (
        *(
            nn.Conv2d(3, 96, 7, stride=2, padding=1),
            nn.ReLU(inplace=True),
            _pool(),
            contrast(),
        ),
        *(nn.Conv2d(96, 256, 5, stride=2), nn.ReLU(inplace=True), _pool(), contrast()),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True), _pool()),
    )
    return _classifier(features, 6, _dropout_last_head(256 * 6 * 6))


class Fire(nn.Module):
    """SqueezeNet's block: few 1x1 filters, then 1x1 and 3x3 filters side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, kernel_size=1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, kernel_size=1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, kernel_size=3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Return both expansions of maps [N, C, H, W], concatenated along the channels."""
        squeezed = self.squeeze_activation(self.squeeze(maps))
        narrow = self.expand1x1_activation(self.expand1x1(squeezed))
        wide = self.expand3x3_activation(self.expand3x3(squeezed))
        return torch.cat([narrow, wide], dim=1)


def squeezenet1_1() -> nn.Module:
    """Build SqueezeNet 1.1 (arXiv 1602.07360 and its authors' later release).

    Its logits are never negative.
    """
    return _named(
        features=nn.Sequential(
            *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(inplace=True), _pool()),
            *(Fire(64, 16, 64), Fire(128, 16, 64), _pool()),
            *(Fire(128, 32, 128), Fire(256, 32, 128), _pool()),
            *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
        ),
        classifier=nn.Sequential(
            *(nn.Dropout(), nn.Conv2d(512, IMAGENET_CLASSES, 1), nn.ReLU(inplace=True)),
            nn.AdaptiveAvgPool2d(1),
        ),
        flatten=nn.Flatten(),
    )


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "vgg16": vgg16,
    "vgg16_features": vgg16_features,
    "vgg16_bn": vgg16_bn,
    "alexnet": alexnet,
    "squeezenet1_1": squeezenet1_1,
    "zfnet": zfnet,
}


def initialise(module: nn.Module) -> None:
    """Fill weights with He et al.'s normal initialisation, which keeps a deep signal's scale.

    torch's own default lets it fade away over VGG16's thirteen convolutions.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
