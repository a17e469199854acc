"""Our network in timm's registry."""

from collections.abc import Callable, Mapping
from typing import Any

from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    is_model,
    model_entrypoint,
    register_model,
)
from timm.models._features import FeatureGetterNet
from torch import nn

from pipeline.models.timm_network import TimmGoogLeNet, checkpoint_filter_fn
from pipeline.paper.googlenet import AUX_HEADS, INPUT_SIZE
from pipeline.paper.preprocessing import PREPROCESSING

# ours: a name for each option of the network that is not the paper's default in timm
VARIANTS: dict[str, dict[str, Any]] = {
    "googlenet": {},
    "googlenet_aux": {"aux_heads": AUX_HEADS},
    "googlenet_wide": {"width": 1.25},
    "googlenet_bn": {"norm": "batch"},
    "googlenet_plain": {"norm": "none"},
    "googlenet_separable": {"conv1": "separable"},
    "googlenet_naive": {"modules": "naive"},
    "googlenet_two_3x3": {"fives": "two_3x3"},
    "googlenet_fc": {"head": "fully_connected"},
}
OURS = {"dropout": "drop_rate", "input_size": "img_size"}  # our name of an option -> timm's


class Features(FeatureGetterNet):
    """What `features_only=True` returns: the maps of a network.

    timm's own class does not pass on gradient checkpointing.
    """

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute each Inception module anew in the backward pass, to save memory."""
        network: Any = self.model
        network.set_grad_checkpointing(enable)


def register_with_timm() -> None:
    """Make `timm.create_model` know our networks from now on.

    Their names are googlenet and, with one option each, those of `VARIANTS`.
    """
    for name, entry in ENTRIES.items():
        if not is_model(name) or model_entrypoint(name) is not entry:
            register_model(entry)


def layout(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what timm's configuration of a network says of its layers."""
    heads = sorted(options.get("aux_heads", ()))
    first = "depthwise" if options.get("conv1") == "separable" else "conv"
    return {
        "first_conv": f"conv1.{first}",
        "classifier": ("classifier", *(f"aux_heads.{each}.classifier" for each in heads))
        if heads
        else "classifier",
        "fixed_input_size": bool(heads) or options.get("head") == "fully_connected",
    }


def size(side: int) -> dict[str, Any]:
    """Return what timm's configuration of a network says of an input size."""
    return {"input_size": (3, side, side), "pool_size": (side // 32, side // 32)}


def _entry(name: str, variant: Mapping[str, Any]) -> Callable[..., nn.Module]:
    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        return _build(name, pretrained, {**variant, **options})

    entry.__name__ = entry.__qualname__ = name
    changes = ", ".join(f"{key} = {value}" for key, value in variant.items()) or "the paper's"
    entry.__doc__ = f"Return a TimmGoogLeNet: {changes}."
    return entry


def _build(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    options = {OURS.get(key, key): value for key, value in options.items()}
    overlay = layout(options)
    given = options.pop("pretrained_cfg", None)
    side = options.get("img_size")
    if side is not None and not given:
        overlay |= size(side if isinstance(side, int) else side[0])
    overlay |= options.pop("pretrained_cfg_overlay", None) or {}
    network: nn.Module = build_model_with_cfg(
        TimmGoogLeNet,
        name,
        pretrained,
        pretrained_cfg=given or default_cfgs[name].default,
        pretrained_cfg_overlay=overlay,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": (0, 1, 2, 3, 4), "feature_cls": Features},
        **options,
    )
    return network


ENTRIES = {name: _entry(name, variant) for name, variant in VARIANTS.items()}
default_cfgs = generate_default_cfgs(  # timm looks for this name
    {
        name: {
            "interpolation": "bilinear",
            "crop_pct": 0.875,  # paper, section 7: 224 of 256
            "mean": tuple(value / 255 for value in PREPROCESSING.mean),
            "std": tuple(value / 255 for value in PREPROCESSING.std),
            "license": "apache-2.0",
            "paper_name": "Going Deeper with Convolutions",
            "paper_ids": "arXiv:1409.4842",
            **size(INPUT_SIZE),
            **layout(variant),
        }
        for name, variant in VARIANTS.items()
    }
)
