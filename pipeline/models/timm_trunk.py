"""GoogLeNet's maps, from the first convolution to the last module, for timm."""

from contextlib import nullcontext
from typing import Any

import torch
from timm.models import checkpoint, register_notrace_module
from timm.models._features import feature_take_indices  # where timm's own networks have it
from torch import Tensor

from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.layers import LocalResponseNorm
from pipeline.paper.preprocessing import ChannelOrder

register_notrace_module(LocalResponseNorm)  # its branch on the number format stays one node

TAPS = ("conv1", "conv2", "3b", "4e", "5b")  # ours: the last layer at each size of the map


class Trunk(GoogLeNet):
    """A GoogLeNet that also returns its maps on the way.

    Args:
        in_chans: channels of an image.
        channel_order: images enter as RGB; with `bgr` the network turns them.
        device: where the weights are made.
        options: those of `GoogLeNet`.
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        channel_order: ChannelOrder,
        device: torch.device | str | None,
        **options: Any,
    ):
        with nullcontext() if device is None else torch.device(device):
            super().__init__(num_classes, **options)
            width, has_norm = self.conv2_reduce.conv.in_channels, options.get("norm") == "batch"
            if in_chans != 3:
                self.conv1 = type(self.conv1)(in_chans, width, 7, stride=2, batch_norm=has_norm)
        self.in_chans = in_chans
        self.turns_channels = channel_order == "bgr"
        self.grad_checkpointing = False
        self.ends, self.last = list(TAPS), len(TAPS) - 1
        modules: dict[str, Any] = dict(self.inceptions.items())
        channels = {"conv1": width, "conv2": self.conv2.conv.out_channels}
        channels |= {f"inceptions.{name}": modules[name].out_channels for name in TAPS[2:]}
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": number, "reduction": 2 << level, "module": name}
            for level, (name, number) in enumerate(channels.items())
        ]
        self.num_features: int = self.feature_info[-1]["num_chs"]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute each Inception module anew in the backward pass, to save memory."""
        self.grad_checkpointing = enable

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map: N x features x rows x columns."""
        none: list[int] = []
        return self._trunk(x, none, self.last, False)[0]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return the last map and the maps at `indices` of `feature_info`.

        Args:
            indices: the last so many, these, or all.
            norm: without effect, as no norm follows the last module.
            stop_early: leave out what is above the highest of `indices`; the last map
                is then that one.
            output_fmt: NCHW alone.
            intermediates_only: return only the list of maps.
        """
        if output_fmt != "NCHW":
            raise ValueError("output_fmt: expected NCHW")
        take, last = feature_take_indices(len(self.ends), indices)
        x, taps, _ = self._trunk(x, take, last if stop_early else self.last, False)
        return taps if intermediates_only else (x, taps)

    def _features(self, images_NCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, _, aux = self._trunk(images_NCHW, [], self.last, self.training)
        return x, aux

    # TorchScript reads the two functions below: no generator, no module as an argument

    def _stem(self, x: Tensor, take: list[int], last: int, taps: list[Tensor]) -> Tensor:
        """Return the map below the modules, or at tap `last` if that is lower."""
        if self.turns_channels:
            # in bfloat16 a fast copy has a fourth channel, which stays last
            x = torch.cat((x[:, : self.in_chans].flip(1), x[:, self.in_chans :]), 1)
        x = self.conv1(x)
        if 0 in take:
            taps.append(x)
        if last > 0:
            x = self.conv2(self.conv2_reduce(self.norm1(self.pool1(x))))
            if 1 in take:
                taps.append(x)
        return self.pool2(self.norm2(x)) if last > 1 else x

    def _trunk(
        self, x: Tensor, take: list[int], last: int, with_aux: bool
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the map at tap `last`, the maps that `take` names, and the outputs of
        the auxiliary heads.
        """
        taps: list[Tensor] = []
        aux: list[Tensor] = []
        x = self._stem(x, take, last, taps)
        for name, module in self.inceptions.items():
            level = int(name[0]) - 1
            if level <= last:
                if self.grad_checkpointing and not torch.jit.is_scripting():  # type: ignore[attr-defined]
                    x = checkpoint(module, x)
                else:
                    x = module(x)
                if name in self.ends and level in take:
                    taps.append(x)
                for at, head in self.aux_heads.items():
                    if with_aux and at == name:
                        aux.append(head(x))
                for at, pool in self.pools.items():
                    if at == name and level < last:
                        x = pool(x)
        return x, taps, aux
