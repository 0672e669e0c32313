#include "numbers.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace schuss {
namespace {

constexpr int most_digits = 19;                    // that fit into 64 bits
constexpr uint64_t most_exact = uint64_t{1} << 53;  // whole numbers that a double holds
constexpr std::array<double, 23> powers = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                           1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr std::array<uint64_t, 9> shifts = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

bool is_digit(char letter) { return static_cast<unsigned char>(letter - '0') < 10; }

// Where a text is read; behind its end stands a NUL, which it does not hold.
struct Cursor {
    const char* at;
    const char* end;

    bool is(char letter) const { return *at == letter; }
    bool is_line_end() const { return is('\n') || is('\0') || (is('\r') && (at[1] == '\n' || at[1] == '\0')); }
    void end_line() {
        at += is('\r');
        at += is('\n');
    }
};

// Up to eight digits at once, where the bytes of a number lie from the lowest on.
struct Digits {
    uint64_t word = 0;    // each in its byte, the last one highest
    uint64_t others = 0;  // not 0 where some are no digits; its lowest bit is in the first of them

    Digits(const char* first, int count) {  // reads eight bytes
        if (!count) return;
        std::memcpy(&word, first, 8);
        word = (word ^ 0x3030303030303030) << (64 - 8 * count);
        others = ((word + 0x7676767676767676) | word) & 0x8080808080808080;
    }

    uint64_t value() const {
        const uint64_t pairs = word * 10 + (word >> 8);  // in every other byte a number of two digits
        return ((pairs & 0x000000ff000000ff) * 0x000f424000000064 +
                ((pairs >> 16) & 0x000000ff000000ff) * 0x0000271000000001) >> 32;
    }
};

// The digits that follow, behind those of `value`; returns how many.
inline int take_digits(Cursor& text, uint64_t& value) {
    const char* const first = text.at;
    if constexpr (std::endian::native == std::endian::little) {  // up to eight at a time
        while (text.end - text.at >= 8) {
            const int count = std::countr_zero(Digits(text.at, 8).others) / 8;  // 8 without others
            if (!count) break;
            value = value * shifts[count] + Digits(text.at, count).value();
            text.at += count;
            if (count < 8) return static_cast<int>(text.at - first);
        }
    }
    while (is_digit(*text.at)) value = 10 * value + static_cast<uint64_t>(*text.at++ - '0');
    return static_cast<int>(text.at - first);
}

struct Number {
    Held held = Held::other;  // integers, floats or other
    int64_t integer = 0;
    double real = 0;

    static Number of_integer(bool negative, uint64_t size) {
        const auto value = static_cast<int64_t>(size), sign = -static_cast<int64_t>(negative);
        return {Held::integers, (value ^ sign) - sign, 0};
    }
    // size / 10^digits, both of them exact as doubles: rounded once
    static Number of_float(bool negative, uint64_t size, int digits) {
        const double value = static_cast<double>(size) / powers[static_cast<size_t>(digits)];
        const auto bits = std::bit_cast<uint64_t>(value) | static_cast<uint64_t>(negative) << 63;  // half are: no branch
        return {Held::floats, 0, std::bit_cast<double>(bits)};
    }
};

#ifdef __SSE2__
// Whole numbers and decimal fractions of at most eight digits before and behind the point, without a step that waits
// for the one before: most tables hold nothing else. Moves the cursor behind the number, or leaves it where it is.
inline bool take_short(Cursor& text, char separator, Number& number) {
    constexpr int most = 8;
    if (text.end - text.at < 32) return false;
    const __m128i letters = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.at));
    const auto places_of = [&](char letter) {
        return static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(letters, _mm_set1_epi8(letter))));
    };
    const uint32_t ends = places_of(separator) | places_of('\n') | places_of('\r');
    if (!ends) return false;
    const int length = std::countr_zero(ends), negative = text.is('-');
    const uint32_t points = places_of('.') & ((1u << length) - 1);
    const bool has_point = points != 0;
    const int before = (has_point ? std::countr_zero(points) : length) - negative;
    const int behind = has_point ? length - negative - before - 1 : 0;
    if (before < 1 || before > most || behind > most || (has_point && !behind)) return false;
    const char* const first = text.at + negative;
    const Digits high(first, before), low(first + before + 1, behind);
    if (high.others | low.others) return false;
    if (!has_point && before > 1 && *first == '0') return false;  // may be a code
    const uint64_t value = high.value() * shifts[behind] + low.value();
    if (value > most_exact) return false;
    number = has_point ? Number::of_float(negative, value, behind) : Number::of_integer(negative, value);
    text.at += length;
    return true;
}
#else
inline bool take_short(Cursor&, char, Number&) { return false; }
#endif

// digits: of mantissa, at most 19 that count. exponent: of ten.
inline Number real(const char* first, const char* last, bool negative, uint64_t mantissa, int digits, int64_t exponent) {
    if (digits <= most_digits && mantissa <= most_exact && exponent >= -22 && exponent <= 22) {
        const auto exact = static_cast<double>(mantissa);  // two exact numbers: their quotient is rounded once
        const double value = exponent < 0 ? exact / powers[-exponent] : exact * powers[exponent];
        return {Held::floats, 0, negative ? -value : value};
    }
#ifdef __cpp_lib_to_chars
    double value;
    const auto [end, error] = std::from_chars(first, last, value);
    if (error == std::errc() && end == last) return {Held::floats, 0, value};
#endif
    return {};
}

// A number, and the text behind it. Signs, digits, a point with digits before and behind it, and an exponent: whatever
// is written in another way is other. So are whole numbers with zeros before them: they may be codes.
inline Number take_number(Cursor& text) {
    const char* const first = text.at;
    const bool negative = text.is('-');
    text.at += negative;
    const bool leads_with_zero = text.is('0');
    uint64_t mantissa = 0;
    int digits = take_digits(text, mantissa);
    const bool is_code = leads_with_zero && digits > 1;
    if (!digits) return {};
    int64_t exponent = 0;
    const bool has_point = text.is('.');
    if (has_point) {
        text.at++;
        const int behind = take_digits(text, mantissa);
        if (!behind) return {};
        exponent = -behind;
        digits += behind;
    }
    if (text.is('e') || text.is('E')) {
        text.at++;
        const bool down = text.is('-');
        text.at += down || text.is('+');
        uint64_t given = 0;
        const int count = take_digits(text, given);
        if (!count || count > 5) return {};
        exponent += down ? -static_cast<int64_t>(given) : static_cast<int64_t>(given);
        return real(first, text.at, negative, mantissa, digits, exponent);
    }
    if (has_point) return real(first, text.at, negative, mantissa, digits, exponent);
    if (is_code || digits > most_digits || mantissa > INT64_MAX) return {};
    return Number::of_integer(negative, mantissa);
}

// Goes to the end of a value that is not wanted; false where a quote is not closed.
bool skip(Cursor& text, char separator) {
    if (text.is('"')) {
        do {  // two quotes in a row are one that belongs to the value
            const auto rest = static_cast<size_t>(text.end - text.at - 1);
            const void* const quote = std::memchr(text.at + 1, '"', rest);
            if (!quote) return false;
            text.at = static_cast<const char*>(quote) + 1;
        } while (text.is('"'));
        return true;
    }
    while (!text.is(separator) && !text.is('\n') && !text.is('\r') && !text.is('"') && !text.is('\0')) text.at++;
    return true;
}

void to_floats(NumberColumn& column, int64_t rows) {
    for (int64_t i = 0; i < rows; i++) {
        int64_t value;
        std::memcpy(&value, &column.integers[i], sizeof value);
        const auto real = static_cast<double>(value);
        std::memcpy(&column.floats[i], &real, sizeof real);
    }
}

// Puts a value into its column.
inline void put(NumberColumn& column, int64_t row, const Number& number) {
    if (number.held == Held::floats && column.held != Held::floats) {
        to_floats(column, row);
        column.held = Held::floats;
    }
    if (column.held == Held::floats) {
        const double value = number.held == Held::floats ? number.real : static_cast<double>(number.integer);
        std::memcpy(&column.floats[row], &value, sizeof value);
        return;
    }
    column.held = Held::integers;
    column.integers[row] = number.integer;
}

void put_missing(NumberColumn& column, int64_t row) {
    column.integers[row] = 0;  // is 0 as a double too
    column.present[row / 8] &= static_cast<uint8_t>(~(1u << (row % 8)));
    column.missing++;
}

// The words for a missing value.
struct Missing {
    const std::vector<std::string_view>& words;
    bool like_numbers = false;  // some of them may be

    explicit Missing(const std::vector<std::string_view>& words) : words(words) {
        for (const std::string_view word : words) {
            const size_t first = word.find_first_not_of(" -");
            like_numbers |= first != word.npos && is_digit(word[first]);
        }
    }

    bool has(Cursor text, char separator) const {
        const char* const first = text.at;
        skip(text, separator);
        const std::string_view word(first, static_cast<size_t>(text.at - first));
        return std::find(words.begin(), words.end(), word) != words.end();
    }
};

// Reads the value at the cursor into its column; what is no number makes the column other.
inline void take_value(Cursor& text, char separator, NumberColumn& column, int64_t row, const Missing& missing) {
    const auto is_end = [&] { return text.is(separator) || text.is_line_end(); };
    if (is_end()) return put_missing(column, row);
    const Cursor start = text;
    if (Number number; !missing.like_numbers && take_short(text, separator, number)) return put(column, row, number);
    if (!missing.like_numbers || !missing.has(start, separator)) {
        while (text.is(' ')) text.at++;
        const Number number = take_number(text);
        while (text.is(' ')) text.at++;
        if (number.held != Held::other && is_end()) return put(column, row, number);
    }
    text = start;
    if (missing.has(start, separator))
        put_missing(column, row);
    else
        column.held = Held::other;
    skip(text, separator);
}

}  // namespace

int64_t read_numbers(
    std::string_view all, char separator, const std::vector<int>& places, std::vector<NumberColumn>& columns,
    const std::vector<std::string_view>& words, int64_t most
) {
    const Missing missing(words);
    Cursor text = {all.data(), all.data() + all.size()};
    int64_t rows = 0;
    while (text.at < text.end) {
        if (text.is_line_end()) {  // a blank line
            text.end_line();
            continue;
        }
        if (rows == most) return -1;
        for (size_t i = 0; i < places.size(); i++) {
            if (i > 0) {
                if (!text.is(separator)) return -1;
                text.at++;
            }
            NumberColumn* const column = places[i] < 0 ? nullptr : &columns[static_cast<size_t>(places[i])];
            if (column && column->held != Held::other)
                take_value(text, separator, *column, rows, missing);
            else if (!skip(text, separator))
                return -1;
        }
        if (!text.is_line_end()) return -1;
        text.end_line();
        rows++;
    }
    return rows;
}

}  // namespace schuss
