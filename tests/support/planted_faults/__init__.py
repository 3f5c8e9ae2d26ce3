"""At least one fault for each rule of the checker, planted in a vector environment without any."""

from __future__ import annotations

from planted_faults import in_episodes, in_interface, in_randomness, in_surroundings
from planted_faults.fault import FAULTS, Fault

__all__ = ["FAULTS", "Fault", "in_episodes", "in_interface", "in_randomness", "in_surroundings"]
