// 3x3 max pool and local response normalisation in one pass over memory, and its gradient; channels last, float32 or bfloat16.
//
// A row of the output needs three rows of the input. Each input row is normalised (on request) and reduced over its width
// once, into a ring of three. For the gradient a byte says which of a window's nine values is the largest. Each input value
// then looks at the windows that hold it, so that no pool is computed again and each gradient is written once. The same
// source serves every x86-64 processor: the widest vector unit is chosen as the library is loaded; other processors, and
// compilers that cannot choose (gcc before 12), get the portable code.
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

// The norm's sums lie between margins of two channels, which stay 0. Several pixels are in work, because a sum that was
// stored just before is read late.
struct Scratch {
    int64_t pixels, c;
    float *squares, *parts, *rest;

    explicit Scratch(int64_t channels) : pixels(1 + 1024 / channels), c(channels) {
        squares = new (std::nothrow) float[pixels * (3 * c + 8)]();
        parts = squares + pixels * (c + 4), rest = parts + pixels * (c + 4);
    }
    ~Scratch() { delete[] squares; }
};

INLINE float around(const float *s) { return s[0] + s[1] + s[2] + s[3] + s[4]; }

// y = x * t ** -0.75 with t = 1 + a * sum of x^2 over 5 channels, for `pixels` of c channels.
template <typename T>
INLINE void normalise(const T *x, T *y, int64_t pixels, float a, const Scratch &scratch) {
    const int64_t c = scratch.c;
    float *__restrict squares = scratch.squares;
    for (int64_t count; pixels > 0; pixels -= count, x += count * c, y += count * c) {
        count = least(pixels, scratch.pixels);
        for (int64_t n = 0; n < count; n++)
            for (int64_t i = 0; i < c; i++) squares[n * (c + 4) + 2 + i] = load(x[n * c + i]) * load(x[n * c + i]);
        for (int64_t n = 0; n < count; n++)
            for (int64_t i = 0; i < c; i++) {
                float r = 1.0f / std::sqrt(1.0f + a * around(squares + n * (c + 4) + i));
                store(y + n * c + i, load(x[n * c + i]) * (r * std::sqrt(r)));
            }
    }
}

// dx = g * t ** -0.75 - 1.5 * a * x * (sum over 5 channels of g * x * t ** -1.75), the gradient of `normalise`.
template <typename T, typename G, typename D>
INLINE void normalise_backward(const T *x, const G *g, D *dx, int64_t pixels, float a, const Scratch &scratch) {
    const int64_t c = scratch.c;
    float *__restrict squares = scratch.squares, *__restrict parts = scratch.parts, *__restrict rest = scratch.rest;
    for (int64_t count; pixels > 0; pixels -= count, x += count * c, g += count * c, dx += count * c) {
        count = least(pixels, scratch.pixels);
        for (int64_t n = 0; n < count; n++)
            for (int64_t i = 0; i < c; i++) squares[n * (c + 4) + 2 + i] = load(x[n * c + i]) * load(x[n * c + i]);
        for (int64_t n = 0; n < count; n++)
            for (int64_t i = 0; i < c; i++) {
                float t = 1.0f + a * around(squares + n * (c + 4) + i);
                float r = 1.0f / std::sqrt(t), power = r * std::sqrt(r) * load(g[n * c + i]);
                rest[n * c + i] = power;
                parts[n * (c + 4) + 2 + i] = power * load(x[n * c + i]) / t;
            }
        for (int64_t n = 0; n < count; n++)
            for (int64_t i = 0; i < c; i++)
                store(dx + n * c + i,
                      rest[n * c + i] - 1.5f * a * load(x[n * c + i]) * around(parts + n * (c + 4) + i));
    }
}

INLINE uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

INLINE uint16_t bits_of(bfloat16 value) { return uint16_t(value); }

template <typename T>
using Bits = decltype(bits_of(T()));

template <typename T>
struct Three {  // neighbours, in a row or in a column
    const T *p, *q, *r;
};

// Of three places that of the first value that equals `best`: 0 equals -0, and a NaN itself.
template <typename T>
INLINE Bits<T> place_of(T best, T p, T q, Bits<T> p_place, Bits<T> q_place, Bits<T> r_place) {
    using B = Bits<T>;
    const B y = bits_of(best), compared = B(y << 1) ? B(~B(0)) : B(B(~B(0)) >> 1);
    const B second = (bits_of(q) ^ y) & compared ? r_place : q_place;
    return (bits_of(p) ^ y) & compared ? second : p_place;
}

template <typename T>
INLINE void largest(Three<T> x, T *__restrict y, int64_t count) {
    for (int64_t i = 0; i < count; i++) y[i] = larger(larger(x.p[i], x.q[i]), x.r[i]);
}

// `largest` of a row, and the columns of the largest in their windows, which are 1, 1, 2 at the left edge.
template <typename T>
INLINE void largest_column(Three<T> x, T *__restrict y, Bits<T> *__restrict columns, int64_t count, Bits<T> left) {
    for (int64_t i = 0; i < count; i++) {
        const T best = larger(larger(x.p[i], x.q[i]), x.r[i]);
        y[i] = best;
        columns[i] = place_of<T>(best, x.p[i], x.q[i], left, 1, 2);
    }
}

// `largest` of three rows, and the places of the largest in their windows: 3 * row + column.
template <typename T>
INLINE void largest_place(Three<T> x, Three<Bits<T>> columns, T *__restrict y, uint8_t *__restrict places, int64_t count,
                          Bits<T> top) {
    for (int64_t i = 0; i < count; i++) {
        const T best = larger(larger(x.p[i], x.q[i]), x.r[i]);
        y[i] = best;
        places[i] = uint8_t(place_of<T>(best, x.p[i], x.q[i], Bits<T>(columns.p[i] + 3 * top), Bits<T>(columns.q[i] + 3),
                                        Bits<T>(columns.r[i] + 6)));
    }
}

// `places`, where not null, receives where the largest values are, and `pooled` what the last norm normalises.
template <bool PLACES, typename T>
INLINE int pool(const T *x, T *y, uint8_t *places, T *pooled, Shape z) {
    const int64_t in_row = z.w * z.c, out_row = z.out_w * z.c;
    T *ring = new (std::nothrow) T[3 * out_row + in_row];
    Bits<T> *columns = new (std::nothrow) Bits<T>[PLACES ? 3 * out_row : 1];
    const Scratch scratch(z.c);
    const bool enough = ring && columns && scratch.squares;
    for (int64_t image = 0; enough && image < z.n; image++, x += z.h * in_row) {
        int64_t done = 0;  // input rows that are in the ring, or were
        for (int64_t oy = 0; oy < z.out_h; oy++, y += out_row) {
            const int64_t top = oy * z.stride - z.pad;
            for (; done <= least(top + 2, z.h - 1); done++) {
                const T *row = x + done * in_row;
                if (z.norm == NORM_FIRST) {
                    T *normalised = ring + 3 * out_row;
                    normalise(row, normalised, z.w, z.a, scratch);
                    row = normalised;
                }
                for (int64_t ox = 0, run; ox < z.out_w; ox += run) {
                    // at stride 1 the windows between the edges are one run: their neighbours lie side by side, too
                    run = z.stride == 1 && ox > 0 && ox < z.out_w - 1 ? z.out_w - 1 - ox : 1;
                    const int64_t left = ox * z.stride - z.pad, place = (done % 3) * out_row + ox * z.c;
                    const Three<T> three = {row + most(left, 0) * z.c, row + least(left + 1, z.w - 1) * z.c,
                                            row + least(left + 2, z.w - 1) * z.c};
                    if (PLACES) {
                        largest_column(three, ring + place, columns + place, run * z.c, left < 0);
                    } else {
                        largest(three, ring + place, run * z.c);
                    }
                }
            }
            const int64_t p = most(top, 0) % 3 * out_row, q = least(top + 1, z.h - 1) % 3 * out_row,
                          r = least(top + 2, z.h - 1) % 3 * out_row;
            const Three<T> three = {ring + p, ring + q, ring + r};
            T *best = PLACES && z.norm == NORM_LAST ? pooled : y;
            if (PLACES) {
                largest_place(three, {columns + p, columns + q, columns + r}, best, places, out_row, top < 0);
                places += out_row;
            } else {
                largest(three, best, out_row);
            }
            if (z.norm == NORM_LAST) normalise(best, y, z.out_w, z.a, scratch);
            if (PLACES && z.norm == NORM_LAST) pooled += out_row;
        }
    }
    delete[] ring;
    delete[] columns;
    return !enough;
}

struct Windows {  // of a row: the places of their largest values, and their gradients, between margins of one pixel
    const int32_t *places;  // as wide as the gradients, so that they are compared lane by lane
    const float *gradients;
};

INLINE float give(const Windows &row, int64_t i, int32_t place) {
    return if_so(row.places[i] == place, row.gradients[i]);
}

// What three rows of windows of stride 1 give to a row.
INLINE void gather(Windows a, Windows b, Windows d, float *__restrict sum, const Shape &z) {
    const int64_t c = z.c;
    for (int64_t i = 0; i < z.w * c; i++) {
        float rest = give(a, i - c, 8) + give(a, i, 7) + give(a, i + c, 6);
        rest = rest + give(b, i - c, 5) + give(b, i, 4) + give(b, i + c, 3);
        sum[i] = rest + give(d, i - c, 2) + give(d, i, 1) + give(d, i + c, 0);
    }
}

// What windows of stride 2 give to an odd row, which one row of them holds.
INLINE void gather_odd(Windows a, float *__restrict sum, const Shape &z) {
    const int64_t c = z.c;
    for (int64_t x = 0; x < z.w; x++, sum += c) {
        const int64_t here = x / 2 * c;
        if (x % 2) {
            for (int64_t i = 0; i < c; i++) sum[i] = 0.0f + give(a, here + i, 4);
        } else {
            for (int64_t i = 0; i < c; i++) sum[i] = give(a, here + i - c, 5) + give(a, here + i, 3);
        }
    }
}

// What windows of stride 2 give to an even row, which two rows of them hold.
INLINE void gather_even(Windows a, Windows b, float *__restrict sum, const Shape &z) {
    const int64_t c = z.c;
    for (int64_t x = 0; x < z.w; x++, sum += c) {
        const int64_t here = x / 2 * c, left = here - c;
        if (x % 2) {
            for (int64_t i = 0; i < c; i++) sum[i] = give(a, here + i, 7) + give(b, here + i, 1);
        } else {
            for (int64_t i = 0; i < c; i++)
                sum[i] = give(a, left + i, 8) + give(a, here + i, 6) + give(b, left + i, 2) + give(b, here + i, 0);
        }
    }
}

INLINE float *in_float32(float *row, float *) { return row; }
INLINE float *in_float32(bfloat16 *, float *other) { return other; }

// The gradient of `pool` at x. `kept` is x where the norm is first, `pooled` where it is last.
template <typename T>
INLINE int pool_backward(const T *kept, const uint8_t *places, const T *dy, T *dx, Shape z) {
    // rings of three rows of windows, and a row of none
    const int64_t in_row = z.w * z.c, out_row = z.out_w * z.c, wide = out_row + 2 * z.c;
    int32_t *windows = new (std::nothrow) int32_t[4 * wide];
    float *gradients = new (std::nothrow) float[3 * wide + in_row]();
    const Scratch scratch(z.c);
    const bool enough = windows && gradients && scratch.squares;
    if (enough) std::memset(windows, 255, sizeof(int32_t) * 4 * wide);
    float *sums = gradients + 3 * wide;
    for (int64_t image = 0; enough && image < z.n; image++) {
        int64_t done = 0;  // rows of windows that are in the ring, or were
        const auto row = [&](int64_t y) -> Windows {
            if (y < 0 || y >= z.out_h) return {windows + 3 * wide + z.c, gradients + z.c};
            for (; done <= y; done++, places += out_row, dy += out_row) {
                const int64_t place = done % 3 * wide + z.c;
                for (int64_t i = 0; i < out_row; i++) windows[place + i] = places[i];
                if (z.norm == NORM_LAST) {
                    normalise_backward(kept, dy, gradients + place, z.out_w, z.a, scratch);
                    kept += out_row;
                } else {
                    for (int64_t i = 0; i < out_row; i++) gradients[place + i] = load(dy[i]);
                }
            }
            return {windows + y % 3 * wide + z.c, gradients + y % 3 * wide + z.c};
        };
        for (int64_t y = 0; y < z.h; y++, dx += in_row) {
            float *sum = z.norm == NORM_FIRST ? sums : in_float32(dx, sums);
            if (z.stride == 1) {
                gather(row(y - 1), row(y), row(y + 1), sum, z);
            } else if (y % 2) {
                gather_odd(row(y / 2), sum, z);
            } else {
                gather_even(row(y / 2 - 1), row(y / 2), sum, z);
            }
            if (z.norm == NORM_FIRST) {
                normalise_backward(kept, sums, dx, z.w, z.a, scratch);
                kept += in_row;
            } else if (sum == sums) {
                for (int64_t i = 0; i < in_row; i++) store(dx + i, sums[i]);
            }
        }
    }
    delete[] windows;
    delete[] gradients;
    return !enough;
}

}  // namespace

#define OPERATORS(T, name)                                                                            \
    WIDEST int pool_##name(const T *x, T *y, uint8_t *places, T *pooled, const Shape *z) {            \
        return places ? pool<true>(x, y, places, pooled, *z) : pool<false>(x, y, places, pooled, *z); \
    }                                                                                                 \
    WIDEST int pool_backward_##name(const T *kept, const uint8_t *places, const T *dy, T *dx,         \
                                    const Shape *z) {                                                 \
        return pool_backward(kept, places, dy, dx, *z);                                               \
    }

extern "C" {
OPERATORS(float, float32)
OPERATORS(bfloat16, bfloat16)
}
