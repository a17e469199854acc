"""What timm must know to make a network again: config.json."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from timm.models._hub import save_config_for_hf

from pipeline.configs.network import AnyNetwork, NetworkConfig, PixelConfig
from pipeline.models.making import timm_network
from pipeline.models.timm_entry import ENTRIES, OURS


def timm_config(
    config: AnyNetwork,
    pixels: PixelConfig,
    num_classes: int,
    classes: Sequence[str],
    licence: str,
) -> bytes | None:
    """Return config.json for `timm.create_model("local-dir:FOLDER")`, by timm itself.

    timm's images are RGB in 0..1, so mean and std are too. Our network has no auxiliary
    heads, unless the caller asks for them. The result is None where timm cannot make
    the network: torchvision's, a user's own, or another one that sees BGR.

    Args:
        classes: their names, in the order of the outputs; empty where nobody knows.
        licence: an identifier of the Hub, such as apache-2.0.
    """
    is_bgr = pixels.channel_order == "bgr"
    step = -1 if is_bgr else 1
    overlay: dict[str, Any] = {
        "mean": tuple(value / 255 for value in pixels.mean[::step]),
        "std": tuple(value / 255 for value in pixels.std[::step]),
        "license": licence,
    }
    if isinstance(config, NetworkConfig):
        options = timm_options(config) | ({"channel_order": "bgr"} if is_bgr else {})
        network = ENTRIES["googlenet"](
            num_classes=num_classes, device="meta", pretrained_cfg_overlay=overlay, **options
        )
    elif config.arch.startswith("timm:") and not is_bgr:
        options, side = dict(config.arguments), config.input_size
        overlay |= {
            "input_size": (3, side, side),
            # ours: as a crop of an evaluation here
            "crop_pct": 0.875,
            "interpolation": "bilinear",
        }
        name = config.arch.removeprefix("timm:")
        with torch.device("meta"):
            network = timm_network(name, num_classes, pretrained_cfg_overlay=overlay, **options)
    else:
        return None
    about: dict[str, Any] = {"label_names": list(classes)} if classes else {}
    with TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        save_config_for_hf(network, str(file), model_config=about, model_args=options)
        return file.read_bytes()


def timm_options(shape: NetworkConfig) -> dict[str, Any]:
    """Return the arguments by which timm's network differs from the usual one."""
    options = shape.model_dump(mode="json", exclude_defaults=True, exclude={"aux_heads"})
    return {OURS.get(name, name): value for name, value in options.items()}
