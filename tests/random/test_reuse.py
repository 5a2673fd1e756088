"""Inside of `forbid_reuse` a key that is consumed twice is an error, which names both places."""

import contextvars
import re
import sys
import threading
import timeit

import pytest
import torch

from functional_dists import (
    categorical,
    composite,
    delta,
    distributions,
    masked_categorical,
    normal,
    one_hot_categorical,
    policy,
    random,
    tanh_normal,
    truncated_normal,
)
from functional_dists.composite import Head, chain
from functional_dists.random import KeyReuseError

from ..families import VERBS, keyed_call_of

KEY = random.key(42)
USES = {
    "normal": lambda key: random.normal(key, 3),
    "uniform": lambda key: random.uniform(key, 3),
    "uniform16": lambda key: random.uniform(key, 3, dtype=torch.float16),
    "bits": lambda key: random.bits(key, 3),
    "bits64": lambda key: random.bits(key, 3, dtype=torch.int64),
    "uniform_and_rest": lambda key: random.uniform_and_rest(key, 3),
    "exponential": lambda key: random.exponential(key, 3),
    "gumbel": lambda key: random.gumbel(key, 3),
    "bernoulli": lambda key: random.bernoulli(key, 3, 0.5),
    "randint": lambda key: random.randint(key, 3, 0, 5),
    "permutation": lambda key: random.permutation(key, 3),
    "split": random.split,
    "fold_in": lambda key: random.fold_in(key, 1),
    "bits_at": lambda key: random.bits_at(key, torch.arange(3)),
    "normal.sample": lambda key: normal.sample(key, torch.zeros(3), 1.0),
    "a pytree": lambda key: normal.sample(key, {"a": torch.zeros(3), "b": torch.zeros(2)}, 1.0),
    "another pytree": lambda key: normal.sample(key, {"c": torch.zeros(3)}, 1.0),
    "delta": lambda key: delta.sample(key, torch.zeros(3)),
    "a composite": lambda key: composite.sample(
        key, {"n": categorical, "x": normal}, {"n": (torch.zeros(3),), "x": (torch.zeros(2), 1.0)}
    ),
    "a distribution": lambda key: distributions.TanhNormal(torch.zeros(3), torch.ones(3)).rsample((2,), key=key),
}


class TestTwoUses:
    @pytest.mark.parametrize("first", USES)
    @pytest.mark.parametrize("second", USES)
    def test_are_an_error(self, first, second):
        with random.forbid_reuse():
            USES[first](KEY)
            with pytest.raises(KeyReuseError, match=r"the key \(42, 0\) is consumed twice: first by "):
                USES[second](KEY.clone())

    @pytest.mark.parametrize("name", USES)
    def test_are_none_of_another_key_or_outside(self, name):
        with random.forbid_reuse():
            USES[name](KEY)
            USES[name](random.key(43))
        USES[name](KEY)
        with random.forbid_reuse():
            USES[name](KEY)

    def test_both_places_are_named(self):
        with random.forbid_reuse():
            line = sys._getframe().f_lineno
            normal.sample(KEY, torch.zeros(2), 1.0)
            with pytest.raises(KeyReuseError) as error:
                random.split(KEY, 3)
        found = re.findall(re.escape(__file__) + r":(\d+)", str(error.value))
        assert found == [str(line + 1), str(line + 3)]
        assert "first by normal.sample at" in str(error.value)
        assert "then by random.split at" in str(error.value)
        assert "normal.sample(KEY, torch.zeros(2), 1.0)" in str(error.value)

    def test_in_a_loop(self):
        def draw_twice():
            for _ in range(2):
                tanh_normal.sample(KEY, torch.zeros(2), 1.0, -1.0, 1.0)

        with random.forbid_reuse(), pytest.raises(KeyReuseError):
            draw_twice()

    def test_is_a_runtime_error(self):
        assert issubclass(KeyReuseError, RuntimeError)

    def test_split_and_the_fold_that_gives_the_same_key(self):
        with random.forbid_reuse():
            left, _ = random.split(KEY)
            random.normal(left, 2)
        with random.forbid_reuse():
            random.normal(random.fold_in(KEY, 0), 2)
            with pytest.raises(KeyReuseError):
                random.normal(left, 2)


class TestFolds:
    def test_of_different_data_are_different_uses(self):
        with random.forbid_reuse():
            for step in range(4):
                random.normal(random.fold_in(KEY, step), 2)
            random.fold_in(KEY, torch.arange(4, 8))
            with pytest.raises(KeyReuseError):
                random.fold_in(KEY, torch.arange(7, 9))

    def test_of_the_same_data_in_one_tensor(self):
        with random.forbid_reuse(), pytest.raises(KeyReuseError, match="twice in one call"):
            random.fold_in(KEY, torch.tensor([1, 1]))

    @pytest.mark.parametrize("data", [2**64 - 1, torch.tensor(-1)])
    def test_of_the_same_data_mod_2_64(self, data):
        with random.forbid_reuse():
            random.fold_in(KEY, -1)
            with pytest.raises(KeyReuseError):
                random.fold_in(KEY, data)

    def test_positions_may_be_others(self):
        with random.forbid_reuse():
            random.normal_at(KEY, torch.arange(4))
            random.normal_at(KEY, torch.arange(4, 8))
            with pytest.raises(KeyReuseError):
                random.uniform_at(KEY, torch.arange(7, 9))


class TestOneUse:
    @pytest.mark.parametrize(("name", "verb"), [row for row in VERBS if "sample" in row[1]])
    def test_of_every_verb(self, name, verb):
        call = keyed_call_of(name, verb, torch.float32, (2,))
        with random.forbid_reuse():
            call.function(*call.tensors, sample_shape=(2,))
            with pytest.raises(KeyReuseError):
                call.function(*call.tensors)

    @pytest.mark.parametrize("gradient", ["straight_through", "relaxed"])
    def test_of_relaxed_draws(self, gradient):
        with random.forbid_reuse():
            one_hot_categorical.rsample_and_log_prob(KEY, torch.zeros(2, 3), gradient=gradient)
            with pytest.raises(KeyReuseError):
                one_hot_categorical.rsample(KEY, torch.zeros(2, 3), gradient=gradient)

    @pytest.mark.parametrize("sample_shape", [(), (3,)])
    def test_of_composites_with_chains(self, sample_shape):
        walk = chain(x=Head(normal), y=Head(normal, lambda params, earlier: (earlier["x"], 1.0)))
        heads = {"first": walk, "second": walk, "n": (categorical, truncated_normal)}
        params = {
            "first": {"x": (torch.zeros(2), 1.0)},
            "second": {"x": (torch.zeros(2), 1.0)},
            "n": ((torch.zeros(4),), ({"a": torch.zeros(2), "b": torch.zeros(3)}, 1.0, -1.0, 1.0)),
        }
        with random.forbid_reuse():
            composite.sample(KEY, heads, params, sample_shape=sample_shape)
            with pytest.raises(KeyReuseError):
                composite.sample(KEY, heads, params, sample_shape=sample_shape)
        with random.forbid_reuse():
            composite.sample(KEY, walk, params["first"], sample_shape=sample_shape)

    def test_of_policies(self):
        act = policy.ProbabilisticModule(normal, ["loc", "scale"], ["action"], default_interaction_type="random")
        data = {"loc": torch.zeros(2), "scale": torch.ones(2)}
        with random.forbid_reuse():
            act((), KEY, data)
            with pytest.raises(KeyReuseError, match=r"ProbabilisticModule\.__call__ at"):
                act((), KEY, data)

    def test_of_composite_distributions(self):
        from tensordict import TensorDict

        dist = distributions.CompositeDistribution(
            TensorDict({"a": {"loc": torch.zeros(2), "scale": torch.ones(2)}, "b": {"scores": torch.zeros(3)}}),
            {"a": distributions.IndependentNormal, "b": distributions.Ordinal},
        )
        with random.forbid_reuse():
            dist.sample(key=KEY)
            with pytest.raises(KeyReuseError):
                dist.sample(key=KEY)


class TestBatches:
    keys = random.split(KEY, 4)

    def test_every_entry_counts(self):
        with random.forbid_reuse():
            masked_categorical.sample(self.keys, torch.zeros(4, 3), torch.ones(4, 3, dtype=torch.bool))
            with pytest.raises(KeyReuseError, match=r"masked_categorical\.sample at .*random\.normal at"):
                random.normal(self.keys[2], 3)

    def test_an_entry_that_stands_twice(self):
        with random.forbid_reuse(), pytest.raises(KeyReuseError, match="twice in one call"):
            random.normal(self.keys[[0, 1, 0]])

    def test_lanes_of_vmap_count(self):
        def draw(key):
            return random.normal(key, 3)

        with random.forbid_reuse():
            torch.vmap(torch.vmap(draw))(self.keys.view(2, 2, 2))
            with pytest.raises(KeyReuseError):
                draw(self.keys[3])
        with random.forbid_reuse():
            torch.vmap(draw, in_dims=1)(self.keys[:3].T)
            draw(self.keys[3])
            with pytest.raises(KeyReuseError):
                draw(self.keys[2])

    def test_lanes_of_folds(self):
        with random.forbid_reuse():
            torch.vmap(random.fold_in, in_dims=(None, 0))(KEY, torch.arange(3))
            torch.vmap(torch.func.grad(lambda x, i: x * random.normal(random.fold_in(KEY, i))))(
                torch.ones(3), torch.arange(3, 6)
            )
            with pytest.raises(KeyReuseError):
                random.fold_in(KEY, 5)

    def test_a_key_outside_of_vmap_is_used_once(self):
        with random.forbid_reuse():
            torch.vmap(lambda x: x + random.normal(KEY, 3))(torch.zeros(4, 3))


class TestContext:
    def test_off_by_default_and_afterwards(self):
        with pytest.raises(ValueError, match="stop"), random.forbid_reuse():
            raise ValueError("stop")
        random.normal(KEY), random.normal(KEY)

    def test_nested_contexts_share_a_watch(self):
        with random.forbid_reuse():
            random.normal(KEY)
            with random.forbid_reuse():
                random.normal(random.key(1))
                with pytest.raises(KeyReuseError):
                    random.normal(KEY)
            with pytest.raises(KeyReuseError):
                random.normal(random.key(1))

    def test_other_threads_are_watched_where_they_run_in_the_context(self):
        found = []

        def draw_twice():
            try:
                random.normal(KEY), random.normal(KEY)
            except KeyReuseError:
                found.append("reuse")
            else:
                found.append("none")

        def run(target):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

        with random.forbid_reuse():
            run(draw_twice)
            context = contextvars.copy_context()
            run(lambda: context.run(draw_twice))
        assert found == ["none", "reuse"]

    def test_generators_may_be_used_again(self):
        source = torch.Generator()
        with random.forbid_reuse():
            for _ in range(2):
                random.normal(source, 3), random.split(source), random.fold_in(source, 1), random.key_from(source)
                delta.sample(source, torch.zeros(2))

    def test_what_only_looks_at_keys_does_not_consume(self):
        with random.forbid_reuse():
            for _ in range(2):
                random.where(torch.tensor(True), KEY, random.key(1)), random.checked_source(KEY)

    def test_compiled_code_is_not_watched(self):
        torch._dynamo.reset()
        compiled = torch.compile(lambda key: random.bits(key, 3), fullgraph=True, backend="aot_eager")
        expected = compiled(KEY)
        with random.forbid_reuse(), torch.compiler.set_stance("fail_on_recompile"):
            assert torch.equal(compiled(KEY), expected)
            compiled(KEY)

    def test_meta_and_traced_keys_are_not_watched(self):
        from torch.fx.experimental.proxy_tensor import make_fx

        with random.forbid_reuse():
            for _ in range(2):
                random.normal(KEY.to("meta"), 3)
                make_fx(lambda key: random.normal(key, 3), tracing_mode="fake")(KEY)

    def test_costs_little_when_off(self):
        from functional_dists.random import reuse

        assert min(timeit.repeat(lambda: reuse.consume(KEY), number=1000, repeat=20)) / 1000 < 5e-6  # about 0.2 us
