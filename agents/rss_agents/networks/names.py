"""Names of networks, of their files, and of the types they calculate in."""

from __future__ import annotations

from typing import Literal

DEFAULT_NETWORK = "tiny-unet-silu"
LITE0 = "tu-tf_efficientnet_lite0"  # whose weights are a package
FILE_NAME, BEST_NAME = "model.safetensors", "best.safetensors"  # of checkpoints
Precision = Literal["float32", "bfloat16", "float64"]
