"""The Dirichlet distribution, and families that follow from the gamma distribution."""

import mpmath

from functional_dists import chi2, dirichlet, fisher_snedecor, inverse_gamma
from tests.algebra.case import Case

CASES = [
    Case(
        "dirichlet",
        dirichlet,
        {"concentration": [[0.4, 3.7, 1.6], [2.2, 0.8, 5.0]]},
        [[0.1, 0.6, 0.3], [0.25, 0.05, 0.7]],
        {"concentration": [[0.7, 2.9, 1.3], [1.9, 1.1, 3.0]]},
    ),
    Case(
        "chi2",
        chi2,
        {"df": [0.8, 7.4]},
        [0.6, 8.2],
        {"df": [1.4, 5.8]},
        mp_log_density=lambda x, df: (
            (df / 2 - 1) * mpmath.log(x) - x / 2 - df / 2 * mpmath.log(2) - mpmath.loggamma(df / 2)
        ),
    ),
    Case(
        "inverse_gamma",
        inverse_gamma,
        {"concentration": [6.4, 3.7], "rate": [1.3, 0.6]},
        [0.3, 4.1],
        {"concentration": [5.7, 2.9], "rate": [1.1, 0.8]},
        mp_log_density=lambda y, a, rate: (
            a * mpmath.log(rate) - (a + 1) * mpmath.log(y) - rate / y - mpmath.loggamma(a)
        ),
    ),
    Case(
        "fisher_snedecor",
        fisher_snedecor,
        {"df1": [3.4, 1.6], "df2": [14.3, 18.5]},
        [0.3, 4.1],
        mp_log_density=lambda x, m, n: (
            m / 2 * mpmath.log(m / n)
            + (m / 2 - 1) * mpmath.log(x)
            - (m + n) / 2 * mpmath.log(1 + m * x / n)
            - mpmath.log(mpmath.beta(m / 2, n / 2))
        ),
    ),
]
