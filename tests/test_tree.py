"""Pytrees, TensorDicts, `bind`, and the messages of wrong calls."""

import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tensordict import TensorDict

from functional_dists import bind, family, independent_normal, normal, random, tanh_normal

LOC, KEY = torch.zeros(3), random.key(0)


class Body(NamedTuple):
    arm: torch.Tensor
    leg: torch.Tensor


CONTAINERS: dict[str, Callable[[object, object], object]] = {
    "dict": lambda a, b: {"a": a, "b": b},
    "nested": lambda a, b: {"deep": {"a": a}, "b": [b]},
    "tuple": lambda a, b: (a, b),
    "list": lambda a, b: [a, (b,)],
    "named_tuple": lambda a, b: Body(a, b),
    "ordered_dict": lambda a, b: OrderedDict(a=a, b=b),
}


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "eager") for name in CONTAINERS),
        *((name, "aot_eager") for name in ("nested", "named_tuple")),  # the slow tests compile all of them
        *(pytest.param(name, "inductor", marks=pytest.mark.slow) for name in CONTAINERS),
    ],
)
def test_containers_keep_their_type(name: str, backend: str) -> None:
    container = CONTAINERS[name]
    loc = container(torch.zeros(3), torch.ones(2, 4))

    def draw(loc: object, scale: torch.Tensor) -> object:
        return tanh_normal.sample_and_log_prob(KEY, loc, scale, -1.0, 1.0)

    value, log_prob = draw(loc, torch.ones(()))
    assert type(value) is type(loc)
    flat = torch.utils._pytree.tree_leaves(log_prob)
    assert [tuple(leaf.shape) for leaf in flat] == [(), (2,)]
    if backend != "eager":
        torch._dynamo.reset()
        compiled = torch.compile(draw, backend=backend, fullgraph=True)(loc, torch.ones(()))
        torch.testing.assert_close(
            torch.utils._pytree.tree_leaves(compiled), torch.utils._pytree.tree_leaves((value, log_prob))
        )


def test_a_leaf_draws_from_its_own_path_only() -> None:
    alone = normal.sample(KEY, {"arm": LOC}, 1.0)
    with_neighbours = normal.sample(KEY, {"a": LOC, "arm": LOC, "leg": {"arm": LOC}}, 1.0)
    assert torch.equal(alone["arm"], with_neighbours["arm"])
    assert not torch.equal(with_neighbours["arm"], with_neighbours["leg"]["arm"])
    expected = normal.sample(random.fold_in(KEY, family.fnv1a("arm")), LOC, 1.0)
    assert torch.equal(alone["arm"], expected)


def test_fnv1a_known_answers() -> None:
    """From the test vectors of the FNV reference code."""
    assert family.fnv1a("") == 0xCBF29CE484222325
    assert family.fnv1a("foobar") == 0x85944171F73967E8


def test_tensordict_in_tensordict_out() -> None:
    data = TensorDict({"arm": torch.zeros(4, 2), "body": {"leg": torch.ones(4, 3)}}, batch_size=[4])
    value, log_prob = tanh_normal.sample_and_log_prob(KEY, data, 1.0, -1.0, 1.0, sample_shape=(5,))
    assert isinstance(value, TensorDict)
    assert isinstance(value["body"], TensorDict)
    assert value.batch_size == (5, 4) == log_prob.batch_size
    as_dict = tanh_normal.sample(KEY, data.to_dict(), 1.0, -1.0, 1.0, sample_shape=(5,))
    assert torch.equal(value["body", "leg"], as_dict["body"]["leg"])
    joint = family.sum_leaves(log_prob)
    torch.testing.assert_close(joint, log_prob["arm"] + log_prob["body", "leg"])


def test_a_mapping_or_a_tensordict_stands_for_params() -> None:
    p = normal.Params(torch.zeros(3), torch.ones(3))
    q = normal.Params(torch.ones(3), torch.ones(3))
    wanted = normal.kl(p, q)
    torch.testing.assert_close(normal.kl(p._asdict(), TensorDict(q._asdict(), [3])), wanted)
    torch.testing.assert_close(normal.kl(tuple(p), q), wanted)
    with pytest.raises(TypeError, match="'sigma'"):
        normal.kl({"loc": LOC, "sigma": LOC}, q)
    with pytest.raises(TypeError, match=r"must be .*Params.*got Tensor"):
        normal.kl(LOC, q)


def test_bind() -> None:
    torque = bind(tanh_normal, low=-2.0, high=2.0)
    assert torque.Params._fields == ("loc", "scale")
    assert torch.equal(torque.sample(KEY, LOC, 1.0), tanh_normal.sample(KEY, LOC, 1.0, -2.0, 2.0))
    assert torch.equal(torque.log_prob(LOC, scale=1.0, value=LOC), tanh_normal.log_prob(LOC, 1.0, -2.0, 2.0, LOC))
    p, q = torque.Params(LOC, 1.0), torque.Params(LOC + 1, 1.0)
    assert torch.equal(torque.kl(p, q), torch.tensor(1.5))
    fixed_scale = bind(torque, scale=0.5)
    assert fixed_scale.Params._fields == ("loc",)
    assert torch.equal(fixed_scale.sample(KEY, LOC), tanh_normal.sample(KEY, LOC, 0.5, -2.0, 2.0))
    assert torch.equal(bind(tanh_normal, loc=0.0).median(LOC + 1, -1.0, 1.0), LOC)
    several = bind(normal, sample_shape=(5,))
    assert several.sample(KEY, LOC, 1.0).shape == (5, 3)
    assert repr(torque) == "bind(tanh_normal, low=-2.0, high=2.0)"
    with pytest.raises(TypeError, match="'mid'"):
        bind(tanh_normal, mid=0.0)
    with pytest.raises(TypeError, match=r"'scale'"):
        torque.sample(KEY, LOC)
    with pytest.raises(TypeError, match="takes 3 positional"):
        torque.sample(KEY, LOC, 1.0, -2.0)
    with pytest.raises(AttributeError, match="no sharpness"):
        _ = torque.sharpness


def test_independent_normal_sums_its_last_axis() -> None:
    value = torch.ones(2, 3)
    wanted = torch.distributions.Normal(torch.zeros(2, 3), 1.0).log_prob(value).sum(-1)
    torch.testing.assert_close(independent_normal.log_prob(torch.zeros(2, 3), 1.0, value), wanted)
    assert independent_normal.log_prob(torch.zeros(()), 1.0, 0.0).shape == ()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: normal.log_prob(LOC, 1.0), TypeError, r"normal.log_prob misses \['value'\]"),
        (lambda: normal.log_prob(LOC, 1.0, LOC, LOC), TypeError, "normal.log_prob takes 3 positional arguments"),
        (lambda: normal.sample(KEY, LOC, 1.0, (5,)), TypeError, r"got 4; options go by name: .*'sample_shape'"),
        (
            lambda: normal.sample(LOC, 1.0),
            TypeError,
            r"misses \['scale'\].*the first must be a key .*got Tensor\(shape=",
        ),
        (lambda: normal.sample(KEY, LOC, std=1.0), TypeError, r"misses \['scale'\].*none of the name 'std'"),
        (lambda: normal.sample(KEY, (LOC, 1.0)), TypeError, r"misses \['scale'\].*pass Params"),
        (lambda: normal.sample(KEY, {"loc": LOC, "scale": 1.0}), TypeError, r"misses \['scale'\].*Params\(\*\*dict\)"),
        (lambda: normal.sample(LOC, 1.0, KEY), TypeError, "scale must be a floating point tensor.*a key goes first"),
        (lambda: normal.sample(KEY, 0.0, 1.0), TypeError, "must be a tensor, got only numbers"),
        (
            lambda: normal.sample(KEY, LOC.long(), 1.0),
            TypeError,
            "loc must be a floating point tensor, got",
        ),
        (lambda: normal.sample(KEY, LOC, "wide"), TypeError, "scale must hold tensors or numbers, got str"),
        (lambda: normal.sample(KEY, LOC, torch.ones(4)), ValueError, r"do not broadcast: loc \(3,\), scale \(4,\)"),
        (
            lambda: normal.sample(KEY, {"a": LOC}, {"b": LOC}),
            ValueError,
            r"structure of scale, {'b': Tensor\(shape=\(3,\)",
        ),
        (lambda: normal.log_prob(LOC, 1.0, torch.zeros(4)), ValueError, r"value of shape \(4,\) does not fit"),
        (lambda: normal.log_prob(LOC, 1.0, LOC.unsqueeze(-1)), ValueError, r"call .squeeze\(-1\)"),
        (lambda: normal.log_prob(LOC, 1.0, LOC[:1]), ValueError, "expand it"),
        (lambda: normal.log_prob(LOC, 1.0, LOC, event_dims=-1), ValueError, "event_dims=-1"),
        (lambda: normal.check(torch.tensor([0.0, torch.inf]), 1.0), ValueError, r"loc must be finite.*\(1,\)"),
        (lambda: tanh_normal.check(LOC, 1.0, torch.tensor([0.0, 0.0, 5.0]), 1.0), ValueError, r"low .*\(2,\)"),
    ],
)
def test_messages_name_the_argument(call: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_import_is_quick_and_changes_no_global_state(tmp_path: Path) -> None:
    """Under 50 ms of processor time beyond `import torch, optree`, best of five, the first of which makes bytecode."""
    script = """
import time, torch, optree
state, dtype = torch.get_rng_state(), torch.get_default_dtype()
validate = torch.distributions.Distribution._validate_args
start = time.process_time()
import functional_dists
print(time.process_time() - start)
assert torch.equal(torch.get_rng_state(), state) and torch.get_default_dtype() == dtype
assert torch.distributions.Distribution._validate_args == validate
assert torch.initial_seed() == torch.random.default_generator.initial_seed()
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    runs = (subprocess.check_output([sys.executable, "-c", script], text=True, env=environment) for _ in range(5))
    assert any(float(seconds) < 0.05 for seconds in runs)
