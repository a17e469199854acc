/* 3x3 max pool and local response normalisation, one pass over memory, channels last, float32 or bfloat16.

   A row of the output needs three rows of the input; each input row is normalised (on request) and reduced over its width
   once, into a ring of three. The same source serves every x86-64 processor: the widest vector unit is chosen as the library
   is loaded. Other processors get the portable code. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define WIDEST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDEST
#endif

enum { NO_NORM, NORM_FIRST, NORM_LAST };

static inline float load_float32(float value) { return value; }
static inline float store_float32(float value) { return value; }
static inline float larger_float32(float a, float b) { return a > b || a != a ? a : b; }

static inline float load_bfloat16(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

static inline uint16_t store_bfloat16(float value) { /* to the nearest, ties to even; NaN stays NaN */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return (uint16_t)((value != value ? bits | 0x400000 : rounded) >> 16);
}

static inline uint16_t larger_bfloat16(uint16_t a, uint16_t b) { /* compared as integers that sort like the floats */
    int16_t key_a = (int16_t)(a ^ (((int16_t)a >> 15) & 0x7fff)), key_b = (int16_t)(b ^ (((int16_t)b >> 15) & 0x7fff));
    return key_a > key_b ? a : b;
}

#define OPERATORS(TYPE, NAME)                                                                                          \
    /* y = x * (1 + a * sum of x^2 over 5 channels) ** -0.75 for rows of c channels; `squares` has room for c + 4 */    \
    static inline void norm_##NAME(const TYPE *x, TYPE *y, int64_t rows, int64_t c, float a, float *restrict squares) { \
        squares[0] = squares[1] = squares[c + 2] = squares[c + 3] = 0.0f;                                              \
        for (int64_t row = 0; row < rows; row++, x += c, y += c) {                                                     \
            for (int64_t i = 0; i < c; i++) {                                                                          \
                float value = load_##NAME(x[i]);                                                                       \
                squares[i + 2] = value * value;                                                                        \
            }                                                                                                          \
            for (int64_t i = 0; i < c; i++) {                                                                          \
                const float *s = squares + i;                                                                          \
                float r = 1.0f / sqrtf(1.0f + a * (s[0] + s[1] + s[2] + s[3] + s[4]));                                 \
                y[i] = store_##NAME(load_##NAME(x[i]) * (r * sqrtf(r)));                                               \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void larger_of_three_##NAME(const TYPE *p, const TYPE *q, const TYPE *r, TYPE *restrict y, int64_t n) { \
        for (int64_t i = 0; i < n; i++) y[i] = larger_##NAME(larger_##NAME(p[i], q[i]), r[i]);                         \
    }                                                                                                                  \
    WIDEST int pool_##NAME(const TYPE *x, TYPE *y, int64_t n, int64_t h, int64_t w, int64_t c, int64_t out_h,          \
                           int64_t out_w, int64_t stride, int64_t pad, int norm, float a) {                            \
        TYPE *memory = malloc(sizeof(TYPE) * c * (3 * out_w + w));                                                     \
        float *squares = malloc(sizeof(float) * (c + 4));                                                              \
        if (!memory || !squares) return 1;                                                                             \
        TYPE *normalised = memory + 3 * out_w * c;                                                                     \
        for (int64_t image = 0; image < n; image++, x += h * w * c) {                                                  \
            int64_t done = 0; /* input rows that are in the ring, or were */                                           \
            for (int64_t oy = 0; oy < out_h; oy++, y += out_w * c) {                                                   \
                int64_t first = oy * stride - pad, last = first + 2;                                                   \
                if (first < 0) first = 0;                                                                              \
                if (last > h - 1) last = h - 1;                                                                        \
                for (; done <= last; done++) {                                                                         \
                    const TYPE *row = x + done * w * c;                                                                \
                    if (norm == NORM_FIRST) norm_##NAME(row, normalised, w, c, a, squares), row = normalised;          \
                    TYPE *reduced = memory + (done % 3) * out_w * c;                                                   \
                    for (int64_t ox = 0; ox < out_w; ox++) {                                                           \
                        int64_t left = ox * stride - pad, right = left + 2, middle = left + 1;                         \
                        if (left < 0) left = 0;                                                                        \
                        if (right > w - 1) right = w - 1;                                                              \
                        if (middle > w - 1) middle = w - 1;                                                            \
                        larger_of_three_##NAME(row + left * c, row + middle * c, row + right * c, reduced + ox * c, c); \
                    }                                                                                                  \
                }                                                                                                      \
                const TYPE *top = memory + (first % 3) * out_w * c, *bottom = memory + (last % 3) * out_w * c;         \
                const TYPE *between = first + 1 <= last ? memory + ((first + 1) % 3) * out_w * c : bottom;             \
                larger_of_three_##NAME(top, between, bottom, y, out_w * c);                                            \
                if (norm == NORM_LAST) norm_##NAME(y, y, out_w, c, a, squares);                                        \
            }                                                                                                          \
        }                                                                                                              \
        free(memory);                                                                                                  \
        free(squares);                                                                                                 \
        return 0;                                                                                                      \
    }

OPERATORS(float, float32)
OPERATORS(uint16_t, bfloat16)
