"""EfficientNet-Lite image classifiers (Tan & Le 2019; the Lite family drops squeeze-excitation and swish)."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

if TYPE_CHECKING:
    from PIL.Image import Image

STEM, HEAD = 32, 1280  # fixed: the Lite family scales neither
BN_EPS = 1e-3


class Stage(NamedTuple):
    """One row of table 1 of the paper.

    Attributes:
        repeats: how many blocks.
        kernel: side of the convolutions, in pixels.
        stride: of the first block.
        expansion: factor by which every block widens its channels inside.
        channels: that come out, before the width multiplier.
    """

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite(nn.Module):
    """Class logits of square images; the defaults are EfficientNet-Lite2.

    Args:
        width: multiplier of the channels of every stage.
        depth: multiplier of the repeats of every stage but the first and the last.
        image_size: side of the input, in pixels; it decides the padding of every convolution.
        classes: number of classes.
    """

    def __init__(
        self, width: float = 1.1, depth: float = 1.2, image_size: int = 260, classes: int = 1000
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.conv_stem = SamePaddedConv(3, STEM, kernel=3, stride=2, size=image_size)
        self.bn0 = nn.BatchNorm2d(STEM, eps=BN_EPS)
        channels, size = STEM, self.conv_stem.output_size
        blocks = []
        for index, stage in enumerate(STAGES):
            scaled = 0 < index < len(STAGES) - 1
            wide = _scaled_channels(stage.channels, width)
            for repeat in range(math.ceil(stage.repeats * depth) if scaled else stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(InvertedBottleneck(channels, wide, stage.kernel, stride, stage.expansion, size))
                channels, size = wide, math.ceil(size / stride)
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = nn.Conv2d(channels, HEAD, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(HEAD, eps=BN_EPS)
        self.activation = nn.ReLU6()
        self.fc = nn.Linear(HEAD, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] as `preprocess` makes them to logits [B, classes]."""
        x = self.activation(self.bn0(self.conv_stem(images)))
        x = self.activation(self.bn1(self.conv_head(self.blocks(x))))
        return self.fc(x.mean(dim=(2, 3)))


class InvertedBottleneck(nn.Module):
    """Expand, convolve per channel, project; with a skip where shapes allow."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, stride: int, expansion: int, size: int
    ) -> None:
        super().__init__()
        wide = channels * expansion
        if expansion != 1:
            self.expand_conv = nn.Conv2d(channels, wide, kernel_size=1, bias=False)
            self.bn0 = nn.BatchNorm2d(wide, eps=BN_EPS)
        self.depthwise_conv = SamePaddedConv(wide, wide, kernel, stride, size, groups=wide)
        self.bn1 = nn.BatchNorm2d(wide, eps=BN_EPS)
        self.project_conv = nn.Conv2d(wide, out_channels, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels, eps=BN_EPS)
        self.activation = nn.ReLU6()
        self.expands = expansion != 1
        self.skips = stride == 1 and channels == out_channels

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, out_channels, ceil(H / stride), ceil(W / stride)]."""
        x = self.activation(self.bn0(self.expand_conv(inputs))) if self.expands else inputs
        x = self.activation(self.bn1(self.depthwise_conv(x)))
        x = self.bn2(self.project_conv(x))
        return x + inputs if self.skips else x


class SamePaddedConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: the odd pixel goes to the right and the bottom."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, stride: int, size: int, groups: int = 1
    ) -> None:
        super().__init__(channels, out_channels, kernel, stride=stride, groups=groups, bias=False)
        self.output_size = math.ceil(size / stride)
        total = max((self.output_size - 1) * stride + kernel - size, 0)
        before, after = total // 2, total - total // 2
        self.edges = (before, after, before, after)

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, size, size] to [B, out_channels, output_size, output_size]."""
        return super().forward(pad(images, self.edges))


def preprocess(images: Sequence["Image"], size: int) -> Tensor:
    """Images of any size and mode to [B, 3, size, size], (x - 127) / 128 of RGB values 0..255.

    The whole image is squeezed into the square: what a caption is about need not be in the middle.
    """
    from PIL.Image import Resampling

    squares = [image.convert("RGB").resize((size, size), Resampling.BICUBIC) for image in images]
    pixels = torch.from_numpy(np.stack([np.asarray(square, dtype=np.float32) for square in squares]))
    return (pixels.permute(0, 3, 1, 2) - 127.0) / 128.0


def rename_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of published EfficientNet-Lite state dicts, turned into the names used here."""
    return {re.sub(r"(^|\.)_", r"\1", name): tensor for name, tensor in state.items()}


def _scaled_channels(channels: int, width: float, divisor: int = 8) -> int:
    """Scaled channels, rounded to a multiple of 8 but never down by more than a tenth."""
    scaled = channels * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * scaled else rounded
