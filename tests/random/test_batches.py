"""A batch of keys: every entry draws from its own key what it would draw alone."""

import math

import optree
import pytest
import torch

from functional_dists import (
    categorical,
    composite,
    delta,
    distributions,
    llm_masked_categorical,
    masked_categorical,
    masked_one_hot_categorical,
    normal,
    policy,
    random,
    tanh_normal,
)
from functional_dists.composite import Head, chain
from functional_dists.discrete import logits as logit_functions
from functional_dists.random import extension

from ..families import VERBS, keyed_call_of
from . import reference
from .test_transforms import assert_same

DRAWS = {
    "bits": random.bits,
    "bits8": lambda key, shape: random.bits(key, shape, dtype=torch.uint8),
    "bits64": lambda key, shape: random.bits(key, shape, dtype=torch.uint64),
    "uniform": random.uniform,
    "uniform64": lambda key, shape: random.uniform(key, shape, dtype=torch.float64),
    "uniform16": lambda key, shape: random.uniform(key, shape, dtype=torch.float16),
    "normal": random.normal,
    "normal64": lambda key, shape: random.normal(key, shape, dtype=torch.float64),
    "uniform_and_rest": lambda key, shape: torch.stack(random.uniform_and_rest(key, shape), -1),
    "uniform_and_rest64": lambda key, shape: torch.stack(random.uniform_and_rest(key, shape, dtype=torch.float64), -1),
    "exponential": random.exponential,
    "gumbel": random.gumbel,
    "gumbel64": lambda key, shape: random.gumbel(key, shape, dtype=torch.float64),
    "bernoulli": lambda key, shape: random.bernoulli(key, shape, 0.3),
    "randint": lambda key, shape: random.randint(key, shape, -3, 9),
    "permutation": random.permutation,
}
KEYS = reference.make_keys(reference.random_pairs(6, source=41))
every_draw = pytest.mark.parametrize("name", DRAWS)
with_and_without_kernels = pytest.mark.parametrize("wrap", [lambda f: f, extension.without_kernels], ids=["C", "no C"])


@every_draw
class TestDraws:
    @pytest.mark.parametrize("rest", [(5,), (2, 3), (0,), (1,)])
    @with_and_without_kernels
    def test_every_entry_is_the_draw_of_its_key(self, name, rest, wrap):
        draw = wrap(DRAWS[name])
        assert torch.equal(draw(KEYS, (6, *rest)), torch.stack([draw(key, rest) for key in KEYS]))

    def test_two_axes_of_keys(self, name):
        draw, keys = DRAWS[name], KEYS.reshape(2, 3, 2)
        expected = torch.stack([draw(key, (4,)) for key in KEYS]).unflatten(0, (2, 3))
        assert torch.equal(draw(keys, (2, 3, 4)), expected)
        assert torch.equal(torch.vmap(lambda key: draw(key, (3, 4)))(keys), expected)
        assert torch.equal(torch.vmap(lambda key: draw(key, (2, 4)), in_dims=1, out_dims=1)(keys), expected)

    def test_no_keys(self, name):
        assert DRAWS[name](KEYS[:0], (0, 3)).shape[:2] == (0, 3)

    def test_keys_that_are_not_contiguous(self, name):
        draw = DRAWS[name]
        assert torch.equal(draw(KEYS[::2], (3, 4)), draw(KEYS, (6, 4))[::2])
        assert torch.equal(draw(KEYS[0].expand(3, 2), (3, 4)), torch.stack([draw(KEYS[0], (4,))] * 3))

    @pytest.mark.parametrize("shape", [(5, 6), (3,), ()])
    def test_a_shape_that_does_not_begin_with_the_batch(self, name, shape):
        with pytest.raises(
            ValueError, match=r"must begin with \(6,\) as the keys have shape \(6, 2\), got .*shape=\(6,"
        ):
            DRAWS[name](KEYS, shape)

    def test_default_shape_is_the_batch(self, name):
        draw = DRAWS[name]
        if name == "permutation":
            with pytest.raises(ValueError, match="behind those of the batch of keys"):
                draw(KEYS, None)
        else:
            assert torch.equal(draw(KEYS, None), torch.stack([draw(key, ()) for key in KEYS]))

    def test_meta(self, name):
        assert DRAWS[name](KEYS.to("meta"), (6, 4)).shape[:2] == (6, 4)


def test_default_shape_needs_no_argument():
    for draw in (random.bits, random.uniform, random.normal, random.exponential, random.gumbel):
        assert draw(KEYS).shape == (6,)
        assert draw(KEYS[0]).shape == ()
        assert draw(torch.Generator()).shape == ()


def test_a_permutation_needs_an_axis_of_its_own():
    with pytest.raises(ValueError, match=r"at least one axis.* behind those of the batch of keys, got \(6,\)"):
        random.permutation(KEYS, 6)
    rows = random.permutation(KEYS, (6, 2, 9))
    assert torch.equal(rows.sort(-1).values, torch.arange(9).expand(6, 2, 9))


def test_probabilities_and_bounds_may_be_per_entry():
    p, low = torch.arange(6).div(5)[:, None], torch.arange(6)[:, None]
    coins = torch.stack([random.bernoulli(key, (4,), row) for key, row in zip(KEYS, p, strict=True)])
    assert torch.equal(random.bernoulli(KEYS, (6, 4), p), coins)
    numbers = torch.stack([random.randint(key, (4,), row, 9) for key, row in zip(KEYS, low, strict=True)])
    assert torch.equal(random.randint(KEYS, (6, 4), low, 9), numbers)


class TestKeys:
    def test_split(self):
        children = random.split(KEYS, 5)
        assert torch.equal(children, torch.stack([random.split(key, 5) for key in KEYS]))
        nested = random.split(KEYS.reshape(2, 3, 2), 5)
        assert torch.equal(nested, children.reshape(2, 3, 5, 2))
        assert random.split(KEYS, 0).shape == (6, 0, 2)

    @pytest.mark.parametrize("data", [0, 7, 2**64 - 1, -5, torch.tensor(2**40)])
    def test_fold_in_of_one_number_for_all(self, data):
        assert torch.equal(random.fold_in(KEYS, data), torch.stack([random.fold_in(key, data) for key in KEYS]))

    @pytest.mark.parametrize("rest", [(), (4,), (2, 2)])
    def test_fold_in_of_data_of_each_entry(self, rest):
        data = random.bits(random.key(1), (6, *rest), dtype=torch.int64)
        expected = torch.stack([random.fold_in(key, own) for key, own in zip(KEYS, data, strict=True)])
        assert torch.equal(random.fold_in(KEYS, data), expected)
        assert torch.equal(torch.vmap(random.fold_in)(KEYS, data), expected)

    def test_fold_in_of_data_that_do_not_fit(self):
        with pytest.raises(ValueError, match=r"data must begin with \(6,\).*got data of shape \(4,\).*expand\(6, 4\)"):
            random.fold_in(KEYS, torch.arange(4))

    def test_where(self):
        assert torch.equal(random.where(torch.arange(6) < 3, KEYS, KEYS.flip(0))[:3], KEYS[:3])


DRAWING = [(name, verb) for name, verb in VERBS if "sample" in verb]


def assert_same_draw(verb, got, expected):
    """Samples are the same bits; log-probs by a kernel may differ from those by operations by a few ulp."""
    if verb.endswith("log_prob"):
        torch.testing.assert_close(got[1], expected[1], rtol=1e-5, atol=1e-5)
        got, expected = got[0], expected[0]
    assert torch.equal(got, expected)


@pytest.mark.parametrize(("name", "verb"), DRAWING)
@pytest.mark.parametrize("sample_shape", [(), (3,), (2, 3)])
def test_verbs_of_families(name, verb, sample_shape):
    call = keyed_call_of(name, verb, torch.float32, (4, 5))
    keys = random.split(random.key(3), 4)

    def draw(*tensors):
        return call.function(*tensors, sample_shape=sample_shape)

    mapped = torch.vmap(draw, out_dims=len(sample_shape))
    expected = mapped(keys, *call.tensors[1:])
    assert_same_draw(verb, draw(keys, *call.tensors[1:]), expected)
    if not sample_shape:
        assert_same_draw(verb, extension.without_kernels(draw)(keys, *call.tensors[1:]), expected)
    if sample_shape == (3,):
        keys = random.split(keys, 5)  # one for each of both axes of the batch; then one axis by vmap
        both = torch.vmap(mapped, out_dims=1)(keys, *call.tensors[1:])
        assert_same_draw(verb, draw(keys, *call.tensors[1:]), both)
        assert_same_draw(verb, mapped(keys, *call.tensors[1:]), both)


@pytest.mark.parametrize("draw", [random.normal, random.uniform_and_rest])
@pytest.mark.parametrize("sample_shape", [(), (3,), (2, 3)])
def test_draws_of_entries_are_contiguous(draw, sample_shape):
    """As draws from one key are: kernels take nothing else."""
    drawn = random.draw_entries(draw, random.split(random.key(3), 4), sample_shape, (4, 5), (2,))
    for part in drawn if isinstance(drawn, tuple) else (drawn,):
        assert part.shape == (*sample_shape, 4, 5, 2)
        assert part.is_contiguous()


@pytest.mark.parametrize("name", ["normal", "tanh_normal", "truncated_normal"])
@with_and_without_kernels
def test_pairs_of_samples_are_those_of_each_key(name, wrap):
    call = keyed_call_of(name, "sample_and_log_prob", torch.float32, (4, 5))
    keys = random.split(random.key(3), 4)
    draw = wrap(lambda *tensors: call.function(*tensors, sample_shape=(3,)))
    pairs = draw(keys, *call.tensors[1:])
    alone = [draw(keys[i], *(tensor[i] for tensor in call.tensors[1:])) for i in range(4)]
    for whole, rows in zip(pairs, zip(*alone, strict=True), strict=True):
        assert whole.is_contiguous()
        assert torch.equal(whole, torch.stack(rows, 1))


@pytest.mark.parametrize("name", ["categorical", "masked_one_hot_categorical", "tanh_normal", "delta", "ordinal"])
def test_keys_that_do_not_fit_the_parameters(name):
    call = keyed_call_of(name, "sample", torch.float32, (4,))
    for keys in (random.split(random.key(0), 3), random.split(random.key(0), 20).reshape(4, 5, 2)):
        with pytest.raises(ValueError, match=r"batch of keys must fit .* the batch is \(4.*expand the parameters"):
            call.function(keys, *call.tensors[1:])


def test_keys_have_no_axis_of_outcomes():
    keys = random.split(random.key(0), 12).reshape(4, 3, 2)
    for draw in (
        lambda: categorical.sample(keys, torch.zeros(4, 3)),
        lambda: masked_one_hot_categorical.rsample(
            keys, torch.zeros(4, 3), torch.ones(4, 3, dtype=torch.bool), gradient="relaxed"
        ),
        lambda: logit_functions.sample_without_replacement(keys, torch.zeros(4, 3), 2),
    ):
        with pytest.raises(ValueError, match=r"the keys have shape \(4, 3, 2\), and the batch is \(4,\)"):
            draw()


def test_a_parameter_may_broadcast_to_the_batch():
    keys, mask = random.split(random.key(0), 4), torch.rand(4, 7) > 0.3
    drawn = masked_categorical.sample(keys, torch.arange(7.0), mask)
    assert torch.equal(drawn, masked_categorical.sample(keys, torch.arange(7.0).expand(4, 7), mask))
    assert tanh_normal.sample(keys, torch.zeros(3), torch.ones(4, 1), -1.0, 1.0).shape == (4, 3)


def test_relaxed_draws():
    keys, table, mask = random.split(random.key(0), 4), torch.randn(4, 7), torch.rand(4, 7) > 0.3

    def draw(keys, table, mask):
        return masked_one_hot_categorical.rsample(keys, table, mask, gradient="relaxed", sample_shape=(2,))

    assert torch.equal(draw(keys, table, mask), torch.vmap(draw, out_dims=1)(keys, table, mask))


def test_tokens_and_draws_without_replacement():
    keys, table = random.split(random.key(0), 4), torch.randn(4, 5, 50)
    for sample_shape in ((), (3,)):

        def tokens(keys, table, shape=sample_shape):
            return llm_masked_categorical.sample(
                keys, table, torch.ones(table.shape[:-1], dtype=torch.bool), sample_shape=shape
            )

        def several(keys, table, shape=sample_shape):
            return logit_functions.sample_without_replacement(keys, table, 3, sample_shape=shape)

        for draw in (tokens, several):
            assert torch.equal(draw(keys, table), torch.vmap(draw, out_dims=len(sample_shape))(keys, table))


def test_leaves_of_a_pytree_derive_their_keys():
    keys, params = random.split(random.key(0), 4), {"arm": torch.zeros(4, 2), "leg": torch.zeros(4)}
    drawn = normal.sample(keys, params, 1.0, sample_shape=(3,))
    for i in range(4):
        alone = normal.sample(keys[i], {name: loc[i] for name, loc in params.items()}, 1.0, sample_shape=(3,))
        assert all(torch.equal(drawn[name][:, i], alone[name]) for name in params)


WALK = chain(
    x=Head(normal),
    y=Head(normal, lambda params, earlier: (earlier["x"], 1.0)),
    z=Head(categorical, lambda params, earlier: (torch.stack([earlier["y"], -earlier["x"]], -1),)),
)


@pytest.mark.parametrize("sample_shape", [(), (3,), (2, 3), (0,)])
def test_composites_and_chains(sample_shape):
    heads = {"walk": WALK, "other": WALK, "n": categorical, "t": (tanh_normal, masked_categorical)}
    walk = {"x": (torch.randn(4), torch.ones(4))}
    params = {
        "walk": walk,
        "other": walk,
        "n": (torch.randn(4, 5),),
        "t": ((torch.randn(4, 2), 1.0, -1.0, 2.0), (torch.randn(4, 7, 3), torch.rand(4, 7, 3) > 0.2)),
    }
    dims = optree.tree_map(lambda leaf: 0 if isinstance(leaf, torch.Tensor) else None, params, namespace="torch")
    keys = random.split(random.key(0), 4)

    def draw(keys, params):
        return composite.sample(keys, heads, params, sample_shape=sample_shape)

    expected = torch.vmap(draw, in_dims=(0, dims), out_dims=len(sample_shape))(keys, params)
    same = optree.tree_map(torch.equal, draw(keys, params), expected, namespace="torch")
    assert all(optree.tree_leaves(same, namespace="torch"))


def test_distributions_take_batches_of_keys():
    keys, loc = random.split(random.key(0), 4), torch.randn(4, 2)
    dist = distributions.TanhNormal(loc, torch.ones(4, 2))
    expected = tanh_normal.sample(keys, loc, torch.ones(4, 2), -1.0, 1.0, sample_shape=(3,))
    assert torch.equal(dist.sample((3,), key=keys), expected)
    value, log_prob = dist.rsample_and_log_prob((3,), key=keys)
    assert torch.equal(value, expected)
    assert log_prob.shape == (3, 4)


def test_policies_take_batches_of_keys():
    act = policy.ProbabilisticModule(
        tanh_normal,
        ["loc", "scale", "low", "high"],
        ["action"],
        default_interaction_type="random",
        return_log_prob=True,
    )
    keys = random.split(random.key(0), 4)
    data = {"loc": torch.randn(4, 2), "scale": torch.ones(4, 2), "low": -torch.ones(4, 2), "high": torch.ones(4, 2)}
    after = act((), keys, data)
    assert after["sample_log_prob"].shape == (4,)
    for i in range(4):
        alone = act((), keys[i], {name: part[i] for name, part in data.items()})
        assert torch.equal(after["action"][i], alone["action"])


def test_a_point_asks_for_keys_that_fit():
    assert delta.sample(random.split(random.key(0), 4), torch.zeros(4, 2), sample_shape=(3,)).shape == (3, 4, 2)


def test_gradients_per_entry():
    keys, loc = random.split(random.key(0), 4), torch.randn(4, 2, dtype=torch.float64)

    def loss(keys, loc):
        value, log_prob = tanh_normal.rsample_and_log_prob(keys, loc, 0.5, -1.0, 1.0, sample_shape=(3,))
        return value.square().sum() + log_prob.sum()

    whole = torch.func.grad(loss, argnums=1)(keys, loc)
    torch.testing.assert_close(whole, torch.vmap(torch.func.grad(loss, argnums=1))(keys, loc))


def test_compiled():
    torch._dynamo.reset()

    def draws(keys, loc, table, mask):
        both = random.fold_in(keys, torch.arange(4)), random.split(keys, 3)
        numbers = random.normal(keys, (4, 5)), random.bits(keys, (4, 5)), random.gumbel(keys, (4, 3))
        tree = normal.sample(keys, {"a": loc}, 1.0, sample_shape=(2,))["a"]
        token = (
            masked_categorical.sample(keys, table, mask),
            masked_categorical.sample(keys, table, mask, sample_shape=(3,)),
        )
        return *both, *numbers, tree, *token

    arguments = torch.randn(4, 2), torch.randn(4, 40), torch.rand(4, 40) > 0.3
    compiled = torch.compile(draws, fullgraph=True)
    for keys in (random.split(random.key(0), 4), KEYS[:4]):
        names = ("fold_in", "split", "normal", "bits", "gumbel", "normal", "token", "token")
        got, expected = compiled(keys, *arguments), draws(keys, *arguments)
        for name, one, other in zip(names, got, expected, strict=True):
            if name in ("normal", "gumbel"):
                assert_same(name, one, other)
            else:
                assert torch.equal(one, other)


def test_compiled_chain():
    torch._dynamo.reset()

    def draw(keys, params):
        return composite.sample(keys, WALK, params, sample_shape=(3,))

    keys, params = random.split(random.key(0), 4), {"x": (torch.randn(4), torch.ones(4))}
    got, expected = torch.compile(draw, fullgraph=True, backend="aot_eager")(keys, params), draw(keys, params)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_many_positions_of_many_keys_have_the_right_frequencies():
    """What keys draw beside one another is as uniform as what one key draws."""
    drawn = categorical.sample(
        random.split(random.key(5), 20_000), torch.tensor([0.0, math.log(3.0)]).expand(20_000, 2)
    )
    assert drawn.double().mean().item() == pytest.approx(0.75, abs=0.02)
