// Numbers out of text: the columns of a piece of a file of separated values that hold numbers and nothing else.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace schuss {

// What the values of a column are. other: something that is to be read by somebody else.
enum class Held : int { nothing, integers, floats, other };

struct NumberColumn {
    int64_t* integers;  // [rows] where held is integers
    double* floats;     // [rows] where held is floats, in the same memory
    uint8_t* present;   // [rows / 8, rounded up] a bit for each row, the lowest first; all are set before
    int64_t missing;
    Held held;
};

// Reads rows of text, which holds no NUL but has one behind its end. `places` says for each column of the text which one
// of `columns` it fills, -1 for none; those that hold nothing but whole numbers, or numbers, each in the way that every
// program writes them, are filled, to the last bit as the standard library reads them. `missing` are words for a missing
// value, beside nothing at all. Returns the number of rows; -1 where there are more than `most` or where rows are not as many values as `places`.
int64_t read_numbers(
    std::string_view text, char separator, const std::vector<int>& places, std::vector<NumberColumn>& columns,
    const std::vector<std::string_view>& missing, int64_t most);

}  // namespace schuss
