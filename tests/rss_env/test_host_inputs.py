"""What a host tells its device: anew each time, or in tensors that stay where they are."""

from __future__ import annotations

import numpy as np
import torch

from rss_env.host_inputs import HostInputs


class Counter:
    """Counts on the host, and tells of it."""

    def __init__(self):
        self.number = 0

    def count(self) -> None:
        self.number += 1

    def work(self, inputs: HostInputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The number, what it is after one more, and nothing."""
        (before,) = inputs.send(lambda: (np.array(self.number),))
        inputs.do(self.count)
        after, nothing = inputs.send(lambda: (torch.full((2,), self.number), None))
        return before, after, nothing


def test_inputs_are_new_tensors_each_time_unless_they_are_kept():
    counter, inputs = Counter(), HostInputs("cpu")
    results = [counter.work(inputs) for _ in range(3)]
    assert [int(before) for before, *_ in results] == [0, 1, 2]
    assert [after.tolist() for _, after, _ in results] == [[1, 1], [2, 2], [3, 3]]


def test_kept_inputs_are_told_again_in_their_order_and_in_place():
    counter, inputs = Counter(), HostInputs("cpu", keeps=True)
    before, after, nothing = counter.work(inputs)
    assert (int(before), after.tolist(), nothing) == (0, [1, 1], None)
    for number in (1, 2):
        inputs.refill()  # all that the host has to do in a round
        assert (int(before), after.tolist(), counter.number) == (
            number,
            2 * [number + 1],
            number + 1,
        )
        again = counter.work(inputs)  # as in a round that is captured
        assert again[0].data_ptr() == before.data_ptr()
        assert again[1].data_ptr() == after.data_ptr()
        assert counter.number == number + 1
        inputs.rewind()
        assert counter.work(inputs)[1].data_ptr() == after.data_ptr()


def test_what_is_kept_is_a_copy():
    """The host's own array may be written to in the meantime."""
    inputs, own = HostInputs("cpu", keeps=True), np.zeros(3)
    (kept,) = inputs.send(lambda: (own,))
    own += 1
    assert kept.tolist() == [0, 0, 0]
    inputs.refill()
    assert kept.tolist() == [1, 1, 1]
