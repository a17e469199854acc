// 3x3 max pool and local response normalisation in one pass over memory; channels last, float32 or bfloat16.
//
// A row of the output needs three rows of the input. Each input row is normalised (on request) and reduced over its width
// once, into a ring of three. The same source serves every x86-64 processor: the widest vector unit is chosen as the library
// is loaded; other processors, and compilers that cannot choose (gcc before 12), get the portable code.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__x86_64__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
#define WIDEST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDEST
#endif
#define INLINE inline __attribute__((always_inline))

namespace {

enum Norm { NO_NORM, NORM_FIRST, NORM_LAST };

struct Shape {  // of n images; `norm` with the factor `a` of the sum of squares
    int64_t n, h, w, c, out_h, out_w, stride, pad, norm;
    float a;
};

enum class bfloat16 : uint16_t {};  // its bits

INLINE float load(float value) { return value; }

INLINE float load(bfloat16 value) {
    uint32_t bits = uint32_t(value) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}

INLINE void store(float *place, float value) { *place = value; }

INLINE void store(bfloat16 *place, float value) {  // to the nearest, ties to even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
    *place = bfloat16((value != value ? bits | 0x400000 : rounded) >> 16);
}

INLINE float larger(float a, float b) { return a > b || a != a ? a : b; }

INLINE bfloat16 larger(bfloat16 a, bfloat16 b) {  // compared as integers that sort like the floats; NaN of any sign wins
    const int16_t bits_a = int16_t(a), bits_b = int16_t(b);
    const int16_t key_a = bits_a ^ ((bits_a >> 15) & 0x7fff), key_b = bits_b ^ ((bits_b >> 15) & 0x7fff);
    const bool nan_a = (bits_a & 0x7fff) > 0x7f80, nan_b = (bits_b & 0x7fff) > 0x7f80;
    return nan_a || (key_a > key_b && !nan_b) ? a : b;
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// y = x * t ** -0.75 with t = 1 + a * sum of x^2 over 5 channels, for `pixels` of c channels; `s` has room for c + 4.
template <typename T>
INLINE void normalise(const T *x, T *y, int64_t pixels, int64_t c, float a, float *__restrict s) {
    s[0] = s[1] = s[c + 2] = s[c + 3] = 0.0f;
    for (int64_t pixel = 0; pixel < pixels; pixel++, x += c, y += c) {
        for (int64_t i = 0; i < c; i++) s[i + 2] = load(x[i]) * load(x[i]);
        for (int64_t i = 0; i < c; i++) {
            float r = 1.0f / std::sqrt(1.0f + a * (s[i] + s[i + 1] + s[i + 2] + s[i + 3] + s[i + 4]));
            store(y + i, load(x[i]) * (r * std::sqrt(r)));
        }
    }
}

template <typename T>
INLINE void largest(const T *p, const T *q, const T *r, T *__restrict y, int64_t count) {
    for (int64_t i = 0; i < count; i++) y[i] = larger(larger(p[i], q[i]), r[i]);
}

template <typename T>
INLINE int pool(const T *x, T *y, Shape z) {
    T *ring = new (std::nothrow) T[z.c * (3 * z.out_w + z.w)];
    float *scratch = new (std::nothrow) float[z.c + 4];
    const bool enough = ring && scratch;
    for (int64_t image = 0; enough && image < z.n; image++, x += z.h * z.w * z.c) {
        int64_t done = 0;  // input rows that are in the ring, or were
        for (int64_t oy = 0; oy < z.out_h; oy++, y += z.out_w * z.c) {
            const int64_t first = most(oy * z.stride - z.pad, 0), last = least(oy * z.stride - z.pad + 2, z.h - 1);
            for (; done <= last; done++) {
                const T *row = x + done * z.w * z.c;
                if (z.norm == NORM_FIRST) {
                    T *normalised = ring + 3 * z.out_w * z.c;
                    normalise(row, normalised, z.w, z.c, z.a, scratch);
                    row = normalised;
                }
                for (int64_t ox = 0; ox < z.out_w; ox++) {
                    const int64_t left = ox * z.stride - z.pad;
                    const T *p = row + most(left, 0) * z.c, *q = row + least(left + 1, z.w - 1) * z.c;
                    largest(p, q, row + least(left + 2, z.w - 1) * z.c, ring + ((done % 3) * z.out_w + ox) * z.c, z.c);
                }
            }
            const T *top = ring + (first % 3) * z.out_w * z.c, *middle = ring + (least(first + 1, last) % 3) * z.out_w * z.c;
            largest(top, middle, ring + (last % 3) * z.out_w * z.c, y, z.out_w * z.c);
            if (z.norm == NORM_LAST) normalise(y, y, z.out_w, z.c, z.a, scratch);
        }
    }
    delete[] ring;
    delete[] scratch;
    return !enough;
}

}  // namespace

extern "C" {
WIDEST int pool_float32(const float *x, float *y, Shape z) { return pool(x, y, z); }
WIDEST int pool_bfloat16(const bfloat16 *x, bfloat16 *y, Shape z) { return pool(x, y, z); }
}
