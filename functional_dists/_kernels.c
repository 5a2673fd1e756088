/* What eager code on a CPU does in one pass: draws by keys, for random/cpu.py, and what becomes of float32 batches, for
   special/kernels.py, which alone call this.

   Numbers are computed in double precision, but for what draws depend on. Their formulas are told where PyTorch's
   operations compute the same: in cpu.py, softmax.py, choice.py and gaussian.py. */

#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && defined(__x86_64__) && defined(__GLIBC__)
/* Made once for every width of vectors; the processor's is taken when the module is loaded. */
#define VECTORIZED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTORIZED
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#if defined(_MSC_VER)
#define restrict __restrict
#endif

#define LANES 8
#define PIECE 4096 /* elements that are worked on at a time */
#define LOG_2 0.693147180559945309417
#define HALF_LOG_2PI 0.918938533204672741780
#define INTEGER_SHIFT 6755399441055744.0 /* 1.5 2^52: the lowest bits of a sum with it are an integer */

/* ------------------------------------------------------------------------------------------- functions of one number
   Without branches, tables or calls, so that loops over them are vectorized. To some ulp of a double, which holds a
   float's subnormals as normal numbers. */

INLINE double double_of_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE uint64_t bits_of_double(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* exp(x) for -700 < x < 700; NaN of NaN. */
INLINE double exp_of(double x) {
    /* x = k log 2 + r with |r| <= log(2) / 2. */
    const double shifted = x * (1.0 / LOG_2) + INTEGER_SHIFT;
    const double r = x - (shifted - INTEGER_SHIFT) * LOG_2;
    double p = 1.0 / 479001600;
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
    p = p * r + 1.0;
    p = p * r + 1.0;
    return double_of_bits(bits_of_double(p) + (bits_of_double(shifted) << 52)) + (x - x);
}

/* log(x) for positive, normal, finite x. */
INLINE double log_of(double x) {
    /* x = 2^k m with m between sqrt(1/2) and sqrt(2), and log(m) = 2 artanh((m - 1) / (m + 1)). */
    const uint64_t bits = bits_of_double(x);
    const int64_t k = (int64_t)(bits - bits_of_double(0.70710678118654752440)) >> 52;
    const double m = double_of_bits(bits - ((uint64_t)k << 52));
    const double s = (m - 1.0) / (m + 1.0), t = s * s;
    double p = 2.0 / 21;
    p = p * t + 2.0 / 19;
    p = p * t + 2.0 / 17;
    p = p * t + 2.0 / 15;
    p = p * t + 2.0 / 13;
    p = p * t + 2.0 / 11;
    p = p * t + 2.0 / 9;
    p = p * t + 2.0 / 7;
    p = p * t + 2.0 / 5;
    p = p * t + 2.0 / 3;
    p = p * t + 2.0;
    return (double)k * LOG_2 + s * p;
}

/* log(1 + x) for x >= 0, in which what the sum rounds off is added to its logarithm; NaN of NaN. */
INLINE double log1p_of(double x) {
    const double sum = 1.0 + x;
    return log_of(sum) + (x - (sum - 1.0)) / sum;
}

/* log(x) of what may be no scale of a distribution. */
INLINE double log_of_any(double x) {
    const double of_positive = x < INFINITY ? log_of(x) : x; /* inf, or NaN */
    return x > 0.0 ? of_positive : x == 0.0 ? -INFINITY : NAN;
}

/* cos(x) and sin(x) for 0 <= x <= 7. */
INLINE void cos_and_sin(double x, double *cosine, double *sine) {
    /* x = k pi / 2 + r with |r| <= pi / 4, where k times the first 33 bits of pi / 2 is exact. */
    const double shifted = x * 0.63661977236758134308 + INTEGER_SHIFT, k = shifted - INTEGER_SHIFT;
    const uint64_t quadrant = bits_of_double(shifted);
    const double r = (x - k * 1.57079632673412561417) - k * 6.07710050650619224932e-11, t = r * r;
    double c = 1.0 / 20922789888000, s = -1.0 / 1307674368000;
    c = c * t - 1.0 / 87178291200;
    c = c * t + 1.0 / 479001600;
    c = c * t - 1.0 / 3628800;
    c = c * t + 1.0 / 40320;
    c = c * t - 1.0 / 720;
    c = c * t + 1.0 / 24;
    c = c * t - 0.5;
    c = c * t + 1.0;
    s = s * t + 1.0 / 6227020800;
    s = s * t - 1.0 / 39916800;
    s = s * t + 1.0 / 362880;
    s = s * t - 1.0 / 5040;
    s = s * t + 1.0 / 120;
    s = s * t - 1.0 / 6;
    s = s * t * r + r;
    const double along = quadrant & 1 ? s : c, across = quadrant & 1 ? c : s;
    *cosine = (quadrant + 1) & 2 ? -along : along;
    *sine = quadrant & 2 ? -across : across;
}

INLINE double log_normal_density(double z) { return -0.5 * z * z - HALF_LOG_2PI; }

/* ------------------------------------------------------------------------------------------------------------- Philox
   Words of keys, and uniforms and normals made of them: see random/philox.py and random/cpu.py. */

#define ROUNDS 10
#define BLOCKS 64 /* that are encrypted at a time */

typedef struct {
    uint32_t words[4][BLOCKS];
} Batch;

/* Encrypt blocks, whose counters and cipher keys these are. */
INLINE void encrypt(const uint64_t *counter, const uint64_t *cipher_key, int blocks, Batch *batch) {
    for (int i = 0; i < blocks; i++) {
        uint32_t c0 = (uint32_t)counter[i], c1 = (uint32_t)(counter[i] >> 32), c2 = 0, c3 = 0;
        uint32_t k0 = (uint32_t)cipher_key[i], k1 = (uint32_t)(cipher_key[i] >> 32);
#pragma GCC unroll 10
        for (int round = 0; round < ROUNDS; round++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, c1 = (uint32_t)p1;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1, c3 = (uint32_t)p0;
            k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
        }
        batch->words[0][i] = c0, batch->words[1][i] = c1, batch->words[2][i] = c2, batch->words[3][i] = c3;
    }
}

/* Make normals of the words. */
INLINE void box_muller(const Batch *batch, int blocks, float normals[4][BLOCKS]) {
    for (int half = 0; half < 4; half += 2)
        for (int i = 0; i < blocks; i++) {
            const float first = (float)batch->words[half][i] * 0x1p-32f + 0x1p-33f;
            const float second = (float)batch->words[half + 1][i] * 0x1p-32f + 0x1p-33f;
            const float angle = second * 6.283185307179586f;
            const double radius = sqrt(-2.0 * log_of(first));
            double cosine, sine;
            cos_and_sin(angle, &cosine, &sine);
            normals[half][i] = (float)(radius * cosine);
            normals[half + 1][i] = (float)(radius * sine);
        }
}

typedef enum { WORDS, UNIFORMS, DOUBLE_UNIFORMS, NORMALS } Kind; /* of numbers: a word makes one, or half a double */

/* The first numbers of keys (rows, 2), a seed and an offset, that `num` words of each make. */
INLINE void draw(const uint64_t *keys, Py_ssize_t rows, Py_ssize_t num, Kind kind, void *numbers) {
    uint64_t counter[BLOCKS] = {0}, cipher_key[BLOCKS] = {0};
    Py_ssize_t first_of_block[BLOCKS];
    int words_of_block[BLOCKS];
    Batch batch;
    float normals[4][BLOCKS];
    Py_ssize_t row = 0, position = 0; /* of the next block */
    while (row < rows) {
        int blocks = 0;
        for (; blocks < BLOCKS && row < rows; blocks++) {
            counter[blocks] = keys[2 * row + 1] + (uint64_t)(position / 4);
            cipher_key[blocks] = keys[2 * row];
            first_of_block[blocks] = row * num + position;
            words_of_block[blocks] = num - position < 4 ? (int)(num - position) : 4;
            position += 4;
            if (position >= num) row++, position = 0;
        }
        const int whole = (blocks + LANES - 1) / LANES * LANES; /* no remainder that is not vectorized */
        encrypt(counter, cipher_key, whole, &batch);
        if (kind == NORMALS) box_muller(&batch, whole, normals);
        for (int block = 0; block < blocks; block++) {
            const Py_ssize_t first = first_of_block[block];
            for (int i = 0; i < words_of_block[block]; i++) {
                const uint32_t word = batch.words[i][block];
                if (kind == WORDS) ((uint32_t *)numbers)[first + i] = word;
                if (kind == UNIFORMS) ((float *)numbers)[first + i] = (float)(word & 0xFFFFFF) * 0x1p-24f;
                if (kind == NORMALS) ((float *)numbers)[first + i] = normals[i][block];
                if (kind == DOUBLE_UNIFORMS && i % 2) {
                    const uint64_t digits = (uint64_t)(batch.words[i - 1][block] & 0x1FFFFF) << 32 | word;
                    ((double *)numbers)[(first + i) / 2] = (double)(int64_t)digits * 0x1p-53;
                }
            }
        }
    }
}

VECTORIZED static void philox_words(const uint64_t *keys, Py_ssize_t rows, Py_ssize_t num, void *numbers) {
    draw(keys, rows, num, WORDS, numbers);
}

VECTORIZED static void philox_uniforms(const uint64_t *keys, Py_ssize_t rows, Py_ssize_t num, void *numbers) {
    draw(keys, rows, num, UNIFORMS, numbers);
}

VECTORIZED static void philox_double_uniforms(const uint64_t *keys, Py_ssize_t rows, Py_ssize_t num, void *numbers) {
    draw(keys, rows, 2 * num, DOUBLE_UNIFORMS, numbers);
}

VECTORIZED static void philox_normals(const uint64_t *keys, Py_ssize_t rows, Py_ssize_t num, void *numbers) {
    draw(keys, rows, num, NORMALS, numbers);
}

/* -------------------------------------------------------------------------------------------------------- categories
   Without leave to change the order of operations a loop over a row is vectorized only if it has lanes of its own. */

/* The largest number; one that is NaN does not count. */
INLINE float largest_of(const float *row, Py_ssize_t count) {
    float lanes[LANES], largest = -INFINITY;
    Py_ssize_t i = 0;
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = -INFINITY;
    for (; i + LANES <= count; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] = row[i + lane] > lanes[lane] ? row[i + lane] : lanes[lane];
    for (int lane = 0; lane < LANES; lane++) largest = lanes[lane] > largest ? lanes[lane] : largest;
    for (; i < count; i++) largest = row[i] > largest ? row[i] : largest;
    return largest;
}

/* The sum of weights without that of the largest logit, 1: all digits of what is left where one is nearly certain. */
INLINE double rest_of(const float *weights, Py_ssize_t count) {
    double lanes[LANES] = {0.0}, ones[LANES] = {0.0}, sum = 0.0, num_ones = 0.0;
    Py_ssize_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            const double weight = weights[i + lane];
            lanes[lane] += weight == 1.0 ? 0.0 : weight;
            ones[lane] += weight == 1.0 ? 1.0 : 0.0;
        }
    for (int lane = 0; lane < LANES; lane++) sum += lanes[lane], num_ones += ones[lane];
    for (; i < count; i++) {
        sum += weights[i] == 1.0f ? 0.0 : weights[i];
        num_ones += weights[i] == 1.0f ? 1.0 : 0.0;
    }
    return num_ones > 1.0 ? sum + (num_ones - 1.0) : sum;
}

INLINE double units_of(float weight, float unit) { return (double)floorf(weight * unit); }

/* The outcome at a share of weights of NaN, which count as 1, and the others as nothing. */
static Py_ssize_t chosen_of_nans(const float *weights, Py_ssize_t count, double share) {
    double total = 0.0, below = 0.0;
    for (Py_ssize_t i = 0; i < count; i++) total += isnan(weights[i]) ? 1.0 : 0.0;
    for (Py_ssize_t i = 0; i < count; i++) {
        below += isnan(weights[i]) ? 1.0 : 0.0;
        if (below > share * total) return i;
    }
    return 0;
}

/* The outcome at a share of the sum of weights, as choice.choose finds it: all sums of units are integers that a double
   holds, so that their order does not matter. */
INLINE Py_ssize_t chosen_of(const float *weights, Py_ssize_t count, double share, float unit) {
    double lanes[LANES] = {0.0}, total = 0.0, below = 0.0;
    Py_ssize_t i = 0, first = 0;
    for (; i + LANES <= count; i += LANES)
        for (int lane = 0; lane < LANES; lane++) lanes[lane] += units_of(weights[i + lane], unit);
    for (int lane = 0; lane < LANES; lane++) total += lanes[lane];
    for (; i < count; i++) total += units_of(weights[i], unit);

    if (isnan(total)) return chosen_of_nans(weights, count, share);
    const double target = share * total;
    for (; first + LANES <= count; first += LANES) { /* the groups that end below the target */
        double of_group = 0.0;
        for (int lane = 0; lane < LANES; lane++) of_group += units_of(weights[first + lane], unit);
        if (below + of_group > target) break;
        below += of_group;
    }
    for (i = first; i < count; i++) {
        below += units_of(weights[i], unit);
        if (below > target) return i;
    }
    return 0;
}

/* Some rows of logits, as many as make loops long and the nearest cache holds, or one. */
typedef struct {
    Py_ssize_t rows, count;
    const float *logits;
    const unsigned char *mask; /* or NULL */
    float *weights;            /* exp of the logits less the largest: 0 outside the support, NaN of NaN */
    float top[PIECE];          /* the largest, a number in a row without support */
} Piece;

INLINE void weigh(Piece *piece) {
    const Py_ssize_t rows = piece->rows, count = piece->count, size = rows * count;
    const float *restrict logits = piece->logits;
    const unsigned char *restrict mask = piece->mask;
    float *restrict weights = piece->weights, *restrict top = piece->top;
    if (mask == NULL)
        memcpy(weights, logits, size * sizeof(float));
    else
        for (Py_ssize_t i = 0; i < size; i++) weights[i] = mask[i] ? logits[i] : -INFINITY;
    for (Py_ssize_t row = 0; row < rows; row++) {
        const float largest = largest_of(weights + row * count, count);
        top[row] = largest == -INFINITY ? -FLT_MAX : largest;
        for (Py_ssize_t i = row * count; i < (row + 1) * count; i++) weights[i] -= top[row];
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        const int vanishes = weights[i] < -104.0f; /* less than half of the smallest float */
        const float weight = (float)exp_of(vanishes ? 0.0f : weights[i]);
        weights[i] = vanishes ? 0.0f : weight;
    }
}

INLINE int is_allowed(const Piece *piece, Py_ssize_t i) { return piece->mask == NULL || piece->mask[i]; }

INLINE Py_ssize_t rows_at_once(Py_ssize_t count) { return count < PIECE ? PIECE / count : 1; }

/* The rows from `first` on of logits (rows, count), weighed. */
INLINE void take(Piece *piece, const float *logits, const unsigned char *mask, Py_ssize_t first, Py_ssize_t rows,
                 Py_ssize_t count) {
    piece->rows = rows - first < rows_at_once(count) ? rows - first : rows_at_once(count);
    piece->count = count;
    piece->logits = logits + first * count;
    piece->mask = mask == NULL ? NULL : mask + first * count;
    weigh(piece);
}

/* The sum of a row's logits less the largest, each times its weight. */
INLINE double sum_shifted(const Piece *piece, Py_ssize_t row) {
    const float *weights = piece->weights + row * piece->count, *logits = piece->logits + row * piece->count;
    const double top = piece->top[row];
    double lanes[LANES] = {0.0}, sum = 0.0;
    Py_ssize_t i = 0;
    for (; i + LANES <= piece->count; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] += weights[i + lane] == 0.0f ? 0.0 : weights[i + lane] * (logits[i + lane] - top);
    for (int lane = 0; lane < LANES; lane++) sum += lanes[lane];
    for (; i < piece->count; i++) sum += weights[i] == 0.0f ? 0.0 : weights[i] * (logits[i] - top);
    return sum;
}

/* Choose outcomes at shares of the weights if there are shares, and score them, or else those given, if there is room
   for log-probs: choice.choose_and_score, softmax.log_prob. `share` and `log_prob` may be NULL; `weights` has room for
   PIECE numbers, and for a row. */
VECTORIZED static void categories(const float *logits, const unsigned char *mask, Py_ssize_t rows, Py_ssize_t count,
                                  const double *share, float unit, int64_t *outcome, float *log_prob, float *weights) {
    Piece piece;
    piece.weights = weights;
    for (Py_ssize_t first = 0; first < rows; first += piece.rows) {
        take(&piece, logits, mask, first, rows, count);
        for (Py_ssize_t row = 0; row < piece.rows; row++) {
            const float *of_row = weights + row * count;
            if (share != NULL) outcome[first + row] = chosen_of(of_row, count, share[first + row], unit);
            if (log_prob == NULL) continue;
            const int64_t i = outcome[first + row];
            const int counts = i >= 0 && i < count && is_allowed(&piece, row * count + i);
            const double logit = counts ? piece.logits[row * count + i] : -INFINITY;
            log_prob[first + row] = (float)(logit - piece.top[row] - log1p_of(rest_of(of_row, count)));
        }
    }
}

/* softmax.entropy */
VECTORIZED static void entropies(const float *logits, const unsigned char *mask, Py_ssize_t rows, Py_ssize_t count,
                                 float *entropy, float *weights) {
    Piece piece;
    piece.weights = weights;
    for (Py_ssize_t first = 0; first < rows; first += piece.rows) {
        take(&piece, logits, mask, first, rows, count);
        for (Py_ssize_t row = 0; row < piece.rows; row++) {
            const float *of_row = weights + row * count;
            const double rest = rest_of(of_row, count);
            entropy[first + row] = (float)(log1p_of(rest) - sum_shifted(&piece, row) / (1.0 + rest));
        }
    }
}

/* exp(-x) - 1 + x to its last digits, of which there are few at 0 for a difference: x^2 times a series below 1/2. */
INLINE double expm1_minus_of(double x) {
    double p = 1.0 / 87178291200;
    p = p * -x + 1.0 / 6227020800;
    p = p * -x + 1.0 / 479001600;
    p = p * -x + 1.0 / 39916800;
    p = p * -x + 1.0 / 3628800;
    p = p * -x + 1.0 / 362880;
    p = p * -x + 1.0 / 40320;
    p = p * -x + 1.0 / 5040;
    p = p * -x + 1.0 / 720;
    p = p * -x + 1.0 / 120;
    p = p * -x + 1.0 / 24;
    p = p * -x + 1.0 / 6;
    p = p * -x + 0.5;
    return p * x * x;
}

/* One row of logits, with all digits of a double: in divergences next to 0 nothing else is left. */
typedef struct {
    float *logits;   /* -inf outside the support */
    double *weights; /* exp of the logits less the largest */
    double top, rest;
} Row;

INLINE double sum_of(const double *numbers, Py_ssize_t count) {
    double lanes[LANES] = {0.0}, sum = 0.0;
    Py_ssize_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int lane = 0; lane < LANES; lane++) lanes[lane] += numbers[i + lane];
    for (int lane = 0; lane < LANES; lane++) sum += lanes[lane];
    for (; i < count; i++) sum += numbers[i];
    return sum;
}

INLINE void weigh_row(Row *row, const float *restrict logits, const unsigned char *restrict mask, Py_ssize_t count) {
    float *restrict masked = row->logits;
    double *restrict weights = row->weights;
    if (mask == NULL)
        memcpy(masked, logits, count * sizeof(float));
    else
        for (Py_ssize_t i = 0; i < count; i++) masked[i] = mask[i] ? logits[i] : -INFINITY;
    const float largest = largest_of(masked, count);
    const double top = largest == -INFINITY ? -FLT_MAX : largest;
    for (Py_ssize_t i = 0; i < count; i++) {
        const double shifted = masked[i] - top;
        const int vanishes = shifted < -700.0;
        const double weight = exp_of(vanishes ? 0.0 : shifted);
        weights[i] = vanishes ? 0.0 : weight;
    }
    row->top = top;
    row->rest = sum_of(weights, count) - (largest == -INFINITY ? 0.0 : 1.0);
}

/* KL(p || q) of every row, whose terms are those of softmax.kl; there is room for `count` numbers of each kind. */
VECTORIZED static void divergences(const float *p_logits, const unsigned char *p_mask, const float *q_logits,
                                   const unsigned char *q_mask, Py_ssize_t rows, Py_ssize_t count, float *divergence,
                                   Row p, Row q, double *restrict terms) {
    for (Py_ssize_t row = 0; row < rows; row++) {
        weigh_row(&p, p_logits + row * count, p_mask == NULL ? NULL : p_mask + row * count, count);
        weigh_row(&q, q_logits + row * count, q_mask == NULL ? NULL : q_mask + row * count, count);
        /* log p - log q is this and the difference of the logits. */
        const double offset = (q.top - p.top) + (log1p_of(q.rest) - log1p_of(p.rest));
        const double p_sum = 1.0 + p.rest, q_sum = 1.0 + q.rest;
        int is_missed = 0, is_in_p = 0, is_in_q = 0;
        for (Py_ssize_t i = 0; i < count; i++) {
            const double p_logit = p.logits[i], q_logit = q.logits[i];
            const int in_p = p_logit != -INFINITY, in_q = q_logit != -INFINITY, in_both = in_p & in_q;
            const double of_p = p.weights[i] / p_sum, of_q = q.weights[i] / q_sum;
            const double ratio = in_both ? (p_logit - q_logit) + offset : 0.0;
            const double near = of_p * expm1_minus_of(ratio), far = of_q - of_p + of_p * ratio;
            const double of_both = fabs(ratio) < 0.5 ? near : far;
            terms[i] = in_p ? of_both : of_q;
            is_missed |= in_p & !in_q, is_in_p |= in_p, is_in_q |= in_q;
        }
        const double sum = sum_of(terms, count);
        const float of_numbers = is_missed ? INFINITY : is_in_p && is_in_q ? (float)sum : 0.0f;
        divergence[row] = isnan(offset) ? NAN : of_numbers;
    }
}

/* The derivatives of log-probs by the logits, or where there are no outcomes of entropies, times `slope`, those of a
   result by these; 0 where a logit does not count, and where a log-prob is -inf. All that count are NaN beside a NaN. */
VECTORIZED static void category_slopes(const float *logits, const unsigned char *mask, Py_ssize_t rows,
                                       Py_ssize_t count, const int64_t *outcome, const float *slope, float *by_logits,
                                       float *weights) {
    Piece piece;
    piece.weights = weights;
    for (Py_ssize_t first = 0; first < rows; first += piece.rows) {
        take(&piece, logits, mask, first, rows, count);
        for (Py_ssize_t row = 0; row < piece.rows; row++) {
            const float *of_row = weights + row * count, *logit = piece.logits + row * count;
            float *restrict by_logit = by_logits + (first + row) * count;
            const double rest = rest_of(of_row, count), share = slope[first + row] / (1.0 + rest);
            if (isnan(rest)) {
                for (Py_ssize_t i = 0; i < count; i++) by_logit[i] = is_allowed(&piece, row * count + i) ? NAN : 0.0f;
                continue;
            }
            if (outcome == NULL) {
                const double top = piece.top[row], mean = sum_shifted(&piece, row) / (1.0 + rest);
                for (Py_ssize_t i = 0; i < count; i++)
                    by_logit[i] = of_row[i] == 0.0f ? 0.0f : (float)(of_row[i] * share * (mean - (logit[i] - top)));
                continue;
            }
            const int64_t chosen = outcome[first + row];
            const int exists = chosen >= 0 && chosen < count && is_allowed(&piece, row * count + chosen);
            if (!exists || logit[chosen] == -INFINITY) {
                memset(by_logit, 0, count * sizeof(float));
                continue;
            }
            for (Py_ssize_t i = 0; i < count; i++) by_logit[i] = of_row[i] == 0.0f ? 0.0f : (float)(-of_row[i] * share);
            by_logit[chosen] = (float)((rest + (1.0 - of_row[chosen])) * share);
        }
    }
}

/* ------------------------------------------------------------------------------------------------------------ normals
   Tables are (rows, count), and a log-density is summed over a row: over an event. */

typedef struct {
    float *sums;
    Py_ssize_t count, added; /* of a row, and of those how many are in `sum` */
    double sum;
} RowSums;

/* Add the next elements of a table whose rows are summed up. */
INLINE void add(RowSums *rows, const double *elements, Py_ssize_t num) {
    if (rows->count <= num && rows->added == 0)
        for (; num >= rows->count; num -= rows->count, elements += rows->count) {
            double sum = 0.0;
            for (Py_ssize_t i = 0; i < rows->count; i++) sum += elements[i];
            *rows->sums++ = (float)sum;
        }
    for (Py_ssize_t i = 0; i < num; i++) {
        rows->sum += elements[i];
        if (++rows->added == rows->count) {
            *rows->sums++ = (float)rows->sum;
            rows->sum = 0.0, rows->added = 0;
        }
    }
}

/* How many elements to work on at a time: whole rows, if one is not more than a piece. */
INLINE Py_ssize_t step_of(Py_ssize_t count) { return count < PIECE ? PIECE / count * count : PIECE; }

/* x = loc + scale noise, and the log-density of squash(x) between bounds that are 2 `half_width` apart. The log of the
   slope, log(half_width (1 - tanh(x)^2)), is 2 (log 2 - |x| - log(1 + exp(-2 |x|))) but for the width; the logarithms
   that are left are one. */
VECTORIZED static void squashed_pair(const float *restrict noise, const float *restrict loc,
                                     const float *restrict scale, double half_width, Py_ssize_t rows, Py_ssize_t count,
                                     float *restrict x, float *restrict log_density) {
    RowSums sums = {log_density, count, 0, 0.0};
    double piece[PIECE];
    const Py_ssize_t step = step_of(count);
    for (Py_ssize_t first = 0, left = rows * count; left > 0; first += step, left -= step) {
        const Py_ssize_t num = left < step ? left : step;
        /* In two loops, as a product and a sum that are rounded once are not those of PyTorch. */
        for (Py_ssize_t i = first; i < first + num; i++) x[i] = scale[i] * noise[i];
        for (Py_ssize_t i = first; i < first + num; i++) x[i] = loc[i] + x[i];
        for (Py_ssize_t i = 0; i < num; i++) {
            const double size = fabs((double)x[first + i]), limited = size < 100.0 ? size : 100.0;
            const double growth = 1.0 + exp_of(-2.0 * limited);
            const double product = scale[first + i] * half_width / (growth * growth);
            piece[i] = log_normal_density(noise[first + i]) - log_of_any(product) + 2.0 * (size - LOG_2);
        }
        add(&sums, piece, num);
    }
}

/* How many standard deviations is a value from the mean of the normal that it was, or is the pre-image of one under
   squash? Bounds of -inf and inf stand for none. Outside of the bounds it is infinite; NaN of NaN. */
typedef struct {
    double low, high;
} Bounds;

INLINE double deviation(double value, double loc, double scale, const Bounds *bounds, double *slope) {
    double x = value;
    *slope = 1.0;
    if (bounds != NULL) {
        const double below = value - bounds->low, above = bounds->high - value;
        const int is_outside = below <= 0.0 || above <= 0.0;
        const double first = is_outside ? 1.0 : below, second = is_outside ? 1.0 : above;
        *slope = first * 2.0 * second / (bounds->high - bounds->low);
        x = is_outside ? (bounds->high - bounds->low) * INFINITY : 0.5 * log_of_any(first / second); /* NaN of NaN */
    }
    return (x - loc) / scale;
}

/* density.log_normal_density_at, and with bounds log_tanh_normal_density_at. */
INLINE void add_log_densities(const float *restrict value, const float *restrict loc, const float *restrict scale,
                              const Bounds *bounds, Py_ssize_t rows, Py_ssize_t count, float *restrict log_density) {
    RowSums sums = {log_density, count, 0, 0.0};
    double piece[PIECE];
    const Py_ssize_t step = step_of(count);
    for (Py_ssize_t first = 0, left = rows * count; left > 0; first += step, left -= step) {
        const Py_ssize_t num = left < step ? left : step;
        for (Py_ssize_t i = 0; i < num; i++) {
            const double sigma = scale[first + i];
            double slope;
            const double z = deviation(value[first + i], loc[first + i], sigma, bounds, &slope);
            const double density = log_normal_density(z) - log_of_any(sigma * slope);
            piece[i] = z * z >= FLT_MAX ? -INFINITY : density; /* NaN of NaN */
        }
        add(&sums, piece, num);
    }
}

VECTORIZED static void log_density_at(const float *value, const float *loc, const float *scale, const Bounds *bounds,
                                      Py_ssize_t rows, Py_ssize_t count, float *log_density) {
    if (bounds == NULL) {
        add_log_densities(value, loc, scale, NULL, rows, count, log_density);
    } else {
        const Bounds fixed = *bounds;
        add_log_densities(value, loc, scale, &fixed, rows, count, log_density);
    }
}

/* The derivatives of that by loc and scale, times `slope`, those of a result by the log-densities of the rows. */
INLINE void write_slopes(const float *restrict value, const float *restrict loc, const float *restrict scale,
                         const Bounds *bounds, const float *restrict slope, Py_ssize_t rows, Py_ssize_t count,
                         float *restrict by_loc, float *restrict by_scale) {
    for (Py_ssize_t row = 0; row < rows; row++)
        for (Py_ssize_t i = row * count; i < (row + 1) * count; i++) by_loc[i] = slope[row];
    for (Py_ssize_t i = 0; i < rows * count; i++) {
        double unused;
        const double z = deviation(value[i], loc[i], scale[i], bounds, &unused);
        const double by_shift = by_loc[i] / (double)scale[i];
        const int is_outside = z * z >= FLT_MAX;
        by_loc[i] = is_outside ? 0.0f : (float)(by_shift * z);
        by_scale[i] = is_outside ? 0.0f : (float)(by_shift * (z * z - 1.0));
    }
}

VECTORIZED static void log_density_slopes(const float *value, const float *loc, const float *scale,
                                          const Bounds *bounds, const float *slope, Py_ssize_t rows, Py_ssize_t count,
                                          float *by_loc, float *by_scale) {
    if (bounds == NULL) {
        write_slopes(value, loc, scale, NULL, slope, rows, count, by_loc, by_scale);
    } else {
        const Bounds fixed = *bounds;
        write_slopes(value, loc, scale, &fixed, slope, rows, count, by_loc, by_scale);
    }
}

/* -------------------------------------------------------------------------------------------------------- for Python
   Addresses, counts and numbers, of which the callers know that they fit together. */

typedef PyObject *const *Arguments;

static int has(Py_ssize_t given, Py_ssize_t wanted) {
    if (given != wanted) PyErr_Format(PyExc_TypeError, "%zd arguments instead of %zd", given, wanted);
    return given == wanted;
}

static void *address_or_null(PyObject *argument) { return PyLong_AsVoidPtr(argument); }

static void *address(PyObject *argument) {
    void *found = PyLong_AsVoidPtr(argument);
    if (found == NULL && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "a tensor has no memory");
    return found;
}

static Py_ssize_t size(PyObject *argument) { return PyLong_AsSsize_t(argument); }

static PyObject *call_philox(Arguments given, Py_ssize_t num_given,
                             void (*philox)(const uint64_t *, Py_ssize_t, Py_ssize_t, void *)) {
    if (!has(num_given, 4)) return NULL;
    const uint64_t *keys = address(given[0]);
    const Py_ssize_t rows = size(given[1]), num = size(given[2]);
    void *numbers = address(given[3]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    philox(keys, rows, num, numbers);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_philox_words(PyObject *module, Arguments given, Py_ssize_t num) {
    return call_philox(given, num, philox_words);
}

static PyObject *call_philox_uniforms(PyObject *module, Arguments given, Py_ssize_t num) {
    return call_philox(given, num, philox_uniforms);
}

static PyObject *call_philox_double_uniforms(PyObject *module, Arguments given, Py_ssize_t num) {
    return call_philox(given, num, philox_double_uniforms);
}

static PyObject *call_philox_normals(PyObject *module, Arguments given, Py_ssize_t num) {
    return call_philox(given, num, philox_normals);
}

static float *room_for_weights(Py_ssize_t count) {
    float *weights = PyMem_Malloc((count < PIECE ? PIECE : count) * sizeof(float));
    if (weights == NULL) PyErr_NoMemory();
    return weights;
}

static PyObject *call_categories(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 8)) return NULL;
    const float *logits = address(given[0]);
    const unsigned char *mask = address_or_null(given[1]);
    const Py_ssize_t rows = size(given[2]), count = size(given[3]);
    const double *share = address_or_null(given[4]);
    const double unit = PyFloat_AsDouble(given[5]);
    int64_t *outcome = address(given[6]);
    float *log_prob = address_or_null(given[7]);
    if (PyErr_Occurred()) return NULL;
    float *weights = room_for_weights(count);
    if (weights == NULL) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    categories(logits, mask, rows, count, share, (float)unit, outcome, log_prob, weights);
    Py_END_ALLOW_THREADS;
    PyMem_Free(weights);
    Py_RETURN_NONE;
}

static PyObject *call_entropies(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 5)) return NULL;
    const float *logits = address(given[0]);
    const unsigned char *mask = address_or_null(given[1]);
    const Py_ssize_t rows = size(given[2]), count = size(given[3]);
    float *entropy = address(given[4]);
    if (PyErr_Occurred()) return NULL;
    float *weights = room_for_weights(count);
    if (weights == NULL) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    entropies(logits, mask, rows, count, entropy, weights);
    Py_END_ALLOW_THREADS;
    PyMem_Free(weights);
    Py_RETURN_NONE;
}

static PyObject *call_divergences(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 7)) return NULL;
    const float *p_logits = address(given[0]), *q_logits = address(given[2]);
    const unsigned char *p_mask = address_or_null(given[1]), *q_mask = address_or_null(given[3]);
    const Py_ssize_t rows = size(given[4]), count = size(given[5]);
    float *divergence = address(given[6]);
    if (PyErr_Occurred()) return NULL;
    void *room = PyMem_Malloc(count * (3 * sizeof(double) + 2 * sizeof(float)));
    if (room == NULL) return PyErr_NoMemory();
    double *numbers = room;
    Row p = {.weights = numbers, .logits = (float *)(numbers + 3 * count)};
    Row q = {.weights = numbers + count, .logits = p.logits + count};
    Py_BEGIN_ALLOW_THREADS;
    divergences(p_logits, p_mask, q_logits, q_mask, rows, count, divergence, p, q, numbers + 2 * count);
    Py_END_ALLOW_THREADS;
    PyMem_Free(room);
    Py_RETURN_NONE;
}

static PyObject *call_category_slopes(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 7)) return NULL;
    const float *logits = address(given[0]);
    const unsigned char *mask = address_or_null(given[1]);
    const Py_ssize_t rows = size(given[2]), count = size(given[3]);
    const int64_t *outcome = address_or_null(given[4]);
    const float *slope = address(given[5]);
    float *by_logits = address(given[6]);
    if (PyErr_Occurred()) return NULL;
    float *weights = room_for_weights(count);
    if (weights == NULL) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    category_slopes(logits, mask, rows, count, outcome, slope, by_logits, weights);
    Py_END_ALLOW_THREADS;
    PyMem_Free(weights);
    Py_RETURN_NONE;
}

static PyObject *call_squashed_pair(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 8)) return NULL;
    const float *noise = address(given[0]), *loc = address(given[1]), *scale = address(given[2]);
    const double half_width = PyFloat_AsDouble(given[3]);
    const Py_ssize_t rows = size(given[4]), count = size(given[5]);
    float *x = address(given[6]), *log_density = address(given[7]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    squashed_pair(noise, loc, scale, half_width, rows, count, x, log_density);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

/* Numbers for the bounds, or None for no bounds. */
static const Bounds *bounds_of(PyObject *low, PyObject *high, Bounds *bounds) {
    if (low == Py_None) return NULL;
    bounds->low = PyFloat_AsDouble(low), bounds->high = PyFloat_AsDouble(high);
    return bounds;
}

static PyObject *call_log_density_at(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 8)) return NULL;
    const float *value = address(given[0]), *loc = address(given[1]), *scale = address(given[2]);
    Bounds room;
    const Bounds *bounds = bounds_of(given[3], given[4], &room);
    const Py_ssize_t rows = size(given[5]), count = size(given[6]);
    float *log_density = address(given[7]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    log_density_at(value, loc, scale, bounds, rows, count, log_density);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_log_density_slopes(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 10)) return NULL;
    const float *value = address(given[0]), *loc = address(given[1]), *scale = address(given[2]);
    Bounds room;
    const Bounds *bounds = bounds_of(given[3], given[4], &room);
    const float *slope = address(given[5]);
    const Py_ssize_t rows = size(given[6]), count = size(given[7]);
    float *by_loc = address(given[8]), *by_scale = address(given[9]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    log_density_slopes(value, loc, scale, bounds, slope, rows, count, by_loc, by_scale);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

#define METHOD(name) {#name, (PyCFunction)(void (*)(void))call_##name, METH_FASTCALL, NULL}
static PyMethodDef methods[] = {
    METHOD(philox_words),
    METHOD(philox_uniforms),
    METHOD(philox_double_uniforms),
    METHOD(philox_normals),
    METHOD(categories),
    METHOD(entropies),
    METHOD(divergences),
    METHOD(category_slopes),
    METHOD(squashed_pair),
    METHOD(log_density_at),
    METHOD(log_density_slopes),
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&definition); }
