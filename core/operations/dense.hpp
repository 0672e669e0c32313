// A dense layer on a tile of rows: output = activation(x · weights + biases), forward and backward side by side.
//
// In a padded vector (W, its gradient) the layer owns its weights [outputs in panels, inputs] and its biases.
#pragma once

#include "../activations.hpp"
#include "../kernels.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

struct Dense {
    int64_t inputs;     // rows of the weights
    int64_t numbers;    // those of them that a product takes: all, but in the first layer only the features
    int64_t outputs;
    int64_t weights;    // where the weights begin in a padded vector
    int64_t biases;     // where the biases begin in it
    float* transposed;  // weightsᵀ [inputs in panels, outputs]; null in the first layer, which needs no way back
    const Activation* activation;
    Panels x;           // input of the tile: the output of the layer before
    Panels output;      // z first, then its activation
    Panels d_z;         // activation'(z) on the way forward, d loss / d z on the way back

    int64_t panels() const { return panels_of(outputs); }
    int64_t weights_step() const { return inputs * lanes; }  // from one panel of weights to the next
    int64_t padded_weights() const { return panels() * weights_step(); }
    int64_t padded_biases() const { return panels() * lanes; }
};

template <int number>
struct Width {
    static constexpr int value = number;
};

// Panels are worked on in pairs, which is what the registers hold; an odd one comes last.
template <class Work>
SCHUSS_INLINE void in_pairs(int64_t panels, Work work) {
    int64_t panel = 0;
    for (; panel + 1 < panels; panel += 2) work(Width<2>(), panel);
    if (panel < panels) work(Width<1>(), panel);
}

// rows is a multiple of block_rows. started: z holds the sums of another operation, biases included.
void forward(const Dense& layer, const float* W, int64_t rows, bool started, bool way_back) {
    const Panels z = layer.output;
    in_pairs(layer.panels(), [&](auto width, int64_t p) {
        const float* start = started ? z.panel(p) : W + layer.biases + p * lanes;
        product<width.value>(
            layer.x, rows, layer.numbers, W + layer.weights + p * layer.weights_step(), layer.weights_step(), start,
            started ? lanes : 0, started ? z.step : lanes, z.panel(p), z.step);
        for (int n = 0; n < width.value; n++)
            if (way_back)
                layer.activation->forward_and_derivative(z.panel(p + n), layer.d_z.panel(p + n), rows * lanes);
            else
                layer.activation->forward(z.panel(p + n), rows * lanes);
    });
}

// gradient += xᵀ · d_z for the weights and Σ d_z for the biases, over the first `rows` rows, in order.
void backward_to_weights(const Dense& layer, float* gradient, int64_t rows) {
    in_pairs(layer.panels(), [&](auto width, int64_t p) {
        transposed_product<width.value>(
            layer.x, rows, layer.numbers, layer.d_z.panel(p), layer.d_z.step,
            gradient + layer.weights + p * layer.weights_step(), layer.weights_step());
        for (int n = 0; n < width.value; n++)
            add_rows(layer.d_z.panel(p + n), rows, gradient + layer.biases + (p + n) * lanes);
    });
}

alignas(64) const float no_start[lanes] = {};

// d_z of the layer before = (d_z · weightsᵀ) ∘ activation' of the layer before, which stands there already.
// rows is a multiple of block_rows; scratch holds two panels of them.
void backward_to_input(const Dense& layer, const Dense& before, int64_t rows, float* scratch) {
    const int64_t step = layer.outputs * lanes;
    in_pairs(panels_of(layer.inputs), [&](auto width, int64_t p) {
        product<width.value>(
            layer.d_z, rows, layer.outputs, layer.transposed + p * step, step, no_start, 0, 0, scratch, rows * lanes);
        for (int n = 0; n < width.value; n++)
            multiply(before.d_z.panel(p + n), scratch + n * rows * lanes, rows * lanes);
    });
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
