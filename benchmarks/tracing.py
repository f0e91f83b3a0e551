"""What tracing costs: CPU seconds of one `Network(...)`, after a first small one.

Run as `python benchmarks/tracing.py [NAME ...]`, a name being one of torchvision's or `timm:NAME`.
With PYTHONPATH at an older checkout it measures that.
"""

import resource
import sys

import torch
from torch import nn

from convscope.network import Network

NAMES = (
    "resnet50", "efficientnet_b0", "convnext_tiny", "densenet121", "swin_t", "vit_b_16",
    "shufflenet_v2_x1_0", "googlenet", "inception_v3", "mobilenet_v3_large", "regnet_y_400mf",
    "mnasnet1_0", "maxvit_t", "deeplabv3_resnet50", "timm:coatnet_0_rw_224", "timm:nfnet_l0",
    "timm:xcit_nano_12_p16_224", "timm:hrnet_w18_small", "timm:dla34", "timm:ghostnet_100",
)  # fmt: skip


def module_of(name: str) -> nn.Module:
    """Return a network with random weights."""
    if name.startswith("timm:"):
        import timm  # noqa: PLC0415

        return timm.create_model(name.removeprefix("timm:"), pretrained=False).eval()
    import torchvision  # noqa: PLC0415

    without = {"weights_backbone": None} if name.startswith("deeplab") else {}
    return torchvision.models.get_model(name, weights=None, **without).eval()


def seconds() -> float:
    """Return the CPU seconds that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print a line for each network."""
    first = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU())
    Network(first, torch.zeros(1, 3, 8, 8))
    print("| network | CPU seconds | steps |\n| --- | --- | --- |")
    for name in sys.argv[1:] or NAMES:
        module, example = module_of(name), torch.zeros(1, 3, 224, 224)
        begun = seconds()
        net = Network(module, example)
        print(f"| {name} | {seconds() - begun:.2f} | {len(net.graph.steps)} |", flush=True)


if __name__ == "__main__":
    main()
