"""Networks of one's own, named `my_package:build_network`.

Such a name is code: building the network imports the module and calls the function. So it has to
come from the command line or from a caller. A file that names one is believed only if the command
names the same.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rss_env.arguments import load_function
from rss_env.datasets.own import OBJECT
from rss_env.errors import InputError

if TYPE_CHECKING:  # slow to import
    from torch import nn

_IDENTIFIER = r"[^\W\d]\w*"
_NAME = re.compile(rf"{_IDENTIFIER}(\.{_IDENTIFIER})*:{_IDENTIFIER}")


def is_own(network: str) -> bool:
    """Tell whether a name stands for its user's code: `module:function`, or that with @4."""
    return _NAME.fullmatch(network.partition("@")[0]) is not None


def is_object(network: str) -> bool:
    """Tell whether a name stands for a module that a program has passed, and no file holds."""
    return network.startswith(OBJECT)


def check_own_network(named: str | None, found: str, source: Path) -> None:
    """Refuse to run the code that a file names, unless its user has named the same.

    Args:
        named: What the command or the caller names; None for nothing.
        found: What the file names: a network of any kind.
        source: The file.

    Raises:
        InputError: If the file names code and nobody else does, or the two names differ. (The name
            of an object differs from all.)
    """
    if is_object(found):
        if named is not None:
            return
        raise InputError(
            f"{source} holds the network {found!r:.300}, an object of the program that trained it: "
            "pass a module of the same layers, rss_agents.api.load(..., network=module), or name a "
            "function that builds one, --own-network module:function"
        )
    if named is not None and named != found:
        raise InputError(f"{source} holds the network {found!r:.300}, not {named!r:.300}")
    if named is None and is_own(found):
        raise InputError(
            f"{source} holds the network {found!r:.300}, which is code that would run with your "
            "rights; if it is yours, say so with --own-network and the same name"
        )


def build_own(name: str, num_classes: int) -> nn.Module:
    """Call the function of a name, `module:function` or that with @stride, with C; it is imported.

    Returns:
        What it built: normalised (B, 3, H, W) float to logits (B, C, H/stride, W/stride).

    Raises:
        InputError: If there is no such function, it fails, or gives no module with parameters.
    """
    build = load_function("network", name.partition("@")[0])
    try:
        network: Any = build(num_classes)
    except Exception as error:  # of whatever the function calls
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"network {name!r} cannot be built for {num_classes} classes: {reason:.200}"
        ) from error
    check_body(name, network)
    return network


def check_body(name: str, network: Any) -> None:
    """Refuse what is no module, or has nothing that can be trained.

    Raises:
        InputError: If so.
    """
    from torch import nn  # slow to import

    if not isinstance(network, nn.Module):
        raise InputError(f"network {name!r} must be a torch.nn.Module, got {type(network)}")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"network {name!r} has no parameters that can be trained")
