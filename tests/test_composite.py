"""Joint distributions over pytrees: independent heads, chains of dependent ones, and both under the transformations."""

import inspect
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torch.func import grad, jacrev, jvp, vmap
from torch.testing import assert_close

from functional_dists import (
    bind,
    categorical,
    composite,
    divergence,
    masked_categorical,
    normal,
    one_hot_categorical,
    ordinal,
    random,
    tanh_normal,
)
from functional_dists.composite import Head, chain, pick
from functional_dists.family import fnv1a

KEY = random.key(7)
TORQUE = bind(tanh_normal, low=-2.0, high=3.0)
X = torch.tensor([[0.3, -1.1, 0.8], [0.1, 0.0, -0.4]])
SCALE = torch.tensor([[0.5, 1.4, 0.8], [1.0, 0.3, 0.2]])
REACH = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])


class Pair(NamedTuple):
    left: Any
    right: Any


class Laplace:
    """A user's family, an object with no more verbs than are asked for."""

    class Params(NamedTuple):
        loc: Tensor

    def sample(self, key: Any, loc: Tensor, *, sample_shape: tuple[int, ...] = ()) -> Tensor:
        u = random.uniform(key, (*sample_shape, *loc.shape), dtype=loc.dtype) - 0.5
        return (loc - u.sign() * torch.log1p(-2 * u.abs())).detach()

    def log_prob(self, loc: Tensor, value: Tensor) -> Tensor:
        return -(value - loc).abs() - torch.tensor(2.0).log()


class LaplaceWithKl(Laplace):
    def kl(self, p: Any, q: Any) -> Tensor:
        gap = (p.loc - q.loc).abs()
        return gap + torch.exp(-gap) - 1


FAMILIES = {"arm": TORQUE, "mode": categorical, "rest": (normal, {"grip": one_hot_categorical})}


def params_of(x: Tensor) -> dict[str, Any]:
    return {
        "arm": (x, x.exp()),
        "mode": {"logits": x},
        "rest": (normal.Params(x[..., 0], 0.5), {"grip": (x.square(),)}),
    }


# unit -> target (masked by the unit) -> where it is put, around a mean that the target moves
ORDERS = chain(
    unit=Head(categorical),
    target=Head(masked_categorical, lambda params, earlier: (params["x"], pick(REACH, earlier["unit"]))),
    place=Head(
        {"at": TORQUE},
        lambda params, earlier: {"at": (params["x"] + 0.3 * earlier["target"][..., None], params["scale"])},
    ),
)


def params_of_orders(x: Tensor) -> dict[str, Any]:
    return {"unit": (2 * x,), "x": x, "scale": x.exp()}


WALK = chain(
    x=Head(normal),
    y=Head(normal, lambda params, earlier: (params["slope"] * earlier["x"], 0.5)),
)
MIXED = {"orders": ORDERS, "free": normal}

JOINTS: list[tuple[Any, Callable[[Tensor], Any]]] = [
    (TORQUE, lambda x: (x, x.exp())),
    (FAMILIES, params_of),
    (ORDERS, params_of_orders),
    (MIXED, lambda x: {"orders": params_of_orders(x), "free": (x, 1.0)}),
]
JOINT_NAMES = ["single", "pytree", "chain", "mixed"]


def leaves(pytree: Any) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(pytree)


# ------------------------------------------------------------------------------------------------- independent heads
@pytest.mark.parametrize("draw", ["sample", "rsample", "sample_and_log_prob", "rsample_and_log_prob"])
@pytest.mark.parametrize("sample_shape", [(), (4,)])
def test_a_single_family_is_the_trivial_pytree(draw: str, sample_shape: tuple[int, ...]) -> None:
    found = getattr(composite, draw)(KEY, TORQUE, (X, SCALE), sample_shape=sample_shape)
    assert_close(found, getattr(TORQUE, draw)(KEY, X, SCALE, sample_shape=sample_shape), rtol=0, atol=0)


def test_the_verbs_without_a_draw_of_a_single_family() -> None:
    params, value = tanh_normal.Params(X, SCALE), 0.3 * X
    other = tanh_normal.Params(X + 1, SCALE)
    assert torch.equal(composite.log_prob(tanh_normal, params, value), tanh_normal.log_prob(*params, value))
    for name in ("entropy", "mode", "mean", "median", "deterministic"):
        assert torch.equal(getattr(composite, name)(tanh_normal, params), getattr(tanh_normal, name)(*params))
    assert torch.equal(composite.cdf(tanh_normal, params, value), tanh_normal.cdf(*params, value))
    assert torch.equal(composite.icdf(tanh_normal, params, X.sigmoid()), tanh_normal.icdf(*params, X.sigmoid()))
    assert_close(composite.kl(tanh_normal, params, other), tanh_normal.kl(params, other))


def test_every_head_is_its_family_with_the_key_of_its_path() -> None:
    params = params_of(X)
    value, log_prob = composite.sample_and_log_prob(KEY, FAMILIES, params, aggregate=False)
    for path, family, own, at in [
        ("arm", TORQUE, params["arm"], lambda t: t["arm"]),
        ("mode", categorical, (X,), lambda t: t["mode"]),
        ("rest/0", normal, params["rest"][0], lambda t: t["rest"][0]),
        ("rest/1/grip", one_hot_categorical, params["rest"][1]["grip"], lambda t: t["rest"][1]["grip"]),
    ]:
        expected = family.sample_and_log_prob(random.fold_in(KEY, fnv1a(path)), *own)
        assert_close((at(value), at(log_prob)), expected, rtol=0, atol=0)
        assert_close(at(composite.log_prob(FAMILIES, params, value, aggregate=False)), family.log_prob(*own, at(value)))
    total = composite.log_prob(FAMILIES, params, value)
    assert_close(total, sum(leaves(log_prob)))
    assert_close(composite.sample_and_log_prob(KEY, FAMILIES, params)[1], total)


def test_a_draw_does_not_change_with_the_other_heads() -> None:
    params = params_of(X)
    every = composite.sample(KEY, FAMILIES, params)
    alone = composite.sample(KEY, {"mode": categorical}, {"mode": params["mode"]})
    assert torch.equal(alone["mode"], every["mode"])
    pair = composite.sample(KEY, {"a": normal, "b": normal}, {"a": (X, 1.0), "b": (X, 1.0)})
    assert not torch.equal(pair["a"], pair["b"])


@pytest.mark.parametrize(
    "container",
    [
        lambda a, b: {"left": a, "right": b},
        lambda a, b: (a, b),
        lambda a, b: [a, b],
        Pair,
        lambda a, b: {"deep": [a, ({"b": b},)]},
    ],
    ids=["dict", "tuple", "list", "named_tuple", "nested"],
)
def test_values_come_in_the_containers_of_the_families(container: Any) -> None:
    families, params = container(normal, categorical), container((X, 1.0), (X,))
    value, scores = composite.sample_and_log_prob(KEY, families, params, aggregate=False)
    structure = torch.utils._pytree.tree_structure(container(0, 0))
    assert torch.utils._pytree.tree_structure(value) == structure == torch.utils._pytree.tree_structure(scores)
    assert type(value) is type(families)
    assert composite.log_prob(families, params, value).shape == (2,)


def test_tensordicts_stand_for_dicts_of_params_and_values() -> None:
    families = {"arm": TORQUE, "deep": {"mode": categorical}}
    params = {"arm": {"loc": X, "scale": SCALE}, "deep": {"mode": {"logits": X}}}
    value = composite.sample(KEY, families, params)
    as_td = TensorDict(params, [2])
    assert_close(composite.sample(KEY, families, as_td), value)
    expected = composite.log_prob(families, params, value)
    assert_close(composite.log_prob(families, as_td, TensorDict(value, [2])), expected)
    named = composite.log_prob(Pair(normal, normal), TensorDict(left=params["arm"], right=params["arm"]), Pair(X, X))
    assert_close(named, 2 * normal.log_prob(X, SCALE, X))


def test_a_generator_is_advanced_head_by_head() -> None:
    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    value = composite.sample(generator(), {"a": normal, "b": normal}, {"a": (X, 1.0), "b": (X, 1.0)})
    source = generator()
    assert torch.equal(value["a"], normal.sample(source, X, 1.0))
    assert torch.equal(value["b"], normal.sample(source, X, 1.0))


def test_a_generator_draws_the_samples_of_a_chain() -> None:
    source = torch.Generator().manual_seed(3)
    value = composite.sample(source, ORDERS, params_of_orders(X), sample_shape=(200,))
    assert value["unit"].shape == (200, 2)
    assert REACH[value["unit"], value["target"]].all()
    assert len(value["place"]["at"][:, 0, 0].unique()) == 200


def test_parameters_of_a_head_may_be_pytrees() -> None:
    params = {"body": ({"arm": X, "leg": (X, X)}, 1.0)}
    value, log_prob = composite.sample_and_log_prob(KEY, {"body": TORQUE}, params)
    assert value["body"]["leg"][1].shape == X.shape
    assert_close(log_prob, composite.log_prob({"body": TORQUE}, params, value), rtol=1e-4, atol=1e-4)


def test_containers_without_heads_stay() -> None:
    families, params = {"arm": normal, "rest": ()}, {"arm": (X, SCALE), "rest": ()}
    value = composite.sample(KEY, families, params)
    assert value["rest"] == ()
    assert torch.equal(composite.log_prob(families, params, value), normal.log_prob(X, SCALE, value["arm"]))


VERBS = [name for name in composite.__all__ if "families" in inspect.signature(getattr(composite, name)).parameters]


@pytest.mark.parametrize("name", [name for name in VERBS if name != "has"])
def test_docstrings_describe_every_argument(name: str) -> None:
    function = getattr(composite, name)
    arguments, returns = inspect.cleandoc(function.__doc__).split("Args:\n")[1].split("\n\nReturns:\n    ")
    described = [line.partition(": ")[0].strip() for line in arguments.splitlines()]
    assert described == list(inspect.signature(function).parameters)
    assert "\n\nRaises:\n    " in returns
    assert returns[0].isupper()
    assert f">>> {name}(" in returns or f"{name}(" in returns.partition(">>>")[2]


# -------------------------------------------------------------------------------------------------------- aggregation
def test_extra_axes_of_a_head_are_summed() -> None:
    agents = torch.linspace(-1, 1, 24).reshape(2, 4, 3)  # four agents in two environments
    families = {"speech": categorical, "moves": TORQUE}
    params = {"speech": (X,), "moves": (agents, 1.0)}
    for sample_shape in ((), (5,), (5, 4)):
        value, log_prob = composite.sample_and_log_prob(KEY, families, params, sample_shape=sample_shape)
        parts = composite.log_prob(families, params, value, aggregate=False)
        assert parts["moves"].shape == (*sample_shape, 2, 4)
        assert_close(log_prob, parts["speech"] + parts["moves"].sum(-1), rtol=1e-4, atol=1e-4)
    assert_close(composite.entropy(families, params), categorical.entropy(X) + TORQUE.entropy(agents, 1.0).sum(-1))
    q = {"speech": (2 * X,), "moves": (agents + 1, 2.0)}
    assert_close(
        composite.kl(families, params, q),
        categorical.kl((X,), (2 * X,)) + TORQUE.kl((agents, 1.0), (agents + 1, 2.0)).sum(-1),
    )


def test_groups_of_agents_of_different_sizes() -> None:
    three, four = torch.zeros(2, 3), torch.zeros(2, 4)
    found = composite.log_prob((normal, normal), ((three, 1.0), (four, 1.0)), (three, four))
    assert_close(found, 7 * normal.log_prob(torch.zeros(2), 1.0, 0.0))


# ------------------------------------------------------------------------------------------------- what is not there
def test_pathwise_where_a_head_has_it_and_detached_where_not() -> None:
    x = X.clone().requires_grad_()
    families = {"arm": TORQUE, "mode": categorical, "user": Laplace()}
    params = {"arm": (x, 1.0), "mode": (x,), "user": (x,)}
    for value in (
        composite.rsample(KEY, families, params),
        composite.rsample_and_log_prob(KEY, families, params)[0],
    ):
        assert {name: part.requires_grad for name, part in value.items()} == {"arm": True, "mode": False, "user": False}
    value, log_prob = composite.sample_and_log_prob(KEY, families, params)
    assert log_prob.requires_grad
    assert not any(part.requires_grad for part in leaves(value))
    assert torch.equal(value["user"], composite.sample(KEY, families, params)["user"])


def test_a_family_of_no_more_verbs_than_are_asked_for() -> None:
    family = Laplace()
    value, log_prob = composite.sample_and_log_prob(KEY, {"u": family}, {"u": (X,)}, aggregate=False)
    assert torch.equal(log_prob["u"], family.log_prob(X, value["u"]))
    assert_close(composite.kl(LaplaceWithKl(), (X,), (X + 1,)), torch.full_like(X, 1 / torch.e))
    with pytest.raises(NotImplementedError, match=r"at 'u', .*Laplace.* has no entropy"):
        composite.entropy({"u": family}, {"u": (X,)})


def test_a_missing_verb_is_named_with_its_head() -> None:
    with pytest.raises(NotImplementedError, match=r"at 'mode', categorical, has no mean"):
        composite.mean(FAMILIES, params_of(X))
    with pytest.raises(NotImplementedError, match=r"at 'rest/1/grip', one_hot.categorical., has no cdf"):
        composite.cdf(
            {"rest": [normal, {"grip": one_hot_categorical}]},
            {"rest": [(X, 1.0), {"grip": (X,)}]},
            {"rest": [X, {"grip": X}]},
        )
    assert composite.has(FAMILIES, "mode")
    assert not composite.has(FAMILIES, "mean")
    assert composite.has(ORDERS, "mode")
    assert not composite.has(MIXED, "entropy")


@pytest.mark.parametrize(
    ("families", "params", "message"),
    [
        (FAMILIES, {"arm": (X, 1.0)}, r"params must hold \['arm', 'mode', 'rest'\], got \['arm'\]"),
        ({"a": {"b": normal}}, {"a": {"c": (X, 1.0)}}, r"params at 'a' must hold \['b'\], got \['c'\]"),
        ({"a": (normal, normal)}, {"a": ((X, 1.0),)}, r"params at 'a' must hold \[0, 1\], got \[0\]"),
        ({"a": {"b": normal}}, {"a": X}, r"params at 'a' must hold \['b'\], got Tensor"),
        ((normal, normal), torch.zeros(2, 3), r"params must hold \[0, 1\], got Tensor"),
        ({"a": normal}, {"a": {"loc": X, "sd": X}}, "params at 'a': .*'sd'"),
        ({"a": normal}, {"a": {"loc": X}}, "params at 'a': .*'scale'"),
        ({"a": normal}, {"a": X}, "params at 'a': parameters must be"),
        ({"a": ["normal"]}, {"a": [(X,)]}, "families at 'a/0' must hold families, got str"),
        (ORDERS, {"x": X}, "params must have an entry 'unit'"),
        ({"c": ORDERS}, {"c": X}, "params at 'c' must have an entry 'unit'"),
    ],
)
def test_params_that_do_not_fit(families: Any, params: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        composite.sample(KEY, families, params)


def test_values_that_do_not_fit() -> None:
    with pytest.raises(TypeError, match=r"value must hold \['arm', 'mode', 'rest'\], got \['arm'\]"):
        composite.log_prob(FAMILIES, params_of(X), {"arm": X})
    with pytest.raises(TypeError, match=r"value at 'orders' must hold \['unit', 'target', 'place'\], got Tensor"):
        composite.log_prob(MIXED, {"orders": params_of_orders(X), "free": (X, 1.0)}, {"orders": X, "free": X})
    with pytest.raises(TypeError, match="key must be"):
        composite.sample(None, FAMILIES, params_of(X))
    with pytest.raises(TypeError, match="no family"):
        composite.log_prob({}, {}, {})


# ------------------------------------------------------------------------------------------------------------- chains
def test_the_log_prob_of_a_chain_is_the_sum_by_hand() -> None:
    params = params_of_orders(X)
    for sample_shape in ((), (5,), (3, 2), (0,)):
        value, log_prob = composite.sample_and_log_prob(KEY, ORDERS, params, sample_shape=sample_shape)
        unit, target, place = value["unit"], value["target"], value["place"]["at"]
        assert unit.shape == (*sample_shape, 2)
        assert place.shape == (*sample_shape, 2, 3)
        expected = (
            categorical.log_prob(2 * X, unit)
            + masked_categorical.log_prob(X, REACH[unit], target)
            + tanh_normal.log_prob(X + 0.3 * target[..., None], X.exp(), -2.0, 3.0, place)
        )
        assert_close(composite.log_prob(ORDERS, params, value), expected)
        assert_close(log_prob, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(
            value["place"]["at"], composite.sample(KEY, ORDERS, params, sample_shape=sample_shape)["place"]["at"]
        )


def test_a_mask_that_an_earlier_head_chose_is_kept() -> None:
    value = composite.sample(KEY, ORDERS, params_of_orders(X), sample_shape=(300,))
    assert REACH[value["unit"], value["target"]].all()
    assert len(value["unit"].unique()) == len(value["target"].unique()) == 3
    wrong = {**value, "unit": torch.ones_like(value["unit"]), "target": torch.zeros_like(value["target"])}
    assert (composite.log_prob(ORDERS, params_of_orders(X), wrong) == -torch.inf).all()


def test_a_chain_of_independent_heads_is_the_pytree_of_them() -> None:
    heads = chain(**{name: Head(family) for name, family in FAMILIES.items()})
    params = params_of(X)
    assert_close(
        composite.sample_and_log_prob(KEY, heads, params), composite.sample_and_log_prob(KEY, FAMILIES, params)
    )
    nested = composite.sample(KEY, {"deep": heads}, {"deep": params})
    assert_close(nested["deep"], composite.sample(KEY, {"deep": FAMILIES}, {"deep": params})["deep"])
    assert_close(composite.mode(heads, params), composite.mode(FAMILIES, params))


def test_probabilities_of_a_chain_add_up_to_one() -> None:
    pair = chain(unit=ORDERS.heads[0][1], target=ORDERS.heads[1][1])
    units, targets = torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")
    value = {name: grid.reshape(9, 1).expand(9, 2) for name, grid in (("unit", units), ("target", targets))}
    total = composite.log_prob(pair, params_of_orders(X), value).exp().sum(0)
    assert_close(total, torch.ones(2))


def test_greedy_points_of_a_chain_follow_its_order() -> None:
    params = params_of_orders(X)
    for point in (composite.mode, composite.deterministic):
        best = point(ORDERS, params)
        unit = X.argmax(-1)
        target = torch.where(REACH[unit], X, -torch.inf).argmax(-1)
        assert torch.equal(best["unit"], unit)
        assert torch.equal(best["target"], target)
        verb = getattr(tanh_normal, point.__name__)
        assert_close(best["place"]["at"], verb(X + 0.3 * target[:, None], X.exp(), -2.0, 3.0))


def test_cdf_and_icdf_of_a_chain_are_inverse() -> None:
    params = {"x": (X, SCALE), "slope": 0.7}
    value = composite.sample(KEY, WALK, params)
    uniform = composite.cdf(WALK, params, value)
    assert_close(uniform["y"], normal.cdf(0.7 * value["x"], 0.5, value["y"]))
    assert_close(composite.icdf(WALK, params, uniform), value, rtol=1e-4, atol=1e-4)


def test_the_conditional_entropy_estimates_that_of_the_joint() -> None:
    pair = chain(unit=ORDERS.heads[0][1], target=ORDERS.heads[1][1])
    params = params_of_orders(X)
    by_unit = torch.stack([masked_categorical.entropy(X, REACH[u].expand(2, 3)) for u in range(3)], -1)
    exact = categorical.entropy(2 * X) + (categorical.probs(2 * X) * by_unit).sum(-1)
    value = composite.sample(KEY, pair, params, sample_shape=(20_000,))
    found = composite.conditional_entropy(pair, params, value)
    assert found.shape == (20_000, 2)
    assert_close(found.mean(0), exact, rtol=0.02, atol=0.0)
    assert_close(-composite.log_prob(pair, params, value).mean(0), exact, rtol=0.02, atol=0.0)


def test_the_conditional_kl_estimates_that_of_the_joint() -> None:
    p, q = ({"x": (X, SCALE), "slope": slope} for slope in (0.7, 0.2))
    value = composite.sample(KEY, WALK, p, sample_shape=(20_000,))
    found = composite.conditional_kl(WALK, p, q, value)
    assert found.shape == (20_000, 2, 3)
    exact = 0.5 * (0.5 / 0.5) ** 2 * (X.square() + SCALE.square())
    assert_close(found.mean(0), exact, rtol=0.05, atol=0.0)


def test_without_a_chain_the_conditional_scores_are_the_others() -> None:
    params, q = params_of(X), params_of(X + 1)
    value = composite.sample(KEY, FAMILIES, params)
    assert torch.equal(composite.conditional_entropy(FAMILIES, params, value), composite.entropy(FAMILIES, params))
    for aggregate in (True, False):
        assert_close(
            composite.conditional_kl(FAMILIES, params, q, value, aggregate=aggregate),
            composite.kl(FAMILIES, params, q, aggregate=aggregate),
        )


def test_what_a_chain_has_no_formula_for() -> None:
    params = {"orders": params_of_orders(X), "free": (X, 1.0)}
    with pytest.raises(NotImplementedError, match=r"entropy of the chain at 'orders' .*conditional_entropy"):
        composite.entropy(MIXED, params)
    with pytest.raises(NotImplementedError, match="conditional_kl"):
        composite.kl(ORDERS, params_of_orders(X), params_of_orders(X))
    with pytest.raises(NotImplementedError, match="mean of the chain has no closed form"):
        composite.mean(WALK, {"x": (X, SCALE), "slope": 0.7})
    with pytest.raises(TypeError, match="unit must be a Head, got module"):
        chain(unit=categorical)


def test_pathwise_gradients_pass_through_the_earlier_values() -> None:
    def end(slope: Tensor) -> Tensor:
        return composite.rsample(KEY, WALK, {"x": (X, SCALE), "slope": slope})["y"].sum()

    start = composite.rsample(KEY, WALK, {"x": (X, SCALE), "slope": torch.tensor(0.7)})["x"]
    assert_close(grad(end)(torch.tensor(0.7)), start.sum())

    def end_by_loc(loc: Tensor) -> Tensor:
        return composite.rsample(KEY, WALK, {"x": (loc, SCALE), "slope": 0.7})["y"].sum()

    assert_close(grad(end_by_loc)(X), torch.full_like(X, 0.7))


def test_a_chain_is_a_constant() -> None:
    assert {ORDERS: 1}[ORDERS] == 1
    with pytest.raises(AttributeError):
        ORDERS.heads = ()
    assert repr(ORDERS).startswith("composite.chain(unit=Head(family=categorical), target=Head(")
    again = pickle.loads(pickle.dumps(chain(a=Head({"b": normal, "c": TORQUE}))))
    assert_close(
        composite.sample(KEY, again, {"a": {"b": (X, 1.0), "c": (X, 1.0)}}),
        {"a": composite.sample(KEY, {"a": {"b": normal, "c": TORQUE}}, {"a": {"b": (X, 1.0), "c": (X, 1.0)}})["a"]},
    )


@pytest.mark.parametrize("sample", [(), (4,)])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("shared", [True, False])
def test_pick(sample: tuple[int, ...], batch: tuple[int, ...], shared: bool) -> None:
    table = random.normal(KEY, (5, 6) if shared else (*batch, 5, 6))
    index = random.randint(KEY, (*sample, *batch), 0, 5)
    found = pick(table, index)
    full = table.expand(*sample, *batch, 5, 6).reshape(-1, 5, 6)
    expected = full[torch.arange(len(full)), index.reshape(-1)].reshape(*sample, *batch, 6)
    assert torch.equal(found, expected)
    if sample:
        assert torch.equal(vmap(pick, in_dims=(None, 0))(table, index), expected)


# ---------------------------------------------------------------------------------------------------- transformations
@pytest.mark.parametrize(("families", "params"), JOINTS, ids=JOINT_NAMES)
def test_the_gradient_of_sample_and_log_prob_is_that_of_the_score(families: Any, params: Any) -> None:
    x = X.double()
    value = composite.sample(KEY, families, params(x))

    def drawn(x: Tensor) -> Tensor:
        return composite.sample_and_log_prob(KEY, families, params(x))[1].sum()

    def scored(x: Tensor) -> Tensor:
        return composite.log_prob(families, params(x), value).sum()

    assert_close(drawn(x), scored(x))
    assert_close(grad(drawn)(x), grad(scored)(x))


def _everything(families: Any, params: Any) -> Callable[[Tensor, Tensor], Any]:
    """All that a step and a loss ask for, of one row of parameters and a key."""

    def run(x: Tensor, key: Tensor) -> Any:
        value, log_prob = composite.rsample_and_log_prob(key, families, params(x))
        five, five_log_probs = composite.sample_and_log_prob(
            key, families, params(x), sample_shape=(5,), aggregate=False
        )
        scores = (
            log_prob,
            composite.log_prob(families, params(x), value),
            composite.log_prob(families, params(x), five).sum(),
            composite.conditional_entropy(families, params(x), value),
            composite.conditional_kl(families, params(x), params(x + 1), value),
        )
        return sum(scores), (value, five, five_log_probs, scores, composite.deterministic(families, params(x)))

    return run


@pytest.mark.parametrize(("families", "params"), JOINTS, ids=JOINT_NAMES)
def test_vmap_is_the_loop(families: Any, params: Any) -> None:
    run, keys = _everything(families, params), random.split(KEY, 2)
    loop = [grad(run, has_aux=True)(x, key) for x, key in zip(X, keys, strict=True)]
    stacked = torch.utils._pytree.tree_map(lambda *parts: torch.stack(parts), *loop)
    assert_close(vmap(grad(run, has_aux=True))(X, keys), stacked)
    assert_close(vmap(run, in_dims=(0, None))(X, keys[0])[1][2], vmap(lambda x: run(x, keys[0]))(X)[1][2])


@pytest.mark.parametrize(("families", "params"), JOINTS, ids=JOINT_NAMES)
def test_jacobians(families: Any, params: Any) -> None:
    def score(x: Tensor) -> Tensor:
        return composite.rsample_and_log_prob(KEY, families, params(x))[1].sum()

    x, tangent = X.double(), torch.ones_like(X, dtype=torch.float64)
    _, forward = jvp(score, (x,), (tangent,))
    assert_close(forward, jacrev(score)(x).sum())


def test_compiled() -> None:
    families, params = JOINTS[2]
    run = _everything(families, params)
    torch._dynamo.reset()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert_close(compiled(X[0], KEY), run(X[0], KEY))


@pytest.mark.slow  # `test_compiled_by_inductor` has draws and scores of the mixed one
@pytest.mark.parametrize("joint", [pytest.param(1, id="pytree"), pytest.param(3, id="mixed")])
def test_vmap_of_grad_compiled(joint: int) -> None:
    families, params = JOINTS[joint]
    function = vmap(grad(_everything(families, params), has_aux=True))
    keys = random.split(KEY, 2)
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert_close(compiled(X, keys), function(X, keys))


@pytest.mark.slow
def test_compiled_by_inductor() -> None:
    families, params = JOINTS[3]

    def loss(x: Tensor, key: Tensor) -> Any:
        value, log_prob = composite.rsample_and_log_prob(key, families, params(x))
        return log_prob + composite.log_prob(families, params(2 * x), value), value

    function = vmap(grad(loss, has_aux=True))
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True)
    for seed in (0, 1):
        keys = random.split(random.key(seed), 2)
        assert_close(compiled(X, keys), function(X, keys), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_gradient_of_several_draws_by_inductor() -> None:
    families, params = JOINTS[2]

    def loss(x: Tensor, key: Tensor) -> Any:
        value = composite.sample(key, families, params(x), sample_shape=(5,))
        # The draws are not returned: what becomes of them is left to the compiler.
        log_prob = composite.log_prob(families, params(x), value).sum()
        return log_prob, log_prob

    function = vmap(grad(loss, has_aux=True))
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True)
    for seed in (0, 1, 2):
        keys = random.split(random.key(seed), 2)
        assert_close(compiled(X, keys), function(X, keys), rtol=1e-4, atol=1e-4)


def test_tensordicts_compile() -> None:
    families = {"arm": TORQUE, "mode": categorical}
    params = TensorDict({"arm": {"loc": X, "scale": SCALE}, "mode": {"logits": X}}, [2])

    def step(params: TensorDict, key: Tensor) -> Any:
        return composite.sample_and_log_prob(key, families, params)

    torch._dynamo.reset()
    assert_close(torch.compile(step, fullgraph=True, backend="aot_eager")(params, KEY), step(params, KEY))


def test_heads_of_a_registered_divergence() -> None:
    narrow, wide = tanh_normal.Params(X, 1.0), tanh_normal.Params(X, 1.0, -2.0, 2.0)
    assert_close(
        composite.kl([tanh_normal], [narrow], [wide]), divergence.kl((tanh_normal, narrow), (tanh_normal, wide))
    )
    with pytest.raises(NotImplementedError, match="at 'o': no KL"):
        composite.kl({"o": Laplace()}, {"o": (X,)}, {"o": (X,)})


def test_an_ordinal_head_has_the_mean_that_a_nominal_one_lacks() -> None:
    assert_close(composite.mean({"o": ordinal}, {"o": (X,)})["o"], ordinal.mean(X))
