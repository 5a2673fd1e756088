/* Fast paths of eager code on a CPU, each in one pass over memory: draws from keys for random/cpu.py, and float32 verbs
   of families for the modules of kernels/. Nothing else calls this file.

   All is computed in double precision, except values that decide a draw. Python modules compute the same by PyTorch's
   operations, and explain the formulas: cpu.py, softmax.py, choice.py, density.py and interval.py. */

#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && defined(__x86_64__) && defined(__GLIBC__) && \
    !defined(__SANITIZE_ADDRESS__)
/* Compile a function for each width of vectors; the loader picks that of the processor. */
#define EXACT __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EXACT
#endif

/* The file is compiled with -ffp-contract=off, so that floats are rounded as by PyTorch's operations. Functions with
   polynomials in double may use fused multiply-adds, which save a third of the time. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORIZED EXACT __attribute__((optimize("fp-contract=fast")))
#else
#define VECTORIZED EXACT
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
#define PIECE 4096 /* logits per piece of work */
#define SHORT_PIECE 1024 /* elements per piece for normals: the nearest cache holds all operands */
#define MOST_AXES 8
#define LOG_2 0.693147180559945309417
#define HALF_LOG_2PI 0.918938533204672741780
#define FLOAT_INTEGER_SHIFT 12582912.0f /* 1.5 2^23, for floats as the next for doubles */
#define INTEGER_SHIFT 6755399441055744.0 /* 1.5 2^52: a sum with it has the nearest integer in its lowest bits */

/* ------------------------------------------------------------------------------------------- functions of one number
   They have no branches, tables or calls, so that loops over them are vectorized. They are right to a few ulp of a
   double. A double holds subnormal floats as normal numbers. */

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

/* exp(x) for -700 < x < 700; NaN for NaN. */
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

/* log(1 + x) for x >= 0, corrected for the rounding error of the sum; NaN for NaN. */
INLINE double log1p_of(double x) {
    const double sum = 1.0 + x;
    return log_of(sum) + (x - (sum - 1.0)) / sum;
}

/* log(x) of any x, also of an invalid scale. */
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

INLINE float float_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE uint32_t bits_of_float(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* exp(x) for x <= 0 in single precision, right to one ulp; 0 below -104, NaN for NaN. */
INLINE float float_exp_of(float x) {
    const int vanishes = x < -104.0f; /* less than half of the smallest float */
    const float y = vanishes ? 0.0f : x;
    /* y = k log 2 + r as in `exp_of`, where k times the first 15 bits of log 2 is exact. */
    const float shifted = y * (float)(1.0 / LOG_2) + FLOAT_INTEGER_SHIFT, k = shifted - FLOAT_INTEGER_SHIFT;
    const float r = (y - k * 0.693145751953125f) - k * 1.428606765330187e-6f;
    const int32_t exponent = (int32_t)(bits_of_float(shifted) - bits_of_float(FLOAT_INTEGER_SHIFT));
    const int32_t half = exponent >> 1; /* 2^k may be subnormal; the two factors are not */
    float p = (float)(1.0 / 5040);
    p = p * r + (float)(1.0 / 720);
    p = p * r + (float)(1.0 / 120);
    p = p * r + (float)(1.0 / 24);
    p = p * r + (float)(1.0 / 6);
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    p = p * float_of_bits((uint32_t)(half + 127) << 23) * float_of_bits((uint32_t)(exponent - half + 127) << 23);
    return vanishes ? 0.0f : p;
}

/* exp(x) for -87 <= x < 87 in float, right to an ulp, twice as fast as `float_exp_of`; any number for NaN. */
INLINE float float_exp_of_normal(float x) {
    /* x = k log 2 + r, where k times the first 15 bits of log 2 is exact. */
    const float shifted = x * (float)(1.0 / LOG_2) + FLOAT_INTEGER_SHIFT, k = shifted - FLOAT_INTEGER_SHIFT;
    const float r = (x - k * 0.693145751953125f) - k * 1.428606765330187e-6f;
    float p = (float)(1.0 / 5040);
    p = p * r + (float)(1.0 / 720);
    p = p * r + (float)(1.0 / 120);
    p = p * r + (float)(1.0 / 24);
    p = p * r + (float)(1.0 / 6);
    p = p * r + 0.5f;
    p = p * r * r + r;
    p = p + 1.0f;
    return float_of_bits(bits_of_float(p) + (bits_of_float(shifted) << 23));
}

INLINE float float_of_half(uint16_t bits) { return float_of_bits((uint32_t)bits << 16); }

/* The nearest bfloat16, the even one of two. */
INLINE uint16_t half_of_float(float x) {
    const uint32_t bits = bits_of_float(x), rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)(x == x ? rounded : 0x7FC0u);
}

INLINE double log_normal_density(double z) { return -0.5 * z * z - HALF_LOG_2PI; }

/* ----------------------------------------------------------------------------------------------------------- operands
   Operands are tensors of any layout that broadcast to one shape, and numbers. A piece of an operand is a contiguous
   array: the tensor's own memory if that is contiguous, else a copy. */

typedef struct {
    Py_ssize_t axes, size, sizes[MOST_AXES]; /* `size` is the number of elements */
} Shape;

typedef struct {
    const void *data; /* NULL if absent */
    float number;     /* `data` points to it if the operand is a number */
    Py_ssize_t axes, sizes[MOST_AXES], strides[MOST_AXES]; /* innermost axis first; axes are merged into runs */
} Operand;

INLINE int is_contiguous(const Operand *operand) {
    return operand->axes == 0 || (operand->axes == 1 && operand->strides[0] == 1);
}

/* Copy the elements [first, first + num) of an operand, in the order of the shape to which it broadcasts. */
#define DEFINE_READ(name, type)                                                                                       \
    static void copy_##name(const Operand *operand, Py_ssize_t first, Py_ssize_t num, type *restrict room) {          \
        Py_ssize_t position[MOST_AXES], offset = 0, rest = first, period = 1;                                         \
        for (Py_ssize_t axis = 0; axis < operand->axes; axis++) {                                                     \
            position[axis] = rest % operand->sizes[axis];                                                             \
            rest /= operand->sizes[axis];                                                                             \
            offset += position[axis] * operand->strides[axis];                                                        \
            if (axis < operand->axes - 1) period *= operand->sizes[axis];                                             \
        }                                                                                                             \
        const int repeats = operand->strides[operand->axes - 1] == 0 && num > period;                                 \
        const Py_ssize_t copied = repeats ? period : num;                                                             \
        for (Py_ssize_t done = 0; done < copied;) {                                                                   \
            const type *run = (const type *)operand->data + offset;                                                   \
            const Py_ssize_t stride = operand->strides[0], left = operand->sizes[0] - position[0];                    \
            const Py_ssize_t length = left < copied - done ? left : copied - done;                                    \
            if (stride == 1)                                                                                          \
                for (Py_ssize_t i = 0; i < length; i++) room[done + i] = run[i];                                      \
            else                                                                                                      \
                for (Py_ssize_t i = 0; i < length; i++) room[done + i] = run[i * stride];                             \
            done += length, offset += length * stride, position[0] += length;                                         \
            for (Py_ssize_t axis = 0; axis < operand->axes && position[axis] == operand->sizes[axis]; axis++) {       \
                offset -= operand->sizes[axis] * operand->strides[axis], position[axis] = 0;                          \
                if (axis + 1 < operand->axes) offset += operand->strides[axis + 1], position[axis + 1]++;             \
            }                                                                                                         \
        }                                                                                                             \
        for (Py_ssize_t done = copied; done < num; done *= 2) /* a multiple of the period */                          \
            memcpy(room + done, room, (done < num - done ? done : num - done) * sizeof(type));                        \
    }                                                                                                                 \
    /* Return a contiguous piece of an operand: its own memory, or a copy in `room`. */                               \
    INLINE const type *read_##name(const Operand *operand, Py_ssize_t first, Py_ssize_t num, type *room) {            \
        if (is_contiguous(operand)) return (const type *)operand->data + first;                                       \
        copy_##name(operand, first, num, room);                                                                       \
        return room;                                                                                                  \
    }
DEFINE_READ(floats, float)
DEFINE_READ(bools, unsigned char)
DEFINE_READ(halves, uint16_t)
DEFINE_READ(doubles, double)

/* ------------------------------------------------------------------------------------------------------------- Philox
   The words of keys, and uniform and normal draws made of words: see random/philox.py and random/cpu.py. */

#define ROUNDS 10
#define BLOCKS 64 /* blocks encrypted at a time */

typedef struct {
    uint32_t words[4][BLOCKS];
} Batch;

/* Encrypt blocks given by their counters and cipher keys. */
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

/* Make normal draws of the words. */
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

typedef enum { WORDS, UNIFORMS, DOUBLE_UNIFORMS, NORMALS } Kind; /* one word makes a draw, two make a double */

/* The draws made of the first `num` words of each key; keys are (rows, 2), a seed and an offset. */
INLINE void draw(const uint64_t *keys, Py_ssize_t rows, Py_ssize_t num, Kind kind, void *numbers) {
    uint64_t counter[BLOCKS] = {0}, cipher_key[BLOCKS] = {0};
    Py_ssize_t first_of_block[BLOCKS];
    int words_of_block[BLOCKS];
    Batch batch;
    float normals[4][BLOCKS];
    Py_ssize_t row = 0, position = 0; /* position of the next block in its row */
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
        const int whole = (blocks + LANES - 1) / LANES * LANES; /* a remainder would not be vectorized */
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
   The compiler may not reorder operations, so a loop that sums a row is vectorized only if the code has lanes. */

/* The largest entry of a row, ignoring NaN. */
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

/* The sum of the weights without the largest, 1: it keeps all digits where one outcome is nearly certain. */
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

/* The outcome for a uniform draw `share` in a row with NaN weights: these count as 1, all others as 0. */
static Py_ssize_t chosen_of_nans(const float *weights, Py_ssize_t count, double share) {
    double total = 0.0, below = 0.0;
    for (Py_ssize_t i = 0; i < count; i++) total += isnan(weights[i]) ? 1.0 : 0.0;
    for (Py_ssize_t i = 0; i < count; i++) {
        below += isnan(weights[i]) ? 1.0 : 0.0;
        if (below > share * total) return i;
    }
    return 0;
}

/* The outcome for a uniform draw `share`, as in choice.choose. All sums of units are integers that a double holds, so
   their order does not matter. */
INLINE Py_ssize_t chosen_of(const float *weights, Py_ssize_t count, double share, float unit) {
    double lanes[LANES] = {0.0}, total = 0.0, below = 0.0;
    Py_ssize_t i = 0, first = 0;
    for (; i + LANES <= count; i += LANES)
        for (int lane = 0; lane < LANES; lane++) lanes[lane] += units_of(weights[i + lane], unit);
    for (int lane = 0; lane < LANES; lane++) total += lanes[lane];
    for (; i < count; i++) total += units_of(weights[i], unit);

    if (isnan(total)) return chosen_of_nans(weights, count, share);
    const double target = share * total;
    for (; first + LANES <= count; first += LANES) { /* skip groups that end below the target */
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

/* A piece of whole rows of logits: enough for long loops, few enough for the nearest cache, at least one. */
typedef struct {
    Py_ssize_t rows, count;
    const float *logits;
    const unsigned char *mask; /* or NULL */
    float *weights;            /* exp(logits - top): 0 outside the support, NaN for NaN */
    float top[PIECE];          /* the largest logit, finite in a row without support */
    float *logits_room;        /* as long as `weights`, for logits that are not contiguous */
    unsigned char *mask_room;  /* the same for the mask */
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

/* Read the rows from `first` on of logits (rows, count), and compute their weights. */
INLINE void take(Piece *piece, const Operand *logits, const Operand *mask, Py_ssize_t first, Py_ssize_t rows,
                 Py_ssize_t count) {
    piece->rows = rows - first < rows_at_once(count) ? rows - first : rows_at_once(count);
    piece->count = count;
    piece->logits = read_floats(logits, first * count, piece->rows * count, piece->logits_room);
    piece->mask = mask->data ? read_bools(mask, first * count, piece->rows * count, piece->mask_room) : NULL;
    weigh(piece);
}

/* Allocate memory for a piece of rows of `count` logits; free `weights`, where it begins. */
static int begin_piece(Piece *piece, Py_ssize_t count) {
    const size_t size = count < PIECE ? PIECE : (size_t)count;
    piece->weights = PyMem_Malloc(size * (2 * sizeof(float) + 1));
    if (piece->weights == NULL) return PyErr_NoMemory(), 0;
    piece->logits_room = piece->weights + size;
    piece->mask_room = (unsigned char *)(piece->logits_room + size);
    return 1;
}

/* The weighted sum of (logits - top) over a row. */
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

/* The cumulative sums of a row's weights in units, as in `chosen_of`; return whether no weight is NaN. */
INLINE int add_units(const float *weights, Py_ssize_t count, float unit, double *restrict sums) {
    double sum = 0.0;
    for (Py_ssize_t i = 0; i < count; i++) sums[i] = sum += units_of(weights[i], unit);
    return !isnan(sum);
}

/* The first position whose sum exceeds `share` times the last sum, as in `chosen_of`. */
INLINE Py_ssize_t first_above(const double *sums, Py_ssize_t count, double share) {
    const double target = share * sums[count - 1];
    Py_ssize_t low = 0, high = count; /* the first sum above the target lies in [low, high] */
    while (low < high) {
        const Py_ssize_t middle = low + (high - low) / 2;
        if (sums[middle] > target)
            high = middle;
        else
            low = middle + 1;
    }
    return low < count ? low : 0;
}

/* choice.choose_and_score and softmax.log_prob. Choose outcomes by uniform draws `share` if not NULL, else the
   outcomes are given. Score the outcomes if `log_prob` is not NULL. All three are (samples, rows). `sums` may be NULL;
   with room for a row, it makes several draws from a row fast. */
VECTORIZED static void categories(const Operand *logits, const Operand *mask, Py_ssize_t rows, Py_ssize_t count,
                                  Py_ssize_t samples, const double *share, float unit, int64_t *outcome,
                                  float *log_prob, Piece *piece, double *sums) {
    for (Py_ssize_t first = 0; first < rows; first += piece->rows) {
        take(piece, logits, mask, first, rows, count);
        for (Py_ssize_t row = 0; row < piece->rows; row++) {
            const float *of_row = piece->weights + row * count;
            const int is_summed = share != NULL && sums != NULL && add_units(of_row, count, unit, sums);
            const double log_total = log_prob != NULL ? log1p_of(rest_of(of_row, count)) : 0.0;
            for (Py_ssize_t at = first + row; at < samples * rows; at += rows) {
                if (share != NULL)
                    outcome[at] = is_summed ? first_above(sums, count, share[at])
                                            : chosen_of(of_row, count, share[at], unit);
                if (log_prob == NULL) continue;
                const int64_t i = outcome[at];
                const int counts = i >= 0 && i < count && is_allowed(piece, row * count + i);
                const double logit = counts ? piece->logits[row * count + i] : -INFINITY;
                log_prob[at] = (float)(logit - piece->top[row] - log_total); /* NaN in a row with NaN or inf */
            }
        }
    }
}

/* softmax.entropy */
VECTORIZED static void entropies(const Operand *logits, const Operand *mask, Py_ssize_t rows, Py_ssize_t count,
                                 float *entropy, Piece *piece) {
    for (Py_ssize_t first = 0; first < rows; first += piece->rows) {
        take(piece, logits, mask, first, rows, count);
        for (Py_ssize_t row = 0; row < piece->rows; row++) {
            const float *of_row = piece->weights + row * count;
            const double rest = rest_of(of_row, count);
            entropy[first + row] = (float)(log1p_of(rest) - sum_shifted(piece, row) / (1.0 + rest));
        }
    }
}

#define WIDE 64   /* lanes: a loop over them is not unrolled, and so it is vectorized */

/* The same as `largest_of`, for a long row. */
INLINE float largest_of_many(const float *row, Py_ssize_t count) {
    float lanes[WIDE];
    Py_ssize_t i = 0;
    if (count < WIDE) return largest_of(row, count);
    for (int lane = 0; lane < WIDE; lane++) lanes[lane] = -INFINITY;
    for (; i + WIDE <= count; i += WIDE)
        for (int lane = 0; lane < WIDE; lane++)
            lanes[lane] = row[i + lane] > lanes[lane] ? row[i + lane] : lanes[lane];
    const float of_lanes = largest_of(lanes, WIDE), of_others = largest_of(row + i, count - i);
    return of_lanes > of_others ? of_lanes : of_others;
}

/* ----------------------------------------------------------------------------------------------- tiles of linear heads
   Sums of a few weights in float are added up in double. A weight of at most exp(-87) counts as 0. */

#define TILE_LANES 32 /* lanes: two of the widest vectors of floats */
#define RUN 256 /* logits whose weights are summed in float */

/* A logit less the maximum, at least -87; NaN stays. */
INLINE float limited_of(float shifted) { return -87.0f > shifted ? -87.0f : shifted; }

/* exp(x) of what `limited_of` returns; 0 for NaN. */
INLINE float weight_of(float limited) {
    const float weight = float_exp_of_normal(limited);
    return limited > -87.0f ? weight : 0.0f;
}

INLINE Py_ssize_t first_nan(const float *row, Py_ssize_t count) {
    Py_ssize_t i = 0;
    while (i < count && !isnan(row[i])) i++;
    return i;
}

/* Add the sums of exp(x) and of exp(x) x, x = logit - maximum; the second is NaN if a logit is. */
INLINE void add_weights(const float *row, Py_ssize_t count, float maximum, double *weights, double *tilts) {
    double weight_lanes[TILE_LANES] = {0.0}, tilt_lanes[TILE_LANES] = {0.0};
    Py_ssize_t i = 0;
    while (i + TILE_LANES <= count) {
        float sums[TILE_LANES] = {0.0f}, weighted[TILE_LANES] = {0.0f};
        const Py_ssize_t end = i + RUN < count ? i + RUN : count;
        for (; i + TILE_LANES <= end; i += TILE_LANES)
            for (int lane = 0; lane < TILE_LANES; lane++) {
                const float limited = limited_of(row[i + lane] - maximum), weight = weight_of(limited);
                sums[lane] += weight;
                weighted[lane] += weight * limited;
            }
        for (int lane = 0; lane < TILE_LANES; lane++) weight_lanes[lane] += sums[lane];
        for (int lane = 0; lane < TILE_LANES; lane++) tilt_lanes[lane] += weighted[lane];
    }
    for (int lane = 0; lane < TILE_LANES; lane++) *weights += weight_lanes[lane], *tilts += tilt_lanes[lane];
    for (; i < count; i++) {
        const float limited = limited_of(row[i] - maximum), weight = weight_of(limited);
        *weights += weight;
        *tilts += weight * limited;
    }
}

/* linear_head.add_terms: join the terms of every row of a tile, whose first token is `first`, with those before, and
   pick the logits of the tokens (rows, picks) that are in the tile. */
VECTORIZED static void add_terms(float *logits, Py_ssize_t rows, Py_ssize_t count, int64_t first, float *maximum,
                                 int64_t *index, double *rest, double *tilt, const int64_t *tokens, Py_ssize_t picks,
                                 float *picked) {
    for (Py_ssize_t row = 0; row < rows; row++) {
        float *of_row = logits + row * count;
        const float top = largest_of_many(of_row, count);
        Py_ssize_t at = -1;
        if (top > maximum[row]) {
            const double shift = (double)maximum[row] - top;
            const double factor = shift < -700.0 ? 0.0 : exp_of(shift);
            const double total = rest[row] + (maximum[row] > -FLT_MAX);
            tilt[row] = factor == 0.0 ? 0.0 : factor * (tilt[row] + total * shift);
            rest[row] = factor * total;
            for (at = 0; of_row[at] != top;) at++;
            maximum[row] = top;
            index[row] = first + at;
            of_row[at] = -INFINITY; /* the maximum is no part of the rest */
        }
        add_weights(of_row, count, maximum[row], rest + row, tilt + row);
        if (at >= 0) of_row[at] = top;
        if (top == INFINITY) tilt[row] = NAN;
        if (isnan(tilt[row])) { /* here or in an earlier tile */
            const Py_ssize_t nan = first_nan(of_row, count);
            if (!isnan(maximum[row]) && nan < count) index[row] = first + nan;
            rest[row] = tilt[row] = maximum[row] = NAN;
        }
        for (Py_ssize_t i = row * picks; i < (row + 1) * picks; i++)
            if (tokens[i] >= first && tokens[i] < first + count) picked[i] = of_row[tokens[i] - first];
    }
}

/* The slopes exp(x) (constant + factor x) by logits, x = logit - maximum, in place. */
VECTORIZED static void tile_slopes(float *restrict logits, Py_ssize_t rows, Py_ssize_t count, const float *maximum,
                                   const float *constant, const float *factor) {
    for (Py_ssize_t row = 0; row < rows; row++) {
        const float base = maximum[row], c = constant[row], f = factor[row];
        for (Py_ssize_t i = row * count; i < (row + 1) * count; i++) {
            const float limited = limited_of(logits[i] - base);
            logits[i] = weight_of(limited) * (c + f * limited);
        }
    }
}

/* ------------------------------------------------------------------------------------------------------ parts of rows
   special/row_parts.py: rows whose other parts other processes have, so that the largest logit is given. Weights are
   those of whole rows, to the bit. */

/* row_parts.tops: the largest logit of each row, NaN if there is one, and its first position. */
VECTORIZED static void part_tops(const float *logits, Py_ssize_t rows, Py_ssize_t count, float *maximum,
                                 int64_t *index) {
    for (Py_ssize_t row = 0; row < rows; row++) {
        const float *of_row = logits + row * count, top = largest_of_many(of_row, count);
        Py_ssize_t at = 0, nans = 0;
        for (Py_ssize_t i = 0; i < count; i++) nans += of_row[i] != of_row[i];
        if (nans > 0)
            at = first_nan(of_row, count);
        else
            while (of_row[at] != top) at++;
        maximum[row] = of_row[at];
        index[row] = at;
    }
}

/* exp(logit - top) of a few logits. */
INLINE void weigh_part(const float *restrict logits, Py_ssize_t count, float top, float *restrict weights) {
    for (Py_ssize_t i = 0; i < count; i++) {
        const float shifted = logits[i] - top;
        const int vanishes = shifted < -104.0f;
        const float weight = (float)exp_of(vanishes ? 0.0f : shifted);
        weights[i] = vanishes ? 0.0f : weight;
    }
}

/* row_parts.sums: the sums of exp(x) and exp(x) x, x = logit - maximum, without one position of each row. */
VECTORIZED static void part_sums(const float *logits, Py_ssize_t rows, Py_ssize_t count, const float *maximum,
                                 const int64_t *without, double *rest, double *tilt) {
    float weights[SHORT_PIECE];
    for (Py_ssize_t row = 0; row < rows; row++) {
        double lanes[LANES] = {0.0}, tilts[LANES] = {0.0}, sum = 0.0, tilted = 0.0;
        for (Py_ssize_t first = 0; first < count; first += SHORT_PIECE) {
            const Py_ssize_t size = count - first < SHORT_PIECE ? count - first : SHORT_PIECE;
            const float *of_piece = logits + row * count + first;
            Py_ssize_t i = 0;
            weigh_part(of_piece, size, maximum[row], weights);
            if (without[row] >= first && without[row] < first + size) weights[without[row] - first] *= 0.0f;
            for (; i + LANES <= size; i += LANES)
                for (int lane = 0; lane < LANES; lane++) {
                    const float shifted = of_piece[i + lane] - maximum[row];
                    lanes[lane] += weights[i + lane];
                    tilts[lane] += (double)weights[i + lane] * (shifted < -104.0f ? -104.0f : shifted);
                }
            for (; i < size; i++) {
                const float shifted = of_piece[i] - maximum[row];
                sum += weights[i];
                tilted += (double)weights[i] * (shifted < -104.0f ? -104.0f : shifted);
            }
        }
        for (int lane = 0; lane < LANES; lane++) sum += lanes[lane], tilted += tilts[lane];
        rest[row] = sum;
        tilt[row] = tilted;
    }
}

/* The integer weights of a few logits. If the largest logit is NaN, NaN and infinity count as 1, all others as 0. */
INLINE void units_of_part(const float *restrict logits, Py_ssize_t count, float top, float unit,
                          float *restrict units) {
    if (top != top) {
        for (Py_ssize_t i = 0; i < count; i++) units[i] = logits[i] != logits[i] || logits[i] == INFINITY ? unit : 0.0f;
        return;
    }
    weigh_part(logits, count, top, units);
    for (Py_ssize_t i = 0; i < count; i++) units[i] = floorf(units[i] * unit);
}

/* row_parts.units: the sums of the integer weights of each row. */
VECTORIZED static void part_units(const float *logits, Py_ssize_t rows, Py_ssize_t count, const float *maximum,
                                  float unit, double *total) {
    float units[SHORT_PIECE];
    for (Py_ssize_t row = 0; row < rows; row++) {
        double lanes[LANES] = {0.0}, sum = 0.0;
        for (Py_ssize_t first = 0; first < count; first += SHORT_PIECE) {
            const Py_ssize_t size = count - first < SHORT_PIECE ? count - first : SHORT_PIECE;
            Py_ssize_t i = 0;
            units_of_part(logits + row * count + first, size, maximum[row], unit, units);
            for (; i + LANES <= size; i += LANES)
                for (int lane = 0; lane < LANES; lane++) lanes[lane] += units[i + lane];
            for (; i < size; i++) sum += units[i];
        }
        for (int lane = 0; lane < LANES; lane++) sum += lanes[lane];
        total[row] = sum;
    }
}

/* row_parts.places: the first position where the sum of integer weights exceeds a target (rows, picks), 0 for targets
   below 0, and if none does. */
VECTORIZED static void part_places(const float *logits, Py_ssize_t rows, Py_ssize_t count, const float *maximum,
                                   float unit, const double *target, Py_ssize_t picks, int64_t *place) {
    float units[SHORT_PIECE];
    for (Py_ssize_t pick = 0; pick < rows * picks; pick++) {
        const Py_ssize_t row = pick / picks;
        double below = 0.0;
        place[pick] = 0;
        if (!(target[pick] >= 0.0)) continue;
        for (Py_ssize_t first = 0; first < count; first += SHORT_PIECE) {
            const Py_ssize_t size = count - first < SHORT_PIECE ? count - first : SHORT_PIECE;
            double lanes[LANES] = {0.0}, sum = 0.0;
            Py_ssize_t i = 0;
            units_of_part(logits + row * count + first, size, maximum[row], unit, units);
            for (; i + LANES <= size; i += LANES)
                for (int lane = 0; lane < LANES; lane++) lanes[lane] += units[i + lane];
            for (; i < size; i++) sum += units[i];
            for (int lane = 0; lane < LANES; lane++) sum += lanes[lane];
            if (below + sum > target[pick]) {
                for (i = 0; below + units[i] <= target[pick]; i++) below += units[i];
                place[pick] = first + i;
                break;
            }
            below += sum;
        }
    }
}

/* exp(-x) - 1 + x without cancellation near 0, for |x| < 1/2: x^2 times a series. */
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

/* One row of logits with weights in double precision, which divergences near 0 need. */
typedef struct {
    float *logits, *room; /* -inf outside the support; room for logits that are not contiguous */
    unsigned char *mask_room;
    double *weights; /* exp(logits - top) */
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

INLINE void weigh_row(Row *row, const Operand *logits_of, const Operand *mask_of, Py_ssize_t first, Py_ssize_t count) {
    float *restrict masked = row->logits;
    double *restrict weights = row->weights;
    const float *restrict logits = read_floats(logits_of, first, count, row->room);
    if (mask_of->data == NULL) {
        memcpy(masked, logits, count * sizeof(float));
    } else {
        const unsigned char *restrict mask = read_bools(mask_of, first, count, row->mask_room);
        for (Py_ssize_t i = 0; i < count; i++) masked[i] = mask[i] ? logits[i] : -INFINITY;
    }
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

/* KL(p || q) of every row, with the terms of softmax_kl. Each array of `p`, `q` and `terms` has room for a row. */
VECTORIZED static void divergences(const Operand *p_logits, const Operand *p_mask, const Operand *q_logits,
                                   const Operand *q_mask, Py_ssize_t rows, Py_ssize_t count, float *divergence, Row p,
                                   Row q, double *restrict terms) {
    for (Py_ssize_t row = 0; row < rows; row++) {
        weigh_row(&p, p_logits, p_mask, row * count, count);
        weigh_row(&q, q_logits, q_mask, row * count, count);
        /* log p - log q is the difference of the logits plus this. */
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

/* The gradient by the logits of log-probs, or of entropies if `outcome` is NULL; `slopes` is the incoming gradient.
   The result is 0 outside the support, and in a row whose log-prob is -inf. In a row with a NaN logit it is NaN in the
   support. */
VECTORIZED static void category_slopes(const Operand *logits, const Operand *mask, Py_ssize_t rows, Py_ssize_t count,
                                       const int64_t *outcome, const Operand *slopes, float *by_logits, Piece *piece) {
    for (Py_ssize_t first = 0; first < rows; first += piece->rows) {
        float room[PIECE];
        take(piece, logits, mask, first, rows, count);
        const float *slope = read_floats(slopes, first, piece->rows, room);
        for (Py_ssize_t row = 0; row < piece->rows; row++) {
            const float *of_row = piece->weights + row * count, *logit = piece->logits + row * count;
            float *restrict by_logit = by_logits + (first + row) * count;
            const double rest = rest_of(of_row, count), share = slope[row] / (1.0 + rest);
            if (isnan(rest)) {
                for (Py_ssize_t i = 0; i < count; i++) by_logit[i] = is_allowed(piece, row * count + i) ? NAN : 0.0f;
                continue;
            }
            if (outcome == NULL) {
                const double top = piece->top[row], mean = sum_shifted(piece, row) / (1.0 + rest);
                for (Py_ssize_t i = 0; i < count; i++)
                    by_logit[i] = of_row[i] == 0.0f ? 0.0f : (float)(of_row[i] * share * (mean - (logit[i] - top)));
                continue;
            }
            const int64_t chosen = outcome[first + row];
            const int exists = chosen >= 0 && chosen < count && is_allowed(piece, row * count + chosen);
            if (!exists || logit[chosen] == -INFINITY) {
                memset(by_logit, 0, count * sizeof(float));
                continue;
            }
            for (Py_ssize_t i = 0; i < count; i++) by_logit[i] = of_row[i] == 0.0f ? 0.0f : (float)(-of_row[i] * share);
            by_logit[chosen] = (float)((rest + (1.0 - of_row[chosen])) * share);
        }
    }
}

/* ------------------------------------------------------------------------------------------------------------ tokens
   Rows as long as a vocabulary, in float32 or bfloat16. A weight is a float here, and all sums are of doubles. The
   forward pass keeps the sums of a row, so that the backward pass reads the logits once. */

#define BLOCK 512 /* logits between two passes over the nearest cache, a multiple of the lanes */

typedef struct {
    Py_ssize_t count;
    Operand logits, mask, positions; /* the mask is of tokens; positions are of rows; both may be absent */
    int is_half;                     /* the logits are bfloat16 */
    float *room;                     /* for a row as floats */
    void *logits_room, *mask_room;   /* for a row that is not contiguous */
} Tokens;

typedef struct {
    double top;  /* the largest logit, finite in a row without support */
    double rest; /* the sum of the weights exp(logit - top), without one that is 1 */
    double mean; /* of logit - top by probability */
} TokenSums;

/* A row as floats, -inf where the mask is not True. */
INLINE const float *token_row(const Tokens *tokens, Py_ssize_t row) {
    const Py_ssize_t count = tokens->count, first = row * count;
    float *restrict floats = tokens->room;
    const float *found;
    if (tokens->is_half) {
        const uint16_t *restrict halves = read_halves(&tokens->logits, first, count, tokens->logits_room);
        for (Py_ssize_t i = 0; i < count; i++) floats[i] = float_of_half(halves[i]);
        found = floats;
    } else {
        found = read_floats(&tokens->logits, first, count, tokens->logits_room);
    }
    if (tokens->mask.data == NULL) return found;
    const unsigned char *restrict mask = read_bools(&tokens->mask, first, count, tokens->mask_room);
    for (Py_ssize_t i = 0; i < count; i++) floats[i] = mask[i] ? found[i] : -INFINITY;
    return floats;
}

INLINE int is_counted(const Tokens *tokens, Py_ssize_t row) {
    unsigned char room;
    return tokens->positions.data == NULL || *read_bools(&tokens->positions, row, 1, &room);
}

INLINE TokenSums sums_of(const float *logits, Py_ssize_t count, int has_mean) {
    const float largest = largest_of_many(logits, count), top = largest == -INFINITY ? -FLT_MAX : largest;
    double rest[WIDE] = {0.0}, shifted[WIDE] = {0.0}, sum = 0.0, of_shifted = 0.0;
    int32_t ones[WIDE] = {0};
    int64_t num_ones = 0;
    for (Py_ssize_t first = 0; first < count; first += BLOCK) {
        float weights[BLOCK], differences[BLOCK];
        const int num = count - first < BLOCK ? (int)(count - first) : BLOCK;
        for (int i = 0; i < num; i++) {
            const float difference = logits[first + i] - top, weight = float_exp_of(difference);
            weights[i] = weight;
            differences[i] = weight == 0.0f ? 0.0f : difference;
        }
        int whole = num;
        for (; whole % WIDE; whole++) weights[whole] = differences[whole] = 0.0f;
        for (int i = 0; i < whole; i += WIDE)
            for (int lane = 0; lane < WIDE; lane++) {
                rest[lane] += weights[i + lane] == 1.0f ? 0.0f : weights[i + lane];
                ones[lane] += weights[i + lane] == 1.0f;
            }
        if (has_mean)
            for (int i = 0; i < whole; i += WIDE)
                for (int lane = 0; lane < WIDE; lane++)
                    shifted[lane] += (double)weights[i + lane] * differences[i + lane];
    }
    for (int lane = 0; lane < WIDE; lane++) sum += rest[lane], num_ones += ones[lane], of_shifted += shifted[lane];
    if (num_ones > 1) sum += (double)(num_ones - 1);
    return (TokenSums){top, sum, of_shifted / (1.0 + sum)};
}

/* The log-probs of tokens (samples, rows) and the entropies of rows [first, last), each unless NULL. Both are 0 in a
   row that does not count; the log-prob of the token `ignored` is 0 too. */
VECTORIZED static void token_scores(const Tokens *tokens, Py_ssize_t first, Py_ssize_t last, Py_ssize_t rows,
                                    Py_ssize_t samples, const int64_t *token, int64_t ignored, float *log_prob,
                                    float *entropy, TokenSums *sums) {
    for (Py_ssize_t row = first; row < last; row++) {
        int is_needed = entropy != NULL;
        if (log_prob != NULL)
            for (Py_ssize_t at = row; at < samples * rows; at += rows) log_prob[at] = 0.0f, is_needed |= token[at] != ignored;
        if (entropy != NULL) entropy[row] = 0.0f;
        sums[row] = (TokenSums){0.0, 0.0, 0.0};
        if (!is_needed || !is_counted(tokens, row)) continue;
        const float *logits = token_row(tokens, row);
        const TokenSums of_row = sums[row] = sums_of(logits, tokens->count, entropy != NULL);
        const double log_total = log1p_of(of_row.rest);
        if (entropy != NULL) entropy[row] = (float)(log_total - of_row.mean);
        if (log_prob == NULL) continue;
        for (Py_ssize_t at = row; at < samples * rows; at += rows) {
            if (token[at] == ignored) continue;
            const int exists = token[at] >= 0 && token[at] < tokens->count;
            const double logit = exists ? logits[token[at]] : -INFINITY;
            log_prob[at] = (float)(logit - of_row.top - log_total); /* NaN in a row with NaN or inf */
        }
    }
}

INLINE int is_scored(const float *logits, Py_ssize_t count, int64_t token, int64_t ignored) {
    return token != ignored && token >= 0 && token < count && logits[token] != -INFINITY;
}

/* The gradient by the logits, of rows [first, last), of what `token_scores` gave: `by_score` (samples, rows) and
   `by_entropy` (rows) are the incoming gradients, each unless NULL. */
VECTORIZED static void token_slopes(const Tokens *tokens, Py_ssize_t first, Py_ssize_t last, Py_ssize_t rows,
                                    Py_ssize_t samples, const int64_t *token, int64_t ignored, const TokenSums *sums,
                                    const float *by_score, const float *by_entropy, void *by_logits) {
    const Py_ssize_t count = tokens->count, end = by_score == NULL ? 0 : samples * rows;
    for (Py_ssize_t row = first; row < last; row++) {
        float *restrict floats = (float *)by_logits + row * count;
        uint16_t *restrict halves = (uint16_t *)by_logits + row * count;
        const TokenSums of_row = sums[row];
        const float *logits = NULL;
        int is_needed = by_entropy != NULL;
        for (Py_ssize_t at = row; at < end; at += rows) is_needed |= token[at] != ignored;
        if (is_needed && is_counted(tokens, row)) logits = token_row(tokens, row);
        if (logits == NULL) {
            memset(tokens->is_half ? (void *)halves : (void *)floats, 0,
                   count * (tokens->is_half ? sizeof(uint16_t) : sizeof(float)));
            continue;
        }
        double of_scores = 0.0;
        for (Py_ssize_t at = row; at < end; at += rows)
            of_scores += is_scored(logits, count, token[at], ignored) ? by_score[at] : 0.0;
        const double of_entropy = by_entropy == NULL ? 0.0 : by_entropy[row], share = 1.0 / (1.0 + of_row.rest);
        const double slope = -of_entropy * share, level = share * (of_entropy * of_row.mean - of_scores);
        const float top = (float)of_row.top, float_level = (float)level;
        for (Py_ssize_t start = 0; start < count; start += BLOCK) {
            float results[BLOCK];
            const int num = count - start < BLOCK ? (int)(count - start) : BLOCK;
            if (isnan(of_row.rest)) /* NaN in the support */
                for (int i = 0; i < num; i++) results[i] = logits[start + i] == -INFINITY ? 0.0f : NAN;
            else if (by_entropy == NULL)
                for (int i = 0; i < num; i++) results[i] = float_exp_of(logits[start + i] - top) * float_level;
            else
                for (int i = 0; i < num; i++) {
                    const float difference = logits[start + i] - top, weight = float_exp_of(difference);
                    const double shifted = weight == 0.0f ? 0.0f : difference;
                    results[i] = (float)(weight * (level + slope * shifted));
                }
            if (tokens->is_half)
                for (int i = 0; i < num; i++) halves[start + i] = half_of_float(results[i]);
            else
                memcpy(floats + start, results, num * sizeof(float));
        }
        for (Py_ssize_t at = row; at < end && !isnan(of_row.rest); at += rows) {
            if (!is_scored(logits, count, token[at], ignored)) continue;
            const float difference = logits[token[at]] - top;
            const double weight = float_exp_of(difference), rest = of_row.rest + (1.0 - weight);
            double of_token = 0.0; /* the gradients of all samples that are this token */
            for (Py_ssize_t other = row; other < end; other += rows)
                of_token += token[other] == token[at] ? by_score[other] : 0.0;
            const double of_others = weight * (of_entropy * (of_row.mean - difference) - (of_scores - of_token));
            const float result = (float)(share * (of_token * rest + of_others));
            if (tokens->is_half)
                halves[token[at]] = half_of_float(result);
            else
                floats[token[at]] = result;
        }
    }
}

/* ------------------------------------------------------------------------------------------------------------ normals
   Tables are (rows, count). A row is an event: log-densities are summed over it. */

typedef struct {
    float *sums;
    Py_ssize_t count, added; /* elements per row, and elements of this row already in `sum` */
    double sum;
} RowSums;

/* Add the next elements of a table to the sums of its rows. */
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

/* The number of elements per piece: whole rows if a row fits into a piece. */
INLINE Py_ssize_t step_of(Py_ssize_t count) { return count < SHORT_PIECE ? SHORT_PIECE / count * count : SHORT_PIECE; }

typedef struct {
    Operand loc, scale, low, high; /* without bounds it is a normal, with bounds a tanh-normal */
} Parameters;

/* A piece of the parameters, and room for copies. */
typedef struct {
    const float *loc, *scale, *low, *high;
    float room[4][SHORT_PIECE];
} ParameterPiece;

INLINE void read_parameters(const Parameters *parameters, Py_ssize_t first, Py_ssize_t num, ParameterPiece *piece) {
    piece->loc = read_floats(&parameters->loc, first, num, piece->room[0]);
    piece->scale = read_floats(&parameters->scale, first, num, piece->room[1]);
    if (parameters->low.data == NULL) return;
    piece->low = read_floats(&parameters->low, first, num, piece->room[2]);
    piece->high = read_floats(&parameters->high, first, num, piece->room[3]);
}

/* The log-derivative of squash at x is log(half_width (1 - tanh(x)^2)), where
   log(1 - tanh(x)^2) = 2 (log 2 - |x| - log(1 + exp(-2 |x|))). The remaining logarithms and that of the scale are
   combined into one. */
INLINE double log_density_of_noise(double noise, double x, double scale, double half_width) {
    const double size = fabs(x), limited = size < 100.0 ? size : 100.0;
    const double growth = 1.0 + exp_of(-2.0 * limited);
    const double product = scale * half_width / (growth * growth);
    return log_normal_density(noise) - log_of_any(product) + 2.0 * (size - LOG_2);
}

EXACT static void add_noise(const float *restrict noise, const float *restrict loc, const float *restrict scale,
                            Py_ssize_t num, float *restrict x) {
    for (Py_ssize_t i = 0; i < num; i++) x[i] = loc[i] + scale[i] * noise[i];
}

/* Compute x = loc + scale noise, and the log-density of x, or of squash(x) if there are bounds. Return whether low is
   -high everywhere; if not, `squash` needs `end` = -2 |x|. `end` and `log_density` may be NULL. */
VECTORIZED static int draws_of_noise(const Operand *noise_of, const Parameters *parameters, Py_ssize_t size,
                                     Py_ssize_t count, float *restrict x, float *restrict end,
                                     float *restrict log_density) {
    RowSums sums = {log_density, count, 0, 0.0};
    const int has_bounds = parameters->low.data != NULL;
    const Py_ssize_t step = step_of(count);
    ParameterPiece piece;
    float noise_room[SHORT_PIECE];
    double densities[SHORT_PIECE];
    int are_mirrored = 1;
    for (Py_ssize_t first = 0; first < size; first += step) {
        const Py_ssize_t num = size - first < step ? size - first : step;
        read_parameters(parameters, first, num, &piece);
        const float *restrict noise = read_floats(noise_of, first, num, noise_room);
        const float *restrict loc = piece.loc, *restrict scale = piece.scale;
        add_noise(noise, loc, scale, num, x + first);
        if (has_bounds) {
            for (Py_ssize_t i = 0; i < num; i++) are_mirrored &= piece.low[i] == -piece.high[i];
        }
        if (log_density == NULL) continue;
        if (has_bounds)
            for (Py_ssize_t i = 0; i < num; i++) {
                const double half_width = 0.5 * ((double)piece.high[i] - (double)piece.low[i]);
                densities[i] = log_density_of_noise(noise[i], x[first + i], scale[i], half_width);
            }
        else
            for (Py_ssize_t i = 0; i < num; i++) /* NaN if loc is infinite or NaN */
                densities[i] = log_normal_density(noise[i]) - log_of_any(scale[i]) + 0.0 * (double)loc[i];
        add(&sums, densities, num);
    }
    if (!are_mirrored && end != NULL)
        for (Py_ssize_t i = 0; i < size; i++) end[i] = -2.0f * fabsf(x[i]);
    return are_mirrored;
}

/* The next larger float. */
INLINE float above(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = x == 0.0f ? 1 : x > 0.0f ? bits + 1 : bits - 1;
    float next;
    memcpy(&next, &bits, sizeof next);
    return x < INFINITY ? next : x; /* inf and NaN stay */
}

/* interval.squash and interval.strictly_inside. The result overwrites `tanh`, which holds tanh(x). `decay` holds
   exp(-2 |x|), or is NULL if low is -high everywhere. */
EXACT static void squash(const float *restrict x, const float *restrict decay, const Operand *low_of,
                              const Operand *high_of, Py_ssize_t size, float *restrict tanh) {
    float low_room[SHORT_PIECE], high_room[SHORT_PIECE];
    for (Py_ssize_t first = 0; first < size; first += SHORT_PIECE) {
        const Py_ssize_t num = size - first < SHORT_PIECE ? size - first : SHORT_PIECE;
        const float *restrict low = read_floats(low_of, first, num, low_room);
        const float *restrict high = read_floats(high_of, first, num, high_room);
        float *restrict value = tanh + first;
        if (decay == NULL)
            for (Py_ssize_t i = 0; i < num; i++) value[i] = 0.5f * (high[i] - low[i]) * value[i];
        else
            for (Py_ssize_t i = 0; i < num; i++) {
                const float width = high[i] - low[i], half = 0.5f * width, scaled = half * value[i];
                const float from_end = width * decay[first + i] / (1.0f + decay[first + i]);
                const float tail = x[first + i] < 0.0f ? low[i] + from_end : high[i] - from_end;
                const float whole = fabsf(x[first + i]) < 0.5f ? (low[i] + half) + scaled : tail;
                value[i] = low[i] == -high[i] ? scaled : whole;
            }
        for (Py_ssize_t i = 0; i < num; i++) {
            const float least = above(low[i]), largest = -above(-high[i]);
            const float raised = value[i] < least ? least : value[i]; /* NaN stays */
            value[i] = raised > largest ? largest : raised;
        }
    }
}

/* The gradients of the results of `draws_of_noise` by loc and scale. The incoming gradients are by the value and by the
   log-density; one of them may be absent. `by_loc` or `by_scale` may be NULL. */
VECTORIZED static void draw_slopes(const Operand *noise_of, const float *restrict x, const Parameters *parameters,
                                   const Operand *by_value_of, const Operand *by_density_of, Py_ssize_t size,
                                   float *restrict by_loc, float *restrict by_scale) {
    ParameterPiece piece;
    float noise_room[SHORT_PIECE], value_room[SHORT_PIECE], density_room[SHORT_PIECE], by_x[SHORT_PIECE];
    const int has_bounds = parameters->low.data != NULL;
    memset(value_room, 0, sizeof value_room), memset(density_room, 0, sizeof density_room);
    for (Py_ssize_t first = 0; first < size; first += SHORT_PIECE) {
        const Py_ssize_t num = size - first < SHORT_PIECE ? size - first : SHORT_PIECE;
        read_parameters(parameters, first, num, &piece);
        const float *restrict noise = read_floats(noise_of, first, num, noise_room);
        const float *restrict scale = piece.scale;
        const float *by_value = value_room, *by_density = density_room;
        if (by_value_of->data != NULL) by_value = read_floats(by_value_of, first, num, value_room);
        if (by_density_of->data != NULL) by_density = read_floats(by_density_of, first, num, density_room);
        if (has_bounds)
            for (Py_ssize_t i = 0; i < num; i++) {
                const double at = x[first + i], distance = fabs(at), limited = distance < 100.0 ? distance : 100.0;
                const double decay = exp_of(-2.0 * limited), growth = 1.0 + decay;
                const double far = (1.0 - decay) / growth, size_of_tanh = distance < 1e-4 ? distance : far;
                const double slope = 2.0 * ((double)piece.high[i] - (double)piece.low[i]) * decay / (growth * growth);
                const double of_tanh = at < 0.0 ? -size_of_tanh : size_of_tanh;
                by_x[i] = (float)(by_value[i] * slope + by_density[i] * 2.0 * of_tanh + 0.0 * at);
            }
        else
            for (Py_ssize_t i = 0; i < num; i++) by_x[i] = by_value[i];
        if (by_loc != NULL) memcpy(by_loc + first, by_x, num * sizeof(float));
        if (by_scale != NULL)
            for (Py_ssize_t i = 0; i < num; i++)
                by_scale[first + i] = (float)((double)by_x[i] * noise[i] - by_density[i] / (double)scale[i]);
    }
}

/* The deviation of a value from loc in units of scale; `squashed_deviation` is that of the pre-image under squash. It
   is infinite outside of the bounds, and NaN for NaN. */
INLINE double deviation(double value, double loc, double scale) { return (value - loc) / scale; }

INLINE double squashed_deviation(double value, double loc, double scale, double low, double high, double *slope) {
    const double below = value - low, above = high - value, width = high - low;
    const int is_outside = below <= 0.0 || above <= 0.0;
    const double first = is_outside ? 1.0 : below, second = is_outside ? 1.0 : above;
    *slope = first * 2.0 * second / width;
    const double x = is_outside ? width * INFINITY : 0.5 * log_of_any(first / second); /* NaN for NaN */
    return deviation(x, loc, scale);
}

INLINE double log_density_of(double z, double sigma, double slope) {
    const double density = log_normal_density(z) - log_of_any(sigma * slope);
    return z * z >= FLT_MAX ? -INFINITY : density; /* NaN for NaN */
}

/* density.log_normal_density_at, or with bounds density.log_tanh_normal_density_at. */
VECTORIZED static void log_density_at(const Operand *value_of, const Parameters *parameters, Py_ssize_t size,
                                      Py_ssize_t count, float *restrict log_density) {
    RowSums sums = {log_density, count, 0, 0.0};
    const Py_ssize_t step = step_of(count);
    ParameterPiece piece;
    float value_room[SHORT_PIECE];
    double densities[SHORT_PIECE];
    for (Py_ssize_t first = 0; first < size; first += step) {
        const Py_ssize_t num = size - first < step ? size - first : step;
        read_parameters(parameters, first, num, &piece);
        const float *restrict value = read_floats(value_of, first, num, value_room);
        const float *restrict loc = piece.loc, *restrict scale = piece.scale;
        if (parameters->low.data == NULL)
            for (Py_ssize_t i = 0; i < num; i++)
                densities[i] = log_density_of(deviation(value[i], loc[i], scale[i]), scale[i], 1.0);
        else
            for (Py_ssize_t i = 0; i < num; i++) {
                double slope;
                const double z = squashed_deviation(value[i], loc[i], scale[i], piece.low[i], piece.high[i], &slope);
                densities[i] = log_density_of(z, scale[i], slope);
            }
        add(&sums, densities, num);
    }
}

/* The gradients of log-densities by loc and scale; `slope_of` is the incoming gradient. `by_loc` or `by_scale` may be
   NULL. If `is_noise`, `value_of` holds noise, which is the deviation itself. */
VECTORIZED static void log_density_slopes(const Operand *value_of, int is_noise, const Parameters *parameters,
                                          const Operand *slope_of, Py_ssize_t size, float *restrict by_loc,
                                          float *restrict by_scale) {
    ParameterPiece piece;
    float value_room[SHORT_PIECE], slope_room[SHORT_PIECE];
    double z[SHORT_PIECE];
    for (Py_ssize_t first = 0; first < size; first += SHORT_PIECE) {
        const Py_ssize_t num = size - first < SHORT_PIECE ? size - first : SHORT_PIECE;
        read_parameters(parameters, first, num, &piece);
        const float *restrict value = read_floats(value_of, first, num, value_room);
        const float *restrict slope = read_floats(slope_of, first, num, slope_room);
        const float *restrict loc = piece.loc, *restrict scale = piece.scale;
        double unused;
        if (is_noise)
            for (Py_ssize_t i = 0; i < num; i++) z[i] = value[i] + 0.0 * (double)loc[i];
        else if (parameters->low.data == NULL)
            for (Py_ssize_t i = 0; i < num; i++) z[i] = deviation(value[i], loc[i], scale[i]);
        else
            for (Py_ssize_t i = 0; i < num; i++)
                z[i] = squashed_deviation(value[i], loc[i], scale[i], piece.low[i], piece.high[i], &unused);
        for (Py_ssize_t i = 0; i < num; i++) {
            const double by_shift = slope[i] / (double)scale[i];
            const int is_outside = z[i] * z[i] >= FLT_MAX;
            if (by_loc != NULL) by_loc[first + i] = is_outside ? 0.0f : (float)(by_shift * z[i]);
            if (by_scale != NULL) by_scale[first + i] = is_outside ? 0.0f : (float)(by_shift * (z[i] * z[i] - 1.0));
        }
    }
}

#include "_beta.h"
#include "_gamma.h"

/* -------------------------------------------------------------------------------------------------------- for Python
   An operand is a number, the (address, shape, strides) of a tensor, or None. A result is given by its address, 0 if it
   is not needed. Callers are responsible for addresses, dtypes and the sizes of results. All else is checked here. */

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

/* A positive integer. */
static Py_ssize_t size(PyObject *argument) {
    const Py_ssize_t found = PyLong_AsSsize_t(argument);
    if (found < 1 && !PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "a size must be positive, got %zd", found);
    return found;
}

/* The shape to which operands broadcast. */
static int shape_of(PyObject *given, Shape *shape) {
    if (!PyTuple_Check(given)) return PyErr_SetString(PyExc_TypeError, "a shape must be a tuple"), 0;
    shape->axes = PyTuple_Size(given), shape->size = 1;
    if (shape->axes > MOST_AXES) return PyErr_SetString(PyExc_ValueError, "a shape has too many axes"), 0;
    for (Py_ssize_t axis = 0; axis < shape->axes; axis++) {
        shape->sizes[axis] = size(PyTuple_GetItem(given, axis));
        if (PyErr_Occurred()) return 0;
        shape->size *= shape->sizes[axis];
    }
    return 1;
}

/* Remove the innermost axes from a shape. Return the number of their elements, 0 on error. */
static Py_ssize_t take_axes(Shape *shape, PyObject *given) {
    const Py_ssize_t axes = PyLong_AsSsize_t(given);
    Py_ssize_t count = 1;
    if (PyErr_Occurred()) return 0;
    if (axes < 0 || axes > shape->axes) return PyErr_SetString(PyExc_ValueError, "a shape has too few axes"), 0;
    for (Py_ssize_t axis = 0; axis < axes; axis++) count *= shape->sizes[--shape->axes];
    shape->size /= count;
    return count;
}

static int tensor_operand(PyObject *given, const Shape *shape, Operand *operand) {
    PyObject *sizes = PyTuple_GetItem(given, 1), *strides = sizes ? PyTuple_GetItem(given, 2) : NULL;
    if (strides == NULL) return 0;
    operand->data = address(PyTuple_GetItem(given, 0));
    if (operand->data == NULL) return 0;
    const Py_ssize_t axes = PyTuple_Size(sizes), missing = shape->axes - axes;
    if (axes < 0 || PyTuple_Size(strides) != axes || missing < 0)
        return PyErr_SetString(PyExc_ValueError, "an operand has too many axes"), 0;
    for (Py_ssize_t axis = shape->axes - 1; axis >= 0; axis--) {
        const Py_ssize_t wanted = shape->sizes[axis], last = operand->axes - 1;
        Py_ssize_t stride = 0;
        if (axis >= missing) {
            const Py_ssize_t found = PyLong_AsSsize_t(PyTuple_GetItem(sizes, axis - missing));
            if (found == wanted) stride = PyLong_AsSsize_t(PyTuple_GetItem(strides, axis - missing));
            if (PyErr_Occurred()) return 0;
            if (found != wanted && found != 1)
                return PyErr_SetString(PyExc_ValueError, "an operand does not broadcast to the shape"), 0;
        }
        if (wanted == 1) continue;
        if (last >= 0 && stride == operand->strides[last] * operand->sizes[last]) {
            operand->sizes[last] *= wanted; /* merge axes into one run */
        } else {
            operand->sizes[operand->axes] = wanted, operand->strides[operand->axes] = stride;
            operand->axes++;
        }
    }
    return 1;
}

static int operand_or_none(PyObject *given, const Shape *shape, Operand *operand) {
    operand->data = NULL, operand->axes = 0;
    if (given == Py_None) return 1;
    if (PyTuple_Check(given)) return tensor_operand(given, shape, operand);
    const double number = PyFloat_AsDouble(given);
    if (PyErr_Occurred()) return 0;
    operand->number = (float)number;
    if (isinf(operand->number) && !isinf(number))
        return PyErr_SetString(PyExc_OverflowError, "a number is too large for float32"), 0;
    operand->data = &operand->number;
    if (shape->size > 1) operand->axes = 1, operand->sizes[0] = shape->size, operand->strides[0] = 0;
    return 1;
}

static int operand(PyObject *given, const Shape *shape, Operand *operand) {
    if (given == Py_None) return PyErr_SetString(PyExc_TypeError, "an operand is missing"), 0;
    return operand_or_none(given, shape, operand);
}

static int parameters_of(Arguments given, const Shape *shape, Parameters *parameters) {
    if ((given[2] == Py_None) != (given[3] == Py_None))
        return PyErr_SetString(PyExc_TypeError, "a bound is missing"), 0;
    return operand(given[0], shape, &parameters->loc) && operand(given[1], shape, &parameters->scale) &&
           operand_or_none(given[2], shape, &parameters->low) && operand_or_none(given[3], shape, &parameters->high);
}

static PyObject *call_philox(Arguments given, Py_ssize_t num_given,
                             void (*philox)(const uint64_t *, Py_ssize_t, Py_ssize_t, void *)) {
    if (!has(num_given, 4)) return NULL;
    const uint64_t *keys = address(given[0]);
    if (PyErr_Occurred()) return NULL;
    const Py_ssize_t rows = size(given[1]);
    if (PyErr_Occurred()) return NULL;
    const Py_ssize_t num = size(given[2]);
    if (PyErr_Occurred()) return NULL;
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

/* A table of logits with its mask: (*batch, count). */
typedef struct {
    Shape batch;
    Py_ssize_t count;
    Operand logits, mask;
} Table;

static int table_of(PyObject *given_shape, PyObject *logits, PyObject *mask, Table *table) {
    if (!shape_of(given_shape, &table->batch)) return 0;
    if (!operand(logits, &table->batch, &table->logits) || !operand_or_none(mask, &table->batch, &table->mask)) return 0;
    if (table->batch.axes == 0) return PyErr_SetString(PyExc_ValueError, "logits have no axis"), 0;
    table->count = table->batch.sizes[--table->batch.axes];
    table->batch.size /= table->count;
    return 1;
}

static PyObject *call_categories(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 8)) return NULL;
    Table table;
    if (!table_of(given[0], given[1], given[2], &table)) return NULL;
    const Py_ssize_t samples = size(given[3]);
    if (PyErr_Occurred()) return NULL;
    const double *share = address_or_null(given[4]);
    if (PyErr_Occurred()) return NULL;
    const double unit = PyFloat_AsDouble(given[5]);
    if (PyErr_Occurred()) return NULL;
    int64_t *outcome = address(given[6]);
    if (PyErr_Occurred()) return NULL;
    float *log_prob = address_or_null(given[7]);
    if (PyErr_Occurred()) return NULL;
    Piece piece;
    if (!begin_piece(&piece, table.count)) return NULL;
    double *sums = samples > 1 && share != NULL ? PyMem_Malloc(table.count * sizeof(double)) : NULL;
    Py_BEGIN_ALLOW_THREADS;
    categories(&table.logits, &table.mask, table.batch.size, table.count, samples, share, (float)unit, outcome,
               log_prob, &piece, sums);
    Py_END_ALLOW_THREADS;
    PyMem_Free(sums);
    PyMem_Free(piece.weights);
    Py_RETURN_NONE;
}

static PyObject *call_entropies(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 4)) return NULL;
    Table table;
    if (!table_of(given[0], given[1], given[2], &table)) return NULL;
    float *entropy = address(given[3]);
    if (PyErr_Occurred()) return NULL;
    Piece piece;
    if (!begin_piece(&piece, table.count)) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    entropies(&table.logits, &table.mask, table.batch.size, table.count, entropy, &piece);
    Py_END_ALLOW_THREADS;
    PyMem_Free(piece.weights);
    Py_RETURN_NONE;
}

static PyObject *call_divergences(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 6)) return NULL;
    Table of_p, of_q;
    if (!table_of(given[0], given[1], given[2], &of_p) || !table_of(given[0], given[3], given[4], &of_q)) return NULL;
    float *divergence = address(given[5]);
    if (PyErr_Occurred()) return NULL;
    const Py_ssize_t count = of_p.count;
    void *room = PyMem_Malloc(count * (3 * sizeof(double) + 4 * sizeof(float) + 2));
    if (room == NULL) return PyErr_NoMemory();
    double *numbers = room;
    float *floats = (float *)(numbers + 3 * count);
    unsigned char *masks = (unsigned char *)(floats + 4 * count);
    Row p = {.weights = numbers, .logits = floats, .room = floats + count, .mask_room = masks};
    Row q = {.weights = numbers + count,
             .logits = floats + 2 * count,
             .room = floats + 3 * count,
             .mask_room = masks + count};
    Py_BEGIN_ALLOW_THREADS;
    divergences(&of_p.logits, &of_p.mask, &of_q.logits, &of_q.mask, of_p.batch.size, count, divergence, p, q,
                numbers + 2 * count);
    Py_END_ALLOW_THREADS;
    PyMem_Free(room);
    Py_RETURN_NONE;
}

static PyObject *call_category_slopes(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 6)) return NULL;
    Table table;
    Operand slope;
    if (!table_of(given[0], given[1], given[2], &table) || !operand(given[4], &table.batch, &slope)) return NULL;
    const int64_t *outcome = address_or_null(given[3]);
    if (PyErr_Occurred()) return NULL;
    float *by_logits = address(given[5]);
    if (PyErr_Occurred()) return NULL;
    Piece piece;
    if (!begin_piece(&piece, table.count)) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    category_slopes(&table.logits, &table.mask, table.batch.size, table.count, outcome, &slope, by_logits, &piece);
    Py_END_ALLOW_THREADS;
    PyMem_Free(piece.weights);
    Py_RETURN_NONE;
}

static int tokens_of(Arguments given, Table *table, Tokens *tokens) {
    if (!table_of(given[0], given[1], given[3], table)) return 0;
    if (!operand_or_none(given[4], &table->batch, &tokens->positions)) return 0;
    tokens->is_half = PyObject_IsTrue(given[2]);
    tokens->count = table->count, tokens->logits = table->logits, tokens->mask = table->mask;
    tokens->room = PyMem_Malloc(table->count * (2 * sizeof(float) + 1));
    if (tokens->room == NULL) return PyErr_NoMemory(), 0;
    tokens->logits_room = tokens->room + table->count;
    tokens->mask_room = tokens->room + 2 * table->count;
    return 1;
}

/* The rows of a call, so that several threads may share a table. */
static int rows_of(PyObject *given, Py_ssize_t rows, Py_ssize_t *first, Py_ssize_t *last) {
    if (!PyTuple_Check(given) || PyTuple_Size(given) != 2)
        return PyErr_SetString(PyExc_TypeError, "rows must be a pair"), 0;
    *first = PyLong_AsSsize_t(PyTuple_GetItem(given, 0));
    if (PyErr_Occurred()) return 0;
    *last = PyLong_AsSsize_t(PyTuple_GetItem(given, 1));
    if (PyErr_Occurred()) return 0;
    if (*first < 0 || *last > rows) return PyErr_SetString(PyExc_ValueError, "rows lie outside of the table"), 0;
    return 1;
}

static PyObject *call_token_scores(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 12)) return NULL;
    Table table;
    Tokens tokens;
    Py_ssize_t first, last;
    const Py_ssize_t samples = size(given[6]);
    if (PyErr_Occurred()) return NULL;
    const int64_t *token = address_or_null(given[7]);
    if (PyErr_Occurred()) return NULL;
    const int64_t ignored = PyLong_AsLongLong(given[8]);
    if (PyErr_Occurred()) return NULL;
    float *log_prob = address_or_null(given[9]);
    if (PyErr_Occurred()) return NULL;
    float *entropy = address_or_null(given[10]);
    if (PyErr_Occurred()) return NULL;
    TokenSums *sums = address(given[11]);
    if (PyErr_Occurred()) return NULL;
    if (log_prob != NULL && token == NULL) return PyErr_SetString(PyExc_ValueError, "tokens are missing"), NULL;
    if (!tokens_of(given, &table, &tokens)) return NULL;
    if (!rows_of(given[5], table.batch.size, &first, &last)) return PyMem_Free(tokens.room), NULL;
    Py_BEGIN_ALLOW_THREADS;
    token_scores(&tokens, first, last, table.batch.size, samples, token, ignored, log_prob, entropy, sums);
    Py_END_ALLOW_THREADS;
    PyMem_Free(tokens.room);
    Py_RETURN_NONE;
}

static PyObject *call_token_slopes(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 13)) return NULL;
    Table table;
    Tokens tokens;
    Py_ssize_t first, last;
    const Py_ssize_t samples = size(given[6]);
    if (PyErr_Occurred()) return NULL;
    const int64_t *token = address_or_null(given[7]);
    if (PyErr_Occurred()) return NULL;
    const int64_t ignored = PyLong_AsLongLong(given[8]);
    if (PyErr_Occurred()) return NULL;
    const TokenSums *sums = address(given[9]);
    if (PyErr_Occurred()) return NULL;
    const float *by_score = address_or_null(given[10]);
    if (PyErr_Occurred()) return NULL;
    const float *by_entropy = address_or_null(given[11]);
    if (PyErr_Occurred()) return NULL;
    void *by_logits = address(given[12]);
    if (PyErr_Occurred()) return NULL;
    if (by_score != NULL && token == NULL) return PyErr_SetString(PyExc_ValueError, "tokens are missing"), NULL;
    if (!tokens_of(given, &table, &tokens)) return NULL;
    if (!rows_of(given[5], table.batch.size, &first, &last)) return PyMem_Free(tokens.room), NULL;
    Py_BEGIN_ALLOW_THREADS;
    token_slopes(&tokens, first, last, table.batch.size, samples, token, ignored, sums, by_score, by_entropy, by_logits);
    Py_END_ALLOW_THREADS;
    PyMem_Free(tokens.room);
    Py_RETURN_NONE;
}

static PyObject *call_draws_of_noise(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 10)) return NULL;
    Shape shape;
    Operand noise;
    Parameters parameters;
    if (!shape_of(given[0], &shape)) return NULL;
    if (!operand(given[2], &shape, &noise) || !parameters_of(given + 3, &shape, &parameters)) return NULL;
    const Py_ssize_t elements = shape.size, count = take_axes(&shape, given[1]);
    if (PyErr_Occurred()) return NULL;
    float *x = address(given[7]);
    if (PyErr_Occurred()) return NULL;
    float *end = address_or_null(given[8]);
    if (PyErr_Occurred()) return NULL;
    float *log_density = address_or_null(given[9]);
    if (PyErr_Occurred()) return NULL;
    int are_mirrored;
    Py_BEGIN_ALLOW_THREADS;
    are_mirrored = draws_of_noise(&noise, &parameters, elements, count, x, end, log_density);
    Py_END_ALLOW_THREADS;
    return PyBool_FromLong(are_mirrored);
}

static PyObject *call_squash(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 6)) return NULL;
    Shape shape;
    Operand low, high;
    if (!shape_of(given[0], &shape)) return NULL;
    if (!operand(given[3], &shape, &low) || !operand(given[4], &shape, &high)) return NULL;
    const float *x = address(given[1]);
    if (PyErr_Occurred()) return NULL;
    const float *decay = address_or_null(given[2]);
    if (PyErr_Occurred()) return NULL;
    float *tanh = address(given[5]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    squash(x, decay, &low, &high, shape.size, tanh);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_draw_slopes(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 11)) return NULL;
    Shape shape;
    Operand noise, by_value, by_density;
    Parameters parameters;
    if (!shape_of(given[0], &shape)) return NULL;
    if (!operand(given[1], &shape, &noise) || !parameters_of(given + 3, &shape, &parameters)) return NULL;
    if (!operand_or_none(given[7], &shape, &by_value) || !operand_or_none(given[8], &shape, &by_density)) return NULL;
    const float *x = parameters.low.data == NULL ? NULL : address(given[2]);
    if (PyErr_Occurred()) return NULL;
    float *by_loc = address_or_null(given[9]);
    if (PyErr_Occurred()) return NULL;
    float *by_scale = address_or_null(given[10]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    draw_slopes(&noise, x, &parameters, &by_value, &by_density, shape.size, by_loc, by_scale);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_log_density_at(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 8)) return NULL;
    Shape shape;
    Operand value;
    Parameters parameters;
    if (!shape_of(given[0], &shape)) return NULL;
    if (!operand(given[2], &shape, &value) || !parameters_of(given + 3, &shape, &parameters)) return NULL;
    const Py_ssize_t elements = shape.size, count = take_axes(&shape, given[1]);
    if (PyErr_Occurred()) return NULL;
    float *log_density = address(given[7]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    log_density_at(&value, &parameters, elements, count, log_density);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_log_density_slopes(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 10)) return NULL;
    Shape shape;
    Operand value, slope;
    Parameters parameters;
    if (!shape_of(given[0], &shape)) return NULL;
    if (!operand(given[1], &shape, &value) || !parameters_of(given + 3, &shape, &parameters)) return NULL;
    if (!operand(given[7], &shape, &slope)) return NULL;
    const int is_noise = PyObject_IsTrue(given[2]);
    float *by_loc = address_or_null(given[8]);
    if (PyErr_Occurred()) return NULL;
    float *by_scale = address_or_null(given[9]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    log_density_slopes(&value, is_noise, &parameters, &slope, shape.size, by_loc, by_scale);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_add_terms(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 11)) return NULL;
    float *logits = address(given[0]);
    const Py_ssize_t rows = size(given[1]), count = size(given[2]), first = PyLong_AsSsize_t(given[3]);
    float *maximum = address(given[4]);
    int64_t *index = address(given[5]);
    double *rest = address(given[6]), *tilt = address(given[7]);
    const int64_t *tokens = address_or_null(given[8]);
    const Py_ssize_t picks = PyLong_AsSsize_t(given[9]);
    float *picked = address_or_null(given[10]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    add_terms(logits, rows, count, first, maximum, index, rest, tilt, tokens, picks, picked);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_tile_slopes(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 6)) return NULL;
    float *logits = address(given[0]);
    const Py_ssize_t rows = size(given[1]), count = size(given[2]);
    const float *maximum = address(given[3]), *constant = address(given[4]), *factor = address(given[5]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    tile_slopes(logits, rows, count, maximum, constant, factor);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_part_tops(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 5)) return NULL;
    const float *logits = address(given[0]);
    const Py_ssize_t rows = size(given[1]), count = size(given[2]);
    float *maximum = address(given[3]);
    int64_t *index = address(given[4]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    part_tops(logits, rows, count, maximum, index);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_part_sums(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 7)) return NULL;
    const float *logits = address(given[0]), *maximum = address(given[3]);
    const Py_ssize_t rows = size(given[1]), count = size(given[2]);
    const int64_t *without = address(given[4]);
    double *rest = address(given[5]), *tilt = address(given[6]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    part_sums(logits, rows, count, maximum, without, rest, tilt);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_part_units(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 6)) return NULL;
    const float *logits = address(given[0]), *maximum = address(given[3]);
    const Py_ssize_t rows = size(given[1]), count = size(given[2]);
    const float unit = (float)PyFloat_AsDouble(given[4]);
    double *total = address(given[5]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    part_units(logits, rows, count, maximum, unit, total);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_part_places(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 8)) return NULL;
    const float *logits = address(given[0]), *maximum = address(given[3]);
    const Py_ssize_t rows = size(given[1]), count = size(given[2]), picks = size(given[6]);
    const float unit = (float)PyFloat_AsDouble(given[4]);
    const double *target = address(given[5]);
    int64_t *place = address(given[7]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    part_places(logits, rows, count, maximum, unit, target, picks, place);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

/* The addresses of the nodes and weights of a rule, and how many there are. */
static BetaRule beta_rule_of(PyObject *given) {
    BetaRule rule = {NULL, NULL, 0, 0};
    if (!PyTuple_Check(given) || PyTuple_Size(given) != 4) {
        PyErr_SetString(PyExc_TypeError, "a rule is (nodes, weights, count, is_precise)");
        return rule;
    }
    rule.node = address(PyTuple_GetItem(given, 0));
    rule.weight = address(PyTuple_GetItem(given, 1));
    rule.count = size(PyTuple_GetItem(given, 2));
    rule.is_precise = PyObject_IsTrue(PyTuple_GetItem(given, 3));
    return rule;
}

static PyObject *call_beta_quantiles(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 8)) return NULL;
    const double *below = address(given[0]), *above = address(given[1]), *a = address(given[2]), *b = address(given[3]);
    const Py_ssize_t count = size(given[4]);
    if (PyErr_Occurred()) return NULL;
    const BetaRule first = beta_rule_of(given[5]), last = beta_rule_of(given[6]);
    double *offset = address(given[7]);
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    beta_quantiles(below, above, a, b, count, &first, &last, offset);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

/* The addresses of several results. */
static int addresses_of(PyObject *given, Py_ssize_t count, double **results) {
    if (!PyTuple_Check(given) || PyTuple_Size(given) != count) {
        PyErr_Format(PyExc_TypeError, "the results must be a tuple of %zd addresses", count);
        return 0;
    }
    for (Py_ssize_t k = 0; k < count; k++) {
        results[k] = address(PyTuple_GetItem(given, k));
        if (PyErr_Occurred()) return 0;
    }
    return 1;
}

static PyObject *call_beta_locals(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 6)) return NULL;
    const double *offset = address(given[0]), *a = address(given[1]), *b = address(given[2]);
    const Py_ssize_t count = size(given[3]);
    if (PyErr_Occurred()) return NULL;
    const BetaRule rule = beta_rule_of(given[4]);
    if (PyErr_Occurred()) return NULL;
    double *results[BETA_RESULTS];
    if (!addresses_of(given[5], BETA_RESULTS, results)) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    beta_locals(offset, a, b, count, &rule, results);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

/* Operands that are tensors of doubles. */
static int double_operands(Arguments given, Py_ssize_t num, const Shape *shape, Operand *operands) {
    for (Py_ssize_t i = 0; i < num; i++) {
        if (!PyTuple_Check(given[i])) return PyErr_SetString(PyExc_TypeError, "an operand must be a tensor"), 0;
        if (!operand(given[i], shape, &operands[i])) return 0;
    }
    return 1;
}

static PyObject *call_gamma_quantile(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 8)) return NULL;
    Shape shape;
    Operand operands[3]; /* the probabilities below and above, and the concentration */
    if (!shape_of(given[0], &shape) || !double_operands(given + 1, 3, &shape, operands)) return NULL;
    const int is_precise = PyObject_IsTrue(given[4]);
    if (is_precise < 0) return NULL;
    double *tables[3]; /* the coarse and the fine rule, and the result */
    for (int i = 0; i < 3; i++) {
        tables[i] = address(given[5 + i]);
        if (PyErr_Occurred()) return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    gamma_quantile(&operands[0], &operands[1], &operands[2], shape.size, is_precise, tables[0], tables[1], tables[2]);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_gamma_local(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 5 + NUM_LOCAL)) return NULL;
    Shape shape;
    Operand operands[2]; /* the offset and the concentration */
    if (!shape_of(given[0], &shape) || !double_operands(given + 1, 2, &shape, operands)) return NULL;
    const int is_precise = PyObject_IsTrue(given[3]);
    if (is_precise < 0) return NULL;
    double *tables[1 + NUM_LOCAL]; /* the rule and the results */
    for (int i = 0; i < 1 + NUM_LOCAL; i++) {
        tables[i] = address(given[4 + i]);
        if (PyErr_Occurred()) return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    gamma_local(&operands[0], &operands[1], shape.size, is_precise, tables[0], tables + 1);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}
static PyObject *call_stirling_rests(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 2 + NUM_RESTS)) return NULL;
    Shape shape;
    Operand a;
    if (!shape_of(given[0], &shape) || !double_operands(given + 1, 1, &shape, &a)) return NULL;
    double *results[NUM_RESTS];
    for (int i = 0; i < NUM_RESTS; i++) {
        results[i] = address(given[2 + i]);
        if (PyErr_Occurred()) return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    stirling_rests(&a, shape.size, results);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}
static PyObject *call_gamma_divergence(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 8)) return NULL;
    Shape shape;
    Operand operands[3]; /* both concentrations, and their difference */
    if (!shape_of(given[0], &shape) || !double_operands(given + 1, 3, &shape, operands)) return NULL;
    const Py_ssize_t nodes = PyLong_AsSsize_t(given[4]);
    if (nodes == -1 && PyErr_Occurred()) return NULL;
    double *tables[3]; /* the rule, and the results */
    for (int i = 0; i < 3; i++) {
        tables[i] = address(given[5 + i]);
        if (PyErr_Occurred()) return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    gamma_divergence(&operands[0], &operands[1], &operands[2], shape.size, nodes, tables[0], tables + 1);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *call_beta_scores(PyObject *module, Arguments given, Py_ssize_t num) {
    if (!has(num, 5)) return NULL;
    const double *offset = address(given[0]), *a = address(given[1]), *b = address(given[2]);
    const Py_ssize_t count = size(given[3]);
    if (PyErr_Occurred()) return NULL;
    double *results[BETA_SCORES];
    if (!addresses_of(given[4], BETA_SCORES, results)) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    beta_scores(offset, a, b, count, results);
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
    METHOD(token_scores),
    METHOD(token_slopes),
    METHOD(draws_of_noise),
    METHOD(squash),
    METHOD(draw_slopes),
    METHOD(log_density_at),
    METHOD(log_density_slopes),
    METHOD(add_terms),
    METHOD(tile_slopes),
    METHOD(part_tops),
    METHOD(part_sums),
    METHOD(part_units),
    METHOD(part_places),
    METHOD(beta_quantiles),
    METHOD(beta_locals),
    METHOD(beta_scores),
    METHOD(gamma_quantile),
    METHOD(gamma_local),
    METHOD(stirling_rests),
    METHOD(gamma_divergence),
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&definition); }
