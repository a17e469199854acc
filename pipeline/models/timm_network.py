"""GoogLeNet with the interface of timm's networks."""

import math
from collections.abc import Callable, Collection
from typing import Any

import torch
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from timm.models._features import feature_take_indices  # where timm's own networks have it
from torch import Tensor, nn

from pipeline.models.timm_trunk import TAPS, Trunk
from pipeline.paper.googlenet import DROPOUT, INPUT_SIZE
from pipeline.paper.heads import AuxiliaryHead
from pipeline.paper.inception import INCEPTIONS
from pipeline.paper.initialisation import initialise_kaiming
from pipeline.paper.preprocessing import ChannelOrder

STEM = ("conv1", "pool1", "norm1", "conv2_reduce", "conv2", "norm2", "pool2")
FULLY_CONNECTED = "fc"  # the pooling of a network that has that head


class TimmGoogLeNet(Trunk):
    """GoogLeNet as timm expects a network: what `timm.create_model("googlenet")` makes.

    Layers, names of weights and outputs are those of `GoogLeNet`. The options have
    timm's names. Weights begin as those of our trainings do (`initialise_kaiming`).

    Args:
        num_classes: 0 leaves the classifier out.
        in_chans: channels of an image.
        global_pool: avg, max, avgmax, catavgmax, or "" for none; by default the pooling
            of the paper, or the fully connected head.
        drop_rate: share of the pooled features that training drops.
        img_size: side of the square input, in pixels. Auxiliary heads in training, and
            a fully connected head, fit no other size.
        channel_order: images enter as RGB, as everywhere in timm; with `bgr` the
            network turns them, for weights that were trained on BGR.
        aux_heads: the auxiliary heads, none by default, as timm's trainer takes one
            output. With heads, training returns a tuple: the main logits, then theirs.
        shape: width, aux_dropout, conv1, modules, norm and head, as in `GoogLeNet`.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str | None = None,
        drop_rate: float = DROPOUT,
        img_size: int | tuple[int, int] = INPUT_SIZE,
        channel_order: ChannelOrder = "rgb",
        aux_heads: Collection[str] = (),
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **shape: Any,
    ):
        sides = {img_size} if isinstance(img_size, int) else set(img_size)
        if len(sides) != 1:
            raise ValueError(f"img_size = {img_size}: expected a square, such as 224")
        super().__init__(
            max(num_classes, 1),
            in_chans,
            channel_order,
            device,
            dropout=drop_rate,
            input_size=sides.pop(),
            aux_heads=aux_heads,
            **shape,
        )
        self.to(dtype=dtype)
        self.num_classes, self.drop_rate = num_classes, drop_rate
        self.head_hidden_size: int = self.classifier.in_features
        self.global_pool = "avg" if self.is_dense else FULLY_CONNECTED
        initialise_kaiming(self, None)
        if num_classes == 0 or global_pool not in (None, self.global_pool):
            self.reset_classifier(num_classes, global_pool)

    def no_weight_decay(self) -> set[str]:
        """Return the weights that shall not decay, beside those of one dimension."""
        return set()

    def group_matcher(self, coarse: bool = False) -> Callable[[str], tuple[float, ...]]:
        """Return what orders the weights by depth: by module, or coarsely by block."""
        modules = list(INCEPTIONS)

        def depth(name: str) -> tuple[float, ...]:
            first, second, *_ = name.split(".")
            if first == "inceptions":
                return (1, int(second[0]) if coarse else modules.index(second))
            return (0, 0 if coarse else STEM.index(first)) if first in STEM else (math.inf,)

        return depth

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put in new classifiers, also in auxiliary heads; 0 classes leave them out.

        The pooling stays, unless `global_pool` names another.
        """
        self.num_classes = num_classes
        if global_pool not in (None, self.global_pool):
            self._pool_by(str(global_pool))
        self.classifier = self._new_classifier(self.head_hidden_size)
        for head in self.aux_heads.values():
            if isinstance(head, AuxiliaryHead):
                head.classifier = self._new_classifier(head.fc.out_features)

    def _new_classifier(self, features: int) -> Any:
        if not self.num_classes:
            return nn.Identity().train(self.training)
        like = self.conv2.conv.weight
        layer = nn.Linear(features, self.num_classes, device=like.device, dtype=like.dtype)
        initialise_kaiming(nn.ModuleDict({"classifier": layer}), None)
        return layer.train(self.training)

    def _pool_by(self, global_pool: str) -> None:
        if global_pool == FULLY_CONNECTED:
            raise ValueError('global_pool = "fc": expected a network with head="fully_connected"')
        pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=bool(global_pool))
        self.head = pool.train(self.training)
        self.head_hidden_size = self.num_features * int(pool.feat_mult())
        self.global_pool, self.is_dense = global_pool, global_pool == "avg"

    def forward(self, x: Tensor) -> Any:
        none: list[int] = []
        with_aux = self.training and not torch.jit.is_scripting()  # type: ignore[attr-defined]
        x, _, aux = self._trunk(x, none, self.last, with_aux)
        logits = self.forward_head(x)
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return logits
        return (logits, *aux) if len(aux) else logits

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits of the last map, or what enters the classifier."""
        x = self.dropout(self.head(x))
        return x if pre_logits else self.classifier(x)

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Take out what the maps at `indices` do not need, and return the indices.

        The head goes too where a map below the last is the highest one.
        """
        take, last = feature_take_indices(len(self.ends), indices)
        if last < 2:
            for name in STEM[STEM.index(TAPS[last]) + 1 :]:
                setattr(self, name, nn.Identity())
        for name in INCEPTIONS:
            level = int(name[0]) - 1
            if level > last and name in self.inceptions:
                del self.inceptions[name]
            if level >= last and name in self.pools:
                del self.pools[name]
        if prune_head or last < self.last:
            self.aux_heads = nn.ModuleDict()
            self.num_features = self.feature_info[last]["num_chs"]
            self.reset_classifier(0, "")
        result: list[int] = take
        return result


def checkpoint_filter_fn(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return a file's weights but those of auxiliary heads that the network lacks.

    timm looks for this name.
    """
    own = network.state_dict().keys()
    return {
        name: tensor
        for name, tensor in weights.items()
        if name in own or not name.startswith("aux_heads.")
    }
