// The two functions of LZ4 that Verilator's FST writer calls, so that waves need no library of the
// system: a greedy compressor of the LZ4 block format, which every reader of FST understands.
//
// A block is a row of sequences: a token (literals << 4 | match - 4), the literals, the distance of
// the match in 2 bytes. A half of 15 goes on in bytes of up to 255. The last sequence has literals
// only: at least 5, and no match begins in the last 12 bytes.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

namespace stepscale_lz4 {

constexpr int MATCH_MIN = 4, TAIL_LITERALS = 5, TAIL = 12, HASH_BITS = 14, DISTANCE_MAX = 65535;

inline uint32_t word(const uint8_t* at) {
    uint32_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

inline void length(uint8_t*& to, int rest) {
    for (; rest >= 255; rest -= 255) *to++ = 255;
    *to++ = static_cast<uint8_t>(rest);
}

// One sequence; match = 0 for the last, which has none.
inline void sequence(uint8_t*& to, const uint8_t* literals, int count, int match, int distance) {
    const int more = match ? match - MATCH_MIN : 0;
    *to++ = static_cast<uint8_t>((count < 15 ? count : 15) << 4 | (more < 15 ? more : 15));
    if (count >= 15) length(to, count - 15);
    if (count) std::memcpy(to, literals, count);
    to += count;
    if (!match) return;
    *to++ = static_cast<uint8_t>(distance);
    *to++ = static_cast<uint8_t>(distance >> 8);
    if (more >= 15) length(to, more - 15);
}

}  // namespace stepscale_lz4

// Returns the bytes written to `target`, which holds LZ4_compressBound(size); 0 where it does not.
inline int LZ4_compress_default(const char* source, char* target, int size, int capacity) {
    using namespace stepscale_lz4;
    if (capacity < LZ4_compressBound(size)) return 0;
    const auto* const from = reinterpret_cast<const uint8_t*>(source);
    auto* const start = reinterpret_cast<uint8_t*>(target);
    uint8_t* to = start;
    std::vector<int> seen(1 << HASH_BITS, -1);
    int begin = 0;  // of the literals that wait
    for (int at = 0; at < size - TAIL;) {
        int& last = seen[word(from + at) * 2654435761u >> (32 - HASH_BITS)];
        const int before = last;
        last = at;
        if (before < 0 || at - before > DISTANCE_MAX || word(from + before) != word(from + at)) {
            ++at;
            continue;
        }
        int match = MATCH_MIN;
        while (at + match < size - TAIL_LITERALS && from[before + match] == from[at + match]) ++match;
        sequence(to, from + begin, at - begin, match, at - before);
        begin = at += match;
    }
    sequence(to, from + begin, size - begin, 0, 0);
    return static_cast<int>(to - start);
}
