"""What a step writes as the log-probability of a stored action is what is found for it with unchanged weights."""

import copy
import pickle

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from functional_dists import (
    bind,
    categorical,
    composite,
    independent_normal,
    masked_categorical,
    random,
    tanh_normal,
    truncated_normal,
)
from functional_dists import one_hot_categorical as one_hot
from functional_dists.composite import Head
from functional_dists.policy import ProbabilisticModule, Sequential, actor
from tests.families import BY_NAME, FAMILIES, Row

KEY = random.key(3)
LOCS = (0.0, 6.0, 8.0, 10.0)
SHAPES = ((1, 6), (256, 6))
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def example(row: Row, shape: tuple[int, int], loc: float, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return parameters of a family, with `loc` for the location, or for how far logits are apart."""
    found = {}
    for name, numbers in row.parameters.items():
        if name == "indices":
            found[name] = torch.tensor([4, 0, 2]).expand(shape[0], 3)
        elif name == "mask":
            found[name] = torch.tensor(2 * numbers).expand(shape)
        elif name in ("loc", "param"):
            found[name] = loc + random.normal(random.key(1), shape, dtype=dtype)
        elif name in ("logits", "scores"):
            found[name] = (1 + loc) * random.normal(random.key(1), shape, dtype=dtype)
        elif name == "scale":
            found[name] = 0.5 + random.uniform(random.key(2), shape, dtype=dtype)
        else:
            found[name] = torch.tensor(2 * numbers, dtype=dtype).expand(shape)
    return found


def played(step, data, **options):
    """Act as a rollout does, and score with gradients as a loss does."""
    with torch.no_grad():
        after = step((), KEY, data, **options)
    tracked = {
        name: value.detach().clone().requires_grad_() if name in step.in_keys and value.is_floating_point() else value
        for name, value in after.items()
    }
    return after, step.log_prob((), tracked)


@DTYPES
@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_the_ratio_is_one_for_every_family(row: Row, dtype: torch.dtype) -> None:
    options = {"default_interaction_type": "random", "return_log_prob": True}
    for num_samples in (None, 3):
        step = ProbabilisticModule(row.family, list(row.parameters), ["action"], num_samples=num_samples, **options)
        for shape in SHAPES:
            for loc in LOCS:
                data = example(row, shape, loc, dtype)
                after, score = played(step, data)
                assert score.isfinite().all()
                assert torch.equal(score, after["sample_log_prob"])
                contiguous = {name: value.contiguous() for name, value in data.items()}
                after, score = played(step, contiguous)
                assert torch.equal(score, after["sample_log_prob"])
                with_gradients = step((), KEY, contiguous)  # and the other way round
                assert torch.equal(with_gradients["sample_log_prob"], after["sample_log_prob"])


@pytest.mark.parametrize("name", ["tanh_normal", "normal", "truncated_normal", "one_hot_categorical"])
def test_the_ratio_is_one_where_the_rollout_has_gradients(name: str) -> None:
    row = BY_NAME[name]
    step = ProbabilisticModule(
        row.family, list(row.parameters), ["action"], default_interaction_type="random", return_log_prob=True
    )
    data = {key: value.contiguous() for key, value in example(row, (256, 6), 6.0, torch.float32).items()}
    tracked = {key: value.clone().requires_grad_() for key, value in data.items()}
    after = step((), KEY, tracked)
    assert after["action"].requires_grad
    with torch.no_grad():
        assert torch.equal(step.log_prob((), after), after["sample_log_prob"])


@DTYPES
@pytest.mark.parametrize("container", [dict, lambda data: TensorDict(data, [256])], ids=["dict", "TensorDict"])
@pytest.mark.parametrize("options", [{}, {"keep_pretanh": True}, {"num_samples": 3}], ids=str)
def test_the_ratio_of_an_actor_is_one(container, dtype: torch.dtype, options: dict) -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 12).to(dtype)
    observation = random.normal(random.key(1), (256, 3), dtype=dtype)
    for loc in LOCS:
        with torch.no_grad():
            network.bias[:6] = loc
        params, act = actor(network, tanh_normal, in_keys=["observation"], return_log_prob=True, **options)
        for interaction in ("random", "deterministic", "mode"):
            with torch.no_grad():
                after = act(params, KEY, container({"observation": observation}), interaction_type=interaction)
            score = act.log_prob(params, after)
            assert score.requires_grad
            assert torch.equal((score - after["sample_log_prob"]).exp(), torch.ones_like(score))


CHAIN = composite.chain(
    unit=Head(categorical),
    aim=Head(
        bind(tanh_normal, low=-2.0, high=3.0),
        lambda params, earlier: (params["aim"] + earlier["unit"][..., None], torch.ones_like(params["aim"])),
    ),
)
COMPOSITES = {
    "composite": (
        {
            "unit": masked_categorical,
            "arm": (bind(tanh_normal, low=-2.0, high=2.0), independent_normal),
            "one": one_hot,
        },
        lambda loc: {
            "unit": (loc[..., :4], torch.tensor([True, False, True, True])),
            "arm": ((loc, 0.5), (loc, 1.0)),
            "one": (loc,),
        },
    ),
    "chain": (CHAIN, lambda loc: {"unit": (loc[..., :4],), "aim": loc}),
}


@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.parametrize("options", [{}, {"keep_pretanh": True}, {"num_samples": 2}], ids=str)
def test_the_ratio_of_several_heads_is_one(name: str, options: dict) -> None:
    families, params_of = COMPOSITES[name]
    network = (torch.ones(()), lambda weight, loc: params_of(weight * loc))
    params, act = actor(network, families, in_keys=["loc"], return_log_prob=True, **options)
    weight = params[0].clone().requires_grad_()
    for loc in LOCS:
        data = {"loc": loc + random.normal(random.key(1), (256, 6))}
        for interaction in ("random", "deterministic"):
            with torch.no_grad():
                after = act(params, KEY, data, interaction_type=interaction)
            assert torch.equal(act.log_prob((weight, *params[1:]), after), after["sample_log_prob"])
    if "keep_pretanh" in options:
        head = ("arm", "0") if name == "composite" else ("aim",)
        assert ("pretanh", "action", *head) in act.out_keys
        assert [key for key in act.out_keys if key[0] == "pretanh"] == [("pretanh", "action", *head)]


def test_relaxed_draws_are_scored_as_such() -> None:
    relaxed = bind(one_hot, gradient="relaxed", temperature=0.7)
    data = {"logits": random.normal(KEY, (256, 6))}
    options = {"default_interaction_type": "random", "return_log_prob": True}
    single = ProbabilisticModule(relaxed, ["logits"], ["action"], **options)
    after, score = played(single, data)
    assert torch.equal(score, after["sample_log_prob"])
    torch.testing.assert_close(score, relaxed.log_prob_relaxed(data["logits"], after["action"]))
    pair = ProbabilisticModule({"a": relaxed, "b": categorical}, {"a": ["logits"], "b": ["logits"]}, **options)
    after, score = played(pair, data)
    assert score.isfinite().all()
    assert torch.equal(score, after["sample_log_prob"])


# ------------------------------------------------------------------------------------------- how the score is asked for
def saturated(**options):
    step = ProbabilisticModule(
        tanh_normal, ["loc", "scale"], ["action"], default_interaction_type="random", return_log_prob=True, **options
    )
    return step, {"loc": torch.full((256, 6), 10.0), "scale": torch.full((256, 6), 0.5)}


def test_the_noise_has_the_digits_that_a_stored_action_has_lost() -> None:
    by_noise, data = saturated(log_prob_of="noise")
    by_pretanh, _ = saturated(keep_pretanh=True)
    noise, pre = by_noise((), KEY, data), by_pretanh((), KEY, data)
    exact = tanh_normal.log_prob_pretanh(
        *(value.double() for value in data.values()), -1.0, 1.0, pre["pretanh"]["action"].double()
    )
    assert torch.equal(noise["action"], pre["action"])
    torch.testing.assert_close(noise["sample_log_prob"].double(), exact, rtol=1e-5, atol=0)
    torch.testing.assert_close(pre["sample_log_prob"].double(), exact, rtol=1e-6, atol=0)
    assert (by_noise.log_prob((), noise) - noise["sample_log_prob"]).abs().max() > 1


@pytest.mark.parametrize("options", [{"log_prob_of": "noise"}, {"keep_pretanh": True}], ids=str)
@pytest.mark.parametrize("container", ["single", "composite"])
def test_a_loss_may_differentiate_through_the_step(options: dict, container: str) -> None:
    family = tanh_normal if container == "single" else {"arm": tanh_normal}
    in_keys, out = (["loc", "scale"], ["action"]) if container == "single" else ({"arm": ["loc", "scale"]}, ["action"])
    step = ProbabilisticModule(family, in_keys, out, default_interaction_type="random", return_log_prob=True, **options)
    data = {
        "loc": torch.tensor([0.3, 9.0], dtype=torch.float64),
        "scale": torch.tensor([0.7, 2.0], dtype=torch.float64),
    }

    def loss(loc, scale):
        after = step((), KEY, {"loc": loc, "scale": scale})
        return after["action"].sum() + 0.1 * after["sample_log_prob"].sum()

    assert torch.autograd.gradcheck(loss, [value.requires_grad_() for value in data.values()])


def test_options_that_contradict() -> None:
    with pytest.raises(ValueError, match='log_prob_of must be "value" or "noise", got \'draw\''):
        saturated(log_prob_of="draw")
    with pytest.raises(ValueError, match="keep_pretanh=True scores the value that it stores"):
        saturated(log_prob_of="noise", keep_pretanh=True)
    for family in (categorical, {"a": categorical}):
        with pytest.raises(ValueError, match="keep_pretanh=True needs a family that squashes"):
            ProbabilisticModule(family, "params", ["action"], keep_pretanh=True)


# -------------------------------------------------------------------------------------------------- pre-tanh values
TORQUE = bind(tanh_normal, low=-2.0, high=3.0)


def test_the_stored_pretanh_value_is_that_of_the_action() -> None:
    network = nn.Linear(3, 12)
    with torch.no_grad():
        network.bias[:6] = 9.0
    params, act = actor(network, TORQUE, in_keys=["observation"], return_log_prob=True, keep_pretanh=True)
    plain_params, plain = actor(network, TORQUE, in_keys=["observation"])
    data = {"observation": random.normal(KEY, (8, 3))}
    after = act(params, KEY, data)
    assert act.out_keys == ("params", "action", ("pretanh", "action"), "sample_log_prob")
    assert torch.equal(after["action"], plain(plain_params, KEY, data)["action"])
    assert torch.equal(after["action"], TORQUE.squash(after["pretanh"]["action"]))
    assert torch.equal(
        after["sample_log_prob"], TORQUE.log_prob_pretanh(*act.dist_params(params, after), after["pretanh"]["action"])
    )
    greedy = act(params, None, data, interaction_type="deterministic")
    assert torch.equal(greedy["pretanh"]["action"], act.dist_params(params, greedy).loc)
    # Without what is stored the action is scored.
    stored = {name: value for name, value in after.items() if name not in ("pretanh", "sample_log_prob")}
    assert torch.equal(act.log_prob(params, stored), TORQUE.log_prob(*act.dist_params(params, after), after["action"]))
    kept = act(params, None, stored)
    assert torch.equal(kept["sample_log_prob"], act.log_prob(params, stored))


def test_pretanh_values_lie_beside_nested_actions() -> None:
    step = ProbabilisticModule(
        tanh_normal,
        ["loc", "scale"],
        [("agents", "action")],
        default_interaction_type="random",
        keep_pretanh=True,
        return_log_prob=True,
    )
    data = TensorDict({"loc": torch.zeros(4, 2), "scale": torch.ones(4, 2)}, [4])
    after = step((), KEY, data)
    assert after["pretanh", "agents", "action"].shape == (4, 2)
    assert torch.equal(step.log_prob((), after), after["sample_log_prob"])
    rows = after[1:3]  # as a minibatch
    torch.testing.assert_close(step.log_prob((), rows), after["sample_log_prob"][1:3])


def test_a_later_head_sees_the_squashed_action() -> None:
    seen = []
    chain = composite.chain(
        first=Head(tanh_normal),
        second=Head(
            independent_normal, lambda params, earlier: seen.append(earlier["first"]) or (earlier["first"], 1.0)
        ),
    )
    step = ProbabilisticModule(
        chain, "params", default_interaction_type="random", return_log_prob=True, keep_pretanh=True
    )
    after = step((), KEY, {"params": {"first": (torch.full((4, 2), 9.0), 1.0)}})
    score = step.log_prob((), after)
    assert len(seen) == 3  # of the draw, and of two scores
    assert all(torch.equal(value, after["first"]) for value in seen)
    assert torch.equal(score, after["sample_log_prob"])


def test_vmap_compile_and_pickle_keep_pretanh_values() -> None:
    step, _ = saturated(keep_pretanh=True)
    data = {"loc": torch.linspace(-9, 9, 24).view(4, 6), "scale": torch.full((4, 6), 0.5)}
    expected = step((), KEY, data)
    for again in (copy.deepcopy(step), pickle.loads(pickle.dumps(step))):
        found = again((), KEY, data)
        assert torch.equal(found["pretanh"]["action"], expected["pretanh"]["action"])
        assert torch.equal(found["sample_log_prob"], expected["sample_log_prob"])
    keys = random.split(KEY, 4)
    vmapped = torch.vmap(lambda key, data: step((), key, data))
    lanes = vmapped(keys, data)
    for lane in range(4):
        alone = step((), keys[lane], {name: value[lane] for name, value in data.items()})
        torch.testing.assert_close(lanes["pretanh"]["action"][lane], alone["pretanh"]["action"])
        torch.testing.assert_close(lanes["sample_log_prob"][lane], alone["sample_log_prob"])
    compiled = torch.compile(vmapped, fullgraph=True, backend="aot_eager")(keys, data)
    torch.testing.assert_close(compiled["sample_log_prob"], lanes["sample_log_prob"])


# ------------------------------------------------------------------------------------------------------- other modes
@pytest.mark.parametrize(
    "family", [tanh_normal, truncated_normal, categorical], ids=["tanh_normal", "truncated_normal", "categorical"]
)
def test_other_modes_score_a_stored_action_alike(family) -> None:
    """Within two units in the last place."""
    torch.manual_seed(0)
    params, act = actor(nn.Linear(3, 12), family, in_keys=["observation"], return_log_prob=True)
    with torch.no_grad():
        after = act(params, KEY, {"observation": random.normal(random.key(1), (64, 3))})
        compiled = torch.compile(act.steps[1].log_prob, fullgraph=True)((), after)
        vmapped = torch.vmap(lambda after: act.steps[1].log_prob((), after))(after)
    for found in (compiled, vmapped):
        torch.testing.assert_close(found, after["sample_log_prob"], rtol=2**-22, atol=0)


def test_the_first_ratios_of_several_steps() -> None:
    one = actor(nn.Linear(3, 4), tanh_normal, in_keys=["observation"], return_log_prob=True, out_keys=["a"])
    two = actor(nn.Linear(2, 4), TORQUE, in_keys=["a"], return_log_prob=True, out_keys=["b"], log_prob_key="b_log_prob")
    params, act = (one[0], two[0]), Sequential(one[1], two[1])
    with torch.no_grad():
        after = act(params, KEY, {"observation": random.normal(KEY, (64, 3))})
    # The second network writes its parameters in the place of the first one's, as each step reads its own.
    assert torch.equal(act.log_prob(params, after), after["sample_log_prob"] + after["b_log_prob"])
