"""Goodness of fit, with fixed keys. A p-value below 1e-4 here is a bug and not bad luck: the keys never change."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from functional_dists import random

NUM = 200_000
ALARM = 1e-4

SOURCES = {"key": random.key(2024), "generator": torch.Generator().manual_seed(7)}
every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


@every_source
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("draw", "cdf"),
    [
        (random.uniform, scipy.stats.uniform.cdf),
        (random.normal, scipy.stats.norm.cdf),
        (lambda source, num, dtype: random.uniform_and_rest(source, num, dtype=dtype)[0], scipy.stats.uniform.cdf),
        (random.exponential, scipy.stats.expon.cdf),
        (random.gumbel, scipy.stats.gumbel_r.cdf),
    ],
)
def test_kolmogorov_smirnov(source, dtype, draw, cdf):
    numbers = draw(source, NUM, dtype=dtype).double().numpy()
    assert scipy.stats.kstest(numbers, cdf).pvalue > ALARM


def test_normals_of_a_pair_are_independent():
    pairs = random.normal(random.key(1), (NUM, 2)).double().numpy()
    assert scipy.stats.pearsonr(pairs[:, 0], pairs[:, 1]).pvalue > ALARM
    assert scipy.stats.pearsonr(pairs[:, 0] ** 2, pairs[:, 1] ** 2).pvalue > ALARM
    assert scipy.stats.kstest((pairs**2).sum(1), scipy.stats.chi2(2).cdf).pvalue > ALARM


@pytest.mark.parametrize("make_keys", [random.split, lambda key, num: random.fold_in(key, torch.arange(num))])
def test_first_numbers_of_many_keys(make_keys):
    keys = make_keys(random.key(3), 50_000)
    first = torch.vmap(lambda key: random.normal(key, 2))(keys).double().numpy()
    assert scipy.stats.kstest(first[:, 0], scipy.stats.norm.cdf).pvalue > ALARM
    assert scipy.stats.pearsonr(first[:-1, 0], first[1:, 0]).pvalue > ALARM


def test_parent_and_children_are_unrelated():
    keys = random.split(random.key(4), 50_000)
    parents = torch.vmap(lambda key: random.uniform(key, 1))(keys).double().numpy()[:, 0]
    children = torch.vmap(lambda key: random.uniform(random.split(key)[0], 1))(keys).double().numpy()[:, 0]
    assert scipy.stats.pearsonr(parents, children).pvalue > ALARM


@every_source
@pytest.mark.parametrize("p", [1e-4, 0.3, 0.5, 0.999])
def test_bernoulli(source, p):
    hits = int(random.bernoulli(source, NUM, p).sum())
    assert scipy.stats.binomtest(hits, NUM, p).pvalue > ALARM


@every_source
@pytest.mark.parametrize("width", [2, 3, 10, 1000])
def test_randint(source, width):
    counts = np.bincount(random.randint(source, NUM, 5, 5 + width).numpy() - 5, minlength=width)
    assert len(counts) == width
    assert scipy.stats.chisquare(counts).pvalue > ALARM


@every_source
def test_permutation(source):
    rows = random.permutation(source, (48_000, 4)).numpy()
    codes = rows @ np.array([64, 16, 4, 1])
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == math.factorial(4)
    assert scipy.stats.chisquare(counts).pvalue > ALARM


@every_source
@pytest.mark.parametrize("dtype", [torch.int8, torch.int64])
def test_every_bit_is_fair(source, dtype):
    drawn = random.bits(source, NUM, dtype=dtype)
    for bit in range(8 * dtype.itemsize):
        ones = int(((drawn >> bit) & 1).sum())
        assert scipy.stats.binomtest(ones, NUM, 0.5).pvalue > ALARM
