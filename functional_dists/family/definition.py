"""`define` turns functions of tensors into the verbs of a family."""

import functools
import inspect
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast, overload

from torch import Tensor

import functional_dists.kernels as kernels
from functional_dists.family import docs, reprs, signatures
from functional_dists.family.kinds import Kind
from functional_dists.family.specification import Confine, Fit, Specification, parse, with_params
from functional_dists.family.typed import Decorator, Derive, P, R, Verb
from functional_dists.family.wrapper import wrap
from functional_dists.special.elementary import root

__all__ = ["Definition", "define", "fit_of", "kind_of_value", "register", "specification_of", "sums_events"]

F = TypeVar("F", bound=Callable[..., Any])


class _Verb(NamedTuple):
    function: Callable[..., Any]  # of tensors
    specification: Specification


_VERBS: weakref.WeakKeyDictionary[Callable[..., Any], _Verb] = weakref.WeakKeyDictionary()


def define(
    params: Any,
    name: str | None = None,
    *,
    takes_dtype: bool = False,
    values_of: Any = None,
    fit: Fit | None = None,
    knows_cut_rows: bool = False,
    **described: str,
) -> "Definition":
    """Return the decorator that makes functions of tensors the verbs of a family.

    A verb checks the structure of its arguments, turns numbers into tensors, computes half precision in float32 (and
    returns half precision), and maps over pytrees. The other arguments then have the same structure or a prefix of it,
    and a leaf draws from `fold_in(key, hash of its path)`. If the caller does not give the option `event_dims`, the
    function gets its default, or 0 for parameters without axes.

    Args:
        params: The family's `Params`: a NamedTuple whose fields are annotated `Real`, `Mask` or `Index`, and whose
            docstring describes each of them in a line `name: text`.
        name: The family's name in messages. Default: the name of the module of the function.
        takes_dtype: Whether the verbs that return log-probs, entropies or divergences have the option `dtype`: that of
            these results instead of the parameters' dtype.
        values_of: A family, or a kind: an argument annotated `Value` has the kind of its values. If a value belongs to
            the last axis of the parameters, every verb refuses parameters without axes; without `values_of` only those
            that take a value do.
        fit: The default of the decorator's `fit`.
        knows_cut_rows: Whether the verbs, on DTensors whose rows are cut, compute with the part of a row that a process
            holds, by the functions of `special.axis`. If not, they get whole rows.
        described: Descriptions of `value` and `sample` in place of those in the docstring of `Params`.

    Returns:
        The decorator, for `f([key: Source,] *parameters [, value], *, options)`. One argument annotated with `params`
        stands for all parameters, as in `f(params: Params, value: Real)`; two stand for those of two distributions, as
        in `f(p: Params, q: Params)`. `Parameters` is the annotation if the module does not define the class.

    Raises:
        TypeError: an argument has no annotation of its kind.

    >>> import torch
    >>> from functional_dists.family import Real
    >>> class Params(NamedTuple):
    ...     rate: Real
    >>> verb = define(Params, "exponential")
    >>> @verb
    ... def log_prob(rate: Real, value: Real) -> Tensor:
    ...     \"\"\"Return the log-density.\"\"\"
    ...     return rate.log() - rate * value
    >>> log_prob(torch.tensor([1.0, 2.0]), 0.5)
    tensor([-0.5000, -0.3069])
    """
    return Definition(params, name, described, takes_dtype, values_of, fit, knows_cut_rows)


class Definition:
    """The decorator of a family's verbs; it also derives verbs from others."""

    def __init__(
        self,
        params: Any,
        name: str | None,
        described: dict[str, str],
        takes_dtype: bool = False,
        values_of: Any = None,
        fit: Fit | None = None,
        knows_cut_rows: bool = False,
    ) -> None:
        self.fit, self.knows_cut_rows = fit, knows_cut_rows
        self.event_axes = 0  # of events that are scored as a whole; a combinator sets it
        self.params, self.name, self.described, self.takes_dtype = params, name, described, takes_dtype
        self.value_kind = values_of if values_of is None or isinstance(values_of, Kind) else kind_of_value(values_of)
        self.verbs: dict[str, Callable[..., Any]] = {}
        self.functions: dict[str, Callable[..., Any]] = {}  # that are no verbs, such as `table`

    def __repr__(self) -> str:
        return reprs.call("define", self.params, *[self.name] * (self.name is not None), **self.described)

    @overload
    def __call__(self, function: Callable[P, R], /) -> Verb[P, R]: ...
    @overload
    def __call__(
        self,
        /,
        *,
        confine: Callable[..., Tensor] | Confine | None = None,
        fit: Fit | None = None,
        keeps_dtypes: bool = False,
        passes_to: Callable[..., Any] | None = None,
    ) -> Decorator: ...
    def __call__(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        confine: Callable[..., Tensor] | Confine | None = None,
        fit: Fit | None = None,
        keeps_dtypes: bool = False,
        passes_to: Callable[..., Any] | None = None,
    ) -> Any:
        """Make a function of tensors a verb.

        Args:
            function: The function.
            confine: `confine(value, *bounds)`, applied to the result (the first of a pair) if it was rounded to half
                precision. Its bounds are the arguments of the same names, or of the names in its attribute `bounds`.
            fit: For parameters that do not broadcast: `fit(*shapes)` of the parameters' shapes returns the shape of
                batch and event, or raises a ValueError.
            keeps_dtypes: Whether floating-point tensors keep their dtypes, instead of one common dtype.
            passes_to: Another verb. The function also takes its options, as `**options`, and passes them on.
        """
        if function is None:
            return lambda function: self._make(function, confine, fit, keeps_dtypes, passes_to)
        return self._make(function, confine, fit, keeps_dtypes, passes_to)

    def _make(
        self,
        function: Callable[..., Any],
        confine: Callable[..., Tensor] | Confine | None,
        fit: Fit | None,
        keeps_dtypes: bool,
        passes_to: Callable[..., Any] | None,
    ) -> Callable[..., Any]:
        family = self.name or function.__module__.rpartition(".")[2]
        passed = tuple(signatures.options_of(passes_to))
        spec = parse(
            function,
            self.params,
            family,
            confine=confine,
            fit=fit or self.fit,
            keeps_dtypes=keeps_dtypes,
            takes_dtype=self.takes_dtype,
            more_options=passed,
            value_kind=self.value_kind,
            knows_cut_rows=self.knows_cut_rows,
        )
        doc = docs.complete(function.__doc__, spec, self.described)
        return self._register_verb(function, spec, doc, signatures.of_function(function, spec, passes_to))

    def _register_verb(
        self, function: Callable[..., Any], spec: Specification, doc: str, signature: inspect.Signature | None
    ) -> Callable[..., Any]:
        spec = spec._replace(event_axes=self.event_axes or spec.event_axes)
        verb = functools.update_wrapper(wrap(function, spec), function)
        verb.__doc__ = doc
        if signature is not None:
            verb.__signature__ = signature  # type: ignore[attr-defined]
        _VERBS[verb] = _Verb(function, spec)
        self.verbs[function.__name__] = verb
        return verb

    def inherit(self, family: Any, *names: str) -> None:
        """Take these verbs unchanged from another family with the same `Params`; names that it lacks are skipped."""
        self.verbs.update({name: getattr(family, name) for name in names if hasattr(family, name)})

    def mapped(self, verb: F, change: Callable[[Any], Any], doc: str, name: str | None = None) -> F:
        """Return a verb with the arguments of another one, which applies `change` to its result."""

        def function(*tensors: Any, **options: Any) -> Any:
            return change(verb(*tensors, **options))

        return self._register_like(verb, name or verb.__name__, function, doc, maps_verb=True)

    def through(
        self, change: Callable[..., Any], replace: Mapping[str, str] | None = None, *, examples: bool = True
    ) -> Derive:
        """Return a function that makes verbs of another family verbs of this one.

        Args:
            change: `change(*parameters)` returns the `Params` of the other family.
            replace: Texts to replace in the docstrings of the other family, such as the parameters of the examples.
            examples: Whether to keep the examples of the docstrings.

        Returns:
            A function of a verb of the other family. It takes the option `confine`, as the decorator does, and `doc`,
            a docstring in place of the verb's. It raises a TypeError if its argument is no verb.
        """

        def derive(
            verb: Callable[..., Any],
            /,
            *,
            confine: Callable[..., Tensor] | Confine | None = None,
            doc: str | None = None,
        ) -> Any:
            other, theirs = _require_verb(verb)
            run = _on_checked_tensors(verb)
            module = self.params.__module__
            spec = with_params(theirs, self.params, self.name or module.rpartition(".")[2], confine, self.fit)
            spec = spec._replace(knows_cut_rows=self.knows_cut_rows)
            first, last = int(spec.draws), int(spec.draws) + len(self.params._fields)

            def function(*arguments: Any, **options: Any) -> Any:
                try:
                    if spec.num_params == 2:
                        return run(change(*arguments[0]), change(*arguments[1]), **options)
                    params = change(*arguments[first:last])
                    return run(*arguments[:first], *params, *arguments[last:], **options)
                except (TypeError, ValueError) as error:  # of an option, which only the other verb checks
                    raise type(error)(str(error).replace(theirs.name, spec.name)) from error

            text = doc or other.__doc__ or ""
            text = text if examples else text.partition(">>>")[0]
            for old, new in (replace or {}).items():
                text = text.replace(old, new)
            signature = signatures.with_params(inspect.signature(verb), theirs, spec)
            return self._register_derived(function, spec, text, signature, module)

        return derive

    def _register_derived(
        self, function: Callable[..., Any], spec: Specification, doc: str, signature: inspect.Signature, module: str
    ) -> Callable[..., Any]:
        function.__name__ = function.__qualname__ = spec.name.rpartition(".")[2]
        function.__module__, function.__doc__ = module, doc
        return self._register_verb(function, spec, docs.complete(doc, spec, self.described), signature)

    def _register_like(self, verb: F, name: str, function: Callable[..., Any], doc: str, maps_verb: bool = False) -> F:
        """Make a function with the arguments of `verb` a verb."""
        spec = _require_verb(verb).specification
        spec = spec._replace(name=f"{self.name or spec.name.rpartition('.')[0]}.{name}", maps_verb=maps_verb)
        spec = spec._replace(knows_cut_rows=self.knows_cut_rows)
        return cast(F, self._register_derived(function, spec, doc, inspect.signature(verb), verb.__module__))

    def sample(self, rsample: F) -> F:
        """Return the verb `sample`: the value that `rsample`, a verb of this family, draws, detached from the graph."""
        draw = _require_verb(rsample).function  # a kernel of `rsample` must not run where that of `sample` cannot

        def function(*tensors: Any, **options: Any) -> Any:
            return draw(*tensors, **options).detach()

        sentence = "Draw the value that `rsample` draws, detached from the graph."
        doc = docs.with_example(sentence, rsample, ">>> sample({arguments})\n{result}")
        return self._register_like(rsample, "sample", function, doc)

    def survivals(self, cdf: F, log_cdf: F, mirror: Callable[..., tuple[Tensor, ...]]) -> tuple[F, F]:
        """Return the verbs `survival` and `log_survival` of a continuous family: `cdf` and `log_cdf` of -X at -value.

        Args:
            cdf: P(X <= value).
            log_cdf: Its logarithm.
            mirror: `mirror(*parameters, value)` returns the parameters of -X, and -value.
        """

        def of_mirrored(verb: F, name: str, sentence: str, example: str) -> F:
            run = _on_checked_tensors(verb)
            doc = docs.with_example(sentence, verb, f">>> torch.allclose({name}({{arguments}}), {example})\nTrue")
            return self._register_like(verb, name, lambda *tensors: run(*mirror(*tensors)), doc)

        sentence = "Return P(X > value), elementwise; other libraries call it `sf`."
        survival = of_mirrored(cdf, "survival", sentence, "1 - cdf({arguments})")
        sentence = "Return log P(X > value), elementwise; finite where the survival underflows."
        return survival, of_mirrored(log_cdf, "log_survival", sentence, "survival({arguments}).log()")

    def log_prob_and_entropy(self, log_prob: F, entropy: Callable[..., Any]) -> F:
        """Return the verb `log_prob_and_entropy` of a family that does not share work between the two."""
        run = _on_checked_tensors(log_prob), _on_checked_tensors(entropy)
        options_of_entropy = _require_verb(entropy).specification.options

        def function(*tensors: Any, **options: Any) -> Any:
            shared = {name: option for name, option in options.items() if name in options_of_entropy}
            return run[0](*tensors, **options), run[1](*tensors[:-1], **shared)

        sentence = "Return the log-probability of a value, and the entropy."
        example = ">>> log_prob_and_entropy({arguments})[0].equal(log_prob({arguments}))\nTrue"
        doc = docs.with_example(sentence, log_prob, example)
        return self._register_like(log_prob, "log_prob_and_entropy", function, doc)

    def forward_and_log_det(self, forward: F, forward_log_det: Callable[..., Any]) -> F:
        """Return the verb `forward_and_log_det` of a bijector that does not share work between the two."""
        run = _on_checked_tensors(forward), _on_checked_tensors(forward_log_det)

        def function(*tensors: Any) -> Any:
            return run[0](*tensors), run[1](*tensors)

        sentence = "Return the value of `forward`, and the logarithm of its slope."
        example = ">>> forward_and_log_det({arguments})[1].equal(forward_log_det({arguments}))\nTrue"
        doc = docs.with_example(sentence, forward, example)
        return self._register_like(forward, "forward_and_log_det", function, doc)

    def stddev(self, variance: F) -> F:
        """Return the verb `stddev`: the root of the variance, elementwise, with a gradient of 0 at 0."""
        sentence = "Return the standard deviation, elementwise: the root of the variance."
        example = ">>> torch.equal(stddev({arguments}), variance({arguments}).sqrt())\nTrue"
        return self.mapped(variance, root, docs.with_example(sentence, variance, example), "stddev")

    def deterministic(self, mode: F) -> F:
        """Return the verb `deterministic`, the action of a policy that does not explore: here the mode."""
        sentence = "Return the action of a policy that does not explore: the mode."
        example = ">>> deterministic({arguments})\n{result}"
        return self.mapped(mode, lambda value: value, docs.with_example(sentence, mode, example), "deterministic")


def specification_of(verb: Any) -> Specification | None:
    """Return the specification of a verb, or of a function that wraps one; None for another function.

    >>> from functional_dists import normal
    >>> specification_of(normal.log_prob).event_dims
    0
    """
    found = _find_verb(verb)
    return None if found is None else found.specification


def fit_of(family: Any) -> Fit | None:
    """Return how the shapes of a family's parameters fit together, where they do not broadcast.

    >>> from functional_dists import normal
    >>> fit_of(normal) is None
    True
    """
    spec = specification_of(family.log_prob)
    return None if spec is None else spec.fit


def kind_of_value(family: Any) -> Kind | None:
    """Return the kind of the values of a family; None if `define` did not make its verbs.

    >>> from functional_dists import categorical
    >>> kind_of_value(categorical)
    Index
    """
    spec = specification_of(family.log_prob)
    return None if spec is None else spec.arguments[-1].kind


@functools.cache
def sums_events(params: Any) -> bool:
    """Return whether the verbs of the family with these `Params` sum over events, instead of a last axis of outcomes.

    >>> from functional_dists import categorical, normal
    >>> sums_events(normal.Params), sums_events(categorical.Params)
    (True, False)
    """
    specifications = [found.specification for found in list(_VERBS.values())]
    return any(spec.params is params and spec.event_dims is not None for spec in specifications)


def register(verb: Callable[..., Any], like: Callable[..., Any], event_dims: int | None) -> None:
    """Give `verb` the specification of the verb `like` that it calls, with another default of `event_dims`."""
    found = _find_verb(like)
    if found is not None:
        _VERBS[verb] = found._replace(specification=found.specification._replace(event_dims=event_dims))


def _require_verb(verb: Any) -> _Verb:
    found = _find_verb(verb)
    if found is None:
        raise TypeError(f"{verb!r} must be a verb, made by `define`")
    return found


def _on_checked_tensors(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs a verb with checked arguments: its function, or the verb itself if it does more than checks."""
    function, spec = _require_verb(verb)
    does_more = spec.num_params == 1 or spec.fit or spec.confine or kernels.find(spec.name, verb.__module__)
    return verb if does_more or verb.__wrapped__ is not function else function  # type: ignore[attr-defined]


def _find_verb(verb: Any) -> _Verb | None:
    while verb is not None:
        if inspect.isfunction(verb) and verb in _VERBS:
            return _VERBS[verb]
        verb = getattr(verb, "__wrapped__", None)
    return None
