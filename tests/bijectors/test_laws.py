"""Laws of bijectors: inverses, log-determinants against Jacobians, transforms, dtypes, NaN, images, pickles."""

import pickle
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacfwd, jacrev, jvp, vmap

from functional_dists.bijectors.structure import added_entries
from functional_dists.family import verbs
from tests.bijectors.case import CASES, FLOAT, IDS, OF_VALUE, Case

every_case = pytest.mark.parametrize("case", CASES, ids=IDS)
every_verb = pytest.mark.parametrize("verb", OF_VALUE)


def close(a: Any, b: Any, **tolerance: Any) -> None:
    a, b = (found if isinstance(found, tuple) else (found,) for found in (a, b))
    for left, right in zip(a, b, strict=True):
        torch.testing.assert_close(left, right, equal_nan=True, **tolerance)


def call(case: Case, verb: str, dtype: torch.dtype = FLOAT) -> tuple[Any, list[Tensor]]:
    return getattr(case.bijector, verb), [*case.tensors(dtype), case.argument(verb, dtype)]


def total(function: Any) -> Any:
    def of(*tensors: Tensor) -> Tensor:
        found = function(*tensors)
        return sum(part.sum() for part in found) if isinstance(found, tuple) else found.sum()

    return of


@every_case
def test_inverse_undoes_forward(case: Case) -> None:
    params, value = case.tensors(), case.argument("forward")
    y = case.bijector.forward(*params, value)
    close(case.bijector.inverse(*params, y), value, rtol=1e-13, atol=1e-14)
    there = case.bijector.forward_log_det(*params, value)
    close(there + case.bijector.inverse_log_det(*params, y), torch.zeros_like(there), rtol=0.0, atol=1e-12)
    close(case.bijector.forward_and_log_det(*params, value), (y, there), rtol=0.0, atol=0.0)


@every_case
def test_log_determinants_are_those_of_the_jacobian(case: Case) -> None:
    added = added_entries(case.bijector)
    for verb in ("forward", "inverse"):
        function, tensors = call(case, verb)
        lacks = added if verb == "forward" else -added
        if lacks and case.bijector.__class__.__name__ != "module":
            continue  # which coordinates are free is not told
        lanes = []
        for lane in range(2):
            of_value = [tensor[lane] for tensor in tensors]
            jacobian = jacfwd(function, argnums=len(tensors) - 1)(*of_value)
            if lacks:
                jacobian = jacobian[:-1] if lacks > 0 else jacobian[:, :-1] - jacobian[:, -1:]  # entries that sum to 1
            if case.event_dims:
                lanes.append(torch.linalg.slogdet(jacobian)[1])
            else:
                close(jacobian, torch.diag(jacobian.diagonal()), rtol=0.0, atol=0.0)
                lanes.append(jacobian.diagonal().abs().log())
        close(getattr(case.bijector, f"{verb}_log_det")(*tensors), torch.stack(lanes), rtol=1e-11, atol=1e-12)


@every_case
@every_verb
def test_vmap_is_a_loop(case: Case, verb: str) -> None:
    function, tensors = call(case, verb)
    lanes = [function(*(tensor[i] for tensor in tensors)) for i in range(2)]
    lanes = [lane if isinstance(lane, tuple) else (lane,) for lane in lanes]
    stacked = tuple(torch.stack(pair) for pair in zip(*lanes, strict=True))
    found = vmap(function)(*tensors)
    close(found, stacked if len(stacked) > 1 else stacked[0], rtol=1e-14, atol=1e-15)
    for number in range(len(tensors) - 1):  # a parameter that the lanes share
        dims = tuple(None if i == number else 0 for i in range(len(tensors)))
        shared = [tensor[0] if i == number else tensor for i, tensor in enumerate(tensors)]
        of_lanes = [function(*(t if d is None else t[i] for t, d in zip(shared, dims, strict=True))) for i in range(2)]
        found = vmap(function, in_dims=dims)(*shared)
        found = found[0] if isinstance(found, tuple) else found
        first = [lane[0] if isinstance(lane, tuple) else lane for lane in of_lanes]
        close(found, torch.stack(first), rtol=1e-13, atol=1e-14)


@every_case
@every_verb
def test_derivatives(case: Case, verb: str) -> None:
    function, tensors = call(case, verb)
    function, places = total(function), tuple(range(len(tensors)))
    slopes = grad(function, argnums=places)(*tensors)
    assert all(slope.isfinite().all() for slope in slopes)
    generator = torch.Generator().manual_seed(0)
    directions = tuple(torch.randn(t.shape, dtype=t.dtype, generator=generator) for t in tensors)
    if verb.startswith("inverse") and added_entries(case.bijector):
        directions = tuple(d - d.mean(-1, keepdim=True) for d in directions)  # stays on the simplex
    forward = jvp(function, tuple(tensors), directions)[1]
    close(forward, sum((s * d).sum() for s, d in zip(slopes, directions, strict=True)), rtol=1e-10, atol=1e-11)

    def along(step: float) -> tuple[Tensor, ...]:
        return tuple(t + step * d for t, d in zip(tensors, directions, strict=True))

    close((function(*along(1e-6)) - function(*along(-1e-6))) / 2e-6, forward, rtol=2e-6, atol=2e-6)
    # The Hessian, forward over reverse, along the direction.
    hessian = jacfwd(jacrev(lambda step: function(*(t + step * d for t, d in zip(tensors, directions, strict=True)))))
    ahead, behind = (jvp(function, along(step), directions)[1] for step in (1e-5, -1e-5))
    close((ahead - behind) / 2e-5, hessian(torch.zeros((), dtype=FLOAT)), rtol=1e-4, atol=1e-4)


# A few cases stand for their neighbours where code is compiled, which takes seconds a case.
FIRST = [pytest.param(case, marks=[] if i % 2 == 0 else pytest.mark.slow) for i, case in enumerate(CASES[::4])]


@pytest.mark.parametrize("case", FIRST, ids=IDS[::4])
def test_compiled_code_is_eager_code(case: Case) -> None:
    """All verbs, and the gradient of each, in one graph."""
    names = [*OF_VALUE, *["is_increasing"] * hasattr(case.bijector, "is_increasing")]
    calls = {verb: call(case, verb) for verb in OF_VALUE}

    def run_all(params: list[Tensor], arguments: dict[str, list[Tensor]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for verb in names:
            function = getattr(case.bijector, verb)
            if verb not in arguments:
                found[verb] = function(*params)
                continue
            found[verb] = function(*arguments[verb])
            found[f"slope of {verb}"] = grad(total(function), argnums=len(params))(*arguments[verb])
        return found

    arguments = {verb: tensors for verb, (_, tensors) in calls.items()}
    torch._dynamo.reset()
    compiled = torch.compile(run_all, fullgraph=True, backend="aot_eager")(case.tensors(), arguments)
    for verb, wanted in run_all(case.tensors(), arguments).items():
        close(compiled[verb], wanted, rtol=1e-13, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES[::9], ids=IDS[::9])
def test_inductor_is_eager_code(case: Case) -> None:
    arguments = {verb: call(case, verb, torch.float32)[1] for verb in OF_VALUE}
    torch._dynamo.reset()
    run = torch.compile(lambda a: {verb: getattr(case.bijector, verb)(*a[verb]) for verb in OF_VALUE}, fullgraph=True)
    for verb, found in run(arguments).items():
        close(found, getattr(case.bijector, verb)(*arguments[verb]), rtol=1e-5, atol=1e-6)


@every_case
@every_verb
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(case: Case, verb: str, dtype: torch.dtype) -> None:
    """Results have the dtype of the arguments and are those of float64 to its digits."""
    function, tensors = call(case, verb, dtype)
    found, wanted = function(*tensors), function(*(tensor.double() for tensor in tensors))
    found, wanted = (part if isinstance(part, tuple) else (part,) for part in (found, wanted))
    eps = torch.finfo(dtype).eps
    for narrow, wide in zip(found, wanted, strict=True):
        assert narrow.dtype == dtype
        # Chains round values between their parts in float32.
        torch.testing.assert_close(narrow.double(), wide, rtol=1.01 * eps + 1e-5, atol=2e-6, equal_nan=True)


@every_case
@every_verb
def test_nan(case: Case, verb: str) -> None:
    """NaN in any argument gives NaN in the element or the vector, and elsewhere nothing."""
    function, tensors = call(case, verb)
    clean = function(*tensors)
    clean = clean if isinstance(clean, tuple) else (clean,)
    for number, tensor in enumerate(tensors):
        spoilt = tensor.clone()
        spoilt[0, 0] = torch.nan
        if spoilt.ndim == 3 and spoilt.shape[-1] == spoilt.shape[-2]:
            spoilt = torch.where(torch.ones_like(spoilt).tril() > 0, spoilt, tensor)
        arguments = [spoilt if i == number else t for i, t in enumerate(tensors)]
        if not arguments[number].isnan().any():
            continue
        found = function(*arguments)
        for part, wanted in zip(found if isinstance(found, tuple) else (found,), clean, strict=True):
            assert part[0].isnan().any()
            close(part[1], wanted[1], rtol=1e-12, atol=1e-13)
            if not case.event_dims:
                assert part[0, 0].isnan()
                close(part[0, 1:], wanted[0, 1:], rtol=1e-12, atol=1e-13)
        slope = grad(total(function), argnums=number)(*arguments)
        assert slope[1].isfinite().all()


@every_case
def test_images(case: Case) -> None:
    params, value = case.tensors(), case.argument("forward")
    y = case.bijector.forward(*params, value)
    image, domain = case.bijector.image(*params), case.bijector.domain(*params)
    assert image.event_dim == domain.event_dim == case.event_dims
    assert image.check(y).all()
    assert image.check(y).shape == y.shape[: y.ndim - case.event_dims]
    assert domain.check(value).all()
    assert not image.check(torch.full_like(y, torch.nan)).any()
    assert repr(image)


@every_case
def test_outside_of_the_image_is_nan(case: Case) -> None:
    params = case.tensors()
    y = case.argument("inverse")
    if case.event_dims:
        return
    image = case.bijector.image(*params)
    grid = (torch.linspace(-30.0, 30.0, 241, dtype=FLOAT) + 0.013)[:, None, None].expand(-1, *y.shape)
    back = case.bijector.inverse(*params, grid)
    assert (back.isfinite() == image.check(grid)).all()
    assert (case.bijector.inverse_log_det(*params, grid).isfinite() == back.isfinite()).all()


@every_case
def test_increasing(case: Case) -> None:
    assert hasattr(case.bijector, "is_increasing") == (case.event_dims == 0)
    if case.event_dims:
        return
    params, value = case.tensors(), case.argument("forward")
    increases = case.bijector.forward(*params, value * (1 + 1e-6) + 1e-7) > case.bijector.forward(*params, value)
    smaller = value * (1 + 1e-6) + 1e-7 < value
    assert ((increases ^ smaller) == case.bijector.is_increasing(*params)).all()


@every_case
def test_params_stand_for_the_parameters_and_samples_add_axes(case: Case) -> None:
    function, tensors = call(case, "forward")
    params = case.bijector.Params(*tensors[:-1])
    value = tensors[-1].expand(5, *tensors[-1].shape)
    close(function(params, value)[3], function(*tensors), rtol=1e-15, atol=0.0)
    assert case.bijector.forward_log_det(params, value).shape == value.shape[: value.ndim - case.event_dims]
    tree = {"a": tensors[-1], "b": tensors[-1]}
    close(function(*tensors[:-1], tree)["b"], function(*tensors), rtol=0.0, atol=0.0)


@every_case
def test_pickle_and_repr(case: Case) -> None:
    if isinstance(case.bijector, ModuleType):
        return
    import functional_dists.bijectors as bijectors
    from functional_dists import bind

    assert pickle.loads(pickle.dumps(case.bijector)) is case.bijector or "bind" in repr(case.bijector)
    again = eval(repr(case.bijector), {**vars(bijectors), "bind": bind})
    assert repr(again) == repr(case.bijector)
    params = case.bijector.Params(*case.tensors())
    assert type(pickle.loads(pickle.dumps(params)))._fields == params._fields
    for verb in verbs(case.bijector).values():
        assert verb.__doc__
