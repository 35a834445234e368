// Replays a golden trace on one Verilated design and compares every cycle. See layout.py for the
// format, docs/trace_checker.md for the rules. Everything whose size depends on the ports is a
// template parameter, so a cycle is a few loads, one comparison of all handshakes, and the design.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

namespace stepscale {

[[noreturn]] inline void fail(const std::string& what) {
    std::fprintf(stderr, "Error: %s\n", what.c_str());
    std::exit(2);
}

// A column of the trace, mapped read-only: the system pages it in and out, whatever its size.
class Column {
public:
    explicit Column(const std::string& path) {
        const int file = open(path.c_str(), O_RDONLY);
        struct stat about;
        if (file < 0 || fstat(file, &about) != 0) fail(path + ": cannot be read");
        size_ = static_cast<uint64_t>(about.st_size);
        if (size_ != 0) {
            void* const at = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
            if (at == MAP_FAILED) fail(path + ": cannot be mapped");
            madvise(at, size_, MADV_SEQUENTIAL);
            data_ = static_cast<const uint8_t*>(at);
        }
        close(file);
    }
    // `count` entries of `bytes` from entry `first` on.
    const uint8_t* at(uint64_t first, uint64_t count, uint64_t bytes) const {
        if (bytes != 0 && (first > size_ / bytes || count > size_ / bytes - first))
            fail("trace ends early: it was truncated");
        return data_ + first * bytes;
    }
    uint64_t size() const { return size_; }

private:
    const uint8_t* data_ = nullptr;
    uint64_t size_ = 0;
};

struct Slice {
    const uint8_t* data;
    uint64_t count;
};

// First bit last, as a person writes it.
inline std::string bits(const uint8_t* bytes, unsigned width) {
    std::string text(width, '0');
    for (unsigned bit = 0; bit < width; ++bit)
        if (bytes[bit / 8] >> (bit % 8) & 1) text[width - 1 - bit] = '1';
    return text;
}

inline std::string flag(bool value) { return value ? "1" : "0"; }

struct Difference {
    const char* kind;
    const char* stream;
    uint64_t cycle;
    int64_t beat;
    std::string expected, got;
};

struct Verdict {
    static constexpr size_t KEPT = 32;
    uint64_t cycles = 0, beats = 0, mismatches = 0;
    std::vector<Difference> differences;

    __attribute__((noinline, cold)) void differs(const Difference& difference) {
        ++mismatches;
        if (differences.size() < KEPT) differences.push_back(difference);
    }
};

// Offers beat n from its first cycle on and holds it until the design takes it.
template <size_t BYTES>
struct Source {
    const char* name;
    uint8_t& valid;
    const uint8_t& ready;
    void* payload;
    const uint32_t* start = nullptr;
    const uint8_t* data = nullptr;
    uint64_t beats = 0, beat = 0;
    bool offering = false;

    void open(const Slice& starts, const Slice& payloads) {
        start = reinterpret_cast<const uint32_t*>(starts.data);
        data = payloads.data;
        beats = starts.count;
        beat = 0;
        offering = false;
        offer(0);
    }
    void offer(uint64_t cycle) {
        offering = beat < beats && start[beat] <= cycle;
        valid = offering;
        if (offering) std::memcpy(payload, data + beat * BYTES, BYTES);
    }
    void clock(uint64_t next, bool taken) {
        if (offering && !taken) return;
        beat += offering;
        offer(next);
    }
    void stop() { valid = 0; }
    // Beat that the golden source had reached, as a report names it.
    int64_t reached(uint64_t cycle) const {
        int64_t count = -1;
        for (uint64_t n = 0; n < beats; ++n) count += start[n] <= cycle;
        return count;
    }
};

// Takes beats and compares each with the beat of the same number.
template <size_t BYTES, unsigned WIDTH>
struct Sink {
    const char* name;
    const uint8_t& valid;
    uint8_t& ready;
    const void* payload;
    const uint8_t* data = nullptr;
    uint64_t beats = 0, moved = 0;

    void open(const Slice& payloads) {
        data = payloads.data;
        beats = payloads.count;
        moved = 0;
    }
    bool same() const { return std::memcmp(payload, data + moved * BYTES, BYTES) == 0; }
    Difference payload_difference(uint64_t cycle) const {
        return {"payload", name, cycle, static_cast<int64_t>(moved),
                bits(data + moved * BYTES, WIDTH), bits(static_cast<const uint8_t*>(payload), WIDTH)};
    }
    void stop() { ready = 0; }
};

// A plain port: its value from each change on.
template <size_t BYTES, unsigned WIDTH>
struct Plain {
    const char* name;
    void* value;
    const uint32_t* cycles = nullptr;
    const uint8_t* data = nullptr;
    uint64_t changes = 0, next = 0;
    const uint8_t* now = nullptr;
    uint8_t fixed[BYTES] = {};

    // Holds `value` for the whole case, whatever the trace says.
    void fix(uint64_t value) {
        std::memcpy(fixed, &value, BYTES < sizeof(value) ? BYTES : sizeof(value));
        now = fixed;
        next = changes;
    }
    void open(const Slice& at, const Slice& values) {
        cycles = reinterpret_cast<const uint32_t*>(at.data);
        data = values.data;
        changes = at.count;
        next = 0;
        now = nullptr;
        advance(0);
    }
    bool advance(uint64_t cycle) {
        if (next == changes || cycles[next] != cycle) return false;
        now = data + next++ * BYTES;
        return true;
    }
    void drive(uint64_t cycle) {
        if (advance(cycle)) std::memcpy(value, now, BYTES);
    }
    void drive_first() {
        if (now != nullptr) std::memcpy(value, now, BYTES);
    }
    void stop() { std::memset(value, 0, BYTES); }
    bool same() const { return std::memcmp(value, now, BYTES) == 0; }
};

template <size_t BYTES>
Source<BYTES> source(const char* name, uint8_t& valid, const uint8_t& ready, void* payload) {
    return {name, valid, ready, payload};
}
template <size_t BYTES, unsigned WIDTH>
Sink<BYTES, WIDTH> sink(const char* name, const uint8_t& valid, uint8_t& ready, const void* payload) {
    return {name, valid, ready, payload};
}
template <size_t BYTES, unsigned WIDTH>
Plain<BYTES, WIDTH> plain(const char* name, void* value) {
    return {name, value};
}

template <class Tuple, class Work>
void each(Tuple& parts, Work work) {
    std::apply([&](auto&... part) { (work(part), ...); }, parts);
}

}  // namespace stepscale
