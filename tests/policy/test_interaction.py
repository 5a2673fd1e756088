"""What is played: the argument before the context before the default, in eager and in compiled code."""

import asyncio
import threading

import pytest
import tensordict.nn
import torch

from functional_dists import categorical, random, tanh_normal
from functional_dists.policy import InteractionType, ProbabilisticModule, interaction_type, set_interaction_type

LOC = torch.tensor([0.4, -1.0, 2.0])
DATA = {"loc": LOC, "scale": torch.full((3,), 0.7)}
STEP = ProbabilisticModule(tanh_normal, ["loc", "scale"], ["action"])
POINTS = {"mode": tanh_normal.mode, "mean": tanh_normal.mean, "median": tanh_normal.median}
KEY = random.key(7)


def played(**options):
    return STEP((), KEY, DATA, **options)["action"]


def point(name):
    return getattr(tanh_normal, name)(LOC, DATA["scale"], -1.0, 1.0)


@pytest.mark.parametrize("given", ["Median", "MEDIAN", InteractionType.MEDIAN, tensordict.nn.InteractionType.MEDIAN])
def test_every_way_to_name_a_type(given):
    assert torch.equal(played(interaction_type=given), point("median"))
    assert InteractionType(given) is InteractionType.MEDIAN
    with set_interaction_type(given):
        assert torch.equal(played(), point("median"))


def test_what_is_no_type():
    for call in (InteractionType, set_interaction_type, lambda given: played(interaction_type=given)):
        with pytest.raises(ValueError, match=r"must be one of .*RANDOM.* got 'greedy'"):
            call("greedy")


def test_the_argument_wins_then_our_context_then_tensordicts_then_the_default():
    assert torch.equal(played(), point("mode"))
    with tensordict.nn.set_interaction_type("mean"):
        assert torch.equal(played(), point("mean"))
        with set_interaction_type("median"):
            assert torch.equal(played(), point("median"))
            assert torch.equal(played(interaction_type="mode"), point("mode"))
            with set_interaction_type(None):
                assert torch.equal(played(), point("mean"))
        assert torch.equal(played(), point("mean"))
    assert interaction_type() is None


def test_the_context_ends_with_an_error_and_may_be_entered_again():
    context = set_interaction_type("mean")

    def fail():
        with context, context:
            assert interaction_type() is InteractionType.MEAN
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert interaction_type() is None

    @context
    def inside():
        return interaction_type()

    assert inside() is InteractionType.MEAN


def test_compiled_code_sees_the_context_and_does_not_keep_it():
    torch._dynamo.reset()
    compiled = torch.compile(lambda key, data: STEP((), key, data)["action"], fullgraph=True, backend="eager")
    contexts = (set_interaction_type, tensordict.nn.set_interaction_type)
    for _ in range(2):
        assert torch.equal(compiled(KEY, DATA), point("mode"))
        for context in contexts:
            with context("mean"):
                assert torch.allclose(compiled(KEY, DATA), point("mean"))
            with context("random"):
                assert torch.allclose(compiled(KEY, DATA), played(interaction_type="random"))

    def inside(key, data):
        with set_interaction_type("median"):
            first = STEP((), key, data)["action"]
        return first, STEP((), key, data)["action"]

    median, mode = torch.compile(inside, fullgraph=True, backend="eager")(KEY, DATA)
    assert torch.equal(median, point("median"))
    assert torch.equal(mode, point("mode"))


def test_threads_and_tasks_have_contexts_of_their_own():
    seen = {}

    def look(name):
        with set_interaction_type(name):
            both_are_inside.wait()
            seen[name] = interaction_type()

    both_are_inside = threading.Barrier(2)
    threads = [threading.Thread(target=look, args=(name,)) for name in ("mean", "median")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"mean": InteractionType.MEAN, "median": InteractionType.MEDIAN}

    async def task(name):
        with set_interaction_type(name):
            await asyncio.sleep(0)
            return interaction_type()

    async def both():
        return await asyncio.gather(task("mean"), task("median"))

    assert asyncio.run(both()) == [InteractionType.MEAN, InteractionType.MEDIAN]
    assert interaction_type() is None


def test_compiled_code_refuses_where_threads_disagree():
    torch._dynamo.reset()
    compiled = torch.compile(lambda key, data: STEP((), key, data)["action"], fullgraph=True, backend="eager")
    entered, done = threading.Event(), threading.Event()

    def other():
        with set_interaction_type("mean"):
            entered.set()
            done.wait()

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait()
    try:
        with set_interaction_type("median"), pytest.raises(Exception, match="pass interaction_type="):
            compiled(KEY, DATA)
    finally:
        done.set()
        thread.join()
    with set_interaction_type("median"):
        assert torch.equal(compiled(KEY, DATA), point("median"))


class Triangular:
    """A family without a mean of its own: the sum of two uniforms."""

    Params = tanh_normal.Params

    @staticmethod
    def sample(key, loc, scale, low, high, *, sample_shape=()):
        return loc + scale * (random.uniform(key, (*sample_shape, *loc.shape, 2)).sum(-1) - 1)

    @staticmethod
    def log_prob(loc, scale, low, high, value):
        return torch.log((1 - ((value - loc) / scale).abs()).clamp(min=0) / scale).sum(-1)


def test_a_missing_mean_is_that_of_draws():
    step = ProbabilisticModule(Triangular, ["loc", "scale"], ["action"], n_empirical_estimate=20_000)
    mean = step((), KEY, DATA, interaction_type="mean")["action"]
    torch.testing.assert_close(mean, LOC, atol=0.02, rtol=0)
    with pytest.raises(TypeError, match="a key is needed"):
        step((), None, DATA, interaction_type="mean")
    with pytest.raises(NotImplementedError, match=r"has no mode; the step can play \['RANDOM'\]"):
        step((), KEY, DATA)


def test_labels_have_no_mean_nor_median():
    step = ProbabilisticModule(categorical, ["logits"], ["action"])
    for missing in ("mean", "median"):
        with pytest.raises(NotImplementedError, match=rf"no {missing}; .*\['RANDOM', 'MODE', 'DETERMINISTIC'\]"):
            step((), KEY, {"logits": torch.zeros(3)}, interaction_type=missing)
