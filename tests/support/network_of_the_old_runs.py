from torch import nn


def build(num_classes: int) -> nn.Module:
    """One convolution: what a run leaves of it is small."""
    return nn.Conv2d(3, num_classes, 3, padding=1)
