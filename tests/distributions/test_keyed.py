"""`KeyedModule`: draws that are a function of the data, in modules, rollouts, collectors, `vmap` and compiled code."""

import itertools
import subprocess
import sys
import types
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from functional_dists import categorical, composite, distributions, masked_categorical, normal, random, tanh_normal
from functional_dists.distributions import CompositeDistribution, KeyedModule
from functional_dists.family.trees import fnv1a
from tests import torch_versions
from tests.distributions.test_in_modules import BATCH, CLASSES, MASK, SIZE, parameters

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensordict
    from tensordict import TensorDict
    from tensordict.nn import (
        InteractionType,
        ProbabilisticTensorDictModule,
        ProbabilisticTensorDictSequential,
        TensorDictModule,
        set_composite_lp_aggregate,
        set_interaction_type,
        set_skip_existing,
    )
    from torchrl.collectors import Collector
    from torchrl.data import LazyTensorStorage, ReplayBuffer, Unbounded
    from torchrl.envs import Compose, GymEnv, SerialEnv, StepCounter, TensorDictPrimer, TransformedEnv
    from torchrl.objectives import ClipPPOLoss

KEY = random.key(3)
KEYS = random.split(KEY, BATCH)
BOUNDS = {"low": -2.0, "high": 2.0}
COMPOSITE = {
    "distribution_map": {"steer": distributions.TanhNormal, ("deep", "gear"): distributions.MaskedCategorical},
    "extra_kwargs": {"steer": BOUNDS},
}


def keyed(name: str = "TanhNormal", **options: Any) -> KeyedModule:
    made, in_keys, its_options = CLASSES[name]
    return KeyedModule(
        in_keys={key: key for key in in_keys},
        out_keys=["action"],
        distribution_class=made,
        distribution_kwargs=its_options,
        **{"default_interaction_type": InteractionType.RANDOM, "return_log_prob": True, **options},
    )


def data_of(name: str = "TanhNormal", keys: Tensor = KEYS) -> TensorDict:
    return parameters(CLASSES[name][1]).set("rng", keys)


def composite_data() -> TensorDict:
    gear = {"logits": torch.linspace(-1, 1, BATCH * SIZE).reshape(BATCH, SIZE), "mask": MASK}
    params = {"steer": parameters(["loc", "scale"]).to_dict(), "deep": {"gear": gear}}
    return TensorDict({"params": params, "rng": KEYS}, [BATCH])


def keyed_composite(**options: Any) -> KeyedModule:
    return KeyedModule(
        ["params"],
        distribution_class=distributions.CompositeDistribution,
        distribution_kwargs=COMPOSITE,
        default_interaction_type=InteractionType.RANDOM,
        return_log_prob=True,
        **options,
    )


def same(found: TensorDict, expected: TensorDict, **tolerance: float) -> None:
    assert set(found.keys(True, True)) == set(expected.keys(True, True))
    for name in expected.keys(True, True):
        assert_close(found[name], expected[name], **tolerance)


# ---------------------------------------------------------------------------------------------------------- the draws
@pytest.mark.parametrize("name", list(CLASSES))
def test_every_entry_draws_from_its_own_key(name: str) -> None:
    made, in_keys, options = CLASSES[name]
    data = data_of(name)
    state = torch.get_rng_state()
    found = keyed(name)(data)
    assert torch.equal(torch.get_rng_state(), state)
    assert found["action_log_prob"].shape == (BATCH,)
    for entry in range(BATCH):
        next_key, draw_key = random.split(KEYS[entry])
        dist = made(**{key: data_of(name)[key][entry] for key in in_keys}, **options)
        assert_close(found["action"][entry], dist.sample(key=draw_key))
        assert torch.equal(found["rng"][entry], next_key)
    dist = made(**{key: data_of(name)[key] for key in in_keys}, **options)
    assert_close(found["action_log_prob"], dist.log_prob(found["action"]), rtol=1e-4, atol=1e-4)
    assert found["action"].dtype == dist.sample().dtype


@pytest.mark.parametrize("name", ["TanhNormal", "MaskedCategorical", "OneHotCategorical"])
def test_one_key_for_what_has_no_batch_dimensions(name: str) -> None:
    made, in_keys, options = CLASSES[name]
    found = keyed(name)(TensorDict({**parameters(in_keys).to_dict(), "rng": KEY}, []))
    dist = made(**parameters(in_keys).to_dict(), **options)
    next_key, draw_key = random.split(KEY)
    assert torch.equal(found["action"], dist.sample(key=draw_key))
    assert torch.equal(found["rng"], next_key)


def test_a_part_of_a_batch_draws_what_the_whole_does() -> None:
    whole = keyed()(data_of())
    same(keyed()(data_of()[1:3]), whole[1:3])
    assert whole["action"].unique().numel() == whole["action"].numel()


def test_the_next_call_draws_anew() -> None:
    act = keyed()
    first = act(data_of())
    second = act(first.clone())
    assert not torch.isclose(first["action"], second["action"]).any()


def far(loc: float = 12.0, dtype: torch.dtype = torch.float32) -> TensorDict:
    params = {"loc": torch.full((BATCH, SIZE), loc, dtype=dtype), "scale": torch.ones(BATCH, SIZE, dtype=dtype)}
    return TensorDict({**params, "rng": KEYS}, [BATCH])


@pytest.mark.parametrize("options", [{"log_prob_of": "noise"}, {"keep_pretanh": True}], ids=str)
def test_the_log_prob_has_the_digits_of_the_noise_where_it_is_asked_for(options: dict[str, Any]) -> None:
    found = keyed(**options)(far())
    for entry in range(BATCH):  # scored through the rounded action it would be wrong
        draw_key = random.split(KEYS[entry])[1]
        expected = tanh_normal.sample_and_log_prob(draw_key, far()["loc"][0], far()["scale"][0], -2.0, 2.0)[1]
        assert_close(found["action_log_prob"][entry], expected)
    joint = keyed_composite(**options)(
        composite_data().set(("params", "steer"), TensorDict(far().exclude("rng").to_dict(), [BATCH]))
    )
    for entry in range(BATCH):
        draw_key = random.fold_in(random.split(KEYS[entry])[1], fnv1a("steer"))
        expected = tanh_normal.sample_and_log_prob(draw_key, far()["loc"][0], far()["scale"][0], -2.0, 2.0)[1]
        assert_close(joint["steer_log_prob"][entry], expected)


@pytest.mark.parametrize("options", [{}, {"keep_pretanh": True}, {"num_samples": 3}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_log_prob_is_that_of_the_stored_action(dtype: torch.dtype, options: dict[str, Any]) -> None:
    for loc in (0.0, 6.0, 8.0, 10.0):
        for kind in (InteractionType.RANDOM, InteractionType.DETERMINISTIC, InteractionType.MODE):
            if "num_samples" in options and kind is not InteractionType.RANDOM:
                continue
            act = keyed(**options)
            with torch.no_grad(), set_interaction_type(kind):
                found = act(far(loc, dtype))
            assert ("pretanh" in found.keys()) == ("keep_pretanh" in options)  # noqa: SIM118
            later = found.clone()
            later["loc"] = later["loc"].contiguous().requires_grad_()
            score = act.get_dist(later).log_prob(later["action"])
            assert score.requires_grad
            assert torch.equal(score, found["action_log_prob"])


@pytest.mark.parametrize("name", list(CLASSES))
def test_the_log_prob_of_every_class_is_that_of_the_stored_action(name: str) -> None:
    act = keyed(name)
    with torch.no_grad():
        found = act(data_of(name))
    assert torch.equal(act.get_dist(found).log_prob(found["action"].clone()), found["action_log_prob"])


@pytest.mark.parametrize("options", [{}, {"keep_pretanh": True}], ids=str)
@pytest.mark.parametrize("aggregate", [True, False])
def test_the_log_probs_of_a_composite_are_those_of_the_stored_actions(aggregate: bool, options: dict[str, Any]) -> None:
    data = composite_data().set(("params", "steer"), TensorDict(far(8.0).exclude("rng").to_dict(), [BATCH]))
    with set_composite_lp_aggregate(aggregate):
        act = keyed_composite(**options)
        found = act(data)
        assert (("pretanh", "steer") in act.out_keys) == bool(options)
        scored = act.get_dist(found).log_prob_composite(found.select("steer", ("deep", "gear")))
        for name in ("steer_log_prob", ("deep", "gear_log_prob"), *["sample_log_prob"] * aggregate):
            assert torch.equal(scored[name], found[name])


def test_a_value_that_is_not_stored_is_scored_as_it_is() -> None:
    act = keyed(keep_pretanh=True)
    found = act(far())
    dist = act.get_dist(found)
    mixed = torch.cat([found["action"][:2], torch.full((BATCH - 2, SIZE), 0.5)])
    plain = tanh_normal.log_prob(found["loc"], found["scale"], -2.0, 2.0, mixed)
    assert torch.equal(dist.log_prob(mixed)[2:], plain[2:])
    assert torch.equal(dist.log_prob(mixed)[:2], found["action_log_prob"][:2])
    assert dist.log_prob(torch.zeros(3, BATCH, SIZE)).shape == (3, BATCH)


def test_keeping_what_there_is_not() -> None:
    with pytest.raises(ValueError, match="needs a distribution that squashes"):
        keyed("IndependentNormal", keep_pretanh=True)(data_of("IndependentNormal"))
    with pytest.raises(ValueError, match="keep_pretanh=True scores the value that it stores"):
        keyed(log_prob_of="noise", keep_pretanh=True)
    with pytest.raises(ValueError, match='must be "value" or "noise"'):
        keyed(log_prob_of="draw")


@pytest.mark.parametrize("dtype", [torch.uint64, torch.int64])
def test_the_next_key_has_the_dtype_of_the_key(dtype: torch.dtype) -> None:
    found = keyed()(data_of(keys=KEYS.view(dtype)))
    assert found["rng"].dtype == dtype
    assert torch.equal(found["rng"].view(torch.int64), keyed()(data_of())["rng"].view(torch.int64))
    assert torch.equal(found["action"], keyed()(data_of())["action"])


@pytest.mark.parametrize("name", ["TanhNormal", "MaskedCategorical"])
def test_num_samples(name: str) -> None:
    act = keyed(name, num_samples=4)
    found = act(data_of(name))
    assert found.batch_size == (4, BATCH)
    made, in_keys, options = CLASSES[name]
    dist = made(**{key: data_of(name)[key][2] for key in in_keys}, **options)
    assert_close(found["action"][:, 2], dist.sample((4,), key=random.split(KEYS[2])[1]))
    assert found["action_log_prob"].shape == (4, BATCH)
    assert found["rng"].reshape(-1, 2).view(torch.int64).unique(dim=0).shape == (4 * BATCH, 2)


def test_keys_with_more_axes_than_the_batch() -> None:
    """Of agents, each with a key of its own."""
    agents = TensorDict({"loc": torch.zeros(2, 3, 4), "scale": torch.ones(2, 3, 4)}, [2])
    agents["rng"] = random.split(KEY, 6).reshape(2, 3, 2)
    found = keyed()(agents.clone())
    assert found["action_log_prob"].shape == (2, 3)
    assert_close(found["action"][1, 2], keyed()(agents.auto_batch_size_(2)[1, 2])["action"])


def test_draws_have_the_pathwise_gradient() -> None:
    data = data_of()
    data["loc"] = data["loc"].clone().requires_grad_()
    keyed()(data)["action"].sum().backward()
    assert data["loc"].grad is not None
    assert data["loc"].grad.gt(0).all()


# ---------------------------------------------------------------------------------------------------- in compiled code
@pytest.mark.parametrize("name", ["TanhNormal", "MaskedCategorical", "OneHotCategorical"])
@pytest.mark.parametrize("dtype", [torch.uint64, torch.int64])
def test_compiled_draws_are_the_eager_ones(name: str, dtype: torch.dtype) -> None:
    act = keyed(name)
    torch._dynamo.reset()
    compiled = torch.compile(act, fullgraph=True, backend="aot_eager")
    data = data_of(name)
    state = torch.get_rng_state()
    for seed in range(3):
        data["rng"] = random.split(random.key(seed), BATCH).view(dtype)
        same(compiled(data.clone()), act(data.clone()))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_compiled_by_inductor() -> None:
    act = keyed("IndependentNormal")
    torch._dynamo.reset()
    compiled = torch.compile(act, fullgraph=True)
    for seed in range(3):
        data = data_of("IndependentNormal", random.split(random.key(2**62 + seed), BATCH))
        same(compiled(data.clone()), act(data.clone()))


@pytest.mark.parametrize("name", list(CLASSES))
def test_vmap_over_keys_is_the_loop(name: str) -> None:
    act = keyed(name)
    data = data_of(name).exclude("rng")
    keys = random.split(random.key(7), 4 * BATCH).reshape(4, BATCH, 2)

    def draw(keys: Tensor) -> TensorDict:
        return act(data.clone().set("rng", keys))

    same(torch.vmap(draw)(keys), torch.stack([draw(lane) for lane in keys]))
    same(torch.vmap(act)(data_of(name)), act(data_of(name)))


# ------------------------------------------------------------------------------------------------- composite and nested
def test_composite() -> None:
    families = {"steer": tanh_normal, "deep": {"gear": masked_categorical}}
    found = keyed_composite()(composite_data())
    for entry in range(BATCH):
        params = composite_data()["params"][entry].to_dict()
        params["steer"].update(low=torch.tensor(-2.0), high=torch.tensor(2.0))
        expected = composite.sample(random.split(KEYS[entry])[1], families, params)
        assert_close(found["steer"][entry], expected["steer"])
        assert torch.equal(found["deep", "gear"][entry], expected["deep"]["gear"])
    assert found["steer_log_prob"].shape == found["deep", "gear_log_prob"].shape == (BATCH,)
    renamed = keyed_composite(log_prob_keys=["a", ("b", "c")])(composite_data())
    assert torch.equal(renamed["a"], found["steer_log_prob"])
    assert torch.equal(renamed["b", "c"], found["deep", "gear_log_prob"])


def test_many_composite_draws() -> None:
    found = keyed_composite(num_samples=4)(composite_data())
    assert found.batch_size == (4, BATCH)
    assert found["steer"].shape == (4, BATCH, SIZE)
    assert found["deep", "gear_log_prob"].shape == (4, BATCH)
    assert found["steer"].unique().numel() == found["steer"].numel()


@pytest.mark.parametrize("log_prob_key", [None, ("policy", "lp")])
def test_composite_log_probs_as_one(log_prob_key: Any) -> None:
    found = keyed_composite()(composite_data())
    with set_composite_lp_aggregate(True):
        act = keyed_composite(log_prob_key=log_prob_key)
        summed = act(composite_data())
        assert_close(
            summed[log_prob_key or "sample_log_prob"], found["steer_log_prob"] + found["deep", "gear_log_prob"]
        )
        assert_close(summed["steer_log_prob"], found["steer_log_prob"])
        torch_versions.need("compile the summed log-prob of a composite")
        torch._dynamo.reset()
        same(torch.compile(act, fullgraph=True, backend="aot_eager")(composite_data()), summed)


def test_nested_keys() -> None:
    act = KeyedModule(
        [("agents", "loc"), ("agents", "scale")],
        [("agents", "action")],
        key=("agents", "rng"),
        distribution_class=distributions.TanhNormal,
        distribution_kwargs=BOUNDS,
        default_interaction_type=InteractionType.RANDOM,
        return_log_prob=True,
        log_prob_key="lp",
    )
    found = act(TensorDict({"agents": data_of().to_dict()}, [BATCH]))
    expected = keyed()(data_of())
    assert torch.equal(found["agents", "action"], expected["action"])
    assert torch.equal(found["agents", "rng"], expected["rng"])
    assert torch.equal(found["lp"], expected["action_log_prob"])
    assert act.in_keys == [("agents", "loc"), ("agents", "scale"), ("agents", "rng")]
    assert act.out_keys == [("agents", "action"), "lp", ("agents", "rng")]
    assert act.dist_params_keys == [("agents", "loc"), ("agents", "scale")]


def test_called_with_tensors() -> None:
    loc, scale = torch.zeros(3), torch.ones(3)
    action, log_prob, next_key = keyed(log_prob_of="noise")(loc=loc, scale=scale, rng=KEY)
    keys = random.split(KEY)
    assert_close((action, log_prob), tanh_normal.sample_and_log_prob(keys[1], loc, scale, -2.0, 2.0))
    assert torch.equal(next_key, keys[0])


# -------------------------------------------------------------------------------------------------- what is not a draw
@pytest.mark.parametrize("kind", [InteractionType.MODE, InteractionType.MEAN, InteractionType.DETERMINISTIC], ids=str)
def test_a_point_needs_no_key_and_leaves_it(kind: InteractionType) -> None:
    act, theirs = (
        keyed(default_interaction_type=kind),
        ProbabilisticTensorDictModule(
            ["loc", "scale"],
            ["action"],
            distribution_class=distributions.TanhNormal,
            distribution_kwargs=BOUNDS,
            default_interaction_type=kind,
            return_log_prob=True,
        ),
    )
    expected = theirs(data_of())
    same(act(data_of()), expected)
    same(act(data_of().exclude("rng")), expected.exclude("rng"))
    assert torch.equal(expected["rng"], KEYS)
    with set_interaction_type(InteractionType.RANDOM):
        same(act(data_of()), keyed()(data_of()))


def test_a_mean_that_there_is_not_is_drawn() -> None:
    without = types.SimpleNamespace(
        **{verb: getattr(normal, verb) for verb in ("Params", "sample", "rsample", "log_prob", "check")}
    )
    act = KeyedModule(
        ["loc", "scale"],
        ["action"],
        distribution_class=lambda loc, scale: distributions.wrap(without, loc, scale, event_dims=1),
        default_interaction_type=InteractionType.MEAN,
        n_empirical_estimate=50,
        return_log_prob=True,
    )
    data = data_of()
    state = torch.get_rng_state()
    found = act(data)
    assert torch.equal(torch.get_rng_state(), state)
    keys = random.split(KEYS[1])
    loc, scale = data_of()["loc"][1], data_of()["scale"][1]
    assert_close(found["action"][1], normal.sample(keys[1], loc, scale, sample_shape=(50,)).mean(0))
    assert_close(found["action_log_prob"][1], normal.log_prob(loc, scale, found["action"][1], event_dims=1))
    assert torch.equal(found["rng"][1], keys[0])
    with pytest.raises(NotImplementedError, match="has no mean"):
        keyed("MaskedCategorical", default_interaction_type=InteractionType.MEAN)(data_of("MaskedCategorical"))


def test_what_exists_is_skipped_or_scored() -> None:
    act, found = keyed(), keyed()(data_of())
    with set_skip_existing(True):
        same(act(found.clone()), found)
        assert "action" in act(data_of()).keys()  # noqa: SIM118
    no_log_prob = data_of().set("action", found["action"])
    scored = act(no_log_prob, _requires_sample=False)
    assert torch.equal(scored["action_log_prob"], found["action_log_prob"])
    assert torch.equal(scored["rng"], KEYS)
    joint = keyed_composite()(composite_data())
    values = composite_data().update(joint.select("steer", ("deep", "gear")))
    scored = keyed_composite()(values, _requires_sample=False)
    assert_close(scored["deep", "gear_log_prob"], joint["deep", "gear_log_prob"])


def test_it_writes_where_it_is_told() -> None:
    data, out = data_of(), TensorDict({}, [BATCH])
    assert keyed()(data, tensordict_out=out) is out
    assert set(out.keys()) == {"action", "action_log_prob", "rng"}
    assert torch.equal(data["rng"], KEYS)


def test_errors() -> None:
    act = keyed()
    with pytest.raises(KeyError, match="no key 'rng' among"):
        act(data_of().exclude("rng"))
    with pytest.raises(TypeError, match=r"'rng' must be a key, .* got torch.float32"):
        act(data_of().set("rng", torch.zeros(BATCH, 2)))
    with pytest.raises(ValueError, match=r"'rng' must have shape \(\*batch, 2\), got \(5, 3\)"):
        act(data_of().set("rng", torch.zeros(BATCH, 3, dtype=torch.int64)))
    with pytest.raises(TypeError, match="takes no generator"):
        keyed(generator=torch.Generator())
    theirs = KeyedModule(["loc", "scale"], ["a"], distribution_class=torch.distributions.Normal)
    with pytest.raises(TypeError, match="Normal takes no key"), set_interaction_type("random"):
        theirs(data_of())


def test_without_tensordict_the_error_says_so() -> None:
    code = (
        "import sys; sys.modules['tensordict'] = None\n"
        "from functional_dists import distributions\n"
        "try:\n    distributions.KeyedModule\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "KeyedModule needs tensordict" in done.stdout


# ---------------------------------------------------------------------------- beside the generator of tensordict 0.14.3
def theirs(generator: Any, made: Any = torch.distributions.Normal) -> ProbabilisticTensorDictModule:
    return ProbabilisticTensorDictModule(
        ["loc", "scale"],
        ["action"],
        distribution_class=made,
        default_interaction_type=InteractionType.RANDOM,
        generator=generator,
    )


class Spying(distributions.IndependentNormal):
    """Notes the state of the global generator whenever it draws."""

    seen: Tensor

    def rsample(self, *arguments: Any, **options: Any) -> Tensor:
        Spying.seen = torch.get_rng_state()
        return super().rsample(*arguments, **options)


of_this_version = pytest.mark.skipif(tensordict.__version__ != "0.14.3", reason="said of tensordict 0.14.3")


@of_this_version
def test_theirs_swaps_the_global_state_and_ours_does_not() -> None:
    act = KeyedModule(["loc", "scale"], ["action"], distribution_class=Spying, default_interaction_type="random")
    data = data_of()
    state = torch.get_rng_state()
    theirs(torch.Generator().manual_seed(0), Spying)(data.clone())
    assert not torch.equal(Spying.seen, state)
    act(data)
    assert torch.equal(Spying.seen, state)


@of_this_version
def test_theirs_is_ignored_by_compiled_code() -> None:
    draws = []
    for seed in (0, 1):
        torch._dynamo.reset()
        act = torch.compile(theirs(torch.Generator().manual_seed(5)), fullgraph=True, backend="aot_eager")
        data = data_of()
        torch.manual_seed(seed)
        draws.append(act(data)["action"])
    eager = theirs(torch.Generator().manual_seed(5))(data_of())["action"]
    assert not torch.isclose(draws[0], draws[1]).any()
    assert not torch.isclose(draws[0], eager).any()
    # Ours: test_compiled_draws_are_the_eager_ones.


@of_this_version
def test_theirs_refuses_vmap() -> None:
    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(theirs(torch.Generator()), randomness="different")(data_of())
    with pytest.raises(RuntimeError, match=r"\.item\(\)"):
        torch.vmap(theirs("seed"), randomness="different")(data_of().set("seed", torch.arange(BATCH)))
    # Ours: test_vmap_over_keys_is_the_loop.


# ------------------------------------------------------------------------------------------------ sequences and TorchRL
def policy(**options: Any) -> ProbabilisticTensorDictSequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), distributions.NormalParamExtractor())
    return ProbabilisticTensorDictSequential(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        keyed(**options),
    )


def pendulum(max_steps: int = 200) -> TransformedEnv:
    return TransformedEnv(GymEnv("Pendulum-v1"), StepCounter(max_steps=max_steps))


def rollout(act: Any, env: Any, keys: Tensor, steps: int = 12) -> TensorDict:
    env.set_seed(0)
    start = env.reset().set("rng", keys)
    with torch.no_grad():
        return env.rollout(steps, act, auto_reset=False, tensordict=start, break_when_any_done=False)


@pytest.mark.parametrize("dtype", [torch.uint64, torch.int64])
def test_a_rollout_is_a_function_of_the_key(dtype: torch.dtype) -> None:
    env, act = pendulum(), policy()
    first, again = (rollout(act, env, KEY.view(dtype)) for _ in range(2))
    same(first, again)
    assert first["rng"].dtype == dtype
    assert first["rng"].view(torch.int64).unique(dim=0).shape == (12, 2)
    other = rollout(act, env, random.key(4).view(dtype))
    assert not torch.isclose(first["action"], other["action"]).any()
    # The key of a step is that after its draw, with which the policy draws the next one.
    following = act(
        first[4].select("observation").set("observation", first[5]["observation"]).set("rng", first[4]["rng"])
    )
    assert_close(following["action"], first[5]["action"])


def test_a_compiled_policy_makes_the_same_rollout() -> None:
    act = policy()
    torch._dynamo.reset()
    compiled = torch.compile(act, fullgraph=True, backend="aot_eager")
    eager, found = (rollout(which, pendulum(), KEY.view(torch.int64), 6) for which in (act, compiled))
    same(found, eager, rtol=1e-4, atol=1e-4)


def test_a_rollout_of_several_environments_that_restart() -> None:
    keys = random.split(KEY, 2).view(torch.int64)
    env = SerialEnv(2, lambda: pendulum(5))
    both = rollout(policy(), env, keys)
    same(rollout(policy(), env, keys), both)
    assert both["next", "done"].sum() == 4
    assert both["rng"].reshape(-1, 2).unique(dim=0).shape == (24, 2)
    expected = keys
    for step in range(12):
        expected = torch.stack([random.split(key.view(torch.uint64))[0] for key in expected]).view(torch.int64)
        assert torch.equal(both["rng"][:, step], expected)


def test_collected_and_replayed() -> None:
    def collected(seed: int) -> TensorDict:
        keys = (random.fold_in(random.key(seed), episode).view(torch.int64) for episode in itertools.count())
        primer = TensorDictPrimer({"rng": Unbounded((2,), dtype=torch.int64)}, default_value=lambda: next(keys))
        env = TransformedEnv(GymEnv("Pendulum-v1"), Compose(StepCounter(max_steps=5), primer))
        env.set_seed(0)
        collector = Collector(
            env, policy(), frames_per_batch=12, total_frames=24, auto_register_policy_transforms=False
        )
        batches = torch.cat(list(collector))
        collector.shutdown()
        return batches

    first = collected(0)
    same(collected(0), first)
    assert not torch.isclose(collected(1)["action"], first["action"]).any()
    assert first["rng"].unique(dim=0).shape == (24, 2)
    buffer = ReplayBuffer(storage=LazyTensorStorage(24), batch_size=24)
    buffer.extend(first)
    assert buffer.sample()["rng"].unique(dim=0).shape[0] > 1


@pytest.mark.parametrize("loc", [0.0, 8.0, 12.0])
@pytest.mark.parametrize("options", [{}, {"keep_pretanh": True}], ids=str)
def test_in_the_ppo_loss_of_torchrl(options: dict[str, Any], loc: float) -> None:
    act = policy(**options)
    with torch.no_grad():
        act.module[0].module[0].bias[0] = loc
    data = TensorDict({"observation": torch.linspace(-1, 1, 3 * BATCH).reshape(BATCH, 3), "rng": KEYS}, [BATCH])
    with torch.no_grad():
        data = act(data)
    data["advantage"], data["value_target"] = torch.linspace(-1, 1, BATCH)[:, None], torch.ones(BATCH, 1)
    critic = TensorDictModule(nn.Linear(3, 1), in_keys=["observation"], out_keys=["state_value"])
    loss = ClipPPOLoss(act, critic)
    found = loss(data)
    assert_close(found["loss_objective"], -data["advantage"].mean(), atol=1e-7, rtol=0)
    assert found["kl_approx"] == 0  # as it is where every ratio is 1
    (found["loss_objective"] + found["loss_critic"] + found["loss_entropy"]).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in act.parameters())


def test_several_in_one_sequence() -> None:
    first, second = keyed(), keyed("IndependentNormal")
    chain = ProbabilisticTensorDictSequential(
        first,
        TensorDictModule(torch.square, in_keys=["action"], out_keys=["loc"]),
        KeyedModule(["loc", "scale"], ["goal"], distribution_class=distributions.IndependentNormal),
        return_composite=False,
    )
    with set_interaction_type(InteractionType.RANDOM):
        found = chain(data_of())
        step = first(data_of())
        step = second(step.set("loc", step["action"].square()))
        assert_close(found["goal"], step["action"])
        assert torch.equal(found["rng"], step["rng"])
        assert chain.get_dist(data_of()).batch_shape == (BATCH,)
        joint = ProbabilisticTensorDictSequential(*chain.module)
        with pytest.raises(RuntimeError, match="return_composite=False"):
            joint.get_dist(data_of())
    with set_interaction_type(InteractionType.MODE):
        assert set(joint.get_dist(data_of())) == {"action", "goal"}


def test_nested_names_are_written_where_a_composite_writes_them() -> None:
    act = KeyedModule(
        ["params"],
        distribution_class=CompositeDistribution,
        distribution_kwargs={
            "distribution_map": {(("nested",), "disc"): categorical, "cont": normal},
            "name_map": {(("nested",), "disc"): (("action",), "disc")},
        },
        default_interaction_type="random",
    )
    params = TensorDict(
        {"nested": {"disc": {"logits": torch.zeros(3)}}, "cont": {"loc": torch.zeros(()), "scale": torch.ones(())}}
    )
    data = act(TensorDict({"params": params, "rng": random.key(1)}))
    assert ("action", "disc") in act.out_keys
    assert data["action", "disc"].shape == data["cont"].shape == ()
