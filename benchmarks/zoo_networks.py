"""The networks that `benchmarks/zoo.py` tries: of five libraries, and odd ones of our own."""

# ruff: noqa: E501

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from torch import nn

from zoo_odd import ODD

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from architectures import ARCHITECTURES
from test_unusual import UNUSUAL


@dataclass(frozen=True)
class Entry:
    """A network: the library it is from, how it is made, and channels, height and width."""

    library: str
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]


def _sizes(listed: str, side: int) -> dict[str, int]:
    """Return the side of the input for each of the names "name" or "name@side"."""
    pairs = [name.partition("@") for name in listed.split()]
    return {name: int(own or side) for name, _, own in pairs}


# fmt: off
TORCHVISION = _sizes(
    """alexnet vgg11 resnet18 resnet34 resnet50
    densenet121 googlenet inception_v3@96 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large
    efficientnet_b0 efficientnet_v2_s convnext_tiny squeezenet1_0 squeezenet1_1 shufflenet_v2_x0_5
    shufflenet_v2_x1_0 mnasnet0_5 mnasnet1_0 regnet_x_400mf regnet_y_400mf swin_t swin_v2_t
    vit_b_32@224 maxvit_t@224 r3d_18 raft_small@128""", 64,
)
SEGMENTATION = _sizes("fcn_resnet50 deeplabv3_resnet50 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large", 64)
DETECTION = _sizes("fasterrcnn_mobilenet_v3_large_320_fpn retinanet_resnet50_fpn ssdlite320_mobilenet_v3_large ssd300_vgg16 fcos_resnet50_fpn maskrcnn_resnet50_fpn keypointrcnn_resnet50_fpn", 96)
BACKBONES = _sizes("fasterrcnn_mobilenet_v3_large_320_fpn retinanet_resnet50_fpn ssdlite320_mobilenet_v3_large ssd300_vgg16@300 fcos_resnet50_fpn", 96)
TIMM = _sizes(
    """test_vit@160 test_vit_relpos@160 test_resnet test_convnext test_convnext2 test_convnext3
    test_efficientnet test_efficientnet_gn test_efficientnet_ln test_byobnet test_nfnet
    test_mambaout mobileone_s0 repvgg_a0 resnet10t darknet17 lcnet_035 starnet_s050 tinynet_e
    mobilenetv2_035 convnext_atto convnextv2_atto dla46_c dla46x_c dpn48b
    efficientvit_b0 fasternet_t0 ghostnet_050 hgnetv2_b0 inception_next_atto mambaout_femto
    mobilenetv3_small_050 mobilenetv4_conv_small_035 mobilevit_xxs mobilevitv2_050 poolformer_s12
    pvt_v2_b0 regnetx_002 regnety_002 repghostnet_050 repvit_m0_9 resnetv2_18 selecsls42
    legacy_seresnet18 shvit_s1 skresnet18 swiftformer_xs vgg11_bn resnetblur18 gernet_s hgnet_tiny
    ese_vovnet19b_slim cspnext_tiny mnasnet_small lcnetv2_small fastvit_t8 edgenext_xx_small
    resnest14d cpubone_nano hrnet_w18_small nf_regnet_b0 nf_resnet26 eca_nfnet_l0 resnet26d
    resnet50_gn resnetaa34d ecaresnet26t seresnext26d_32x4d resnetv2_50x1_bit resnetv2_50d_frn
    rexnet_100 efficientnet_lite0 efficientnet_es efficientnet_b0_gn efficientnet_b0_g16_evos
    efficientnet_cc_b0_4e mixnet_s fbnetc_100 spnasnet_100 hardcorenas_a
    tf_mobilenetv3_small_minimal_100 gcresnext26ts bat_resnext26ts lambda_resnet26t
    cs3darknet_focus_s dla34 dpn68 lowformer_b0 caformer_s18 convformer_s18 poolformerv2_s12
    mobilenetv4_hybrid_medium_075 nextvit_small res2net50_14w_8s res2next50 rdnet_tiny
    resnetrs50 densenetblur121d eca_vovnet39b efficientvit_l1 efficientvim_m1@128 ghostnetv2_100
    ghostnetv3_050 iformer_t resnet50_clip_gap tresnet_m xception41 legacy_xception davit_tiny
    focalnet_tiny_srf coat_lite_tiny deit_tiny_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224
    convit_tiny@224 eva02_tiny_patch14_224@56 beit_base_patch16_224 gmixer_12_224 resmlp_12_224
    gmlp_ti16_224 mixer_s32_224 pit_ti_224@96 tnt_s_patch16_224 twins_svt_small visformer_tiny
    volo_d1_224 swin_tiny_patch4_window7_224@224 tiny_vit_5m_224@224 vit_tiny_r_s16_p8_224
    botnet26t_256@256 halonet26t@128 efficientformer_l1@224 efficientformerv2_s0@224
    levit_conv_128s@224 efficientvit_m0@224 crossvit_9_240@240 hiera_tiny_224@224
    mvitv2_tiny@224 coatnet_nano_rw_224@224 maxvit_pico_rw_256@256 gcvit_xxtiny@224
    sequencer2d_s@224 nest_tiny@224 vitamin_small_224@224
    csatv2@512""", 64,
)

SMALL_STAGES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1]}
SMALL_VIT = {
    "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 48,
    "image_size": 32, "patch_size": 8,
}
TRANSFORMERS = {
    "ResNetForImageClassification": {"embedding_size": 8, **SMALL_STAGES, "layer_type": "basic"},
    "RegNetForImageClassification": {"embedding_size": 8, **SMALL_STAGES, "groups_width": 4},
    "ConvNextForImageClassification": SMALL_STAGES,
    "ConvNextV2ForImageClassification": SMALL_STAGES,
    "MobileNetV1ForImageClassification": {"depth_multiplier": 0.25},
    "MobileNetV2ForImageClassification": {"depth_multiplier": 0.35},
    "MobileNetV2ForSemanticSegmentation": {"depth_multiplier": 0.35},
    "MobileViTForImageClassification": {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 24, 24, 32, 48], "image_size": 64},
    "MobileViTV2ForImageClassification": {"width_multiplier": 0.5, "image_size": 64},
    "BitForImageClassification": {"embedding_size": 8, **SMALL_STAGES, "num_groups": 4},
    "PoolFormerForImageClassification": SMALL_STAGES,
    "SegformerForSemanticSegmentation": {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "decoder_hidden_size": 16},
    "SegformerForImageClassification": {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4},
    "EfficientNetForImageClassification": {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640},
    "LevitForImageClassification": {"image_size": 224},
    "CvtForImageClassification": {},
    "FocalNetForImageClassification": {"embed_dim": 8, "image_size": 64, "depths": [1] * 4},
    "SwinForImageClassification": {"embed_dim": 8, "image_size": 64, "depths": [1] * 4, "num_heads": [1, 2, 4, 8], "window_size": 2},
    "PvtV2ForImageClassification": {"hidden_sizes": [8, 16, 40, 64], "depths": [1] * 4, "image_size": 64},
    "SwiftFormerForImageClassification": {"embed_dims": [8, 16, 24, 32], "depths": [1] * 4},
    "HGNetV2ForImageClassification": {},
    "TextNetForImageClassification": {},
    "ViTForImageClassification": SMALL_VIT,
    "DeiTForImageClassification": SMALL_VIT,
    "Dinov2ForImageClassification": {**SMALL_VIT, "patch_size": 8},
    "BeitForImageClassification": SMALL_VIT,
    "ViTMAEModel": SMALL_VIT,
    "DPTForSemanticSegmentation": {**SMALL_VIT, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8, "is_hybrid": False},
    "UperNetForSemanticSegmentation": {"hidden_size": 16},
    "SuperPointForKeypointDetection": {},
    "YolosForObjectDetection": {**SMALL_VIT, "image_size": [32, 32], "num_detection_tokens": 5},
    "CLIPVisionModel": SMALL_VIT,
}
SMP = [
    ("Unet", "resnet18"), ("Unet", "mobilenet_v2"), ("Unet", "efficientnet-b0"),
    ("Unet", "timm-skresnet18"), ("Unet", "mobileone_s0"), ("Unet", "xception"),
    ("UnetPlusPlus", "resnet18"), ("UnetPlusPlus", "vgg11_bn"), ("MAnet", "resnet18"),
    ("MAnet", "dpn68"), ("Linknet", "resnet18"), ("Linknet", "se_resnet50"), ("FPN", "resnet18"),
    ("FPN", "densenet121"), ("FPN", "mit_b0"), ("PSPNet", "resnet18"), ("PSPNet", "vgg11"),
    ("PAN", "resnet18"), ("PAN", "timm-efficientnet-b0"), ("DeepLabV3", "resnet18"),
    ("DeepLabV3Plus", "resnet18"), ("DeepLabV3Plus", "mobilenet_v2"), ("UPerNet", "resnet18"),
    ("Segformer", "mit_b0"), ("Segformer", "resnet18"), ("DPT", "tu-vit_tiny_patch16_224"),
    ("Unet", "inceptionv4"), ("Unet", "tu-convnext_atto"), ("Unet", "timm-tf_efficientnet_lite0"),
]
MONAI_2D = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
MONAI = {
    "UNet": {**MONAI_2D, "channels": (4, 8, 16), "strides": (2, 2), "num_res_units": 1},
    "AttentionUnet": {**MONAI_2D, "channels": (4, 8, 16), "strides": (2, 2)},
    "BasicUNet": {**MONAI_2D, "features": (4, 4, 8, 8, 16, 4)},
    "BasicUNetPlusPlus": {**MONAI_2D, "features": (4, 4, 8, 8, 16, 4)},
    "DynUNet": {**MONAI_2D, "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 16]},
    "FlexibleUNet": {"in_channels": 3, "out_channels": 2, "backbone": "resnet18"},
    "VNet": {**MONAI_2D},
    "SegResNet": {"spatial_dims": 2, "init_filters": 8, "in_channels": 1, "out_channels": 2},
    "SegResNetVAE": {"spatial_dims": 2, "input_image_size": (32, 32), "init_filters": 8, "in_channels": 1, "out_channels": 2},
    "SegResNetDS": {"spatial_dims": 2, "init_filters": 8, "in_channels": 1, "out_channels": 2},
    "HighResNet": MONAI_2D,
    "DenseNet121": MONAI_2D,
    "SEResNet50": {"spatial_dims": 2, "in_channels": 1, "num_classes": 3},
    "EfficientNetBN": {"model_name": "efficientnet-b0", "spatial_dims": 2, "in_channels": 1, "pretrained": False},
    "resnet10": {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 3},
    "UNETR": {"in_channels": 1, "out_channels": 2, "img_size": 32, "feature_size": 4, "hidden_size": 24, "mlp_dim": 48, "num_heads": 3, "spatial_dims": 2},
    "SwinUNETR": {"in_channels": 1, "out_channels": 2, "feature_size": 12, "spatial_dims": 2, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 3, 4)},
    "Quicknat": {"num_classes": 2, "num_filters": 8},
    "DiNTS": None,
    "AHNet": {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "layers": (1, 1, 1, 1)},
    "Discriminator": {"in_shape": (1, 32, 32), "channels": (4, 8, 16), "strides": (2, 2, 2)},
    "Classifier": {"in_shape": (1, 32, 32), "classes": 3, "channels": (4, 8), "strides": (2, 2)},
    "Regressor": {"in_shape": (1, 32, 32), "out_shape": (1,), "channels": (4, 8), "strides": (2, 2)},
    "AutoEncoder": {**MONAI_2D, "channels": (4, 8), "strides": (2, 2)},
    "VarAutoEncoder": {"spatial_dims": 2, "in_shape": (1, 32, 32), "out_channels": 1, "latent_size": 3, "channels": (4, 8), "strides": (2, 2)},
    "AutoencoderKL": {**MONAI_2D, "channels": (8, 8), "num_res_blocks": (1, 1), "attention_levels": (False, False), "latent_channels": 3, "norm_num_groups": 4},
    "ViT": {"in_channels": 1, "img_size": (32, 32), "patch_size": (8, 8), "hidden_size": 24, "mlp_dim": 48, "num_layers": 2, "num_heads": 3, "classification": True, "spatial_dims": 2},
    "ViTAutoEnc": {"in_channels": 1, "img_size": (32, 32), "patch_size": (4, 4), "hidden_size": 24, "mlp_dim": 48, "num_layers": 2, "num_heads": 3, "spatial_dims": 2},
    "MedNeXt": {"spatial_dims": 2, "init_filters": 4, "in_channels": 1, "out_channels": 2},
    "PatchDiscriminator": {"spatial_dims": 2, "channels": 8, "in_channels": 1, "num_layers_d": 2},
    "RegUNet": {"spatial_dims": 2, "in_channels": 1, "num_channel_initial": 4, "depth": 2, "out_channels": 2},
    "VoxelMorphUNet": {"spatial_dims": 2, "in_channels": 2, "unet_out_channels": 4, "channels": (4, 4, 4, 4, 4, 4), "final_conv_channels": (4,)},
    "DiffusionModelUNet": {**MONAI_2D, "channels": (8, 8), "attention_levels": (False, False), "norm_num_groups": 4, "num_res_blocks": 1},
    "VQVAE": {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": (8, 8), "num_res_channels": (8, 8), "num_res_layers": 1, "downsample_parameters": ((2, 4, 1, 1),) * 2, "upsample_parameters": ((2, 4, 1, 1, 0),) * 2, "num_embeddings": 8, "embedding_dim": 4},
}
MONAI_SHAPES = {"AHNet": (1, 128, 128), "FlexibleUNet": (3, 64, 64), "SwinUNETR": (1, 64, 64)}
# fmt: on


def torchvision(name: str) -> nn.Module:
    models = import_module("torchvision.models")
    options = (
        {"aux_logits": False, "init_weights": False}
        if name in {"googlenet", "inception_v3"}
        else {}
    )
    return models.get_model(name, weights=None, **options)


def segmentation(name: str) -> nn.Module:
    return import_module("torchvision.models").get_model(
        name, weights=None, weights_backbone=None, num_classes=4
    )


def backbone(name: str) -> nn.Module:
    return segmentation(name).backbone


def timm(name: str, side: int) -> nn.Module:
    library = import_module("timm")
    try:
        return library.create_model(name, num_classes=10, img_size=side)
    except TypeError:
        return library.create_model(name, num_classes=10)


def transformers(name: str, options: dict) -> nn.Module:
    library = import_module("transformers")
    kind = getattr(library, name)
    if name.startswith("UperNet"):
        backbone = library.ConvNextConfig(
            **SMALL_STAGES, out_features=["stage1", "stage2", "stage3", "stage4"]
        )
        options = {**options, "backbone_config": backbone}
    return kind(kind.config_class(num_labels=5, **options))


def smp(kind: str, encoder: str) -> nn.Module:
    library = import_module("segmentation_models_pytorch")
    return getattr(library, kind)(encoder, encoder_weights=None, classes=2)


def monai(name: str, options: dict | None) -> nn.Module:
    nets = import_module("monai.networks.nets")
    if name == "DiNTS":
        space = nets.TopologySearch(
            channel_mul=0.25, num_blocks=4, num_depths=3, use_downsample=True, spatial_dims=2
        )
        return nets.DiNTS(space, 1, 2, use_downsample=True, spatial_dims=2)
    return getattr(nets, name)(**options)


def transformers_shape(name: str, options: dict) -> tuple[int, int, int]:
    side = options.get("image_size", 64)
    return 1 if name.startswith("SuperPoint") else 3, *(
        [side] * 2 if isinstance(side, int) else side
    )


def entries() -> Iterator[tuple[str, Entry]]:
    """Yield all networks by name; each function is bound to its own arguments."""
    for name, side in TORCHVISION.items():
        yield (
            f"torchvision/{name}",
            Entry("torchvision", partial(torchvision, name), (3, side, side)),
        )
    for name, side in {**SEGMENTATION, **DETECTION}.items():
        yield (
            f"torchvision/{name}",
            Entry("torchvision", partial(segmentation, name), (3, side, side)),
        )
    for name, side in BACKBONES.items():
        yield (
            f"torchvision/{name}.backbone",
            Entry("torchvision", partial(backbone, name), (3, side, side)),
        )
    for name, side in TIMM.items():
        yield f"timm/{name}", Entry("timm", partial(timm, name, side), (3, side, side))
    for name, options in TRANSFORMERS.items():
        yield (
            f"transformers/{name}",
            Entry(
                "transformers",
                partial(transformers, name, options),
                transformers_shape(name, options),
            ),
        )
    for kind, encoder in SMP:
        side = 224 if kind == "DPT" else 96 if "inc" in encoder else 64
        yield (
            f"smp/{kind} {encoder}",
            Entry("segmentation_models_pytorch", partial(smp, kind, encoder), (3, side, side)),
        )
    for name, options in MONAI.items():
        yield (
            f"monai/{name}",
            Entry("monai", partial(monai, name, options), MONAI_SHAPES.get(name, (1, 32, 32))),
        )
    for name, make in ARCHITECTURES.items():
        channels = {"one channel": 1, "five channels": 5}.get(name, 3)
        yield f"tests/{name}", Entry("convscope", make, (channels, 21, 26))
    for kind in UNUSUAL:
        yield f"tests/{kind.__name__}", Entry("convscope", kind, (3, 12, 14))
    for kind in ODD:
        yield f"odd/{kind.__name__}", Entry("convscope", kind, getattr(kind, "shape", (3, 20, 24)))


NETWORKS = dict(entries())
