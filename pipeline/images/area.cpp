// Resizes a window of RGB bytes to a square by area: each output pixel is the mean of the box that it covers in the window.
// Border pixels count by their overlap. Rows are summed first, into a line of floats; then columns, four floats at a time.
#pragma GCC optimize("fp-contract=off")  // the same bits on every processor
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
#define WIDEST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDEST
#endif

namespace {

struct Box {  // input pixels first .. first + weights.size() - 1
    int64_t first;
    std::vector<float> weights;
};

std::vector<Box> boxes(int64_t in, int64_t out) {
    std::vector<Box> result(out);
    for (int64_t i = 0; i < out; i++) {
        const double from = double(i) * in / out, to = double(i + 1) * in / out;
        Box &box = result[i];
        box.first = std::min(int64_t(from), in - 1);
        for (int64_t k = box.first; k < in && (k < to || box.weights.empty()); k++)
            box.weights.push_back(float((std::min(double(k + 1), to) - std::max(double(k), from)) / (to - from)));
    }
    return result;
}

}  // namespace

extern "C" WIDEST void resize_area(
    const uint8_t *x, int64_t row_stride, int64_t h, int64_t w, uint8_t *y, int64_t size) {
    typedef float float4 __attribute__((vector_size(16)));
    const std::vector<Box> rows = boxes(h, size), columns = boxes(w, size);
    std::vector<float> line(3 * w + 1);  // one more float, as the last pixel is read as four
    for (const Box &row : rows) {
        for (size_t k = 0; k < row.weights.size(); k++) {
            const uint8_t *source = x + (row.first + k) * row_stride;
            const float weight = row.weights[k];
            if (k == 0)
                for (int64_t c = 0; c < 3 * w; c++) line[c] = weight * source[c];
            else
                for (int64_t c = 0; c < 3 * w; c++) line[c] += weight * source[c];
        }
        for (const Box &column : columns) {
            float4 sum = {0.5f, 0.5f, 0.5f, 0.5f}, pixel;
            for (size_t k = 0; k < column.weights.size(); k++) {
                std::memcpy(&pixel, &line[3 * (column.first + k)], sizeof pixel);
                sum += column.weights[k] * pixel;
            }
            for (int c = 0; c < 3; c++) *y++ = uint8_t(std::min(sum[c], 255.0f));
        }
    }
}
