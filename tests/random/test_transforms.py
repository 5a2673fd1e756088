"""The same numbers under every transformation of PyTorch."""

import threading

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from functional_dists import random
from functional_dists.random import ops

from . import reference

DRAWS = {
    "bits": random.bits,
    "bits64": lambda key, shape: random.bits(key, shape, dtype=torch.int64),
    "uniform": random.uniform,
    "uniform64": lambda key, shape: random.uniform(key, shape, dtype=torch.float64),
    "uniform16": lambda key, shape: random.uniform(key, shape, dtype=torch.bfloat16),
    "normal": random.normal,
    "normal64": lambda key, shape: random.normal(key, shape, dtype=torch.float64),
    "uniform_and_rest": lambda key, shape: torch.stack(random.uniform_and_rest(key, shape)),
    "uniform_and_rest64": lambda key, shape: torch.stack(random.uniform_and_rest(key, shape, dtype=torch.float64)),
    "exponential": random.exponential,
    "gumbel": random.gumbel,
    "bernoulli": lambda key, shape: random.bernoulli(key, shape, 0.3),
    "randint": lambda key, shape: random.randint(key, shape, -3, 9),
    "permutation": random.permutation,
    "split": lambda key, shape: random.split(key, 5),
    "fold_in": lambda key, shape: random.fold_in(key, 2**63 + 11),
    "fold_in a tensor": lambda key, shape: random.fold_in(key, torch.arange(4)),
}
PAIRS = reference.random_pairs(12, source=17)
EXACT = {name for name in DRAWS if not name.startswith(("normal", "exponential", "gumbel"))}

# One draw of each kind of arithmetic: the graph of every draw takes inductor a minute.
COMPILED = ["bits64", "uniform", "normal", "normal64", "gumbel", "randint", "fold_in"]

every_draw = pytest.mark.parametrize("name", DRAWS)


def assert_same(name, actual, expected):
    """Exact numbers are equal, functions of them may differ by a few units in the last place."""
    if name in EXACT:
        assert torch.equal(actual, expected)
    else:
        tolerance = 8 * torch.finfo(expected.dtype).eps
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@every_draw
class TestVmap:
    @pytest.mark.parametrize("shape", [(3,), (7, 5)])
    def test_equals_a_loop(self, name, shape):
        draw, keys = DRAWS[name], reference.make_keys(PAIRS)
        expected = torch.stack([draw(key, shape) for key in keys])
        assert torch.equal(torch.vmap(lambda key: draw(key, shape))(keys), expected)

    def test_nested(self, name):
        draw, keys = DRAWS[name], reference.make_keys(PAIRS)
        expected = torch.stack([draw(key, (3,)) for key in keys])
        nested = torch.vmap(torch.vmap(lambda key: draw(key, (3,))))(keys.reshape(3, 4, 2))
        assert torch.equal(nested, expected.reshape(3, 4, *expected.shape[1:]))

    def test_over_another_axis(self, name):
        draw, keys = DRAWS[name], reference.make_keys(PAIRS)
        expected = torch.stack([draw(key, (3,)) for key in keys], dim=1)
        assert torch.equal(torch.vmap(lambda key: draw(key, (3,)), in_dims=1, out_dims=1)(keys.T), expected)

    def test_key_outside_gives_every_lane_the_same(self, name):
        draw, key = DRAWS[name], reference.make_key(*PAIRS[-1])
        drawn = torch.vmap(lambda x: draw(key, (3,)))(torch.zeros(4))
        assert all(torch.equal(lane, draw(key, (3,))) for lane in drawn)

    def test_generator(self, name):
        source = torch.Generator().manual_seed(0)

        def lane(_):
            return DRAWS[name](source, (40,))

        drawn = torch.vmap(lane, randomness="different")(torch.zeros(3))
        assert drawn.shape[0] == 3
        assert not torch.equal(drawn[0], drawn[1])


def test_a_thousand_keys_at_once():
    pairs = reference.random_pairs(1000, source=5)
    keys = reference.make_keys(pairs)
    expected = torch.stack([reference.bits(*pair, 8) for pair in pairs])
    assert torch.equal(torch.vmap(lambda key: random.bits(key, 8))(keys), expected)
    nested = torch.vmap(torch.vmap(lambda key: random.bits(key, 8)))(keys.reshape(10, 100, 2))
    assert torch.equal(nested.reshape(1000, 8), expected)


def test_vmap_of_fold_in_over_either_argument():
    pairs = reference.random_pairs(6, source=5)
    keys, data = reference.make_keys(pairs), torch.tensor([0, 1, 2**40, -1, 2**63 - 1, -(2**63)])
    expected = [
        [reference.child(*pair, int(index) % 2**64) for index in data] for pair in pairs
    ]  # keys by rows, data by columns
    rows = torch.vmap(random.fold_in, in_dims=(None, 0))
    assert [[tuple(k) for k in row] for row in torch.vmap(rows, in_dims=(0, None))(keys, data).tolist()] == expected
    diagonal = torch.vmap(random.fold_in)(keys, data)
    assert [tuple(k) for k in diagonal.tolist()] == [expected[i][i] for i in range(6)]
    shared = torch.vmap(lambda key: random.fold_in(key, data))(keys)
    assert [[tuple(k) for k in row] for row in shared.tolist()] == expected


def test_vmap_of_where():
    a, b, cond = (
        random.split(random.key(1), 4),
        random.split(random.key(2), 4),
        torch.tensor([True, False, False, True]),
    )
    assert torch.equal(torch.vmap(random.where)(cond, a, b), random.where(cond, a, b))


class GraphCounter:
    """A backend of ``torch.compile`` which runs the graphs as they are and counts them."""

    count = 0

    def __call__(self, graph, inputs):
        self.count += 1
        return graph.forward


@pytest.fixture(autouse=True)
def _forget_compiled_code():
    torch._dynamo.reset()


class TestCompile:
    def test_bits_of_random_keys(self):
        compiled = torch.compile(lambda key: random.bits(key, 40), fullgraph=True)
        for pair in reference.random_pairs(200, source=23):
            assert torch.equal(compiled(reference.make_key(*pair)), reference.bits(*pair, 40))

    def test_vmapped_bits_of_random_keys(self):
        pairs = reference.random_pairs(1000, source=29)
        compiled = torch.compile(torch.vmap(lambda key: random.bits(key, 12)), fullgraph=True)
        expected = torch.stack([reference.bits(*pair, 12) for pair in pairs])
        assert torch.equal(compiled(reference.make_keys(pairs)), expected)

    def test_many_blocks_across_the_wrap(self):
        key = reference.make_key(2**64 - 1, 2**64 - 300)
        compiled = torch.compile(lambda key: random.bits(key, 4001), fullgraph=True)
        assert torch.equal(compiled(key), reference.bits(2**64 - 1, 2**64 - 300, 4001))

    def test_draws_in_one_graph(self):
        def draws(key):
            return {name: DRAWS[name](key, (11,)) for name in COMPILED}

        compiled = torch.compile(draws, fullgraph=True)
        for pair in PAIRS[-4:]:
            key = reference.make_key(*pair)
            for name, numbers in compiled(key).items():
                assert_same(name, numbers, DRAWS[name](key, (11,)))

    def test_tree_of_keys(self):
        def leaf(key, data, cond):
            left, right = random.split(key)
            key = random.where(cond, left, right)
            return random.bits(random.fold_in(key, data), 6)

        key = reference.make_key(*PAIRS[-1])
        compiled = torch.compile(leaf, fullgraph=True)
        for data in (0, -1, 2**62 + 7):
            for cond in (True, False):
                arguments = (key, torch.tensor(data), torch.tensor(cond))
                assert torch.equal(compiled(*arguments), leaf(*arguments))

    @every_draw
    def test_aot_eager_under_vmap(self, name):
        keys = reference.make_keys(PAIRS)
        mapped = torch.vmap(lambda key: DRAWS[name](key, (3,)))
        compiled = torch.compile(mapped, fullgraph=True, backend="aot_eager")
        assert_same(name, compiled(keys), mapped(keys))

    def test_new_keys_and_numbers_do_not_recompile(self):
        graphs = GraphCounter()

        @torch.compile(fullgraph=True, backend=graphs)
        def draw(key, data, p, low):
            key = random.fold_in(key, data)
            return random.bernoulli(key, 3, p), random.randint(key, 3, low, low + 5)

        for i in range(6):
            draw(random.key(i), i + 3, 0.1 * i + 0.05, 10 * i + 7)
        assert graphs.count <= 2

    def test_new_seeds_do_not_recompile(self):
        graphs = GraphCounter()

        @torch.compile(fullgraph=True, backend=graphs)
        def draw(seed):
            return random.bits(random.key(seed), 3)

        for seed in (5, 6, 7, 8):
            assert torch.equal(draw(seed), random.bits(random.key(seed), 3))
        assert graphs.count <= 2

    def test_dynamic_shapes(self):
        graphs = GraphCounter()
        compiled = torch.compile(lambda key, x: random.normal(key, x.shape) + x, fullgraph=True, backend=graphs)
        for n in (3, 8, 21, 40):
            x = torch.zeros(n, 3)
            assert_same("normal", compiled(random.key(1), x), random.normal(random.key(1), (n, 3)))
        assert graphs.count <= 2

    def test_generator_is_refused_with_the_cure(self):
        source = torch.Generator()
        for draw in (random.normal, random.uniform, random.bits, random.gumbel):
            compiled = torch.compile(lambda x, draw=draw: x + draw(source, (3,)), fullgraph=True, backend="aot_eager")
            with pytest.raises(torch._dynamo.exc.Unsupported, match=r"random\.key_from\(generator\)"):
                compiled(torch.zeros(3))
        for make_keys in (random.key_from, random.split):
            compiled = torch.compile(
                lambda x, make_keys=make_keys: (x, make_keys(source)), fullgraph=True, backend="eager"
            )
            with pytest.raises(torch._dynamo.exc.Unsupported, match=r"random\.key_from\(generator\)"):
                compiled(torch.zeros(3))

    def test_wrong_key_is_refused(self):
        compiled = torch.compile(lambda key: random.normal(key, (3,)), fullgraph=True, backend="aot_eager")
        with pytest.raises(torch._dynamo.exc.Unsupported, match=r"key must have shape \(2,\)"):
            compiled(random.key(0)[:1])


def loss(key, x):
    """A function of the draws which depends on x, with known derivatives."""
    noise = random.normal(key, (5,), dtype=torch.float64)
    return (noise * x**3).sum() + (random.gumbel(key, (5,), dtype=torch.float64) * x).sum()


class TestDerivatives:
    key, x = random.key(11), torch.arange(1.0, 6.0, dtype=torch.float64)

    def expected(self, key):
        noise = random.normal(key, (5,), dtype=torch.float64)
        return 3 * noise * self.x**2 + random.gumbel(key, (5,), dtype=torch.float64), torch.diag(6 * noise * self.x)

    def test_first_and_second(self):
        gradient, hessian = self.expected(self.key)
        for transform in (torch.func.grad, torch.func.jacrev, torch.func.jacfwd):
            torch.testing.assert_close(transform(loss, argnums=1)(self.key, self.x), gradient)
        torch.testing.assert_close(torch.func.hessian(loss, argnums=1)(self.key, self.x), hessian)
        tangent = torch.ones_like(self.x)
        _, slope = torch.func.jvp(lambda x: loss(self.key, x), (self.x,), (tangent,))
        torch.testing.assert_close(slope, gradient.sum())

    def test_under_vmap_over_keys(self):
        keys = random.split(self.key, 3)
        gradients = torch.vmap(torch.func.grad(loss, argnums=1), in_dims=(0, None))(keys, self.x)
        hessians = torch.vmap(torch.func.hessian(loss, argnums=1), in_dims=(0, None))(keys, self.x)
        for key, gradient, hessian in zip(keys, gradients, hessians, strict=True):
            torch.testing.assert_close(gradient, self.expected(key)[0])
            torch.testing.assert_close(hessian, self.expected(key)[1])

    def test_compiled_gradient(self):
        compiled = torch.compile(torch.func.grad(loss, argnums=1), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(self.key, self.x), self.expected(self.key)[0])


@every_draw
class TestTracing:
    @pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
    def test_make_fx(self, name, mode):
        draw = DRAWS[name]
        key, other = (reference.make_key(*pair) for pair in PAIRS[-2:])
        graph = make_fx(lambda key: draw(key, (9,)), tracing_mode=mode)(key)
        assert torch.equal(graph(other), draw(other, (9,)))

    def test_fake_and_meta(self, name):
        draw = DRAWS[name]
        expected = draw(random.key(0), (9,))
        meta = draw(random.key(0, device="meta"), (9,)) if name != "fold_in a tensor" else expected
        assert (meta.shape, meta.dtype) == (expected.shape, expected.dtype)
        with FakeTensorMode() as mode:
            fake = draw(mode.from_tensor(random.key(0)), (9,))
        assert (fake.shape, fake.dtype) == (expected.shape, expected.dtype)


def test_export():
    class Noisy(torch.nn.Module):
        def forward(self, key, x):
            return x + random.normal(key, x.shape)

    key, x = random.key(3), torch.zeros(3, 4)
    exported = torch.export.export(Noisy(), (key, x)).module()
    assert_same("normal", exported(random.key(4), x), random.normal(random.key(4), (3, 4)))


SAMPLES = [
    (random.key(3), 7, "words"),
    (random.split(random.key(3), 3), 7, "words", torch.tensor([1, 2, 3])),
    (random.split(random.key(3), 4).reshape(2, 2, 2), 65, "words"),
    (random.key(3), 7, "uniforms32"),
    (random.split(random.key(3), 3), 9, "uniforms64"),
    (random.key(3), 7, "normals32"),
    (random.split(random.key(3), 3), 9, "normals64"),
    (random.split(random.key(3), 3), 9, "normals32", torch.tensor([1, 2, 3])),
]


@pytest.mark.parametrize("arguments", SAMPLES)
def test_opcheck(arguments):
    torch.library.opcheck(ops._philox, arguments)


def test_other_devices_compute_the_same_numbers():
    for key in (reference.make_key(*PAIRS[-1]), reference.make_keys(PAIRS).reshape(3, 4, 2)):
        for skip in (None, torch.full(key.shape[:-1], 2**33 + 1)):
            for kind in ("words", "uniforms32", "uniforms64", "normals32", "normals64"):
                name = "normal" if kind.startswith("normals") else "bits"
                assert_same(name, ops._elsewhere(key, 21, kind, skip), ops._on_cpu(key, 21, kind, skip))


def test_threads():
    keys = random.split(random.key(0), 8)
    drawn = [None] * 8

    def work(i):
        drawn[i] = [random.normal(keys[i], 100) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        assert all(torch.equal(numbers, random.normal(keys[i], 100)) for numbers in drawn[i])


def test_large_compiled_draws_have_the_same_bits():
    torch._dynamo.reset()
    bits = torch.compile(lambda key: random.bits(key, 2**18), fullgraph=True)
    for key in reference.make_keys(PAIRS):
        assert torch.equal(bits(key), random.bits(key, 2**18))
