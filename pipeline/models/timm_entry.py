"""`timm.create_model("googlenet")`: our network in timm's registry, without importing timm before the user does."""

import importlib.abc
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.paper.googlenet import GoogLeNet

REGISTRY = "timm.models._registry"


def googlenet(pretrained: bool = False, num_classes: int = 1000, **options: Any) -> "GoogLeNet":
    """GoogLeNet of Table 1; `options` are `GoogLeNet`'s: input_size, width, aux_heads, dropout, conv1, modules, norm, head.

    timm's own `drop_rate` and `img_size` are understood as `dropout` and `input_size`. In training mode the output is
    `Logits`, with those of the auxiliary heads; `aux_heads=()` has none.

    Raises:
        ValueError: `pretrained` is asked for (weights of this network are not published), or other than 3 channels, or
            an option that this network does not have.
    """
    from pipeline.paper.googlenet import PREPROCESSING, GoogLeNet

    if pretrained:
        raise ValueError("googlenet: no pretrained weights are published; load your own with load_state_dict")
    for timms in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
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
    }
    return network


def register_with_timm() -> None:
    """Register now, if timm is imported already; else as soon as it is. Importing it here would cost seconds."""
    if REGISTRY in sys.modules:
        sys.modules[REGISTRY].register_model(googlenet)
    else:
        sys.meta_path.insert(0, _AfterTimm())


class _AfterTimm(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for the loader of timm's registry once, to register behind it."""

    _loader: importlib.abc.Loader

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != REGISTRY:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.register_model(googlenet)
