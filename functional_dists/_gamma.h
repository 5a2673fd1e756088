/* The gamma distribution: its quantiles, and its masses and derivatives around a point. The modules polygamma.py,
   gamma_local.py and gamma_quantile.py of special/ compute the same by PyTorch's operations, and explain the formulas.
   `_kernels.c` includes this file.

   A piece of elements is computed at a time, so that all arrays stay in the nearest cache. Elements that need one of
   the three integrals are packed, so that loops over them are vectorized. What an element gets does not depend on the
   others. */

#define GAMMA_PIECE 128
#define GAMMA_LANES 8 /* packed elements are filled up to a multiple of it */
#define NUM_RAMPS 21

/* What Python knows of an integration: the numbers of nodes and terms, and nodes and weights. See kernels/quantiles.py. */
typedef struct {
    Py_ssize_t nodes, terms, flat_terms;
    double energy, few;
    const double *node, *weight;
} Rule;

INLINE Rule rule_of(const double *table) {
    const Py_ssize_t nodes = (Py_ssize_t)table[0];
    const Rule rule = {nodes, (Py_ssize_t)table[1], (Py_ssize_t)table[2], table[3], table[4], table + 5, table + 5 + nodes};
    return rule;
}

/* ------------------------------------------------------------------------------------------- functions of one number */

/* exp(x), 0 or infinity where it under- or overflows. */
INLINE double exp_of_any(double x) {
    const double limited = x < -1400.0 ? -1400.0 : x > 1400.0 ? 1400.0 : x;
    const double moved = limited < -700.0 ? limited + 700.0 : limited > 700.0 ? limited - 700.0 : limited;
    const double factor = limited < -700.0 ? 9.8596765437597708e-305 : limited > 700.0 ? 1.0142320547350045e304 : 1.0;
    return exp_of(moved) * factor;
}

/* exp(x) - 1 - x for -700 < x < 700, exact near 0. */
INLINE double exp_excess_of(double x) {
    const double shifted = x * (1.0 / LOG_2) + INTEGER_SHIFT; /* x = k log 2 + r, as in `exp_of` */
    const double r = x - (shifted - INTEGER_SHIFT) * LOG_2;
    double p = 1.0 / 87178291200;
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
    p = p * r * r; /* exp(r) - 1 - r */
    const double power = double_of_bits(bits_of_double(1.0) + (bits_of_double(shifted) << 52));
    return power * p + (power * (1.0 + r) - (1.0 + x)); /* the second term is 0 for k = 0 */
}

/* exp(x) - 1 - x, given exp(x): a series near 0. */
INLINE double excess_of_any(double x, double exp_x) {
    const int is_near = x > -1.0 && x < 1.0;
    const double r = is_near ? x : 0.0;
    double p = 1.0 / 2432902008176640000;
    p = p * r + 1.0 / 121645100408832000;
    p = p * r + 1.0 / 6402373705728000;
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
    return is_near ? p * r * r : exp_x - 1.0 - x;
}

/* exp(x) - 1, given exp(x). */
INLINE double expm1_of_any(double x, double exp_x) {
    const double near = excess_of_any(x, exp_x) + x;
    return x > -1.0 && x < 1.0 ? near : exp_x - 1.0;
}

/* log(1 + x) for x > -0.9. */
INLINE double log1p_of_tail(double x) {
    const double sum = 1.0 + x;
    return log_of(sum) + (x - (sum - 1.0)) / sum;
}

/* A number that log_of knows. */
INLINE double normal_of(double x) { return x > DBL_MIN ? x : DBL_MIN; }

/* ------------------------------------------------------------------------------------------------ the concentrations */

typedef struct {
    Py_ssize_t count; /* a multiple of GAMMA_LANES */
    double a[GAMMA_PIECE], log_a[GAMMA_PIECE], log_total[GAMMA_PIECE]; /* the last is log Gamma(a) - (a log a - a) */
    double digamma[GAMMA_PIECE], trigamma[GAMMA_PIECE];                /* psi(a) - log a, psi'(a) - 1 / a */
} Concentrations;

#define REST_STEPS 10

/* atanh(w) / w - 1 for 0 < w <= 1/3. */
INLINE double atanh_excess_of(double w) {
    const double t = w * w;
    double p = 1.0 / 35;
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
    return p * t;
}

/* psi'(a) - 1 / a. */
INLINE double trigamma_rest_of(double a) {
    const int is_large = a >= 10.0;
    const double y = 1.0 / (is_large ? a : a + 10.0), s = y * y, base = is_large ? 1.0 : a;
    double p = -174611.0 / 330;
    p = p * s + 43867.0 / 798;
    p = p * s - 3617.0 / 510;
    p = p * s + 7.0 / 6;
    p = p * s - 691.0 / 2730;
    p = p * s + 5.0 / 66;
    p = p * s - 1.0 / 30;
    p = p * s + 1.0 / 42;
    p = p * s - 1.0 / 30;
    p = p * s + 1.0 / 6;
    double steps = 0.0, next = 1.0 / (base + 10.0);
#pragma GCC unroll 10
    for (int k = REST_STEPS - 1; k >= 0; k--) {
        const double inverse = 1.0 / (base + k);
        steps += inverse * inverse * next, next = inverse;
    }
    return 0.5 * s + y * s * p + (is_large ? 0.0 : steps);
}

/* What is left of log Gamma, psi and psi'' after the main terms of Stirling's series. Below 10 it takes ten terms of one
   sign each. With w = 1 / (2 x + 1) the logarithm of 1 + 1 / x is 2 atanh(w), and (x + 1/2) log(1 + 1 / x) - 1 is
   atanh(w) / w - 1. */
INLINE void rests_of(double a, double *rest_of_log, double *rest_of_digamma, double *rest_of_tetragamma) {
    const int is_large = a >= 10.0;
    const double z = is_large ? a : a + 10.0, base = is_large ? 1.0 : a, y = 1.0 / z, s = y * y;
    double of_log = -3617.0 / 122400, of_first = -174611.0 / 6600, of_third = -174611.0 * 21 / 330;
    of_log = of_log * s + 1.0 / 156;
    of_log = of_log * s - 691.0 / 360360;
    of_log = of_log * s + 1.0 / 1188;
    of_log = of_log * s - 1.0 / 1680;
    of_log = of_log * s + 1.0 / 1260;
    of_log = of_log * s - 1.0 / 360;
    of_log = of_log * s + 1.0 / 12;
    of_first = of_first * s + 43867.0 / 14364;
    of_first = of_first * s - 3617.0 / 8160;
    of_first = of_first * s + 1.0 / 12;
    of_first = of_first * s - 691.0 / 32760;
    of_first = of_first * s + 1.0 / 132;
    of_first = of_first * s - 1.0 / 240;
    of_first = of_first * s + 1.0 / 252;
    of_first = of_first * s - 1.0 / 120;
    of_first = of_first * s + 1.0 / 12;
    of_third = of_third * s + 43867.0 * 19 / 798;
    of_third = of_third * s - 3617.0 * 17 / 510;
    of_third = of_third * s + 7.0 * 15 / 6;
    of_third = of_third * s - 691.0 * 13 / 2730;
    of_third = of_third * s + 5.0 * 11 / 66;
    of_third = of_third * s - 0.3;
    of_third = of_third * s + 1.0 / 6;
    of_third = of_third * s - 1.0 / 6;
    of_third = of_third * s + 0.5;
    double steps = 0.0, excesses = 0.0, cubes = 0.0;
#pragma GCC unroll 10
    for (int k = REST_STEPS - 1; k > 0; k--) {
        const double x = base + k, inverse = 1.0 / x, w = 1.0 / (2.0 * x + 1.0), next = inverse / (x + 1.0);
        const double excess = atanh_excess_of(w);
        steps += excess, excesses += w * (inverse - 2.0 * excess);
        cubes += (3.0 * x + 2.0) * inverse * next * next;
    }
    const int is_tiny = base < 1.0;
    const double inverse = 1.0 / base, w = is_tiny ? 1.0 / 3 : 1.0 / (2.0 * base + 1.0), next = inverse / (base + 1.0);
    const double excess = atanh_excess_of(w), log_step = log_of(base + 1.0) - log_of(base);
    steps += is_tiny ? (base + 0.5) * log_step - 1.0 : excess;
    excesses += is_tiny ? inverse - log_step : w * (inverse - 2.0 * excess);
    cubes += (3.0 * base + 2.0) * inverse * next * next;
    *rest_of_log = y * of_log + (is_large ? 0.0 : steps);
    *rest_of_digamma = -0.5 * y - s * of_first - (is_large ? 0.0 : excesses);
    *rest_of_tetragamma = -y * s - s * s * of_third - (is_large ? 0.0 : cubes);
}

/* The rest of log Gamma from these terms loses less than from a product, and takes longer. */
INLINE void refine_log_total(Concentrations *piece) {
    double *restrict log_total = piece->log_total;
    for (Py_ssize_t i = 0; i < piece->count; i++) {
        double of_log, of_digamma, of_tetragamma;
        rests_of(piece->a[i], &of_log, &of_digamma, &of_tetragamma);
        log_total[i] = of_log - 0.5 * piece->log_a[i] + HALF_LOG_2PI;
    }
}

INLINE void take_concentrations(Concentrations *piece) {
    double *restrict log_total = piece->log_total, *restrict digamma = piece->digamma;
    for (Py_ssize_t i = 0; i < piece->count; i++) {
        const double a = piece->a[i];
        const int is_large = a >= 10.0;
        const double z = is_large ? a : a + 10.0, base = is_large ? 1.0 : a, y = 1.0 / z, s = y * y;
        double of_log = -3617.0 / 122400, of_first = -174611.0 / 6600, of_second = -174611.0 / 330;
        of_log = of_log * s + 1.0 / 156;
        of_log = of_log * s - 691.0 / 360360;
        of_log = of_log * s + 1.0 / 1188;
        of_log = of_log * s - 1.0 / 1680;
        of_log = of_log * s + 1.0 / 1260;
        of_log = of_log * s - 1.0 / 360;
        of_log = of_log * s + 1.0 / 12;
        of_first = of_first * s + 43867.0 / 14364;
        of_first = of_first * s - 3617.0 / 8160;
        of_first = of_first * s + 1.0 / 12;
        of_first = of_first * s - 691.0 / 32760;
        of_first = of_first * s + 1.0 / 132;
        of_first = of_first * s - 1.0 / 240;
        of_first = of_first * s + 1.0 / 252;
        of_first = of_first * s - 1.0 / 120;
        of_first = of_first * s + 1.0 / 12;
        of_second = of_second * s + 43867.0 / 798;
        of_second = of_second * s - 3617.0 / 510;
        of_second = of_second * s + 7.0 / 6;
        of_second = of_second * s - 691.0 / 2730;
        of_second = of_second * s + 5.0 / 66;
        of_second = of_second * s - 1.0 / 30;
        of_second = of_second * s + 1.0 / 42;
        of_second = of_second * s - 1.0 / 30;
        of_second = of_second * s + 1.0 / 6;
        double sum = 0.0, squares = 0.0, product = 1.0, inverse = 1.0 / base;
#pragma GCC unroll 10
        for (int k = 0; k < 10; k++) {
            const double next = 1.0 / (base + (k + 1));
            sum += inverse, squares += inverse * inverse * next, product *= base + k;
            inverse = next;
        }
        const double log_a = log_of(a), log_z = log_of(z), log_product = log_of(product);
        const double shifted = (z - 0.5) * log_z - (a - 0.5) * log_a - 10.0 - log_product;
        piece->log_a[i] = log_a;
        log_total[i] = y * of_log + (is_large ? 0.0 : shifted) - 0.5 * log_a + HALF_LOG_2PI;
        digamma[i] = -0.5 * y - s * of_first + (is_large ? 0.0 : log_z - log_a - sum);
        piece->trigamma[i] = 0.5 * s + y * s * of_second + (is_large ? 0.0 : squares);
    }
}

/* --------------------------------------------------------------------------------------------- the moments of a side */

typedef struct {
    Py_ssize_t count;
    int16_t index[GAMMA_PIECE];
    double x[GAMMA_PIECE], a[GAMMA_PIECE], fall[GAMMA_PIECE], sign[GAMMA_PIECE], end[GAMMA_PIECE];
    double moment[3][GAMMA_PIECE];
    double rest[3][GAMMA_PIECE]; /* of the series: the next term, and the sums of 1 / (a + k) and of its square */
} Packed;

typedef struct {
    double offset[GAMMA_PIECE], power[GAMMA_PIECE]; /* power: exp(offset) */
    double growth[GAMMA_PIECE];                     /* h' */
    double log_total[GAMMA_PIECE];                  /* the logarithm of the mass of both sides over the density */
    double moment[3][GAMMA_PIECE];
    Packed series, integral, flat;
} Point;

/* Fill up with harmless elements. */
INLINE void fill_up(Packed *packed) {
    for (; packed->count % GAMMA_LANES; packed->count++) {
        packed->index[packed->count] = -1;
        packed->x[packed->count] = packed->a[packed->count] = packed->sign[packed->count] = 1.0;
        packed->fall[packed->count] = 0.0;
    }
}

INLINE void pack(const Concentrations *piece, Point *point, double few) {
    Packed *series = &point->series, *integral = &point->integral, *flat = &point->flat;
    series->count = integral->count = flat->count = 0;
    double *restrict power = point->power, *restrict growth = point->growth, *restrict log_total = point->log_total;
    for (Py_ssize_t i = 0; i < piece->count; i++) {
        const double offset = point->offset[i], a = piece->a[i], exp_offset = exp_of_any(offset);
        const double excess = excess_of_any(offset, exp_offset);
        power[i] = exp_offset, log_total[i] = piece->log_total[i] + a * excess;
        growth[i] = -a * (offset > -1.0 && offset < 1.0 ? excess + offset : exp_offset - 1.0);
    }
    for (Py_ssize_t i = 0; i < piece->count; i++) {
        const double a = piece->a[i], t = point->offset[i] + piece->log_a[i];
        const int is_lower = point->offset[i] < piece->digamma[i], is_flat = !is_lower && t < 0.0;
        Packed *packed = is_lower && a < few ? series : integral;
        const Py_ssize_t at = packed->count++;
        packed->index[at] = (int16_t)i;
        packed->a[at] = a;
        packed->x[at] = is_flat ? 1.0 : a * power[i];
        packed->sign[at] = is_lower ? -1.0 : 1.0;
        packed->fall[at] = is_flat ? 1.0 - a : is_lower ? growth[i] : -growth[i];
        if (!is_flat) continue;
        flat->index[flat->count] = (int16_t)at; /* in the packed integrals */
        flat->a[flat->count] = a, flat->x[flat->count] = -t;
        flat->count++;
    }
    fill_up(series), fill_up(integral), fill_up(flat);
}

INLINE void add_series(Packed *packed, int order, Py_ssize_t terms) {
    const Py_ssize_t count = packed->count;
    double *restrict term = packed->rest[0], *restrict total = packed->rest[1], *restrict squares = packed->rest[2];
    double *restrict zeroth = packed->moment[0], *restrict first = packed->moment[1];
    double *restrict second = packed->moment[2];
    const double *restrict x = packed->x, *restrict a = packed->a;
    for (Py_ssize_t i = 0; i < count; i++) {
        const double inverse = 1.0 / a[i];
        term[i] = total[i] = zeroth[i] = inverse;
        squares[i] = first[i] = inverse * inverse, second[i] = 2.0 * first[i] * inverse;
    }
    for (Py_ssize_t k = 1; k < terms; k++)
        for (Py_ssize_t i = 0; i < count; i++) {
            const double inverse = 1.0 / (a[i] + (double)k);
            const double next = term[i] * x[i] * inverse;
            term[i] = next, zeroth[i] += next;
            if (order > 0) {
                total[i] += inverse, squares[i] += inverse * inverse;
                first[i] += next * total[i], second[i] += next * (total[i] * total[i] + squares[i]);
            }
        }
}

INLINE void add_nodes(Packed *packed, int order, const Rule *rule) {
    const Py_ssize_t count = packed->count;
    double *restrict zeroth = packed->moment[0], *restrict first = packed->moment[1];
    double *restrict second = packed->moment[2], *restrict end = packed->end;
    const double *restrict x = packed->x, *restrict fall = packed->fall, *restrict sign = packed->sign;
    const double *restrict a = packed->a;
    const double energy = rule->energy;
    for (Py_ssize_t i = 0; i < count; i++) {
        const double part = energy - 2.0 * fall[i], root = sqrt(part * part + 8.0 * a[i] * energy);
        const double below = part > 0.0 ? (part + root) / (2.0 * a[i]) : 4.0 * energy / (root - part);
        const double start = 2.0 * energy / (fall[i] + sqrt(fall[i] * fall[i] + 2.0 * energy * x[i]));
        const double above = log1p_of((energy + a[i] * start) / x[i]);
        end[i] = sign[i] < 0.0 ? below : above;
        zeroth[i] = first[i] = second[i] = 0.0;
    }
    for (Py_ssize_t k = 0; k < rule->nodes; k++) {
        const double node = rule->node[k], weight = rule->weight[k];
        for (Py_ssize_t i = 0; i < count; i++) {
            const double r = end[i] * node, e = fall[i] * r + x[i] * exp_excess_of(sign[i] * r);
            const double density = weight * exp_of(e < 700.0 ? -e : -700.0);
            zeroth[i] += density;
            if (order > 0) first[i] += density * r, second[i] += density * r * r;
        }
    }
    for (Py_ssize_t i = 0; i < count; i++) zeroth[i] *= end[i], first[i] *= end[i], second[i] *= end[i];
}

/* 1 / (k! (k + 1 + j)) */
static const double ramps[3][NUM_RAMPS] = {
#define RAMP(j)                                                                                                       \
    {1.0 / (1 + j),                                                                                                   \
     1.0 / (2 + j),                                                                                                   \
     0.5 / (3 + j),                                                                                                   \
     1.0 / 6 / (4 + j),                                                                                               \
     1.0 / 24 / (5 + j),                                                                                              \
     1.0 / 120 / (6 + j),                                                                                             \
     1.0 / 720 / (7 + j),                                                                                             \
     1.0 / 5040 / (8 + j),                                                                                            \
     1.0 / 40320 / (9 + j),                                                                                           \
     1.0 / 362880 / (10 + j),                                                                                         \
     1.0 / 3628800 / (11 + j),                                                                                        \
     1.0 / 39916800 / (12 + j),                                                                                       \
     1.0 / 479001600 / (13 + j),                                                                                      \
     1.0 / 6227020800 / (14 + j),                                                                                     \
     1.0 / 87178291200 / (15 + j),                                                                                    \
     1.0 / 1307674368000 / (16 + j),                                                                                  \
     1.0 / 20922789888000 / (17 + j),                                                                                 \
     1.0 / 355687428096000 / (18 + j),                                                                                \
     1.0 / 6402373705728000 / (19 + j),                                                                               \
     1.0 / 121645100408832000 / (20 + j),                                                                             \
     1.0 / 2432902008176640000 / (21 + j)}
    RAMP(0),
    RAMP(1),
    RAMP(2),
#undef RAMP
};

/* Replace the moments at x = 1 by those at x = exp(-width). */
INLINE void add_flat(Packed *flat, Packed *integral, int order, Py_ssize_t terms) {
    const Py_ssize_t count = flat->count;
    double *restrict zeroth = flat->moment[0], *restrict first = flat->moment[1], *restrict second = flat->moment[2];
    double *restrict end = flat->end, *restrict step = flat->fall, *restrict power = flat->rest[0];
    double *restrict jump = flat->rest[1], *restrict scale = flat->rest[2];
    const double *restrict width = flat->x, *restrict a = flat->a;
    for (Py_ssize_t i = 0; i < count; i++) {
        const double exponent = a[i] * width[i];
        double sums[3] = {ramps[0][NUM_RAMPS - 1], ramps[1][NUM_RAMPS - 1], ramps[2][NUM_RAMPS - 1]};
#pragma GCC unroll 20
        for (int k = NUM_RAMPS - 2; k >= 0; k--) {
            sums[0] = sums[0] * exponent + ramps[0][k];
            sums[1] = sums[1] * exponent + ramps[1][k];
            sums[2] = sums[2] * exponent + ramps[2][k];
        }
        end[i] = exp_of(exponent), step[i] = exp_of_any(-width[i]), power[i] = 1.0;
        scale[i] = exp_of(step[i]), jump[i] = exp_of(exponent + step[i] - 1.0);
        zeroth[i] = width[i] * sums[0];
        first[i] = width[i] * width[i] * sums[1], second[i] = width[i] * width[i] * width[i] * sums[2];
    }
    double sign = 1.0;
    for (Py_ssize_t k = 1; k <= terms; k++) {
        sign /= -(double)k;
        for (Py_ssize_t i = 0; i < count; i++) {
            const double inverse = 1.0 / (a[i] + (double)k);
            power[i] *= step[i];
            const double of_zeroth = (end[i] - power[i]) * inverse;
            zeroth[i] += sign * of_zeroth;
            if (order > 0) {
                const double of_first = (width[i] * end[i] - of_zeroth) * inverse;
                first[i] += sign * of_first;
                second[i] += sign * (width[i] * width[i] * end[i] - 2.0 * of_first) * inverse;
            }
        }
    }
    for (Py_ssize_t i = 0; i < count && flat->index[i] >= 0; i++) {
        const Py_ssize_t at = flat->index[i];
        const double w = width[i], m0 = integral->moment[0][at], m1 = integral->moment[1][at];
        const double m2 = integral->moment[2][at];
        integral->moment[0][at] = scale[i] * zeroth[i] + jump[i] * m0;
        integral->moment[1][at] = scale[i] * first[i] + jump[i] * (m1 + w * m0);
        integral->moment[2][at] = scale[i] * second[i] + jump[i] * (m2 + w * (2.0 * m1 + w * m0));
    }
}

INLINE void unpack(const Packed *packed, Point *point) {
    for (Py_ssize_t i = 0; i < packed->count && packed->index[i] >= 0; i++)
        for (int j = 0; j < 3; j++) point->moment[j][packed->index[i]] = packed->moment[j][i];
}

/* The moments of the side that the mean is not on: all of order 0, or of all orders. */
INLINE void take_moments(const Concentrations *piece, Point *point, int order, const Rule *rule) {
    pack(piece, point, rule->few);
    add_series(&point->series, order, rule->terms);
    add_nodes(&point->integral, order, rule);
    add_flat(&point->flat, &point->integral, order, rule->flat_terms - 1);
    unpack(&point->series, point), unpack(&point->integral, point);
}

/* Read the elements from `first` on; repeat the last one up to a multiple of GAMMA_LANES. Return their number. */
INLINE Py_ssize_t take_piece(const Operand *operand, Py_ssize_t first, Py_ssize_t size, double *room) {
    const Py_ssize_t count = size - first < GAMMA_PIECE ? size - first : GAMMA_PIECE;
    const double *read = read_doubles(operand, first, count, room);
    if (read != room) memcpy(room, read, count * sizeof(double));
    for (Py_ssize_t i = count; i % GAMMA_LANES; i++) room[i] = room[count - 1];
    return count;
}

INLINE Py_ssize_t up_to_lanes(Py_ssize_t count) { return (count + GAMMA_LANES - 1) / GAMMA_LANES * GAMMA_LANES; }

/* --------------------------------------------------------------------------------------------------------- quantiles */

/* About the normal quantile of p <= 1/2, given log p. */
INLINE double normal_quantile_of(double log_p) {
    const double t = sqrt(-2.0 * log_p);
    const double numerator = 2.515517 + t * (0.802853 + t * 0.010328);
    return numerator / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
}

/* The starts for a >= 1: of the normal quantile z, or of the lower tail, which log P = a t - log Gamma(a + 1) begins. */
INLINE double start_of_large(double z, double log_tail, double a, double log_a) {
    const double cube_root = 1.0 - 1.0 / (9.0 * a) + z / (3.0 * sqrt(a)), first = log_tail / a;
    const double next = exp_of_any(first < 3.0 ? first : 3.0) / (a + 1.0);
    const double tail = first + (next < 1.0 ? next : 1.0) - log_a;
    const double cube = 3.0 * log_of(cube_root > 0.1 ? cube_root : 0.1);
    return cube_root > 0.45 ? cube : tail;
}

/* The next x of log(x^(a - 1) exp(-x) (1 - (1 - a) / (1 + x))) = -y. */
INLINE double next_start(double last, double y, double a) {
    const double x = last > 0.5 ? last : 0.5;
    return y - (1.0 - a) * log_of(x) - log1p_of_tail((1.0 - a) / (1.0 + x));
}

/* The starts for a < 1: of the logarithm of P, and of minus that of the upper tail times Gamma(a). */
INLINE double start_of_small(double log_below, double minus_log_above, double a, double log_gamma_next) {
    const double exponent = log_below / a, rest = -expm1_of_any(exponent, exp_of_any(exponent));
    const double minus_log = -log_of(normal_of(rest)), log_minus_log = log_of(minus_log > 1e-37 ? minus_log : 1e-37);
    const double alzer = (exponent < -30.0 ? exponent : log_minus_log) + log_gamma_next / a;
    const double y = minus_log_above > 1.0 ? minus_log_above : 1.0;
    const double x = next_start(next_start(next_start(y, y, a), y, a), y, a);
    const double log_x = log_of(x > 0.1 ? x : 0.1);
    return (y > 2.0) & (x > 1.0) ? log_x : alzer;
}

/* The log-odds of the quantile, and its offset, about. */
INLINE void take_start(const Concentrations *piece, const double *restrict lower, const double *restrict upper,
                       double *restrict odds, double *restrict offset) {
    double log_below[GAMMA_PIECE], log_above[GAMMA_PIECE], z[GAMMA_PIECE], log_gamma[GAMMA_PIECE];
    double large[GAMMA_PIECE], small[GAMMA_PIECE];
    const double *restrict a = piece->a, *restrict log_a = piece->log_a, *restrict log_total = piece->log_total;
    const Py_ssize_t count = piece->count;
    for (Py_ssize_t i = 0; i < count; i++) {
        const int is_lower = lower[i] <= upper[i];
        const double tail = is_lower ? lower[i] : upper[i], log_tail = log_of(normal_of(tail));
        const double log_rest = log1p_of_tail(-tail), z_of_tail = normal_quantile_of(log_tail);
        log_below[i] = is_lower ? log_tail : log_rest, log_above[i] = is_lower ? log_rest : log_tail;
        z[i] = is_lower ? z_of_tail : -z_of_tail, odds[i] = log_below[i] - log_above[i];
        log_gamma[i] = log_total[i] + a[i] * log_a[i] - a[i];
    }
    for (Py_ssize_t i = 0; i < count; i++)
        large[i] = start_of_large(z[i], log_below[i] + log_gamma[i] + log_a[i], a[i], log_a[i]);
    for (Py_ssize_t i = 0; i < count; i++) {
        const double next = log_gamma[i] + log_a[i];
        small[i] = start_of_small(log_below[i], -log_above[i] - log_gamma[i], a[i], next) - log_a[i];
    }
    for (Py_ssize_t i = 0; i < count; i++) offset[i] = a[i] < 1.0 ? small[i] : large[i];
}

/* One step of fourth order towards the log-odds. */
INLINE void step_to_odds(const Concentrations *piece, Point *point, const double *odds, const Rule *rule) {
    take_moments(piece, point, 0, rule);
    for (Py_ssize_t i = 0; i < piece->count; i++) {
        const double a = piece->a[i], mass = point->moment[0][i], log_tail = log_of(mass) - point->log_total[i];
        const int is_lower = point->offset[i] < piece->digamma[i];
        const double tail = exp_of_any(log_tail), half_gap = log_tail - log1p_of_tail(-tail);
        const double per_rest = exp_of_any(-point->log_total[i]) / (1.0 - tail);
        const double per_below = is_lower ? 1.0 / mass : per_rest, per_above = is_lower ? per_rest : 1.0 / mass;
        const double growth = point->growth[i], curvature = -a * point->power[i];
        const double gap = (is_lower ? half_gap : -half_gap) - odds[i], step = -gap / (per_below + per_above);
        const double second = per_above - per_below + growth;
        const double third = second * second + per_above * (per_above + growth) + per_below * (per_below - growth);
        const double change = (0.5 * second * second - (third + curvature) / 6.0) * step * step - 0.5 * second * step;
        point->offset[i] += step * (change > -0.5 && change < 0.5 ? 1.0 + change : 1.0);
    }
}

VECTORIZED static void gamma_quantile(const Operand *below, const Operand *above, const Operand *concentration,
                                      Py_ssize_t size, int is_precise, const double *coarse, const double *fine,
                                      double *result) {
    const Rule coarse_rule = rule_of(coarse), fine_rule = rule_of(fine);
    Concentrations piece;
    Point point;
    double lower[GAMMA_PIECE], upper[GAMMA_PIECE], odds[GAMMA_PIECE];
    for (Py_ssize_t first = 0; first < size; first += GAMMA_PIECE) {
        const Py_ssize_t count = take_piece(concentration, first, size, piece.a);
        take_piece(below, first, size, lower), take_piece(above, first, size, upper);
        piece.count = up_to_lanes(count);
        take_concentrations(&piece);
        if (is_precise) refine_log_total(&piece);
        take_start(&piece, lower, upper, odds, point.offset);
        for (int step = 0; step < (is_precise ? 3 : 2); step++)
            step_to_odds(&piece, &point, odds, step < 2 ? &coarse_rule : &fine_rule);
        for (Py_ssize_t i = 0; i < count; i++) /* what is no number gives no number */
            result[first + i] = point.offset[i] + 0.0 * (lower[i] + upper[i] + piece.a[i]);
    }
}

/* ---------------------------------------------------------------------------------------------- the numbers of `Local`
   The order of the results is that of `local` in gamma_local.py. */

#define NUM_LOCAL 8

VECTORIZED static void gamma_local(const Operand *offset, const Operand *concentration, Py_ssize_t size,
                                   int is_precise, const double *table, double *const *result) {
    const Rule rule = rule_of(table);
    Concentrations piece;
    Point point;
    for (Py_ssize_t start = 0; start < size; start += GAMMA_PIECE) {
        const Py_ssize_t count = take_piece(concentration, start, size, piece.a);
        take_piece(offset, start, size, point.offset);
        piece.count = up_to_lanes(count);
        take_concentrations(&piece);
        if (is_precise) refine_log_total(&piece);
        take_moments(&piece, &point, 2, &rule);
        double *restrict log_below = result[0] + start, *restrict log_above = result[1] + start;
        double *restrict below = result[2] + start, *restrict above = result[3] + start;
        double *restrict growths = result[4] + start, *restrict slopes = result[5] + start;
        double *restrict curves = result[6] + start, *restrict tilts = result[7] + start;
        for (Py_ssize_t i = 0; i < count; i++) {
            const double a = piece.a[i], mass = point.moment[0][i], first = point.moment[1][i];
            const double log_tail = log_of(mass) - point.log_total[i], tail = exp_of_any(log_tail);
            const double nothing = 0.0 * (a + point.offset[i]); /* or no number */
            const double log_rest = log1p_of_tail(-tail), rest = exp_of_any(point.log_total[i]) * (1.0 - tail);
            const double tilt = point.offset[i] - piece.digamma[i];
            const double growth = point.growth[i];
            const int is_lower = tilt < 0.0;
            const double slope = first + (is_lower ? -tilt : tilt) * mass;
            const double bend = point.moment[2][i] - (tilt * tilt + 1.0 / a + piece.trigamma[i]) * mass;
            log_below[i] = (is_lower ? log_tail : log_rest) + nothing;
            log_above[i] = (is_lower ? log_rest : log_tail) + nothing;
            below[i] = (is_lower ? mass : rest) + nothing;
            above[i] = (is_lower ? rest : mass) + nothing;
            growths[i] = growth + nothing;
            slopes[i] = slope + nothing;
            curves[i] = (is_lower ? -bend : bend) - growth * slope * slope + nothing;
            tilts[i] = tilt + nothing;
        }
    }
}

/* ------------------------------------------------------------------------------- the gamma function and its derivatives
   What is left of them after the main terms of Stirling's series: see polygamma.py. */

#define NUM_RESTS 4

INLINE void take_rests(const double *a, Py_ssize_t count, double *restrict const rest[NUM_RESTS]) {
    for (Py_ssize_t i = 0; i < count; i++) {
        double of_log, of_digamma, of_tetragamma;
        rests_of(a[i], &of_log, &of_digamma, &of_tetragamma);
        const double nothing = a[i] > 0.0 ? 0.0 : NAN;
        rest[0][i] = of_log + nothing, rest[1][i] = of_digamma + nothing;
        rest[2][i] = trigamma_rest_of(a[i]) + nothing, rest[3][i] = of_tetragamma + nothing;
    }
}

VECTORIZED static void stirling_rests(const Operand *a, Py_ssize_t size, double *const *result) {
    double piece[GAMMA_PIECE], rests[NUM_RESTS][GAMMA_PIECE];
    double *const rest[NUM_RESTS] = {rests[0], rests[1], rests[2], rests[3]};
    for (Py_ssize_t start = 0; start < size; start += GAMMA_PIECE) {
        const Py_ssize_t count = take_piece(a, start, size, piece);
        take_rests(piece, up_to_lanes(count), rest);
        for (int j = 0; j < NUM_RESTS; j++) memcpy(result[j] + start, rests[j], (size_t)count * sizeof(double));
    }
}

/* The divergences of gamma distributions of equal means, and their derivatives by the second concentration: see
   gamma_density.py. `change` is b - a, and `rule` is nodes in (0, 1), then their weights. */
VECTORIZED static void gamma_divergence(const Operand *a, const Operand *b, const Operand *change, Py_ssize_t size,
                                        Py_ssize_t nodes, const double *rule, double *const *result) {
    double p[GAMMA_PIECE], q[GAMMA_PIECE], d[GAMMA_PIECE], of_p[NUM_RESTS][GAMMA_PIECE], of_q[NUM_RESTS][GAMMA_PIECE];
    double value[GAMMA_PIECE], slope[GAMMA_PIECE];
    double *const rest_p[NUM_RESTS] = {of_p[0], of_p[1], of_p[2], of_p[3]};
    double *const rest_q[NUM_RESTS] = {of_q[0], of_q[1], of_q[2], of_q[3]};
    for (Py_ssize_t start = 0; start < size; start += GAMMA_PIECE) {
        const Py_ssize_t count = take_piece(a, start, size, p), full = up_to_lanes(count);
        take_piece(b, start, size, q);
        take_piece(change, start, size, d);
        take_rests(p, full, rest_p);
        take_rests(q, full, rest_q);
        for (Py_ssize_t i = 0; i < full; i++) value[i] = slope[i] = 0.0;
        for (Py_ssize_t j = 0; j < nodes; j++) {
            const double u = rule[j], weight = rule[nodes + j];
            for (Py_ssize_t i = 0; i < full; i++) {
                const double bend = weight * trigamma_rest_of(p[i] + u * d[i]);
                value[i] += (1.0 - u) * bend, slope[i] += bend;
            }
        }
        for (Py_ssize_t i = 0; i < full; i++) {
            const int is_near = q[i] < 4.0 * p[i] && p[i] < 4.0 * q[i];
            const double far = of_q[0][i] - of_p[0][i] - 0.5 * (log_of(q[i]) - log_of(p[i])) - d[i] * of_p[1][i];
            const double nothing = p[i] > 0.0 && q[i] > 0.0 ? 0.0 * d[i] : NAN;
            value[i] = (is_near ? d[i] * d[i] * value[i] : far) + nothing;
            slope[i] = (is_near ? d[i] * slope[i] : of_q[1][i] - of_p[1][i]) + nothing;
        }
        memcpy(result[0] + start, value, (size_t)count * sizeof(double));
        memcpy(result[1] + start, slope, (size_t)count * sizeof(double));
    }
}
