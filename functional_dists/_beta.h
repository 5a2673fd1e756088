/* Quantiles of Beta distributions, and what is known at a point of one, on eight elements at once. `_kernels.c` includes
   this file. special/beta_mass.py, beta_start.py, beta_quantile.py, beta_score.py and beta_local.py compute the same by
   PyTorch's operations, and explain the formulas; the names here are those there.

   A function of lanes has a loop over eight elements for each step, which the compiler turns into one instruction. */

#define EACH_LANE for (int lane = 0; lane < LANES; lane++)
#define BETA_TO_CENTRE 0.015
#define BETA_COARSE_ENERGY 22.0
#define BETA_FINE_ENERGY 37.0
#define BETA_SHIFT 10
#define BETA_RESULTS 12
#define BETA_SCORES 9
#define BETA_SMALL 16.0 /* below it the log-density has more digits from the formula in books */
#define EULER_GAMMA 0.57721566490153286061

typedef double Lanes[LANES];

/* A rule of quadrature on (0, 1). */
typedef struct {
    const double *node, *weight;
    Py_ssize_t count;
    int is_precise;
} BetaRule;

/* Points below the modes of eight distributions, after a reflection. */
typedef struct {
    Lanes a, b, offset, x, y, growth, is_reflected;
} Points;

INLINE double clamp_of(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

/* exp(x), 0 or infinity where that is not far away. */
INLINE double safe_exp_of(double x) {
    const double found = exp_of(clamp_of(x, -699.0, 699.0));
    return x < -699.0 ? 0.0 : x > 699.0 ? INFINITY : found;
}

/* exp(x) - 1 for -700 < x < 700, with all digits near 0. */
INLINE double expm1_of(double x) {
    /* as exp_of: exp(x) - 1 = 2^k (exp(r) - 1) + (2^k - 1) */
    const double shifted = x * (1.0 / LOG_2) + INTEGER_SHIFT;
    const double r = x - (shifted - INTEGER_SHIFT) * LOG_2;
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    const double scale = double_of_bits(bits_of_double(1.0) + (bits_of_double(shifted) << 52));
    return scale * (r * r * p + r) + (scale - 1.0) + (x - x);
}

/* log(x) for positive x, also subnormal. */
INLINE double log_of_tiny(double x) {
    const int is_tiny = x < 1e-300;
    return log_of(is_tiny ? x * 0x1p60 : x) - (is_tiny ? 60 * LOG_2 : 0.0);
}

/* exp(r) - 1 - r for |r| < 1 */
INLINE double expm1_excess_of(double r) {
    double p = 1.0 / 6402373705728000;
    p = p * r + 1.0 / 355687428096000;
    p = p * r + 1.0 / 20922789888000;
    p = p * r + 1.0 / 1307674368000;
    p = p * r + 1.0 / 87178291200;
    p = p * r + 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    return r * r * p;
}

/* v - log(1 + v) for -1/2 < v < 1 */
INLINE double log1p_excess_of(double v) {
    const double s = v / (2.0 + v), t = s * s;
    double p = 1.0 / 37;
    p = p * t + 1.0 / 35;
    p = p * t + 1.0 / 33;
    p = p * t + 1.0 / 31;
    p = p * t + 1.0 / 29;
    p = p * t + 1.0 / 27;
    p = p * t + 1.0 / 25;
    p = p * t + 1.0 / 23;
    p = p * t + 1.0 / 21;
    p = p * t + 1.0 / 19;
    p = p * t + 1.0 / 17;
    p = p * t + 1.0 / 15;
    p = p * t + 1.0 / 13;
    p = p * t + 1.0 / 11;
    p = p * t + 1.0 / 9;
    p = p * t + 1.0 / 7;
    p = p * t + 1.0 / 5;
    p = p * t + 1.0 / 3;
    return v * s - 2.0 * s * t * p;
}

/* log(1 + share (exp(r) - 1)), and that less share r. */
INLINE void bent_of(double share, double r, int is_precise, double *bent, double *bend) {
    if (!is_precise) {
        *bent = log_of(1.0 + share * expm1_of(r));
        *bend = *bent - share * r;
        return;
    }
    const int is_near = fabs(r) < 1.0;
    const double near = is_near ? r : 0.0, excess = expm1_excess_of(near);
    const double near_bend = share * excess - log1p_excess_of(share * (excess + near));
    const double far_bent = log1p_of(share * expm1_of(r));
    *bent = is_near ? near_bend + share * r : far_bent;
    *bend = is_near ? near_bend : far_bent - share * r;
}

/* ------------------------------------------------------------------------------------------------- the gamma function
   What is left of log Gamma(z), psi(z) and psi'(z) after Stirling's main terms: see polygamma.py. Those of z + 10 are
   found by series, and ten steps lead back to a small z. */
INLINE double log_gamma_rest_of(double y) {
    const double t = y * y;
    double p = -3617.0 / 122400;
    p = p * t + 1.0 / 156;
    p = p * t - 691.0 / 360360;
    p = p * t + 1.0 / 1188;
    p = p * t - 1.0 / 1680;
    p = p * t + 1.0 / 1260;
    p = p * t - 1.0 / 360;
    p = p * t + 1.0 / 12;
    return p * y;
}

/* psi(z) - log z + 1 / (2 z), for y = 1 / z */
INLINE double digamma_tail_of(double y) {
    const double t = y * y;
    double p = 43867.0 / 14364;
    p = p * t - 3617.0 / 8160;
    p = p * t + 1.0 / 12;
    p = p * t - 691.0 / 32760;
    p = p * t + 1.0 / 132;
    p = p * t - 1.0 / 240;
    p = p * t + 1.0 / 252;
    p = p * t - 1.0 / 120;
    p = p * t + 1.0 / 12;
    return -t * p;
}

INLINE double digamma_rest_of(double y) { return digamma_tail_of(y) - 0.5 * y; }

INLINE double far_trigamma_rest_of(double y) {
    const double t = y * y;
    double p = 43867.0 / 798;
    p = p * t - 3617.0 / 510;
    p = p * t + 7.0 / 6;
    p = p * t - 691.0 / 2730;
    p = p * t + 5.0 / 66;
    p = p * t - 1.0 / 30;
    p = p * t + 1.0 / 42;
    p = p * t - 1.0 / 30;
    p = p * t + 1.0 / 6;
    return 0.5 * t + y * t * p;
}

INLINE void log_gamma_rests(const Lanes z, Lanes rest) {
    Lanes product;
    EACH_LANE product[lane] = 1.0;
    for (int k = 0; k < BETA_SHIFT; k++) {
        EACH_LANE product[lane] *= (z[lane] + k) / (z[lane] + BETA_SHIFT);
    }
    EACH_LANE {
        const int is_small = z[lane] < BETA_SHIFT;
        const double far = is_small ? z[lane] + BETA_SHIFT : z[lane];
        const double steps = (z[lane] - 0.5) * log_of(far / z[lane]) - BETA_SHIFT - log_of(product[lane]);
        rest[lane] = log_gamma_rest_of(1.0 / far) + (is_small ? steps : 0.0);
    }
}

INLINE void polygamma_rests(const Lanes z, Lanes digamma_rest, Lanes trigamma_rest) {
    Lanes sum, squares;
    EACH_LANE sum[lane] = squares[lane] = 0.0;
    for (int k = 0; k < BETA_SHIFT; k++) {
        EACH_LANE {
            const double inverse = 1.0 / (z[lane] + k);
            sum[lane] += inverse;
            squares[lane] += inverse * inverse;
        }
    }
    EACH_LANE {
        const int is_small = z[lane] < BETA_SHIFT;
        const double far = is_small ? z[lane] + BETA_SHIFT : z[lane], y = 1.0 / far;
        digamma_rest[lane] = digamma_rest_of(y) + (is_small ? log_of(far / z[lane]) - sum[lane] : 0.0);
        const double steps = squares[lane] - BETA_SHIFT / (z[lane] * far); /* 1 / far - 1 / z */
        trigamma_rest[lane] = far_trigamma_rest_of(y) + (is_small ? steps : 0.0);
    }
}

/* The rest of log Gamma at z less the one at z + more, with all digits of a small `more`: by the terms that ten steps add
   to each, all of which vanish with it. */
INLINE void log_gamma_rest_losses(const Lanes z, const Lanes more, Lanes loss) {
    Lanes grown; /* the product of 1 + more / (z + k), less 1 */
    EACH_LANE grown[lane] = 0.0;
    for (int k = 0; k < BETA_SHIFT; k++) {
        EACH_LANE {
            const double ratio = more[lane] / (z[lane] + k);
            grown[lane] += ratio + grown[lane] * ratio;
        }
    }
    EACH_LANE {
        const double far = z[lane] + BETA_SHIFT, all = z[lane] + more[lane], far_all = far + more[lane];
        const double of_far = log_gamma_rest_of(1.0 / far) - log_gamma_rest_of(1.0 / far_all);
        loss[lane] = of_far + (z[lane] - 0.5) * log1p_of(BETA_SHIFT * more[lane] / (z[lane] * far_all)) -
                     more[lane] * log_of(far_all / all) + log1p_of(grown[lane]) - BETA_SHIFT * log1p_of(more[lane] / far);
    }
}

/* log(a T) at the mode, from the rests of log Gamma at 1 + a, b and a + b. Where a < 1/2 it has all digits of a, by
   log Gamma(1 + a) = (1 - gamma) a + a^2 (...) - log(1 + a), see log_gamma.py. */
INLINE void log_totals_at_mode(const Lanes a, const Lanes b, const Lanes of_next, const Lanes of_b, const Lanes of_all,
                               int is_precise, Lanes log_total) {
    static const double zeta[] = {
        0.3224670334241132,     -0.0673523010531981,    0.020580808427784546,   -0.007385551028673986,
        0.0028905103307415234,  -0.001192753911703261,  0.0005096695247430425,  -0.00022315475845357939,
        9.945751278180853e-05,  -4.492623673813314e-05, 2.050721277567069e-05,  -9.439488275268397e-06,
        4.374866789907488e-06,  -2.039215753801366e-06, 9.55141213040742e-07,   -4.492469198764566e-07,
        2.1207184805554665e-07, -1.0043224823968099e-07, 4.7698101693639804e-08, -2.2711094608943164e-08,
        1.0838659214896955e-08, -5.183475041970047e-09, 2.4836745438024785e-09, -1.1921401405860912e-09,
        5.731367241678862e-10};
    Lanes series, loss;
    EACH_LANE {
        series[lane] = 0.0;
        loss[lane] = of_b[lane] - of_all[lane];
    }
    if (is_precise) {
        Lanes exact;
        log_gamma_rest_losses(b, a, exact);
        EACH_LANE loss[lane] = a[lane] < 0.5 && b[lane] < BETA_SHIFT ? exact[lane] : loss[lane];
    }
    for (int k = 24; k >= 0; k--) {
        EACH_LANE series[lane] = series[lane] * a[lane] + zeta[k];
    }
    EACH_LANE {
        const int is_small = a[lane] < 0.5;
        const double small = is_small ? a[lane] : 0.1;
        const double log_gamma = (1.0 - EULER_GAMMA) * small + small * small * series[lane] - log1p_of(small);
        const double of_small = log_gamma + small - small * log_of(small);
        const double of_large =
            of_next[lane] + 0.5 * log1p_of(a[lane]) + a[lane] * log1p_of(1.0 / a[lane]) + (HALF_LOG_2PI - 1.0);
        const double of_a = is_small ? of_small : of_large;
        log_total[lane] = of_a + 0.5 * log1p_of(a[lane] / b[lane]) + loss[lane];
    }
}

/* ------------------------------------------------------------------------------------------------------------- points */
INLINE void points_at(const Lanes offset, const Lanes a, const Lanes b, Points *points) {
    EACH_LANE {
        const double centre = log_of((1.0 + BETA_TO_CENTRE / a[lane]) / (1.0 + BETA_TO_CENTRE / b[lane]));
        const int is_reflected = offset[lane] > centre;
        const double p = is_reflected ? b[lane] : a[lane], q = is_reflected ? a[lane] : b[lane];
        const double moved = is_reflected ? -offset[lane] : offset[lane], near = clamp_of(moved, -699.0, 699.0);
        const double odds = p * exp_of(near), y = q / (q + odds);
        points->a[lane] = p;
        points->b[lane] = q;
        points->offset[lane] = moved;
        points->x[lane] = odds / (q + odds);
        points->y[lane] = y;
        points->growth[lane] = -p * y * expm1_of(near);
        points->is_reflected[lane] = is_reflected;
    }
}

INLINE double total_growth(double a, double b, double offset) {
    const double n = a + b;
    const int is_left = a <= b;
    const double share = (is_left ? a : b) / n, r = is_left ? offset : -offset, near = clamp_of(r, -699.0, 600.0);
    double bent, bend;
    bent_of(share, near, 1, &bent, &bend);
    return n * (bend + (r > 0.0 ? 1.0 - share : -share) * (r - near));
}

/* Where the energy of the integrand is `energy`. */
INLINE double reach_of(double slope, double count, double share, double sign, double spread, double energy) {
    double r = 2.0 * energy / (slope + sqrt(slope * slope + 2.0 * energy * count * spread));
    const double per_share = energy / (count * share), right = log1p_of(per_share + sqrt(2.0 * per_share));
    r = sign > 0.0 && right < r ? right : r;
    for (int k = 0; k < 2; k++) {
        r = r > 600.0 ? 600.0 : r;
        const double grown = expm1_of(sign * r), ratio = 1.0 + share * grown;
        const double plain = count * (log_of(ratio) - sign * share * r) + slope * r, found = plain < 1e-3 ? 1e-3 : plain;
        const double rise = sign * count * share * (1.0 - share) * grown / ratio + slope;
        const double root = sqrt(energy * found), back = 2.0 * (found - root);
        const double step = (found < energy ? 2.0 * (root - found) : -(back < found ? back : found)) / rise;
        r = r + step > 0.0 && r + step < INFINITY ? r + step : r;
    }
    return 1.02 * r;
}

/* The integrals of X f(s) / f(t) below points, times 1, l_x, l_y, l_x^2, l_x l_y and l_y^2 for the logs l_x of X / x and
   l_y of Y / y; the first one alone without `has_moments`. */
INLINE void integrals_below(const Points *points, const BetaRule *rule, int has_moments, Lanes *sums) {
    Lanes slope, count, share, sign, reach;
    EACH_LANE {
        const double x = points->x[lane], y = points->y[lane];
        slope[lane] = points->growth[lane] + y;
        count[lane] = points->a[lane] + points->b[lane] + 1.0;
        share[lane] = x <= y ? x : y;
        sign[lane] = x <= y ? -1.0 : 1.0;
        reach[lane] = reach_of(slope[lane], count[lane], share[lane], sign[lane], x * y,
                               rule->is_precise ? BETA_FINE_ENERGY : BETA_COARSE_ENERGY);
        for (int k = 0; k < (has_moments ? 6 : 1); k++) sums[k][lane] = 0.0;
    }
    for (Py_ssize_t i = 0; i < rule->count; i++) {
        const double u = rule->node[i], w = rule->weight[i];
        EACH_LANE {
            const double r = reach[lane] * u;
            double bent, bend;
            bent_of(share[lane], sign[lane] * r, rule->is_precise, &bent, &bend);
            const double energy = slope[lane] * r + count[lane] * bend;
            const double weight = w * exp_of(-(energy < 699.0 ? energy : 699.0));
            sums[0][lane] += weight;
            if (has_moments) {
                const double log_x = sign[lane] < 0.0 ? -r - bent : -bent, log_y = sign[lane] < 0.0 ? -bent : r - bent;
                const double by_x = weight * log_x, by_y = weight * log_y;
                sums[1][lane] += by_x;
                sums[2][lane] += by_y;
                sums[3][lane] += by_x * log_x;
                sums[4][lane] += by_x * log_y;
                sums[5][lane] += by_y * log_y;
            }
        }
    }
    for (int k = 0; k < (has_moments ? 6 : 1); k++) {
        EACH_LANE sums[k][lane] *= points->x[lane] * reach[lane];
    }
}

INLINE void log_masses(double log_total, double rest, double *log_below, double *log_above) {
    *log_below = log1p_of(rest) - log_total;
    const int is_low = *log_below < -1.0;
    const double below = safe_exp_of(*log_below), scale = safe_exp_of(-log_total);
    const double above = -expm1_of(-clamp_of(log_total, 0.0, 699.0)) - rest * scale;
    const double of_low = log1p_of(-(is_low ? below : 0.5));
    const double of_high = log_of(is_low || !(above > 1e-300) ? 1e-300 : above);
    *log_above = is_low ? of_low : of_high;
}

/* -------------------------------------------------------------------------------------------------------- first guess */
/* About the normal quantile of p <= 1/2; Abramowitz & Stegun 26.2.23. */
INLINE double rough_normal_quantile(double log_p) {
    const double t = sqrt(-2.0 * log_p);
    return -(t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))));
}

INLINE double log_gamma_start(double log_below, double log_above, double z, double a, double log_a, double log_gamma) {
    const double tail = (log_below + log_gamma) / a, root = 1.0 - 1.0 / (9.0 * a) + z / (3.0 * sqrt(a));
    const double grown = safe_exp_of(tail > 3.0 ? 3.0 : tail) / (a + 1.0);
    const double large = root > 0.45 ? log_a + 3.0 * log_of(root > 0.1 ? root : 0.1) : tail + (grown > 1.0 ? 1.0 : grown);
    const double log_power = log_below / a, decay = -log_of(-expm1_of(clamp_of(log_power, -699.0, -1e-290)));
    const double alzer = log_of(decay > 1e-37 ? decay : 1e-37);
    const double small = (log_power < -30.0 ? log_power : alzer) + log_gamma / a;
    const double plain = log_a - log_gamma - log_above, energy = plain > 1.0 ? plain : 1.0;
    double x = energy;
    for (int k = 0; k < 4; k++) {
        x = x > 0.5 + a ? x : 0.5 + a;
        x = energy + (a - 1.0) * log_of(x) - log_of(1.0 + (1.0 - a) / (1.0 + x));
    }
    return energy > 2.0 && x > 1.0 + 2.0 * a ? log_of(x > 1.0 ? x : 1.0) : a < 1.0 ? small : large;
}

INLINE double logit_of_log(double log_x) {
    const double kept = log_x < -1e-3 ? log_x : -1e-3;
    return kept - log_of(-expm1_of(kept > -699.0 ? kept : -699.0));
}

/* About the offset of the quantile. `total` is log(a T) at the mode, `of_smaller` the rest of log Gamma at min(a, b). */
INLINE double beta_start(double log_below, double log_above, double a, double b, double total, double of_smaller) {
    const int is_swapped = a > b;
    const double log_a = log_of(is_swapped ? b : a), log_b = log_of(is_swapped ? a : b), mode = log_a - log_b;
    const double beta = total - log_of(a) - a * log1p_of(b / a) - b * log1p_of(a / b);
    const double p = is_swapped ? b : a, q = is_swapped ? a : b;
    const double below = is_swapped ? log_above : log_below, above = is_swapped ? log_below : log_above;
    const double rough = rough_normal_quantile(below < above ? below : above), z = below < above ? rough : -rough;
    const double log_gamma = of_smaller + (p + 0.5) * log_a - p + HALF_LOG_2PI; /* of 1 + p */

    const double log_decay = log_gamma_start(below, above, z, p, log_a, log_gamma) - log_of(q + 0.5 * (p - 1.0));
    const double decay = safe_exp_of(log_decay > 30.0 ? 30.0 : log_decay);
    const double far = log_decay < -18.0 ? log_decay : log_of(expm1_of(clamp_of(decay, 1e-290, 30.0)));
    double found = decay > 30.0 ? decay : far;

    const double skewness = (z * z - 3.0) / 6.0;
    const double twice_p = 2.0 * p - 1.0, twice_q = 2.0 * q - 1.0;
    const double per_p = 1.0 / (twice_p > 0.2 ? twice_p : 0.2), per_q = 1.0 / (twice_q > 0.2 ? twice_q : 0.2);
    const double harmonic = 2.0 / (per_p + per_q), lifted = harmonic + skewness;
    const double w = -z * sqrt(lifted > 0.05 ? lifted : 0.05) / harmonic -
                     (per_q - per_p) * (skewness + 5.0 / 6.0 - 2.0 / (3.0 * harmonic));
    found = p > 1.5 && !(z > 3.0 && p < 8.0) && lifted > 0.0 && fabs(w) < 3.0 ? mode - 2.0 * w : found;

    const double log_low = (log_a + beta + below) / p, log_high = (log_b + beta + above) / q;
    const double low = logit_of_log(log_low), high = -logit_of_log(log_high);
    found = q < 0.6 ? (log_low < log_high ? low : high) : q < 3.0 && log_high < -3.0 ? high : found;
    return is_swapped ? mode - found : found - mode;
}

/* -------------------------------------------------------------------------------------------------------- the kernels */
INLINE void load_lanes(const double *values, Py_ssize_t first, Py_ssize_t count, Lanes lanes) {
    EACH_LANE lanes[lane] = values[first + (lane < count ? lane : count - 1)];
}

/* 0 if these are parameters of a distribution, else NaN, which kernels add to results. */
INLINE double nan_of_invalid(double a, double b) {
    return a > 0.0 && b > 0.0 && a < INFINITY && b < INFINITY ? 0.0 : NAN;
}

INLINE void quantile_step(Lanes offset, const Lanes log_odds, const Lanes a, const Lanes b, const Lanes total,
                          const Lanes other, const BetaRule *rule) {
    Points points;
    Lanes sums[1];
    points_at(offset, a, b, &points);
    integrals_below(&points, rule, 0, sums);
    EACH_LANE {
        const double p = points.a[lane], q = points.b[lane], n = p + q, growth = points.growth[lane];
        const int is_reflected = points.is_reflected[lane] > 0.0;
        const double log_total = (is_reflected ? other[lane] : total[lane]) + total_growth(p, q, points.offset[lane]);
        const double rest = n * sums[0][lane];
        double log_below, log_above;
        log_masses(log_total, rest, &log_below, &log_above);
        const double gap = (log_below - log_above) - (is_reflected ? -log_odds[lane] : log_odds[lane]);
        const double per_below = p / (1.0 + rest), per_above = p * safe_exp_of(-log_total - log_above);
        /* step_to_odds in special/implicit.py */
        const double step = -gap / (per_below + per_above), second = per_above - per_below + growth;
        const double third = second * second + per_above * (per_above + growth) + per_below * (per_below - growth) -
                             n * points.x[lane] * points.y[lane];
        const double factor = 1.0 - 0.5 * second * step + (0.5 * second * second - third / 6.0) * step * step;
        const double moved = step * (fabs(factor - 1.0) < 0.5 ? factor : 1.0);
        offset[lane] += is_reflected ? -moved : moved;
    }
}

VECTORIZED static void beta_quantiles(const double *below, const double *above, const double *a, const double *b,
                                      Py_ssize_t size, const BetaRule *first, const BetaRule *last, double *offsets) {
    for (Py_ssize_t start = 0; start < size; start += LANES) {
        const Py_ssize_t count = size - start < LANES ? size - start : LANES;
        Lanes low, high, p, q, n, next_p, next_q, total, other, offset, log_odds;
        Lanes of_p, of_q, of_n, of_next_p, of_next_q;
        load_lanes(below, start, count, low);
        load_lanes(above, start, count, high);
        load_lanes(a, start, count, p);
        load_lanes(b, start, count, q);
        EACH_LANE {
            n[lane] = p[lane] + q[lane];
            next_p[lane] = p[lane] + 1.0;
            next_q[lane] = q[lane] + 1.0;
        }
        log_gamma_rests(p, of_p);
        log_gamma_rests(q, of_q);
        log_gamma_rests(n, of_n);
        log_gamma_rests(next_p, of_next_p);
        log_gamma_rests(next_q, of_next_q);
        log_totals_at_mode(p, q, of_next_p, of_q, of_n, last->is_precise, total);
        log_totals_at_mode(q, p, of_next_q, of_p, of_n, last->is_precise, other);
        EACH_LANE {
            const int is_low = low[lane] <= high[lane];
            const double small = is_low ? low[lane] : high[lane];
            const double log_small = log_of_tiny(small), log_rest = log1p_of(-small);
            const double log_below = is_low ? log_small : log_rest, log_above = is_low ? log_rest : log_small;
            log_odds[lane] = log_below - log_above;
            const double of_smaller = p[lane] > q[lane] ? of_q[lane] : of_p[lane];
            offset[lane] = beta_start(log_below, log_above, p[lane], q[lane], total[lane], of_smaller);
        }
        quantile_step(offset, log_odds, p, q, total, other, first);
        quantile_step(offset, log_odds, p, q, total, other, last);
        EACH_LANE {
            if (lane < count)
                offsets[start + lane] = offset[lane] + nan_of_invalid(p[lane], q[lane]) +
                                        (low[lane] > 0.0 && high[lane] > 0.0 ? 0.0 : NAN);
        }
    }
}

/* What points need of log X and log Y: see beta_score.py. `log_total` is log(a T) at the points, `at_mode` at the
   modes. */
typedef struct {
    Lanes m_a, m_b, variance_a, variance_b, of_all, log_total, at_mode;
} Statistics;

INLINE void statistics_at(const Points *points, int is_precise, Statistics *found) {
    Lanes next, all, steps, totals, of_next, of_b, of_all;
    Lanes digamma_next, digamma_b, digamma_all, trigamma_next, trigamma_b, trigamma_all;
    EACH_LANE {
        next[lane] = points->a[lane] + 1.0;
        all[lane] = points->a[lane] + points->b[lane];
        steps[lane] = 0.0;
    }
    log_gamma_rests(next, of_next);
    log_gamma_rests(points->b, of_b);
    log_gamma_rests(all, of_all);
    log_totals_at_mode(points->a, points->b, of_next, of_b, of_all, is_precise, totals);
    polygamma_rests(next, digamma_next, trigamma_next);
    polygamma_rests(points->b, digamma_b, trigamma_b);
    polygamma_rests(all, digamma_all, trigamma_all);
    for (int k = 0; k < BETA_SHIFT; k++) {
        EACH_LANE steps[lane] += points->a[lane] / ((points->b[lane] + k) * (all[lane] + k));
    }
    EACH_LANE {
        const double p = points->a[lane], q = points->b[lane], n = all[lane], offset = points->offset[lane];
        const double near = clamp_of(offset, -600.0, 600.0);
        const double log_x_growth = offset - near - log1p_of(q / n * expm1_of(-near));
        const double log_y_growth = -log1p_of(p / n * expm1_of(near));
        const double far_q = q + BETA_SHIFT, far_n = n + BETA_SHIFT;
        /* The leading terms, -1 / (2 z), would cancel where p is small. */
        const double leading = 0.5 * p / (far_n * far_q), steps_growth = steps[lane] - log1p_of(BETA_SHIFT * p / (q * far_n));
        const double digamma_growth = leading + (digamma_tail_of(1.0 / far_n) - digamma_tail_of(1.0 / far_q)) + steps_growth;
        found->m_a[lane] = (digamma_next[lane] + log1p_of(1.0 / p) - digamma_all[lane]) - log_x_growth;
        found->m_b[lane] = -(digamma_growth + log_y_growth);
        found->variance_a[lane] = (q - 1.0) / ((1.0 + p) * n) + (trigamma_next[lane] - trigamma_all[lane]);
        found->variance_b[lane] = p / (q * n) + (trigamma_b[lane] - trigamma_all[lane]);
        found->of_all[lane] = 1.0 / n + trigamma_all[lane];
        found->at_mode[lane] = totals[lane];
        found->log_total[lane] = totals[lane] + total_growth(p, q, offset);
    }
}

VECTORIZED static void beta_locals(const double *offsets, const double *a, const double *b, Py_ssize_t size,
                                   const BetaRule *rule, double *const results[BETA_RESULTS]) {
    for (Py_ssize_t start = 0; start < size; start += LANES) {
        const Py_ssize_t num = size - start < LANES ? size - start : LANES;
        Lanes offset, given_a, given_b, sums[6], found[BETA_RESULTS];
        Statistics statistics;
        Points points;
        load_lanes(offsets, start, num, offset);
        load_lanes(a, start, num, given_a);
        load_lanes(b, start, num, given_b);
        points_at(offset, given_a, given_b, &points);
        integrals_below(&points, rule, 1, sums);
        statistics_at(&points, rule->is_precise, &statistics);
        EACH_LANE {
            const double p = points.a[lane], q = points.b[lane], n = p + q, growth = points.growth[lane];
            const double mass = sums[0][lane], rest = n * mass, scale = 1.0 + rest;
            const double log_total = statistics.log_total[lane];
            const double m_a = statistics.m_a[lane], m_b = statistics.m_b[lane];
            double log_below, log_above;
            log_masses(log_total, rest, &log_below, &log_above);

            const double slope_a = (scale * m_a - mass - n * sums[1][lane]) / p;
            const double slope_b = (scale * m_b - mass - n * sums[2][lane]) / p;
            const double square_a = scale * (m_a * m_a + statistics.variance_a[lane]);
            const double square_b = scale * (m_b * m_b + statistics.variance_b[lane]);
            const double product = scale * (m_a * m_b - statistics.of_all[lane]);
            const double curve_aa =
                (square_a - 2.0 * sums[1][lane] - n * sums[3][lane] - 2.0 * slope_a) / p - growth * slope_a * slope_a;
            const double curve_ab =
                (product - sums[1][lane] - sums[2][lane] - n * sums[4][lane] - slope_b) / p - growth * slope_a * slope_b;
            const double curve_bb = (square_b - 2.0 * sums[2][lane] - n * sums[5][lane]) / p - growth * slope_b * slope_b;

            const int is_reflected = points.is_reflected[lane] > 0.0;
            const double sign = is_reflected ? -1.0 : 1.0;
            const double mass_below = scale / p, mass_above = safe_exp_of(log_above + log_total) / p;
            const double tilt_a = 1.0 / p - m_a, tilt_b = -m_b;
            found[0][lane] = is_reflected ? log_above : log_below;
            found[1][lane] = is_reflected ? log_below : log_above;
            found[2][lane] = is_reflected ? mass_above : mass_below;
            found[3][lane] = is_reflected ? mass_below : mass_above;
            found[4][lane] = sign * growth;
            found[5][lane] = sign * (is_reflected ? slope_b : slope_a);
            found[6][lane] = sign * (is_reflected ? slope_a : slope_b);
            found[7][lane] = sign * (is_reflected ? curve_bb : curve_aa);
            found[8][lane] = sign * curve_ab;
            found[9][lane] = sign * (is_reflected ? curve_aa : curve_bb);
            found[10][lane] = is_reflected ? tilt_b : tilt_a;
            found[11][lane] = is_reflected ? tilt_a : tilt_b;
        }
        for (int k = 0; k < BETA_RESULTS; k++) {
            EACH_LANE {
                const double invalid = nan_of_invalid(given_a[lane], given_b[lane]) + (offset[lane] - offset[lane]);
                if (lane < num) results[k][start + lane] = found[k][lane] + invalid;
            }
        }
    }
}

VECTORIZED static void beta_scores(const double *offsets, const double *a, const double *b, Py_ssize_t size,
                                   double *const results[BETA_SCORES]) {
    for (Py_ssize_t start = 0; start < size; start += LANES) {
        const Py_ssize_t num = size - start < LANES ? size - start : LANES;
        Lanes offset, given_a, given_b, found[BETA_SCORES];
        Statistics statistics;
        Points points;
        load_lanes(offsets, start, num, offset);
        load_lanes(a, start, num, given_a);
        load_lanes(b, start, num, given_b);
        points_at(offset, given_a, given_b, &points);
        statistics_at(&points, 1, &statistics);
        EACH_LANE {
            const double p = points.a[lane], x = points.x[lane], y = points.y[lane], log_p = log_of(p);
            const double logit = log_p - log_of(points.b[lane]) + points.offset[lane];
            const double log_x = x < 0.5 ? logit + log_of(y) : log1p_of(-y);
            const double log_y = x < 0.5 ? log1p_of(-x) : log_of_tiny(y);
            const double tilt_a = 1.0 / p - statistics.m_a[lane], tilt_b = -statistics.m_b[lane];
            const double curve_a = -(statistics.variance_a[lane] + 1.0 / (p * p)), curve_b = -statistics.variance_b[lane];
            const int is_reflected = points.is_reflected[lane] > 0.0;
            const double q = points.b[lane];
            const double log_beta = statistics.at_mode[lane] - log_p - p * log1p_of(q / p) - q * log1p_of(p / q);
            const double small = (p - 1.0) * log_x + (q - 1.0) * log_y - log_beta;
            const double large = log_p - statistics.log_total[lane] - log_x - log_y;
            found[0][lane] = p + q < BETA_SMALL ? small : large;
            found[1][lane] = is_reflected ? y : x;
            found[2][lane] = is_reflected ? x : y;
            found[3][lane] = is_reflected ? -points.growth[lane] : points.growth[lane];
            found[4][lane] = is_reflected ? tilt_b : tilt_a;
            found[5][lane] = is_reflected ? tilt_a : tilt_b;
            found[6][lane] = is_reflected ? curve_b : curve_a;
            found[7][lane] = statistics.of_all[lane];
            found[8][lane] = is_reflected ? curve_a : curve_b;
        }
        for (int k = 0; k < BETA_SCORES; k++) {
            EACH_LANE {
                const double invalid = nan_of_invalid(given_a[lane], given_b[lane]) + (offset[lane] - offset[lane]);
                if (lane < num) results[k][start + lane] = found[k][lane] + invalid;
            }
        }
    }
}
