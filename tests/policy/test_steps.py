"""Deterministic steps, networks as steps, and sequences of steps."""

import copy

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from functional_dists import categorical, independent_normal, random
from functional_dists.policy import FunctionModule, ProbabilisticModule, Sequential, from_module

KEY = random.key(3)
CONTAINERS = pytest.mark.parametrize(
    "container", [dict, lambda data: TensorDict(data, [4])], ids=["dict", "TensorDict"]
)


def draw(out_key, *in_keys, family=independent_normal, **options):
    return ProbabilisticModule(family, list(in_keys), [out_key], default_interaction_type="random", **options)


@CONTAINERS
def test_a_function_of_entries(container):
    step = FunctionModule(lambda weight, x, y: (weight * x, x + y), ["x", ("in", "y")], ["z", ("in", "sum")])
    data = container({"x": torch.ones(4), "in": {"y": torch.ones(4)}})
    after = step(2.0, None, data)
    assert type(after) is type(data)
    assert torch.equal(after["z"], torch.full((4,), 2.0))
    assert torch.equal(after["in"]["sum"], torch.full((4,), 2.0))
    assert list(data["in"].keys()) == ["y"]
    assert list(data.keys()) == ["x", "in"]


def test_a_function_that_returns_too_much_or_too_little():
    step = FunctionModule(lambda params, x: x, ["x"], ["a", "b"])
    with pytest.raises(ValueError, match=r"out_keys \('a', 'b'\) returned Tensor"):
        step((), None, {"x": torch.ones(4)})
    step = FunctionModule(lambda params, x: (x, x, x), ["x"], ["a", "b"])
    with pytest.raises(ValueError, match="returned 3 values"):
        step((), None, {"x": torch.ones(4)})


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 3)
        self.tied = nn.Linear(3, 3)
        self.tied.weight = self.body.weight
        self.register_buffer("shift", torch.ones(3))

    def forward(self, x):
        return self.body(x) + self.shift, self.tied(x).exp()


def test_a_module_becomes_a_step():
    net = Net()
    params, step = from_module(net, ["x"], ["loc", "scale"])
    data = {"x": random.normal(KEY, (4, 3))}
    loc, scale = net(data["x"])
    after = step(params, None, data)
    assert torch.equal(after["loc"], loc)
    assert torch.equal(after["scale"], scale)
    assert params["body.weight"] is net.body.weight
    assert set(params) == {"body.weight", "body.bias", "tied.bias", "shift"}
    assert {step: 1}[step] == 1
    (after["loc"].sum() + after["scale"].sum()).backward()
    assert net.body.weight.grad is not None
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.step()
    assert not torch.equal(step(params, None, data)["loc"], loc)


def test_the_step_of_a_module_holds_no_tensors():
    params, step = from_module(Net(), ["x"], ["loc", "scale"])
    assert all(tensor.is_meta for tensor in (*step.fn.module.parameters(), *step.fn.module.buffers()))
    assert torch.equal(
        copy.deepcopy(step)(params, None, {"x": torch.ones(3)})["loc"], Net.forward(_net(params), torch.ones(3))[0]
    )


def _net(params):
    net = Net()
    net.load_state_dict({**params, "tied.weight": params["body.weight"]})
    return net


def test_keys_of_a_sequence():
    policy = Sequential(
        FunctionModule(lambda params, x: (x, x), ["x"], [("net", "loc"), ("net", "scale")]),
        FunctionModule(lambda params, net, mask: net["loc"] * mask, ["net", "mask"], ["masked"]),
    )
    assert policy.in_keys == ("x", "mask")
    assert policy.out_keys == (("net", "loc"), ("net", "scale"), "masked")


def test_a_sequence_wants_parameters_for_each_step():
    policy = Sequential(FunctionModule(lambda params, x: x, ["x"], ["y"]))
    for params, got in (((), "0"), (((), ()), "2"), ({}, "a dict")):
        with pytest.raises(ValueError, match=f"each of the 1 steps, got {got}"):
            policy(params, None, {"x": torch.ones(1)})
    with pytest.raises(TypeError, match="none of the steps holds a distribution"):
        policy.log_prob(((),), {"x": torch.ones(1)})


def test_steps_may_not_draw_the_same():
    with pytest.raises(ValueError, match=r"two of the steps that draw write \['action'\]"):
        Sequential(draw("action", "loc", "scale"), draw("action", "loc", "scale"))
    with pytest.raises(ValueError, match=r"\['sample_log_prob'\]"):
        Sequential(*(draw(name, "loc", "scale", return_log_prob=True) for name in ("a", "b")))


def two_stage():
    """Choose a unit, then aim near what it points at."""
    return Sequential(
        FunctionModule(lambda params, x: params * x, ["x"], ["logits"]),
        draw("unit", "logits", family=categorical, return_log_prob=True, log_prob_key="unit_log_prob"),
        FunctionModule(
            lambda params, unit, x: (unit[..., None] * params + x, torch.ones_like(x)), ["unit", "x"], ["loc", "scale"]
        ),
        draw("aim", "loc", "scale", return_log_prob=True, log_prob_key="aim_log_prob"),
    )


@CONTAINERS
def test_several_draws_and_their_joint_score(container):
    policy, params = two_stage(), (torch.tensor(2.0), (), torch.tensor(3.0), ())
    data = container({"x": random.normal(random.key(1), (4, 3))})
    after = policy(params, KEY, data)
    torch.testing.assert_close(policy.log_prob(params, after), after["unit_log_prob"] + after["aim_log_prob"])
    entropy = categorical.entropy(after["logits"]) + independent_normal.entropy(after["loc"], after["scale"])
    assert torch.equal(policy.entropy(params, after), entropy)
    logits, (loc, _) = policy.dist_params(params, after)
    assert torch.equal(logits[0], after["logits"])
    assert torch.equal(loc, after["loc"])
    assert [dist.batch_shape for dist in policy.dist(params, after)] == [(4,), (4,)]


def test_scores_follow_new_parameters_and_old_actions():
    policy, params = two_stage(), (torch.tensor(2.0), (), torch.tensor(3.0), ())
    x = random.normal(random.key(1), (4, 3))
    after = policy(params, KEY, {"x": x})
    new = (torch.tensor(1.0), (), torch.tensor(5.0), ())
    loc = after["unit"][:, None] * 5.0 + x
    expected = categorical.log_prob(x, after["unit"]) + independent_normal.log_prob(loc, 1.0, after["aim"])
    torch.testing.assert_close(policy.log_prob(new, after), expected)

    def score(weight):
        return policy.log_prob((weight, (), torch.tensor(3.0, dtype=weight.dtype), ()), wide).sum()

    wide = {"x": x.double(), "unit": after["unit"], "aim": after["aim"].double()}
    assert torch.autograd.gradcheck(score, torch.tensor(2.0, dtype=torch.float64, requires_grad=True))


def test_further_steps_change_no_draw_nor_does_nesting():
    policy, params = two_stage(), (torch.tensor(2.0), (), torch.tensor(3.0), ())
    data = {"x": random.normal(random.key(1), (4, 3))}
    expected = policy(params, KEY, data)
    scale = FunctionModule(lambda params, x: 10 * x, ["x"], [("shown", "logits")])
    longer = Sequential(scale, draw("other", ("shown", "logits"), family=categorical), *policy.steps)
    after = longer(((), (), *params), KEY, data)
    assert torch.equal(after["aim"], expected["aim"])
    nested = Sequential(Sequential(*policy.steps[:2]), Sequential(*policy.steps[2:]))
    pairs = (params[:2], params[2:])
    assert torch.equal(nested(pairs, KEY, data)["aim"], expected["aim"])
    assert torch.equal(nested.log_prob(pairs, expected), policy.log_prob(params, expected))
    assert nested.in_keys == ("x",)


def test_scores_of_different_shapes_are_not_added_up():
    policy = Sequential(draw("a", "loc", "scale"), draw("b", "logits", family=categorical))
    data = {"loc": torch.zeros(4, 3), "scale": torch.ones(4, 3), "logits": torch.zeros(4, 2, 5)}
    after = policy(((), ()), KEY, data)
    with pytest.raises(ValueError, match=r"shapes \[\(4,\), \(4, 2\)\]"):
        policy.log_prob(((), ()), after)


def test_all_steps_hear_what_to_play():
    policy, params = two_stage(), (torch.tensor(2.0), (), torch.tensor(3.0), ())
    data = {"x": random.normal(random.key(1), (4, 3))}
    after = policy(params, None, data, interaction_type="mode")
    assert torch.equal(after["unit"], data["x"].argmax(-1))
    assert torch.equal(after["aim"], after["loc"])
