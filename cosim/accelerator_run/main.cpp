// The accelerator's simulation main: plays a scenario, a text file of one command a line.
//
//   <program> SCENARIO VERDICT
//
//   memory LATENCY MAX SEED   from now on: fixed latency (MAX 0), or 0..MAX cycles more on every
//                             channel, drawn from SEED
//   load ADDRESS FILE         bytes into external memory
//   expect PORT FILE          words that a write port must give, in order; replaces what was left
//   fault KIND BEAT           KIND read or write: SLVERR at the BEAT-th beat from now on
//   write REGISTER VALUE      through AXI4-Lite, OKAY expected; `refused` expects SLVERR
//   refused REGISTER VALUE
//   read REGISTER NAME        into the verdict's `values`
//   start                     does not wait
//   cycles COUNT              lets the clock run
//   wait COUNT                until the interrupt, at most COUNT cycles: else the scenario fails
//   reset COUNT               holds the reset
//   dump ADDRESS SIZE FILE    bytes of external memory
//
// The verdict is JSON: cycles, words compared and left for each port, the first mismatches, errors
// of the AXI protocol, what was read, and the cycles in which each unit took and finished
// instructions. It is written at the end under another name and renamed.
#include <verilated.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "Vtop.h"
#include "sizes.h"

namespace {

constexpr unsigned MISMATCHES_KEPT = 10;
constexpr uint16_t NOT_WRITTEN = 0x100;
constexpr unsigned PORTS = 5, UNITS = 4;
constexpr const char* PORT_NAMES[PORTS] = {"array_stream", "array_codes", "vector_stream",
                                           "vector_codes", "mover_stream"};
constexpr const char* UNIT_NAMES[UNITS] = {"array", "vector", "mover", "loader"};

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "%s\n", what.c_str());
    std::exit(2);
}

std::vector<uint8_t> bytes_of(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) fail(path + ": cannot be read");
    return {std::istreambuf_iterator<char>(stream), {}};
}

// External memory: pages of 4 KB that come into being when they are written.
class Memory {
public:
    uint8_t& at(uint64_t address) {
        auto& page = pages_[address >> 12];
        if (page.empty()) page.resize(4096);
        return page[address & 4095];
    }
    bool has(uint64_t address) const { return pages_.count(address >> 12) != 0; }

private:
    std::map<uint64_t, std::vector<uint8_t>> pages_;
};

struct Record {
    uint32_t address, mask;
    uint16_t lanes[LANES];
};

struct Expected {
    std::vector<uint8_t> bytes;
    uint64_t next = 0, compared = 0;
    uint64_t left() const { return bytes.size() / sizeof(Record) - next; }
};

struct Burst {
    uint64_t due, address;
    unsigned beats;
};

class Simulation {
public:
    explicit Simulation(VerilatedContext& context) : top_(new Vtop(&context)) {
        top_->clk = 0;
        top_->rst = 1;
        drive();
        settle();
        hold_reset(4);
    }
    ~Simulation() { top_->final(); }

    void command(const std::string& line) {
        std::istringstream words(line);
        std::string name, text;
        uint64_t a = 0, b = 0, c = 0;
        words >> name;
        if (name.empty() || name[0] == '#') return;
        if (name == "memory") {
            words >> a >> b >> c;
            latency_ = a, spread_ = b, rng_.seed(c);
        } else if (name == "load") {
            words >> std::hex >> a >> text;
            for (uint8_t byte : bytes_of(text)) memory_.at(a++) = byte;
        } else if (name == "expect") {
            words >> text;
            std::string file;
            words >> file;
            expected_[port(text)].bytes = bytes_of(file);
            expected_[port(text)].next = 0;
        } else if (name == "fault") {
            words >> text >> a;
            (text == "read" ? read_fault_ : write_fault_) = a;
        } else if (name == "write" || name == "refused") {
            words >> std::hex >> a >> b;
            if (register_write(a, b) != (name == "refused")) problem(line + ": wrong response");
        } else if (name == "read") {
            words >> std::hex >> a >> text;
            values_ += (values_.empty() ? "\"" : ", \"") + text + "\": " + std::to_string(register_read(a));
        } else if (name == "cycles") {
            words >> a;
            while (a--) cycle();
        } else if (name == "wait") {
            words >> a;
            while (a-- && !top_->irq) cycle();
            if (!top_->irq) problem("no interrupt within the cycles of: " + line);
        } else if (name == "reset") {
            words >> a;
            hold_reset(a);
        } else if (name == "dump") {
            words >> std::hex >> a >> b >> text;
            std::ofstream stream(text, std::ios::binary);
            while (b--) stream.put(static_cast<char>(memory_.at(a++)));
        } else {
            fail("scenario: unknown command: " + line);
        }
        if (words.fail()) fail("scenario: cannot be understood: " + line);
    }

    void report(const std::string& path) const {
        std::ofstream out(path + ".part");
        out << "{\"cycles\": " << now_ << ", \"values\": {" << values_ << "}, \"ports\": {";
        for (unsigned p = 0; p < PORTS; ++p)
            out << (p ? ", " : "") << '"' << PORT_NAMES[p] << "\": {\"compared\": " << expected_[p].compared
                << ", \"left\": " << expected_[p].left() << "}";
        out << "}, \"mismatches\": " << mismatches_ << ", \"first\": [" << first_ << "], \"problems\": [" << problems_ << "]";
        out << ", \"bytes_read\": " << bytes_read_ << ", \"bytes_written\": " << bytes_written_ << ", \"units\": {";
        for (unsigned u = 0; u < UNITS; ++u) {
            out << (u ? ", " : "") << '"' << UNIT_NAMES[u] << "\": {";
            list(out, "start", started_[u]);
            out << ", ";
            list(out, "finish", finished_[u]);
            out << "}";
        }
        out << "}}\n";
        out.close();
        if (!out || std::rename((path + ".part").c_str(), path.c_str())) fail(path + ": cannot be written");
    }

private:
    static void list(std::ofstream& out, const char* name, const std::vector<uint64_t>& cycles) {
        out << '"' << name << "\": [";
        for (size_t n = 0; n < cycles.size(); ++n) out << (n ? "," : "") << cycles[n];
        out << "]";
    }
    static unsigned port(const std::string& name) {
        for (unsigned p = 0; p < PORTS; ++p)
            if (name == PORT_NAMES[p]) return p;
        fail("scenario: unknown port: " + name);
    }
    void problem(const std::string& what) {
        problems_ += (problems_.empty() ? "\"" : ", \"") + what + " (cycle " + std::to_string(now_) + ")\"";
    }
    uint64_t draw() { return spread_ ? rng_() % (spread_ + 1) : 0; }
    bool pause() { return spread_ && rng_() % 4 == 0; }
    void settle() { top_->eval(); }

    void hold_reset(uint64_t count) {
        top_->rst = 1;
        reads_.clear(), write_bursts_.clear(), responses_.clear();
        read_offered_ = response_offered_ = false;
        drive();
        settle();
        while (count--) edge();
        top_->rst = 0;
        settle();
    }
    void edge() {
        top_->clk = 1;
        top_->eval();
        top_->clk = 0;
        ++now_;
    }

    // Inputs of the next cycle: they depend on registers of this model alone.
    void drive() {
        top_->m_axi_arready = !pause();
        top_->m_axi_awready = !pause();
        top_->m_axi_wready = !pause();
        if (!read_offered_ && !reads_.empty() && reads_.front().due <= now_ && !pause()) {
            read_offered_ = true;
            Burst& burst = reads_.front();
            uint8_t beat[AXI_BYTES];
            for (unsigned n = 0; n < AXI_BYTES; ++n) {
                if (!memory_.has(burst.address + n)) outside_ = true;
                beat[n] = memory_.has(burst.address + n) ? memory_.at(burst.address + n) : 0xA5;
            }
            std::memcpy(&top_->m_axi_rdata, beat, AXI_BYTES);
            top_->m_axi_rlast = burst.beats == 1;
            top_->m_axi_rresp = read_fault_ == 1 ? 2 : 0;
        }
        top_->m_axi_rvalid = read_offered_;
        if (!response_offered_ && !responses_.empty() && responses_.front() <= now_) {
            response_offered_ = true;
            top_->m_axi_bresp = write_fault_ == 1 ? 2 : 0;
        }
        top_->m_axi_bvalid = response_offered_;
    }

    void cycle() {
        // handshakes of this cycle
        const bool ar = top_->m_axi_arvalid && top_->m_axi_arready;
        const bool r = top_->m_axi_rvalid && top_->m_axi_rready;
        const bool aw = top_->m_axi_awvalid && top_->m_axi_awready;
        const bool w = top_->m_axi_wvalid && top_->m_axi_wready;
        const bool b = top_->m_axi_bvalid && top_->m_axi_bready;
        if (ar_held_ && !top_->m_axi_arvalid) problem("arvalid fell before arready");
        ar_held_ = top_->m_axi_arvalid && !ar;
        if (ar) {
            const uint64_t address = top_->m_axi_araddr;
            const unsigned beats = top_->m_axi_arlen + 1u;
            if (beats > 16 || (address & 4095) + beats * AXI_BYTES > 4096) problem("burst is too long or crosses 4 KB");
            reads_.push_back({now_ + latency_ + draw(), address, beats});
        }
        if (r) {
            bytes_read_ += AXI_BYTES;
            if (read_fault_) --read_fault_;
            read_offered_ = false;
            Burst& burst = reads_.front();
            burst.address += AXI_BYTES;
            if (--burst.beats == 0) reads_.pop_front();
        }
        if (aw) write_bursts_.push_back({0, static_cast<uint64_t>(top_->m_axi_awaddr), top_->m_axi_awlen + 1u});
        if (w) {
            uint8_t beat[AXI_BYTES];
            std::memcpy(beat, &top_->m_axi_wdata, AXI_BYTES);
            for (unsigned n = 0; n < AXI_BYTES; ++n)
                write_data_.push_back(top_->m_axi_wstrb >> n & 1 ? beat[n] : NOT_WRITTEN);
            bytes_written_ += AXI_BYTES;
        }
        while (!write_bursts_.empty() && !write_data_.empty()) {
            Burst& burst = write_bursts_.front();
            for (unsigned n = 0; n < AXI_BYTES; ++n) {
                if (write_data_.front() != NOT_WRITTEN) memory_.at(burst.address) = write_data_.front();
                ++burst.address;
                write_data_.pop_front();
            }
            if (--burst.beats == 0) {
                responses_.push_back(now_ + latency_ + draw());
                write_bursts_.pop_front();
            }
        }
        if (b) {
            if (write_fault_) --write_fault_;
            response_offered_ = false;
            responses_.pop_front();
        }
        compare(0, top_->trace_array_stream_valid, top_->trace_array_stream_address, ~0u, &top_->trace_array_stream_data);
        compare(1, top_->trace_array_codes_valid, top_->trace_array_codes_address, top_->trace_array_codes_mask, &top_->trace_array_codes_data);
        compare(2, top_->trace_vector_stream_valid, top_->trace_vector_stream_address, ~0u, &top_->trace_vector_stream_data);
        compare(3, top_->trace_vector_codes_valid, top_->trace_vector_codes_address, top_->trace_vector_codes_mask, &top_->trace_vector_codes_data);
        compare(4, top_->trace_mover_stream_valid, top_->trace_mover_stream_address, ~0u, &top_->trace_mover_stream_data);
        for (unsigned u = 0; u < UNITS; ++u) {
            if (top_->trace_start >> u & 1) started_[u].push_back(now_);
            if (top_->trace_finish >> u & 1) finished_[u].push_back(now_);
        }
        edge();
        drive();
        settle();
    }

    void compare(unsigned p, bool valid, uint32_t address, uint32_t mask, const void* data) {
        if (!valid) return;
        Record got{address, mask & ALL_LANES, {}};
        std::memcpy(got.lanes, data, sizeof got.lanes);
        Expected& expected = expected_[p];
        if (expected.left() == 0) return mismatch(p, got, nullptr);
        Record want;
        std::memcpy(&want, &expected.bytes[sizeof(Record) * expected.next++], sizeof want);
        ++expected.compared;
        bool same = got.address == want.address && got.mask == want.mask;
        for (unsigned lane = 0; lane < LANES; ++lane)
            same = same && (!(want.mask >> lane & 1) || got.lanes[lane] == want.lanes[lane]);
        if (!same) mismatch(p, got, &want);
    }
    static void describe(std::ostringstream& out, const Record& record) {
        out << "{\"address\": " << record.address << ", \"mask\": " << record.mask << ", \"lanes\": [";
        for (unsigned lane = 0; lane < LANES; ++lane) out << (lane ? "," : "") << record.lanes[lane];
        out << "]}";
    }
    void mismatch(unsigned p, const Record& got, const Record* want) {
        if (++mismatches_ > MISMATCHES_KEPT) return;
        std::ostringstream out;
        out << (first_.empty() ? "" : ", ") << "{\"port\": \"" << PORT_NAMES[p] << "\", \"cycle\": " << now_
            << ", \"word\": " << expected_[p].next - (want != nullptr) << ", \"got\": ";
        describe(out, got);
        out << ", \"expected\": ";
        if (want) describe(out, *want);
        else out << "null";
        out << "}";
        first_ += out.str();
    }

    // AXI4-Lite; true: SLVERR
    bool register_write(uint64_t address, uint64_t value) {
        top_->s_axi_awaddr = address, top_->s_axi_awvalid = 1;
        top_->s_axi_wdata = value, top_->s_axi_wstrb = 15, top_->s_axi_wvalid = 1;
        top_->s_axi_bready = 1;
        settle();
        for (unsigned tries = 0; tries < 1000; ++tries) {
            const bool aw = top_->s_axi_awready && top_->s_axi_awvalid;
            const bool w = top_->s_axi_wready && top_->s_axi_wvalid;
            const bool b = top_->s_axi_bvalid;
            const bool error = top_->s_axi_bresp != 0;
            cycle();
            if (aw) top_->s_axi_awvalid = 0;
            if (w) top_->s_axi_wvalid = 0;
            if (b) top_->s_axi_bready = 0;
            settle();
            if (b) return error;
        }
        problem("no response to a register write");
        return true;
    }
    uint64_t register_read(uint64_t address) {
        top_->s_axi_araddr = address, top_->s_axi_arvalid = 1, top_->s_axi_rready = 1;
        settle();
        for (unsigned tries = 0; tries < 1000; ++tries) {
            const bool ar = top_->s_axi_arready && top_->s_axi_arvalid;
            const bool r = top_->s_axi_rvalid;
            const uint64_t value = top_->s_axi_rdata;
            cycle();
            if (ar) top_->s_axi_arvalid = 0;
            if (r) top_->s_axi_rready = 0;
            settle();
            if (r) return value;
        }
        problem("no response to a register read");
        return 0;
    }

    std::unique_ptr<Vtop> top_;
    Memory memory_;
    Expected expected_[PORTS];
    std::mt19937_64 rng_{0};
    uint64_t latency_ = 40, spread_ = 0, now_ = 0, read_fault_ = 0, write_fault_ = 0;
    uint64_t bytes_read_ = 0, bytes_written_ = 0, mismatches_ = 0;
    std::deque<Burst> reads_, write_bursts_;
    std::deque<uint16_t> write_data_;
    std::deque<uint64_t> responses_;
    bool read_offered_ = false, response_offered_ = false, ar_held_ = false, outside_ = false;
    std::string values_, first_, problems_;
    std::vector<uint64_t> started_[UNITS], finished_[UNITS];
};

}  // namespace

int main(int count, char** words) {
    if (count != 3) fail("usage: program SCENARIO VERDICT");
    VerilatedContext context;
    std::ifstream scenario(words[1]);
    if (!scenario) fail(std::string(words[1]) + ": cannot be read");
    Simulation simulation(context);
    for (std::string line; std::getline(scenario, line);) simulation.command(line);
    simulation.report(words[2]);
    return 0;
}
