// Residual blocks: y = x + f(x). The fork hands f a copy of x, which f may change in place; the join adds. On the way
// back the join hands the derivatives of y to f, and the fork adds what comes of them to the derivatives of y.
#pragma once

#include "operation.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// Values of a signal whose activation is the identity.
template <class Values>
SCHUSS_INLINE void put_values(const Signal& signal, const Pass& pass, Values values) {
    const bool keep_slopes = signal.keeps_slopes(pass.way_back);
    for (int64_t panel = 0; panel < panels_of(signal.columns); panel++)
        for (int64_t row = pass.first; row < pass.last; row++)
            for (int n = 0; n < 2; n++) {
                store(signal.values.at(panel, row) + n * lanes, values(panel, row, n));
                if (keep_slopes) store(signal.derivatives.at(panel, row) + n * lanes, splat(1.0f));
            }
}

class Fork final : public Operation {
  public:
    Signal* x;
    Signal* inside;  // what f begins with
    Signal* y;
    Fork* outer;     // the fork in whose f this one lies, or null

    void lay_out_rows(const Memory& memory, int64_t rows) override {
        inside->values = new_sheet(memory, x->columns, rows);
        inside->derivatives = new_sheet(memory, x->columns, rows);
    }
    void forward(const Pass& pass) override {
        put_values(*inside, pass, [&](int64_t panel, int64_t row, int n) { return x->values.vector(panel, row, n); });
    }
    void backward(const Pass& pass) override {
        if (!x->has_way_back) return;
        send_back(*x, pass, [&](int64_t panel, int64_t row, int n) {
            return inside->derivatives.vector(panel, row, n) + y->derivatives.vector(panel, row, n);
        });
    }
};

class Join final : public Operation {
  public:
    Signal* x;
    Signal* f;
    Signal* y;

    void lay_out_rows(const Memory& memory, int64_t rows) override {
        y->values = new_sheet(memory, x->columns, rows);
        y->derivatives = new_sheet(memory, x->columns, rows);
    }
    void forward(const Pass& pass) override {
        put_values(*y, pass, [&](int64_t panel, int64_t row, int n) {
            return x->values.vector(panel, row, n) + f->values.vector(panel, row, n);
        });
    }
    void backward(const Pass& pass) override {
        if (!f->has_way_back) return;
        send_back(*f, pass, [&](int64_t panel, int64_t row, int n) { return y->derivatives.vector(panel, row, n); });
    }
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
