"""Random numbers of a learner: those of torch's generator on the CPU, whatever the device."""

from __future__ import annotations

import torch

from rss_agents.random_draws import RandomDraws


def test_draws_are_those_of_a_generator_of_the_cpu_on_every_device():
    for device in ("cpu", "meta"):  # whose tensors hold nothing, but take as many numbers
        draws = RandomDraws(torch.Generator().manual_seed(3), device)
        plain = torch.Generator().manual_seed(3)
        low, high = -(2**63), 2**63 - 1
        among = torch.tensor([True, False, True])
        pairs = [
            (draws.integers(low, high, 5), torch.randint(low, high, (5,), generator=plain)),
            (draws.uniform(2, 3), torch.rand((2, 3), generator=plain)),
            (draws.normal(4), torch.randn((4,), generator=plain)),
            (
                draws.choose(among, 6),
                torch.multinomial(among.float(), 6, replacement=True, generator=plain),
            ),
        ]
        for found, expected in pairs:
            assert found.device.type == device
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            if device == "cpu":
                assert found.equal(expected)
        assert draws.get_state().equal(plain.get_state())
    state = draws.get_state()
    draws.uniform(1)
    draws.set_state(state)
    assert draws.get_state().equal(state)
