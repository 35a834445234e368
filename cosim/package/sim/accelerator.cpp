// Smoke bench of the accelerator: the C driver runs a program on the Verilated RTL, and every byte of
// the data region is compared with what the integer golden model left there, and the cycles with
// those that its cycle model predicts. Needs Verilator only.
//
//   <program> IMAGES [LATENCY]    IMAGES: folder with program, weights, tables, data, expected .bin;
//                                 LATENCY: of memory, cycles; another than the default predicts none
//
// SPDX-License-Identifier: Apache-2.0
#include <verilated.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "Vtop.h"
#include "run.h"
#include "stepscale.h"

namespace {

using Bytes = std::vector<uint8_t>;
constexpr uint64_t BASE[STEPSCALE_REGIONS] = {0x10000000, 0x20000000, 0x130000000, 0x40000000};
const char* const NAME[STEPSCALE_REGIONS] = {"program", "weights", "tables", "data"};
constexpr unsigned CYCLES_A_WAIT = 1000;
constexpr unsigned WAITS = 1000000;

[[noreturn]] void fail(const std::string& text) {
    std::fprintf(stderr, "smoke: %s\n", text.c_str());
    std::exit(2);
}

Bytes load(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(path + ": cannot be read");
    return Bytes(std::istreambuf_iterator<char>(file), {});
}

struct Burst {
    uint64_t due, address;
    unsigned beats;
};

// The design, and memory at its AXI4 port: a read burst is answered `latency` cycles after its request.
class Machine {
public:
    explicit Machine(unsigned latency) : latency_(latency), top_(new Vtop) {
        // the host is silent from the first cycle on, whatever Verilator begins with
        top_->s_axi_arvalid = top_->s_axi_awvalid = top_->s_axi_wvalid = 0;
        top_->s_axi_rready = top_->s_axi_bready = 0;
        top_->m_axi_rresp = top_->m_axi_bresp = 0;
        top_->aresetn = 0;
        cycle();
        top_->aresetn = 1;
    }
    ~Machine() { top_->final(); }

    void cycle() {
        top_->m_axi_arready = 1;
        top_->m_axi_awready = 1;
        top_->m_axi_wready = 1;
        top_->m_axi_rvalid = !reads_.empty() && reads_.front().due <= now_;
        if (top_->m_axi_rvalid) {
            std::memcpy(&top_->m_axi_rdata, at(reads_.front().address), AXI_BYTES);
            top_->m_axi_rlast = reads_.front().beats == 1;
        }
        top_->m_axi_bvalid = !responses_.empty() && responses_.front() <= now_;
        top_->aclk = 0;
        top_->eval();
        if (!top_->aresetn) return edge();  // memory is in reset too
        const bool r = top_->m_axi_rvalid && top_->m_axi_rready;
        const bool b = top_->m_axi_bvalid && top_->m_axi_bready;
        if (top_->m_axi_arvalid) reads_.push_back({now_ + latency_, top_->m_axi_araddr, top_->m_axi_arlen + 1u});
        if (r) {
            reads_.front().address += AXI_BYTES;
            if (--reads_.front().beats == 0) reads_.pop_front();
        }
        if (top_->m_axi_awvalid) writes_.push_back({0, top_->m_axi_awaddr, top_->m_axi_awlen + 1u});
        if (top_->m_axi_wvalid) {
            Bytes beat(AXI_BYTES);
            std::memcpy(beat.data(), &top_->m_axi_wdata, AXI_BYTES);
            beats_.push_back({beat, static_cast<uint32_t>(top_->m_axi_wstrb)});
        }
        while (!writes_.empty() && !beats_.empty()) {
            uint8_t* const place = at(writes_.front().address);
            for (unsigned n = 0; n < AXI_BYTES; ++n)
                if (beats_.front().second >> n & 1) place[n] = beats_.front().first[n];
            beats_.pop_front();
            writes_.front().address += AXI_BYTES;
            if (--writes_.front().beats == 0) {
                writes_.pop_front();
                responses_.push_back(now_ + latency_);
            }
        }
        if (b) responses_.pop_front();
        edge();
    }

    // AXI4-Lite, one access at a time.
    uint32_t read(uint32_t offset) {
        top_->s_axi_araddr = offset, top_->s_axi_arvalid = 1, top_->s_axi_rready = 1;
        bool asked = false;
        for (unsigned n = 0; n < 100; ++n) {
            settle();
            const bool taken = top_->s_axi_arvalid && top_->s_axi_arready, answered = asked && top_->s_axi_rvalid;
            const uint32_t word = top_->s_axi_rdata;
            cycle();
            if (taken) asked = true, top_->s_axi_arvalid = 0;
            if (answered) return top_->s_axi_rready = 0, word;
        }
        fail("no answer to a register read");
    }
    int write(uint32_t offset, uint32_t value) {
        top_->s_axi_awaddr = offset, top_->s_axi_awvalid = 1;
        top_->s_axi_wdata = value, top_->s_axi_wstrb = 15, top_->s_axi_wvalid = 1, top_->s_axi_bready = 1;
        for (unsigned n = 0; n < 100; ++n) {
            settle();
            const bool aw = top_->s_axi_awvalid && top_->s_axi_awready, w = top_->s_axi_wvalid && top_->s_axi_wready;
            const bool b = top_->s_axi_bvalid;
            const int response = top_->s_axi_bresp;
            cycle();
            if (aw) top_->s_axi_awvalid = 0;
            if (w) top_->s_axi_wvalid = 0;
            if (b) return top_->s_axi_bready = 0, response;
        }
        fail("no answer to a register write");
    }
    void place(unsigned region, size_t size) { memory_[region].assign((size + 4095) / 4096 * 4096, 0); }
    // Every region is whole pages, so no burst leaves one half way.
    uint8_t* at(uint64_t address) {
        for (unsigned n = 0; n < STEPSCALE_REGIONS; ++n)
            if (address >= BASE[n] && address - BASE[n] < memory_[n].size()) return &memory_[n][address - BASE[n]];
        fail("the bus asks for " + std::to_string(address) + ", which no region holds");
    }
    bool irq() const { return top_->irq; }
    uint64_t now() const { return now_; }

private:
    void edge() {
        top_->aclk = 1;
        top_->eval();
        ++now_;
    }
    void settle() {
        top_->aclk = 0;
        top_->eval();
    }
    uint64_t latency_, now_ = 0;
    std::unique_ptr<Vtop> top_;
    Bytes memory_[STEPSCALE_REGIONS];
    std::deque<Burst> reads_, writes_;
    std::deque<std::pair<Bytes, uint32_t>> beats_;
    std::deque<uint64_t> responses_;
};

Machine& machine(void* context) { return *static_cast<Machine*>(context); }
uint32_t read_word(void* context, uint32_t offset) { return machine(context).read(offset); }
int write_word(void* context, uint32_t offset, uint32_t value) { return machine(context).write(offset, value); }
void store(void* context, uint64_t address, const void* bytes, size_t size) {
    if (size) std::memcpy(machine(context).at(address), bytes, size);
}
void fetch(void* context, uint64_t address, void* bytes, size_t size) {
    if (size) std::memcpy(bytes, machine(context).at(address), size);
}
void wait_irq(void* context) {
    for (unsigned n = 0; n < CYCLES_A_WAIT && !machine(context).irq(); ++n) machine(context).cycle();
}

void need(int result, const char* what) {
    if (result != STEPSCALE_OK) fail(std::string(what) + ": result " + std::to_string(result));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) fail("usage: program IMAGES [LATENCY]");
    const std::string images = argv[1];
    Verilated::commandArgs(argc, argv);  // for +verilator+...
    const bool given = argc > 2 && argv[2][0] != '+';
    const unsigned latency = given ? static_cast<unsigned>(std::atoi(argv[2])) : LATENCY;
    Machine m(latency);
    stepscale device{};
    device.context = &m;
    device.read = read_word, device.write = write_word;
    device.store = store, device.fetch = fetch, device.wait = wait_irq;
    stepscale_shape shape;
    need(stepscale_open(&device, &shape), "open");
    std::printf("accelerator %u x %u, %u bytes a beat\n", shape.size, shape.size, shape.axi_bytes);
    for (unsigned n = 0; n < STEPSCALE_REGIONS; ++n) {
        const auto region = static_cast<stepscale_region>(n);
        const Bytes content = load(images + "/" + NAME[n] + ".bin");
        m.place(n, content.size());
        need(stepscale_place(&device, region, BASE[n], static_cast<uint32_t>(content.size())), "place");
        need(stepscale_load(&device, region, 0, content.data(), content.size()), "load");
    }
    need(stepscale_start(&device, FIRST_STEP, LAST_STEP), "start");
    const int result = stepscale_wait(&device, WAITS);
    if (result == STEPSCALE_FAILED) {
        uint32_t offset = 0;
        const uint32_t cause = stepscale_cause(&device, &offset);
        fail(std::string("cause: ") + stepscale_cause_text(cause) + ", instruction at " + std::to_string(offset));
    }
    need(result, "wait");
    const Bytes expected = load(images + "/expected.bin");
    Bytes got(expected.size());
    need(stepscale_fetch(&device, STEPSCALE_DATA, 0, got.data(), got.size()), "fetch");
    stepscale_counters counters;
    stepscale_count(&device, &counters);
    size_t differing = 0, first = 0;
    for (size_t n = expected.size(); n-- > 0;)
        if (got[n] != expected[n]) ++differing, first = n;
    std::printf("steps %u to %u: %llu cycles, %llu array beats\n", FIRST_STEP, LAST_STEP,
                static_cast<unsigned long long>(counters.cycles), static_cast<unsigned long long>(counters.array_beats));
    std::printf("%zu bytes compared, %zu differ\n", expected.size(), differing);
    if (differing) std::printf("first: byte %zu: expected %u, got %u\n", first, expected[first], got[first]);
    const bool late = latency == LATENCY && counters.cycles != CYCLES;
    if (late) std::printf("cycles: %llu were predicted\n", CYCLES);
    return differing || late || expected.empty() ? 1 : 0;
}
