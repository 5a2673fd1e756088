"""Swapping the import is enough: beside TorchRL's own classes, and inside its modules and tensordict's."""

import inspect
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from functional_dists import distributions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensordict.nn.distributions import continuous as continuous_of_tensordict
    from torchrl.modules import distributions as theirs

NAMES = [
    *("Delta", "IndependentNormal", "TanhDelta", "TanhNormal", "TruncatedNormal"),
    *("MaskedCategorical", "MaskedOneHotCategorical", "OneHotCategorical", "OneHotOrdinal", "Ordinal"),
]
LOC, SCALE = torch.tensor([[0.3, -1.1, 1.2], [0.1, 0.0, -0.4]]), torch.tensor([[0.5, 1.4, 0.8], [1.0, 0.3, 0.2]])
LOGITS = torch.tensor([[0.3, -1.1, 0.8, 0.1], [0.1, 0.0, -0.4, 2.0]])
MASK = torch.tensor([[True, False, True, True], [True, True, False, True]])

# name -> constructor arguments
MADE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("IndependentNormal", (LOC, SCALE), {}),
    ("IndependentNormal", (LOC, 0.5), {"event_dim": 2}),
    ("IndependentNormal", (LOC, torch.ones_like), {"event_dim": 0}),
    ("TanhNormal", (LOC, SCALE), {}),
    ("TanhNormal", (LOC, SCALE), {"low": -2.0, "high": 3.0}),
    ("TanhNormal", (LOC, SCALE), {"low": torch.tensor([-1.0, -2.0, 0.0]), "high": torch.tensor(5.0), "event_dims": 0}),
    ("TanhNormal", (LOC, torch.ones_like), {"tanh_loc": True, "upscale": 2.0}),
    ("TanhNormal", (0.3, 1.2), {}),
    ("TruncatedNormal", (LOC, SCALE), {}),
    ("TruncatedNormal", (LOC, SCALE), {"low": -2.0, "high": torch.tensor([1.0, 2.0, 3.0]), "tanh_loc": True}),
    ("OneHotCategorical", (LOGITS,), {}),
    ("OneHotCategorical", (), {"probs": LOGITS.exp()}),
    ("MaskedOneHotCategorical", (LOGITS,), {"mask": MASK}),
    ("MaskedOneHotCategorical", (LOGITS,), {"indices": torch.tensor([[0, 2, 3], [3, 1, 0]])}),
    ("Ordinal", (LOGITS,), {}),
    ("OneHotOrdinal", (LOGITS,), {}),
    ("MaskedCategorical", (LOGITS,), {"mask": MASK}),
    ("MaskedCategorical", (), {"probs": LOGITS.exp(), "mask": MASK}),
    ("MaskedCategorical", (LOGITS,), {"mask": MASK, "neg_inf": -1e10}),
    ("MaskedCategorical", (LOGITS,), {"indices": torch.tensor([[0, 2, 3], [3, 1, 0]])}),
    ("MaskedCategorical", (LOGITS,), {"indices": torch.tensor([[0, 2, -1], [3, 1, 0]]), "padding_value": -1}),
]


# The mean of outcomes without an order is a NotImplementedError; there it is NaN, also where there is an order.
ORDERLESS = (
    distributions.MaskedCategorical,
    distributions.OneHotCategorical,
    distributions.Ordinal,
    distributions.OneHotOrdinal,
)


def both(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    return getattr(distributions, name)(*arguments, **options), getattr(theirs, name)(*arguments, **options)


@pytest.mark.parametrize("name", NAMES)
def test_constructors_take_the_same_arguments(name: str) -> None:
    ours, others = (inspect.signature(getattr(module, name)).parameters for module in (distributions, theirs))
    named = [p for p in others.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for theirs_one in named:
        same = ours[theirs_one.name]
        assert same.kind == theirs_one.kind
        assert getattr(same.default, "name", same.default) == getattr(theirs_one.default, "name", theirs_one.default)
    assert set(ours) - {p.name for p in named} == {"validate_args"}


@pytest.mark.parametrize(("name", "arguments", "options"), MADE)
def test_agrees_where_theirs_is_right(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    ours, other = both(name, arguments, options)
    assert ours.batch_shape == other.batch_shape
    assert ours.event_shape == (LOGITS.shape[-1:] if "OneHot" in name else other.event_shape)  # there ()
    assert ours.has_rsample == other.has_rsample
    torch.manual_seed(0)
    value = other.sample()
    assert ours.sample().shape == value.shape
    torch.testing.assert_close(ours.log_prob(value), other.log_prob(value), rtol=1e-5, atol=1e-5)
    for attribute in ("loc", "scale", "low", "high", "logits", "probs", "mode", "mean", "deterministic_sample"):
        try:
            wanted = getattr(other, attribute)
        except (AttributeError, NotImplementedError, RuntimeError):
            continue
        if attribute == "mean" and isinstance(ours, ORDERLESS):
            assert wanted.isnan().all()
        else:
            torch.testing.assert_close(getattr(ours, attribute), wanted, rtol=1e-5, atol=1e-5, check_dtype=False)
    for attribute in ("upscale", "tanh_loc", "num_params", "num_samples", "padding_value", "padding_side", "neg_inf"):
        if hasattr(other, attribute):
            assert getattr(ours, attribute) == getattr(other, attribute)
    if name not in ("TanhNormal", "TruncatedNormal") and "padding_value" not in options:  # NotImplementedError, NaN
        torch.testing.assert_close(ours.entropy(), other.entropy())
    if name == "TanhNormal":
        for base in ("base_dist", "root_dist"):
            torch.testing.assert_close(getattr(ours, base).mean, getattr(other, base).mean)
            assert getattr(ours, base).event_shape == getattr(other, base).event_shape


@pytest.mark.parametrize("name", ["IndependentNormal", "TanhNormal"])
def test_draws_the_same_numbers_from_the_same_seed(name: str) -> None:
    for method in ("sample", "rsample"):
        drawn = []
        for dist in both(name, (LOC, SCALE), {}):
            torch.manual_seed(3)
            drawn.append(getattr(dist, method)((5,)))
        torch.testing.assert_close(*drawn, rtol=1e-6, atol=1e-6)


EMPTY = torch.tensor(())
# name -> what is wrong, and what both messages say
WRONG: dict[str, list[tuple[dict[str, Any], str | None]]] = {
    "TanhNormal": [
        ({"loc": LOC, "scale": SCALE, "low": low}, "high values must be strictly greater") for low in (1.0, 2.0)
    ],
    "TruncatedNormal": [({"loc": LOC, "scale": SCALE, "low": torch.ones(3)}, "high values must be strictly greater")],
    "TanhDelta": [({"param": LOC, "low": 1.0}, "high value has been found to be equal or less than low value")],
    "OneHotCategorical": [({}, None), ({"logits": LOGITS, "probs": LOGITS.exp()}, None)],
    "MaskedCategorical": [
        ({"logits": LOGITS}, "must be provided"),
        ({"logits": LOGITS, "mask": MASK, "indices": torch.tensor([[0], [1]])}, "must be provided"),
        (
            {"logits": EMPTY, "probs": EMPTY, "mask": EMPTY},
            "Either `probs` or `logits` must be specified, but not both",
        ),
    ],
    "LLMMaskedCategorical": [({"logits": LOGITS, "mask": MASK[:1]}, "must be either logits batch shape")],
}
WRONG["MaskedOneHotCategorical"] = WRONG["MaskedCategorical"]


@pytest.mark.parametrize("name", list(WRONG))
def test_same_exceptions(name: str) -> None:
    for arguments, message in WRONG[name]:
        raised = []
        for module in (distributions, theirs):
            with pytest.raises((ValueError, RuntimeError), match=message) as error:
                getattr(module, name)(**arguments)
            raised.append(error.type)
        assert raised[0] is raised[1]


def test_a_list_is_no_mask() -> None:
    for dist in both("MaskedCategorical", (LOGITS,), {"indices": torch.tensor([[0, 2], [3, 1]])}):
        with pytest.raises(ValueError, match=r"MaskedCategorical.mask does not support sparse masks"):
            dist.mask  # noqa: B018


def test_the_map_of_classes_has_their_keys() -> None:
    for key, other in theirs.distributions_maps.items():
        ours = distributions.distributions_maps[key]
        assert ours.__name__ == other.__name__
        assert distributions.distributions_maps[ours] is distributions.distributions_maps[ours.__name__.lower()] is ours


@pytest.mark.parametrize("mapping", ["biased_softplus_1.0", "softplus", "exp", "relu", "none"])
def test_modules_of_parameters(mapping: str) -> None:
    raw = torch.linspace(-2, 2, 12).reshape(2, 6)
    pairs = [(module.NormalParamExtractor(mapping)(raw, "rest")) for module in (distributions, theirs)]
    torch.testing.assert_close(pairs[0][:2], pairs[1][:2])
    assert pairs[0][2] == "rest"
    made = [
        module.AddStateIndependentNormalScale(6, scale_mapping=mapping, init_value=0.3, make_param=mapping != "exp")
        for module in (distributions, continuous_of_tensordict)
    ]
    torch.testing.assert_close(made[0](raw)[:2], made[1](raw)[:2])
    assert [*dict(made[0].named_parameters())] == [*dict(made[1].named_parameters())]
    assert [*dict(made[0].named_buffers())] == [*dict(made[1].named_buffers())]
    with pytest.raises(RuntimeError):
        made[0](raw[:, :3])


@pytest.mark.parametrize("of_tokens", [False, True])
def test_tokens(of_tokens: bool) -> None:
    torch.manual_seed(0)
    logits, tokens = torch.randn(2, 4, 9), torch.randint(9, (2, 4))
    mask = torch.rand(2, 4, 9) > 0.3 if of_tokens else torch.tensor([True, True, False, True]).expand(2, 4)
    if of_tokens:
        mask = mask.scatter(-1, tokens[..., None], True)
    ours, other = (module.LLMMaskedCategorical(logits, mask) for module in (distributions, theirs))
    assert ours.batch_shape == other.batch_shape
    torch.testing.assert_close(ours.log_prob(tokens), other.log_prob(tokens))
    assert torch.equal(
        ours.mode[mask] if not of_tokens else ours.mode, other.mode[mask] if not of_tokens else other.mode
    )
    drawn = ours.sample((3,))
    assert ours.log_prob(drawn).shape == (3, 2, 4)
    if not of_tokens:
        assert (drawn[:, :, 2] == -100).all()
        assert (ours.entropy()[:, 2] == 0).all()
    torch.testing.assert_close(ours.entropy()[:, 0], other.entropy()[:, 0])
    assert ours.expand((5, 2, 4)).sample().shape == (5, 2, 4)
    for module in (distributions, theirs):
        with pytest.raises(ValueError, match=r"[Mm]ask"):
            module.LLMMaskedCategorical(logits, mask[:1])


# Parts of how theirs are made, which ours are not: a chain of transforms, flags about it, and caches.
CONSTRUCTION = {"transforms", "non_trivial", "non_trivial_min", "non_trivial_max"}
TABLES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Delta", (LOC,), {}),
    ("TanhDelta", (LOC,), {"low": -2.0}),
    ("LLMMaskedCategorical", (LOGITS, torch.tensor([True, False])), {}),
    ("LLMMaskedCategorical", (LOGITS, MASK), {"ignore_index": -1}),
]


@pytest.mark.parametrize(("name", "arguments", "options"), MADE + TABLES)
def test_has_every_public_attribute(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    ours, other = both(name, arguments, options)
    for attribute in dir(other):
        if attribute.startswith("_") or attribute in CONSTRUCTION:
            continue
        try:
            wanted = getattr(other, attribute)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
            continue
        if attribute in ("mean", "variance", "stddev") and isinstance(ours, ORDERLESS) and "OneHot" not in name:
            assert wanted.isnan().all()
            continue
        got = getattr(ours, attribute)
        assert callable(got) == callable(wanted)
        if isinstance(wanted, Tensor) and not wanted.isnan().any():
            assert got.dtype == wanted.dtype
            assert got.shape == wanted.shape


@pytest.mark.parametrize(("name", "arguments", "options"), MADE + TABLES)
def test_dtypes_and_shapes_of_draws_and_scores(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    ours, other = both(name, arguments, options)
    for sample_shape in ((), (5,), (5, 1), torch.Size([2]), [3]):
        value, wanted = ours.sample(sample_shape), other.sample(sample_shape)
        assert value.shape == wanted.shape
        assert value.dtype == wanted.dtype
    assert ours.sample(None).shape == ours.sample().shape
    value = other.sample()
    assert ours.log_prob(value).shape == other.log_prob(value).shape
    assert ours.log_prob(value).dtype == other.log_prob(value).dtype
    if "Masked" not in name or "OneHot" in name:
        try:
            wanted = other.rsample((5,))
        except NotImplementedError:
            with pytest.raises(NotImplementedError):
                ours.rsample((5,))
        else:
            assert ours.rsample((5,)).shape == wanted.shape
            assert ours.rsample((5,)).dtype == wanted.dtype


def test_bounds_by_the_other_names() -> None:
    """TorchRL has `min` and `max` too, but 0.14.1 raises on access."""
    for made in (distributions.TanhNormal(LOC, SCALE, low=-2.0), distributions.TruncatedNormal(LOC, SCALE, low=-2.0)):
        assert (made.min, made.max, made.device) == (-2.0, 1.0, LOC.device)
    integers = distributions.TanhNormal(LOC, SCALE, low=torch.tensor([-2, -1, 0]), high=3)
    others = theirs.TanhNormal(LOC, SCALE, low=torch.tensor([-2, -1, 0]), high=3)
    torch.testing.assert_close(integers.deterministic_sample, others.deterministic_sample)


def test_tables_of_a_language_model() -> None:
    for mask in (torch.tensor([True, False]), MASK):
        ours, other = both("LLMMaskedCategorical", (LOGITS, mask), {})
        torch.testing.assert_close(ours.masked_logits, other.masked_logits)
        torch.testing.assert_close(ours.masked_dist.probs, other.masked_dist.probs)
        assert torch.equal(ours.logits, LOGITS)
        assert ours.position_level_masking == other.position_level_masking
        assert not ours.has_rsample  # theirs has an `rsample`, without a gradient
        with pytest.raises(NotImplementedError, match="LLMMaskedCategorical has no rsample"):
            ours.rsample((3,))
        before = ours.entropy()
        ours.clear_cache()
        assert torch.equal(ours.entropy(), before)
