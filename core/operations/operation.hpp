// What every operation of the chain offers to the step, and the signals that run between operations.
#pragma once

#include <string.h>

#include "../activations.hpp"
#include "../build.hpp"
#include "../kernels.hpp"
#include "../program.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// What one operation gives to the next: values on the way forward; on the way back the derivative of the batch's loss,
// already multiplied by the slope of the activation that made the values.
struct Signal {
    int64_t columns;
    Sheet values;                // data is null where dense layers read them as factors and nobody else does
    Factors value_factors;       // of the values, where a dense layer reads them
    bool from_dense;             // a dense layer makes the values
    bool only_factors;           // it makes them as factors, at once
    bool has_way_back;           // someone before wants the derivatives
    Sheet derivatives;
    Factors derivative_factors;  // of the derivatives, where a dense layer made the values
    bool floats_wanted;          // others than dense layers read the derivatives, in float32
    ChainRule chain;             // how a derivative by the value becomes one by what the activation was applied to
    float scale;                 // by which dropout multiplies what it keeps

    bool keeps_slopes(bool way_back) const { return way_back && has_way_back && chain == ChainRule::stored; }
};

// Some rows of the batch on their way through the operations: [first, last), a multiple of `lanes` of them.
struct Pass {
    const float* W;  // padded
    int64_t first;
    int64_t last;
    bool way_back;   // keep what the way back needs
    bool training;   // drop units
    int64_t offset;  // the batch's row that lies in row 0 of the sheets
    int64_t step;    // steps taken before this one
};

// The sums are derivatives by the values of a block; what the activation before makes of them is stored. Values: a
// sheet, or its factors.
template <class Rule, class Values, int rows, int width>
SCHUSS_INLINE void store_derivatives(
    Sums<rows, width>& sums, const Signal& signal, const Values& values, const Pass& pass, int64_t panel, int64_t row
) {
    float* derivatives = signal.derivatives.at(panel, row);
    const float scale = pass.training ? signal.scale : 1;  // nothing was dropped otherwise
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
        for (int n = 0; n < width; n++) {
            const int64_t place = m * panel_width + n * lanes;
            const Vector value = values.vector(panel, row + m, n), stored = load(derivatives + place);
            sums.at[m][n] = Rule::chain(sums.at[m][n], value, stored, scale);
            if (depth == 1 || signal.floats_wanted) store(derivatives + place, sums.at[m][n]);
        }
    if (depth == 1 || signal.derivative_factors.by_rows.data) signal.derivative_factors.put(sums.at, panel, row);
}

// derivatives(panel, row, n): a vector of a row's derivatives by the values of the signal. What the activation
// before makes of them is stored.
template <class Derivatives>
SCHUSS_INLINE void send_back(const Signal& signal, const Pass& pass, Derivatives derivatives) {
    ChainRules::for_each([&](auto its) {
        using Rule = decltype(its);
        if (Rule::rule != signal.chain) return;
        for (int64_t row = pass.first; row < pass.last; row += block_rows)
            for (int64_t panel = 0; panel < panels_of(signal.columns); panel++) {
                Sums<block_rows, 2> sums;
                for (int m = 0; m < block_rows; m++)
                    for (int n = 0; n < 2; n++) sums.at[m][n] = derivatives(panel, row + m, n);
                store_derivatives<Rule>(sums, signal, signal.values, pass, panel, row);
            }
    });
}

// A stretch of the padded vectors whose gradient is made in one go, by one thread, over all rows of a batch.
struct Stretch {
    int64_t start;
    int64_t count;  // a multiple of lanes
};
struct Tile {
    Stretch weights;
    Stretch biases;  // count 0: the tile has none
    int64_t panel;   // where it begins, as its operation counts
    int64_t first;
    double cost;         // about how long it takes, for sharing out tiles
    double cost_of_row;  // and for each row of the batch
};

// W [P] lies in the padded vectors in pieces: work(position in W, position in a padded vector, floats, step between
// neighbouring floats in the padded vector).
struct Layout {
    void* context;
    void (*piece)(void* context, int64_t flat, int64_t padded, int64_t count, int64_t padded_step);
};

class Operation {
  public:
    // Memory that depends on the number of rows that are worked on at a time.
    virtual void lay_out_rows(const Memory&, int64_t /* rows */) {}

    virtual void forward(const Pass&) = 0;
    virtual void backward(const Pass&) {}

    // How the operation's part of W is cut into tiles; those of gradient() are for one tile.
    virtual int64_t tiles() const { return 0; }
    virtual Tile tile(int64_t /* number */) const { return {}; }
    // True: gradient() adds to what is there, and `weights` is the place in the stored gradient, zero at first.
    virtual bool adds() const { return false; }
    virtual void gradient(const Tile&, int64_t /* rows */, float* /* weights */, float* /* biases */) {}
    // Of an operation that adds: stretches of the tile, counted from its start, beyond which its gradient is 0. One may
    // come several times.
    template <class Work>
    void for_each_touched(const Tile& tile, int64_t rows, Work work) const {
        touched(tile, rows, {&work, [](void* context, int64_t start, int64_t count) {
            (*static_cast<Work*>(context))(start, count);
        }});
    }
    // The numbers of the tile have changed: what is kept of them in another form is made anew.
    virtual void updated(const Tile&, const float* /* W */) {}

    // Where the operation's part of W lies.
    virtual void describe(const Layout&) const {}

  protected:
    struct Visitor {
        void* context;
        void (*visit)(void* context, int64_t start, int64_t count);
    };
    virtual void touched(const Tile&, int64_t /* rows */, const Visitor&) const {}
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
