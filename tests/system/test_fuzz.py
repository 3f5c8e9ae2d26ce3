"""Random actions, resets and arguments: each is taken if it is legal, and refused if it is not.

What is legal is said here once more, in other words than the environment's. 2,000 examples
for each id, three times as many in a soak run; they take a few milliseconds each, as images are
tiny.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from fuzzing import fuzz
from rss_env import environment_ids
from rss_env.errors import ActionError, InputError
from rss_env.registration import LEVEL_NAMES, parse_environment_id

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = {"image_size": (4, 8), "scales": (4, 2)}
GRIDS = {"scale_4": (1, 2), "scale_2": (2, 4)}
N, CELLS = 4, 10
SOAK = 3  # times as many examples
EACH_ID = pytest.mark.parametrize("environment_id", environment_ids(LEVEL_NAMES))


def make(environment_id: str, data_options: Any, **options: Any) -> Any:
    data = data_options[parse_environment_id(environment_id)[0]]
    return gym.make_vec(environment_id, **{"num_envs": N, **TINY, **data, **options}).unwrapped


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
anything = (
    scalars
    | st.binary(max_size=3)
    | st.lists(scalars, max_size=N)
    | st.dictionaries(scalars, scalars, max_size=2)
    | st.sampled_from([(), {}, [[]], [[0], [0, 1]], {0}, object(), int, np.zeros(0), 1j])
)


# --- actions ---

FORMS = (
    "list", "view", "tensor", "int64", "int32", "uint8", "int8", "uint64", "float32", "bool",
    "object", "complex64", "U2",
)  # fmt: skip
TORCH_DTYPES = (torch.int64, torch.uint8, torch.int16, torch.float32, torch.bool, torch.complex64)


@st.composite
def parts(draw: st.DrawFn, shape: tuple[int, ...], classes: int) -> Any:
    """A part of an action: right in most respects, so that each wrong one counts."""
    flaws = draw(st.sampled_from([""] * 6 + ["shape", "value", "form", "shape value form"]))
    if "shape" in flaws:
        shape = draw(st.sampled_from([shape[:-1], (*shape, 1), (shape[0] + 1, *shape[1:])]))
    values = np.random.default_rng(draw(st.integers(0, 9))).integers(0, classes, shape)
    if "value" in flaws:
        values.flat[draw(st.integers(0, values.size - 1))] = draw(
            st.sampled_from([-1, 0, classes - 1, classes, 255, 256, 2**32, -(2**63)])
        )
    form = draw(st.sampled_from(FORMS)) if "form" in flaws else "int64"
    if form == "list":
        return values.tolist()
    if form == "view":
        return np.asfortranarray(values)[::-1]
    if form == "tensor":
        return torch.from_numpy(values).to(draw(st.sampled_from(TORCH_DTYPES)))
    with np.errstate(all="ignore"):
        return values.astype(form)


def legal_part(part: Any, shape: tuple[int, ...], classes: int) -> bool:
    try:
        array = part.numpy() if isinstance(part, torch.Tensor) else np.array(part)
    except ValueError:
        return False
    return (
        array.dtype.kind in "iu"
        and array.shape == shape
        and bool(np.isin(array, np.arange(classes)).all())
    )


@EACH_ID
def test_fuzzed_flat_actions(environment_id, data_options, tally):
    env = make(environment_id, data_options)
    classes = len(env.class_names)

    @fuzz(
        tally,
        "actions tried",
        600,
        parts((N, CELLS), classes) | parts((N, CELLS), classes) | anything,
        soak=SOAK,
    )
    def _(actions: Any) -> None:
        step(env, actions, legal_part(actions, (N, CELLS), classes))


@EACH_ID
def test_fuzzed_maps(environment_id, data_options, tally):
    env = make(environment_id, data_options, action_format="maps", array="torch")
    classes = len(env.class_names)
    grids = {name: (N, *grid) for name, grid in GRIDS.items()}
    whole = st.fixed_dictionaries({name: parts(g, classes) for name, g in grids.items()})
    broken = st.dictionaries(st.sampled_from([*GRIDS, "scale_1", 4, None]), parts((N, 1, 2), 2))

    @fuzz(tally, "actions tried", 500, whole | whole | whole | broken | anything, soak=SOAK)
    def _(actions: Any) -> None:
        legal = isinstance(actions, dict) and set(actions) == set(grids)
        legal = legal and all(legal_part(actions[name], grids[name], classes) for name in grids)
        step(env, actions, legal)


def step(env: Any, actions: Any, legal: bool) -> None:
    """Hold that legal actions are scored, and others refused without a trace."""
    if min(env.get_state()["episodes"]) < 0:
        env.reset(seed=0)
    before = env.get_state()
    if legal:
        rewards = env.step(actions)[1]
        assert all(0 <= float(reward) <= 1 for reward in rewards)
        assert env.get_state()["episodes"] == [e + 1 for e in before["episodes"]]
    else:
        with pytest.raises(ActionError):
            env.step(actions)
        assert env.get_state() == before


# --- resets ---

seeds = st.integers(0, 2**63 - 1) | st.integers(-(2**65), 2**65) | st.none()
masks = st.lists(st.booleans(), min_size=N - 1, max_size=N + 1).map(np.array)


@EACH_ID
def test_fuzzed_resets(environment_id, data_options, tally):
    env = make(environment_id, data_options, autoreset_mode="Disabled")
    env.reset(seed=0)

    @fuzz(
        tally,
        "resets tried",
        500,
        seeds | st.lists(seeds, min_size=N, max_size=N) | anything,
        st.none() | st.fixed_dictionaries({"reset_mask": masks | masks | anything}) | anything,
        soak=SOAK,
    )
    def _(seed: Any, options: Any) -> None:
        before = env.get_state()
        if legal_seed(seed) and legal_options(options):
            env.reset(seed=seed, options=options)
            mask = (options or {}).get("reset_mask")
            chosen = [True] * N if mask is None else mask.tolist()
            for i in range(N):
                own = seed[i] if isinstance(seed, list) else seed if seed is None else seed + i
                fresh = own is not None and chosen[i]
                assert env.get_state()["seeds"][i] == (own if fresh else before["seeds"][i])
                went_on = before["episodes"][i] + chosen[i]
                assert env.get_state()["episodes"][i] == (0 if fresh else went_on)
        else:
            with pytest.raises(InputError):
                env.reset(seed=seed, options=options)
            assert env.get_state() == before


def legal_seed(seed: Any) -> bool:
    if isinstance(seed, (list, tuple)):
        return len(seed) == N and all(s is None or legal_number(s, s) for s in seed)
    return seed is None or (legal_number(seed, seed) and legal_number(seed, seed + N - 1))


def legal_number(seed: Any, highest: Any) -> bool:
    return type(seed) is int and seed >= 0 and highest < 2**63


def legal_options(options: Any) -> bool:
    if not isinstance(options, dict):
        return options is None
    mask = options.get("reset_mask")
    known = not set(options) - {"reset_mask"}
    if mask is None:
        return known
    right = isinstance(mask, np.ndarray) and mask.dtype == bool and mask.shape == (N,)
    return known and right and bool(mask.any())


# --- arguments ---

flags = (st.booleans(), st.sampled_from([0, 1, "True", "", [], None]))
# name -> values that are legal by themselves, and values that never are
ARGUMENTS: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {
    "num_envs": (st.integers(1, 5), st.integers(max_value=0) | st.floats() | st.booleans()),
    "group_size": (
        st.sampled_from([1, 2, 4]),
        st.sampled_from([0, -1, 3, 8, 1.0, True, "2", None]),
    ),
    "image_size": (
        st.sampled_from([4, (4, 4), [8, 4], (12, 8), (np.int64(4), 8)]),
        st.sampled_from([0, -4, 6, (4, 6), (4,) * 3, (), 4.0, "44", (4, None), True, (8, 0), {}]),
    ),
    "scales": (
        st.sampled_from([(4,), [2], (4, 2, 1), (np.int64(1),)]),
        st.sampled_from([(), (2, 4), (2, 2), (3,), (0,), (-2,), 2, "42", (2.0,), (True,), ((4,),)]),
    ),
    "scale_weights": (
        st.tuples(st.floats(0.1, 9), st.floats(0, 9)),
        st.lists(st.floats(), max_size=1)
        | st.sampled_from([(1, -1), (0, 0), (1, float("nan")), "11", ("1", "1"), 1, {}, (1, [1])]),
    ),
    "action_format": (st.sampled_from(["flat", "maps"]), anything),
    "metric": (st.sampled_from(["miou", "pixel_accuracy", "mean_accuracy", "dice"]), anything),
    "feedback": (
        st.sampled_from(["exact", "rating", "rating:3", "noisy", "noisy:0", "noisy:0.5"]),
        st.sampled_from(["ranking", "rating:0", "rating:1.5", "noisy:-1", "noisy:nan", "exact:1"])
        | anything,
    ),
    "scorer": (
        st.none(),
        st.sampled_from(["", ":", "os:", "os:sep", ".a:b", "no_module:f", 1, []]),
    ),
    "horizontal_flip": flags,
    "zoom": (
        st.sampled_from([None, (1, 2), [0.5, 0.5]]),
        st.sampled_from([(2, 1), (0, 1), 1, (1,), "12", (1, float("inf")), (float("nan"), 1), {}]),
    ),
    "colour_jitter": (st.floats(0, 0.99), st.floats(1) | st.sampled_from([-0.1, True, "0", None])),
    "num_views": (st.none(), st.sampled_from([0, -1, 2, 1.0, "2", True, []])),  # alone
    "autoreset_mode": (
        st.sampled_from(["SameStep", "next_step", "DISABLED", gym.vector.AutoresetMode.SAME_STEP]),
        anything,
    ),
    "array": (st.sampled_from(["numpy", "torch"]), anything),
    "device": (
        st.sampled_from(["cpu", "cpu:0", torch.device("cpu")]),
        st.sampled_from(["", "gpu", "cuda:99", "meta", "cpu:x", None, 0, 1.5, []]),
    ),
    "validate_actions": flags,
    "render_mode": (
        st.sampled_from([None, "rgb_array"]),
        st.sampled_from(["ansi", "Human", "", 1, [], ()]),
    ),
    "split": (st.none(), st.sampled_from(["", "trian", "no/such/list.txt", 0, [], True])),
    "no_such_argument": (st.none(), st.integers() | st.text()),
}  # fmt: skip


@EACH_ID
def test_fuzzed_arguments(environment_id, data_options, tally):
    @fuzz(
        tally,
        "arguments tried",
        400,
        st.sampled_from(sorted(ARGUMENTS)),
        st.booleans(),
        st.data(),
        soak=SOAK,
    )
    def _(name: str, legal: bool, data: st.DataObject) -> None:
        value = data.draw(ARGUMENTS[name][0 if legal else 1])
        if not legal and names_a_choice(name, value):
            return
        if legal:
            env = make(environment_id, data_options, **{name: value})
            env.reset(seed=0)
            rewards = env.step(env.action_space.sample())[1]
            assert len(rewards) == env.num_envs
            assert all(float(reward) == float(reward) for reward in rewards)
            env.close()
        else:
            with pytest.raises(InputError) as caught:
                make(environment_id, data_options, **{name: value})
            assert len(str(caught.value)) > 10


def names_a_choice(name: str, value: Any) -> bool:
    """Whether `anything` happens to be legal."""
    if name == "no_such_argument":
        return value is None
    choices = {"autoreset_mode": [m.value.lower() for m in gym.vector.AutoresetMode]}
    return isinstance(value, str) and value.lower() in choices.get(name, [])
