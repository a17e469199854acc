"""Our network for other projects: an entry for `torch.hub` and for timm's registry."""

import inspect
from typing import Any

from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.preprocessing import PREPROCESSING


def googlenet(pretrained: bool = False, num_classes: int = 1000, **options: Any) -> GoogLeNet:
    """Return the GoogLeNet of Table 1.

    `options` are those of `GoogLeNet`: input_size, width, aux_heads, dropout,
    aux_dropout, conv1, modules, norm, head. timm's `drop_rate` and `img_size` mean
    `dropout` and `input_size`. `pretrained_cfg_overlay` gives the mean and std of
    weights that were trained with other values. In training mode the output is
    `Logits`, which include the logits of the auxiliary heads; with `aux_heads=()` there
    are no such heads.

    Raises:
        ValueError: the call sets `pretrained` (no weights of this network are
            published), a number of channels other than 3, or an unknown option.
    """
    if pretrained:
        raise ValueError(
            "googlenet: no pretrained weights are published; load your own with load_state_dict"
        )
    overlay = options.pop("pretrained_cfg_overlay", None) or {}
    for timms in ("pretrained_cfg", "cache_dir"):
        options.pop(timms, None)
    for timms, only in (("in_chans", 3), ("global_pool", "avg"), ("features_only", False)):
        if (value := options.pop(timms, only)) != only:
            raise ValueError(f"googlenet: {timms} = {value!r}; this network has {only!r} only")
    for timms, ours in (("drop_rate", "dropout"), ("img_size", "input_size")):
        if timms in options:
            options[ours] = options.pop(timms)
    known = inspect.signature(GoogLeNet).parameters
    if unknown := next((name for name in options if name not in known), None):
        raise ValueError(f"googlenet: no option {unknown}; expected one of {', '.join(known)}")
    network = GoogLeNet(num_classes, **options)
    side = options.get("input_size", 224)
    network.pretrained_cfg = network.default_cfg = {  # type: ignore[assignment]
        "architecture": "googlenet",
        "num_classes": num_classes,
        "input_size": (3, side, side),
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "mean": tuple(value / 255 for value in PREPROCESSING.mean),
        "std": tuple(value / 255 for value in PREPROCESSING.std),
        "classifier": "classifier",
        **overlay,
    }
    return network


def register_with_timm() -> None:
    """Make `timm.create_model("googlenet")` return our network from now on."""
    from timm.models import register_model  # late, as the entry for torch.hub needs no timm

    register_model(googlenet)
