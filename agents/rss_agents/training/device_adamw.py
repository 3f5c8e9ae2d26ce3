"""AdamW on a GPU: all that changes from step to step comes from the host, in tensors.

PyTorch's own fused AdamW takes the decay of its means as a plain number, which the one-cycle
schedule moves in every step: a CUDA graph would keep the first one. Here the numbers of a step are
worked out on the host, as PyTorch does on the CPU, and the parameters are moved by a few kernels
for all of them together.
"""

# pyright: reportPrivateImportUsage=false
# (operations on lists of tensors are named as private ones)

from __future__ import annotations

from typing import Any

import torch

from rss_env.host_inputs import HostInputs


class DeviceAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` to rounding; its state is the same, and moves between the two.

    Attributes:
        inputs: By which the host tells the device the numbers of a step; another may take its
            place.
    """

    def __init__(self, parameters: Any, device: torch.device, **options: Any):
        """Bind parameters that lie on a device; see `torch.optim.AdamW`."""
        super().__init__(parameters, **options)
        self.inputs = HostInputs(device)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move all parameters that have a gradient."""
        for group in self.param_groups:
            by_step: dict[float, list[torch.Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_step.setdefault(self._steps_of(parameter), []).append(parameter)
            for parameters in by_step.values():
                self._move(group, parameters)

    def _steps_of(self, parameter: torch.Tensor) -> float:
        """How often a parameter was moved; it gets a state where it has none."""
        if not self.state[parameter]:
            self.state[parameter] = {
                "step": torch.tensor(0.0),  # on the CPU, where PyTorch has it too
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
        return float(self.state[parameter]["step"])

    def _move(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        """Move parameters that were moved as often."""
        steps, means, squares = (
            [self.state[parameter][name] for parameter in parameters]
            for name in ("step", "exp_avg", "exp_avg_sq")
        )
        gradients = [p.grad for p in parameters if p.grad is not None]

        def numbers() -> tuple[torch.Tensor]:
            """Count the step: what is left of a weight, the means' shares, the way to go."""
            torch._foreach_add_(steps, 1)
            rate, (first, second), count = group["lr"], group["betas"], float(steps[0])
            left, size = 1 - rate * group["weight_decay"], rate / (1 - first**count)
            root = (1 - second**count) ** 0.5
            return (torch.tensor([left, 1 - first, size, root], dtype=torch.float64),)

        told = self.inputs.send(numbers)[0].to(parameters[0].dtype)
        left, share, size, root = told.unbind()
        torch._foreach_mul_(parameters, left)
        apart = torch._foreach_sub(gradients, means)
        torch._foreach_mul_(apart, share)
        torch._foreach_add_(means, apart)
        second = group["betas"][1]
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        scale = torch._foreach_sqrt(squares)
        torch._foreach_div_(scale, root)
        torch._foreach_add_(scale, group["eps"])
        ways = torch._foreach_div(means, scale)
        torch._foreach_mul_(ways, size)
        torch._foreach_sub_(parameters, ways)
