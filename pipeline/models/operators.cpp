// 3x3 max pool and local response normalisation in one pass over memory, and its gradient; channels last, float32 or bfloat16.
//
// A row of the output needs three rows of the input. Each input row is normalised (on request) and reduced over its width
// once, into a ring of three. The gradient computes what it needs of that again, row by row, so that nothing but the input
// is kept for it. The same source serves every x86-64 processor: the widest vector unit is chosen as the library
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

INLINE float larger(float a, float b) {  // NaN wins
    const float compared = a > b ? a : b;
    return a != a ? a : compared;
}

INLINE bfloat16 larger(bfloat16 a, bfloat16 b) {  // compared as integers that sort like the floats; NaN of any sign wins
    const int16_t bits_a = int16_t(a), bits_b = int16_t(b);
    const int16_t key_a = bits_a ^ ((bits_a >> 15) & 0x7fff), key_b = bits_b ^ ((bits_b >> 15) & 0x7fff);
    const bool nan_a = (bits_a & 0x7fff) > 0x7f80, nan_b = (bits_b & 0x7fff) > 0x7f80;
    return nan_a || (key_a > key_b && !nan_b) ? a : b;
}

INLINE float if_so(bool condition, float value) {  // value or 0, without a branch, which AVX2 would make of `?:`
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits &= -uint32_t(condition);
    std::memcpy(&value, &bits, sizeof value);
    return value;
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

// dx = g * t ** -0.75 - 1.5 * a * x * (sum over 5 channels of g * x * t ** -1.75), the gradient of `normalise`.
template <typename T, typename G, typename D>
INLINE void normalise_backward(const T *x, const G *g, D *dx, int64_t pixels, int64_t c, float a, float *__restrict s) {
    float *__restrict p = s + c + 4, *__restrict q = p + c + 4;
    s[0] = s[1] = s[c + 2] = s[c + 3] = p[0] = p[1] = p[c + 2] = p[c + 3] = 0.0f;
    for (int64_t pixel = 0; pixel < pixels; pixel++, x += c, g += c, dx += c) {
        for (int64_t i = 0; i < c; i++) s[i + 2] = load(x[i]) * load(x[i]);
        for (int64_t i = 0; i < c; i++) {
            float t = 1.0f + a * (s[i] + s[i + 1] + s[i + 2] + s[i + 3] + s[i + 4]);
            float r = 1.0f / std::sqrt(t), power = r * std::sqrt(r) * load(g[i]);
            q[i] = power;
            p[i + 2] = power * load(x[i]) / t;
        }
        for (int64_t i = 0; i < c; i++)
            store(dx + i, q[i] - 1.5f * a * load(x[i]) * (p[i] + p[i + 1] + p[i + 2] + p[i + 3] + p[i + 4]));
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

// The gradient of an input row, once no later window can reach it: from the sum over windows to dx.
template <typename T>
INLINE void finish_row(const T *x, const float *sum, T *dx, const Shape &z, float *scratch) {
    if (z.norm == NORM_FIRST) {
        normalise_backward(x, sum, dx, z.w, z.c, z.a, scratch);
    } else {
        for (int64_t i = 0; i < z.w * z.c; i++) store(dx + i, sum[i]);
    }
}

// The gradient of `pool`: dx from x and dy. Of equal largest values the first in reading order takes it all, as in torch.
// Rings hold three input rows, normalised on request, and the sums of what their pixels receive.
template <typename T>
INLINE int pool_backward(const T *x, const T *dy, T *dx, Shape z) {
    const int64_t in_row = z.w * z.c, out_row = z.out_w * z.c;
    T *rows = new (std::nothrow) T[3 * in_row + out_row];
    float *sums = new (std::nothrow) float[3 * in_row + out_row + 3 * (z.c + 4)];
    const bool enough = rows && sums;
    T *pooled = rows + 3 * in_row;
    float *out_gradient = sums + 3 * in_row, *scratch = out_gradient + out_row;
    for (int64_t image = 0; enough && image < z.n; image++, x += z.h * in_row, dx += z.h * in_row) {
        int64_t begun = 0, finished = 0;
        for (int64_t oy = 0; oy < z.out_h; oy++, dy += out_row) {
            const int64_t first = most(oy * z.stride - z.pad, 0), last = least(oy * z.stride - z.pad + 2, z.h - 1);
            for (; finished < first; finished++)
                finish_row(x + finished * in_row, sums + (finished % 3) * in_row, dx + finished * in_row, z, scratch);
            for (; begun <= last; begun++) {
                T *row = rows + (begun % 3) * in_row;
                if (z.norm == NORM_FIRST) {
                    normalise(x + begun * in_row, row, z.w, z.c, z.a, scratch);
                } else {
                    std::memcpy(row, x + begun * in_row, sizeof(T) * in_row);
                }
                std::memset(sums + (begun % 3) * in_row, 0, sizeof(float) * in_row);
            }
            for (int64_t ox = 0; ox < z.out_w; ox++) {
                const int64_t left = most(ox * z.stride - z.pad, 0), right = least(ox * z.stride - z.pad + 2, z.w - 1);
                T *best = pooled + ox * z.c;
                std::memcpy(best, rows + (first % 3) * in_row + left * z.c, sizeof(T) * z.c);
                for (int64_t iy = first; iy <= last; iy++)
                    for (int64_t ix = left; ix <= right; ix++) {
                        const T *value = rows + (iy % 3) * in_row + ix * z.c;
                        for (int64_t i = 0; i < z.c; i++) best[i] = larger(best[i], value[i]);
                    }
            }
            if (z.norm == NORM_LAST) {
                normalise_backward(pooled, dy, out_gradient, z.out_w, z.c, z.a, scratch);
            } else {
                for (int64_t i = 0; i < out_row; i++) out_gradient[i] = load(dy[i]);
            }
            for (int64_t ox = 0; ox < z.out_w; ox++) {
                const int64_t left = most(ox * z.stride - z.pad, 0), right = least(ox * z.stride - z.pad + 2, z.w - 1);
                const T *best = pooled + ox * z.c;
                float *__restrict left_over = out_gradient + ox * z.c;
                for (int64_t iy = first; iy <= last; iy++)
                    for (int64_t ix = left; ix <= right; ix++) {
                        const T *value = rows + (iy % 3) * in_row + ix * z.c;
                        float *__restrict sum = sums + (iy % 3) * in_row + ix * z.c;
                        for (int64_t i = 0; i < z.c; i++) {
                            const bool takes = load(value[i]) == load(best[i]);
                            sum[i] += if_so(takes, left_over[i]);
                            left_over[i] = if_so(!takes, left_over[i]);
                        }
                    }
            }
        }
        for (; finished < begun; finished++)
            finish_row(x + finished * in_row, sums + (finished % 3) * in_row, dx + finished * in_row, z, scratch);
        std::memset(dx + finished * in_row, 0, sizeof(T) * in_row * (z.h - finished));  // rows that no window reads
    }
    delete[] rows;
    delete[] sums;
    return !enough;
}

}  // namespace

extern "C" {
WIDEST int pool_float32(const float *x, float *y, Shape z) { return pool(x, y, z); }
WIDEST int pool_bfloat16(const bfloat16 *x, bfloat16 *y, Shape z) { return pool(x, y, z); }
WIDEST int pool_backward_float32(const float *x, const float *dy, float *dx, Shape z) { return pool_backward(x, dy, dx, z); }
WIDEST int pool_backward_bfloat16(const bfloat16 *x, const bfloat16 *dy, bfloat16 *dx, Shape z) {
    return pool_backward(x, dy, dx, z);
}
}
