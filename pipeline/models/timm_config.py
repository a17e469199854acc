"""What timm must know to make a network of ours again: config.json."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from timm.models._hub import save_config_for_hf

from pipeline.configs.network import NetworkConfig, PixelConfig
from pipeline.models.timm_entry import ENTRIES, OURS

ARCHITECTURE = "googlenet"


def timm_config(
    shape: NetworkConfig,
    pixels: PixelConfig,
    num_classes: int,
    classes: Sequence[str],
    licence: str,
) -> bytes:
    """Return config.json for `timm.create_model("local-dir:FOLDER")`, by timm itself.

    timm's images are RGB in 0..1, so mean and std are too. The network has no auxiliary
    heads, unless the caller asks for them.

    Args:
        classes: their names, in the order of the outputs; empty where nobody knows.
        licence: an identifier of the Hub, such as apache-2.0.
    """
    options = timm_options(shape, pixels)
    step = -1 if pixels.channel_order == "bgr" else 1
    overlay = {
        "mean": tuple(value / 255 for value in pixels.mean[::step]),
        "std": tuple(value / 255 for value in pixels.std[::step]),
        "license": licence,
    }
    network = ENTRIES[ARCHITECTURE](
        num_classes=num_classes, device="meta", pretrained_cfg_overlay=overlay, **options
    )
    about: dict[str, Any] = {"label_names": list(classes)} if classes else {}
    with TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        save_config_for_hf(network, str(file), model_config=about, model_args=options)
        return file.read_bytes()


def timm_options(shape: NetworkConfig, pixels: PixelConfig) -> dict[str, Any]:
    """Return the arguments by which timm's network differs from the usual one."""
    options = shape.model_dump(mode="json", exclude_defaults=True, exclude={"aux_heads"})
    turned = {"channel_order": "bgr"} if pixels.channel_order == "bgr" else {}
    return {OURS.get(name, name): value for name, value in options.items()} | turned
