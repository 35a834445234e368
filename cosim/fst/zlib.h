// The two functions of zlib that Verilator's FST writer calls. The writer keeps whatever is smaller,
// its data or what comes from here; a copy never is, so the file holds the data itself. That is the
// list of widths and the values of the first cycle, a small part of a file.
#pragma once
#include <cstring>

using Bytef = unsigned char;
using uLong = unsigned long;
using uLongf = unsigned long;
constexpr int Z_OK = 0;

inline uLong compressBound(uLong size) { return size; }

inline int compress2(Bytef* target, uLongf* written, const Bytef* source, uLong size, int) {
    std::memcpy(target, source, size);
    *written = size;
    return Z_OK;
}
