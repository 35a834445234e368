// The simulation's main: replays the cases of a trace folder on one design. The generated ports.h
// names the design (Vtop), its ports and the layout of the trace.
//
//   <program> TRACE VERDICT [--bare] [--stop] [--case N] [--waves FILE FROM TO] [--value PORT V]
//
// --bare drives the same pins from the same trace and compares nothing: the yardstick of `bench`.
// --stop ends a case at its first mismatch. --case plays case N alone; with --waves the cases before
// it too, which leave the design as it was, and keeps cycles FROM..TO of case N. --value holds
// a plain input at V in every case, whatever the trace says. --coverage FILE, in a program built for
// it, writes what Verilator counted over all cases. --check prints a summary and exits with 1 unless
// something was compared and all of it agreed.
#include <verilated.h>
#ifdef STEPSCALE_COVERAGE
#include <verilated_cov.h>
#endif

#include <algorithm>
#include <memory>
#include <utility>

#include "Vtop.h"
#include "checker.h"
#include "ports.h"
#ifdef STEPSCALE_WAVES
#include <verilated_fst_c.h>
using Wave = VerilatedFstC;
#else
struct Wave {};
#endif

namespace stepscale {
namespace {

constexpr unsigned RESET_CYCLES = 1;
constexpr uint64_t BURST = 1 << 15;            // cycles between two looks at the clock
constexpr double PROGRESS_SECONDS = 0.25;
constexpr uint64_t DRAIN_CYCLES = 8;           // of an elastic case, after its last beat
constexpr uint64_t IDLE_CYCLES_MAX = 100000;   // of an elastic case, without any transfer
constexpr uint64_t NS_PER_CYCLE = 10;

enum Mode : uint64_t { CYCLES = 0, BEATS = 1 };

struct Options {
    std::string trace, verdict, waves, coverage;
    bool bare = false, stop = false, check = false;
    std::vector<std::pair<std::string, uint64_t>> values;
    uint64_t only = UINT64_MAX, from = 0, to = UINT64_MAX;
};

struct CaseRecord {
    uint64_t cycles, mode;
    const Control* control;
    std::vector<Slice> columns;
};

double now() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

class Trace {
public:
    explicit Trace(const std::string& folder)
        : control_(folder + "/control"), cases_(folder + "/cases") {
        const Column layout(folder + "/layout");
        const std::string name = LAYOUT;
        if (layout.size() != name.size() || name.compare(0, name.size(), reinterpret_cast<const char*>(layout.at(0, name.size(), 1)), name.size()) != 0)
            fail(folder + ": was written for other ports than this program has");
        for (const char* name : COLUMNS) columns_.emplace_back(folder + "/" + name);
        if (cases_.size() % (8 * words()) != 0) fail(folder + ": its list of cases was truncated");
    }
    uint64_t cases() const { return cases_.size() / (8 * words()); }
    CaseRecord open(uint64_t number) const {
        const auto* at = reinterpret_cast<const uint64_t*>(cases_.at(number * words(), words(), 8));
        CaseRecord record;
        record.cycles = at[0];
        record.mode = at[1];
        record.control = reinterpret_cast<const Control*>(control_.at(at[2], at[0], sizeof(Control)));
        for (size_t n = 0; n < columns_.size(); ++n) {
            const uint64_t first = at[3 + 2 * n], count = at[4 + 2 * n];
            record.columns.push_back({columns_[n].at(first, count, COLUMN_BYTES[n]), count});
        }
        return record;
    }

private:
    uint64_t words() const { return 3 + 2 * columns_.size(); }
    Column control_, cases_;
    std::vector<Column> columns_;
};

class Bench {
public:
    Bench(VerilatedContext& context, const Options& options)
        : options_(options), context_(context), top_(new Vtop(&context)), ports_(*top_) {
#ifdef STEPSCALE_WAVES
        if (!options.waves.empty()) {
            context.traceEverOn(true);
            wave_.reset(new Wave);
            top_->trace(wave_.get(), 99);
            wave_->open(options.waves.c_str());
        }
#endif
        each(ports_.inputs, [](auto& port) { port.stop(); });
        each(ports_.outputs, [](auto& port) { port.stop(); });
        each(ports_.plain_in, [](auto& port) { port.stop(); });
    }
    ~Bench() {
#ifdef STEPSCALE_WAVES
        if (wave_) wave_->close();
#endif
        top_->final();
    }

    Verdict play(const CaseRecord& record, uint64_t number) {
        open(record);
        watching_ = !options_.waves.empty() && number == (options_.only == UINT64_MAX ? 0 : options_.only);
        if (record.mode == BEATS) return run<true, true>(record, number);
        return options_.bare ? run<false, false>(record, number) : run<true, false>(record, number);
    }

private:
    // The outputs have settled: the cycle ends here.
    void edge(uint64_t cycle) {
        dump(cycle * NS_PER_CYCLE);
        top_->clk = 1;
        top_->eval();
        dump(cycle * NS_PER_CYCLE + NS_PER_CYCLE / 2);
    }
    // The inputs of the next cycle are driven.
    void settle() {
        top_->clk = 0;
        top_->eval();
    }
    void dump([[maybe_unused]] uint64_t time) {
#ifdef STEPSCALE_WAVES
        const uint64_t cycle = time / NS_PER_CYCLE;
        if (wave_ && watching_ && cycle >= options_.from && cycle <= options_.to) wave_->dump(time);
#endif
    }

    void open(const CaseRecord& record) {
        top_->rst = 1;
        watching_ = false;
        size_t held = 0;
        each(ports_.plain_in, [&](auto& port) { held += hold(port); });
        if (held != options_.values.size()) fail("--value names a port that is no plain input");
        // a reset must win over traffic: every input offers, and no sink takes what is inside
        each(ports_.inputs, [](auto& port) { port.valid = 1; });
        for (unsigned cycle = 0; cycle < RESET_CYCLES; ++cycle) {
            settle();
            edge(0);
        }
        top_->rst = 0;
        size_t column = 0;
        const auto take = [&]() -> const Slice& { return record.columns[column++]; };
        each(ports_.inputs, [&](auto& port) {
            const Slice& starts = take();
            port.open(starts, take());
        });
        each(ports_.outputs, [&](auto& port) { port.open(take()); });
        each(ports_.plain_in, [&](auto& port) {
            const Slice& cycles = take();
            port.open(cycles, take());
            hold(port);
            port.drive_first();
        });
        each(ports_.plain_out, [&](auto& port) {
            const Slice& cycles = take();
            port.open(cycles, take());
        });
        drive_ready(record.cycles ? record.control[0] : 0);
    }
    // Plain inputs of --value keep it, in the reset too.
    template <class Port>
    size_t hold(Port& port) {
        size_t held = 0;
        for (const auto& value : options_.values) {
            if (value.first != port.name) continue;
            port.fix(value.second);
            port.drive_first();
            ++held;
        }
        return held;
    }
    void drive_ready(uint64_t control) {
        unsigned bit = INPUTS + OUTPUTS;
        each(ports_.outputs, [&](auto& port) { port.ready = control >> bit++ & 1; });
    }

    template <bool COMPARE, bool ELASTIC>
    Verdict run(const CaseRecord& record, uint64_t number) {
        Verdict verdict;
        const uint64_t whole = ELASTIC && record.cycles ? UINT64_MAX : record.cycles;
        const uint64_t stop = watching_ ? std::min(whole, options_.to + 1) : whole;
        uint64_t cycle = 0, idle = 0, drained = 0;
        bool done = false;
        settle();
        while (cycle < stop && !done) {
            const uint64_t burst = std::min(stop, cycle + BURST);
            for (; cycle < burst && !done; ++cycle) {
                uint64_t seen = 0;
                unsigned bit = 0;
                each(ports_.inputs, [&](auto& port) { seen |= uint64_t{port.ready} << bit++; });
                each(ports_.outputs, [&](auto& port) { seen |= uint64_t{port.valid} << bit++; });
                if (COMPARE) compare<ELASTIC>(record, cycle, seen, verdict);
                if (ELASTIC) {
                    idle = transferred(seen) ? 0 : idle + 1;
                    drained = finished() ? drained + 1 : 0;
                    done = drained > DRAIN_CYCLES || idle > IDLE_CYCLES_MAX;
                }
                if (COMPARE && options_.stop && verdict.mismatches) done = true;
                const uint64_t next = cycle + 1;
                const uint64_t place = ELASTIC ? next % record.cycles : next;
                const uint64_t control = next < stop ? record.control[place] : 0;
                edge(cycle);
                bit = 0;
                each(ports_.inputs, [&](auto& port) { port.clock(next, seen >> bit++ & 1); });
                each(ports_.plain_in, [&](auto& port) { port.drive(next); });
                drive_ready(control);
                settle();
            }
            progress(number, cycle);
        }
        verdict.cycles = cycle;
        finish<COMPARE, ELASTIC>(record, verdict);
        each(ports_.inputs, [](auto& port) { port.stop(); });
        each(ports_.outputs, [](auto& port) { port.stop(); });
        each(ports_.plain_in, [](auto& port) { port.stop(); });
        return verdict;
    }

    template <bool ELASTIC>
    void compare(const CaseRecord& record, uint64_t cycle, uint64_t seen, Verdict& verdict) {
        const uint64_t want = record.control[ELASTIC ? cycle % record.cycles : cycle];
        constexpr uint64_t MASK = (uint64_t{1} << (INPUTS + OUTPUTS)) - 1;
        const uint64_t differing = ELASTIC ? 0 : (seen ^ want) & MASK;
        if (__builtin_expect(differing != 0, 0)) handshakes(record, cycle, seen, differing, verdict);
        unsigned bit = INPUTS;
        each(ports_.outputs, [&](auto& port) {
            const bool valid = seen >> bit & 1;
            if (differing >> bit & 1) valid_differs(port, record, cycle, valid, bit, verdict);
            if (valid) {
                if (port.moved < port.beats && __builtin_expect(!port.same(), 0))
                    verdict.differs(port.payload_difference(cycle));
                port.moved += port.ready;
            }
            ++bit;
        });
        if (ELASTIC) return;
        each(ports_.plain_out, [&](auto& port) {
            port.advance(cycle);
            if (__builtin_expect(!port.same(), 0)) {
                const unsigned width = port_width(port);
                verdict.differs({"plain", port.name, cycle, -1, bits(port.now, width),
                                 bits(static_cast<const uint8_t*>(port.value), width)});
            }
        });
    }

    template <size_t BYTES, unsigned WIDTH>
    static constexpr unsigned port_width(const Plain<BYTES, WIDTH>&) { return WIDTH; }

    __attribute__((noinline, cold)) void handshakes(
        const CaseRecord&, uint64_t cycle, uint64_t seen, uint64_t differing, Verdict& verdict) {
        unsigned bit = 0;
        each(ports_.inputs, [&](auto& port) {
            const bool got = seen >> bit & 1;
            if (differing >> bit++ & 1)
                verdict.differs({"ready", port.name, cycle, port.reached(cycle), flag(!got), flag(got)});
        });
    }
    // A beat that is missing is named by the golden model's count, one too many by the design's.
    template <class Port>
    __attribute__((noinline, cold)) void valid_differs(
        const Port& port, const CaseRecord& record, uint64_t cycle, bool got, unsigned bit, Verdict& verdict) {
        uint64_t beat = port.moved;
        if (!got) {
            beat = 0;
            for (uint64_t c = 0; c < cycle; ++c)
                beat += record.control[c] >> bit & record.control[c] >> (bit + OUTPUTS) & 1;
        }
        verdict.differs({"valid", port.name, cycle, static_cast<int64_t>(beat), flag(!got), flag(got)});
    }

    bool transferred(uint64_t seen) {
        bool any = false;
        unsigned bit = 0;
        each(ports_.inputs, [&](auto& port) { any |= port.offering && (seen >> bit & 1); ++bit; });
        each(ports_.outputs, [&](auto& port) { any |= (seen >> bit & 1) && port.ready; ++bit; });
        return any;
    }
    bool finished() {
        bool all = true;
        each(ports_.inputs, [&](auto& port) { all &= port.beat == port.beats; });
        each(ports_.outputs, [&](auto& port) { all &= port.moved >= port.beats; });
        return all;
    }

    template <bool COMPARE, bool ELASTIC>
    void finish(const CaseRecord& record, Verdict& verdict) {
        if (!COMPARE) return;
        unsigned bit = INPUTS;
        const bool cut = (options_.stop && verdict.mismatches) || watching_;
        each(ports_.outputs, [&](auto& port) {
            uint64_t wanted = ELASTIC ? port.beats : 0;
            if (!ELASTIC)
                for (uint64_t c = 0; c < record.cycles; ++c)
                    wanted += record.control[c] >> bit & record.control[c] >> (bit + OUTPUTS) & 1;
            ++bit;
            const uint64_t beat = std::min(port.moved, wanted);
            verdict.beats += beat;
            if (port.moved != wanted && !cut)
                verdict.differs({port.moved < wanted ? "missing" : "extra", port.name,
                                 verdict.cycles - 1, static_cast<int64_t>(beat),
                                 std::to_string(wanted), std::to_string(port.moved)});
        });
        if (OUTPUTS == 0 && std::tuple_size<decltype(ports_.plain_out)>::value != 0)
            verdict.beats = verdict.cycles;  // a block without streams delivers in every cycle
    }

    void progress(uint64_t number, uint64_t cycle) {
        const double time = now();
        if (time - reported_ < PROGRESS_SECONDS) return;
        reported_ = time;
        std::printf("%llu %llu\n", static_cast<unsigned long long>(number),
                    static_cast<unsigned long long>(cycle));
        std::fflush(stdout);
    }

    const Options& options_;
    VerilatedContext& context_;
    std::unique_ptr<Vtop> top_;
    Ports ports_;
    std::unique_ptr<Wave> wave_;
    bool watching_ = false;
    double reported_ = 0;
};

void write_verdict(const std::string& path, const std::vector<Verdict>& verdicts,
                   const std::vector<double>& seconds) {
    const std::string part = path + ".part";
    std::FILE* const file = std::fopen(part.c_str(), "w");
    if (file == nullptr) fail(part + ": cannot be written");
    const char* comma = "";
    std::fputs("{\"verdicts\": [", file);
    for (size_t n = 0; n < verdicts.size(); ++n) {
        const Verdict& v = verdicts[n];
        std::fprintf(file,
                     "%s\n{\"cycles\": %llu, \"beats\": %llu, \"mismatches\": %llu, \"seconds\": %.9f, "
                     "\"differences\": [",
                     comma, static_cast<unsigned long long>(v.cycles),
                     static_cast<unsigned long long>(v.beats),
                     static_cast<unsigned long long>(v.mismatches), seconds[n]);
        comma = ",";
        const char* inner = "";
        for (const Difference& d : v.differences) {
            std::fprintf(file,
                         "%s{\"kind\": \"%s\", \"stream\": \"%s\", \"cycle\": %llu, \"beat\": %lld, "
                         "\"expected\": \"%s\", \"got\": \"%s\"}",
                         inner, d.kind, d.stream, static_cast<unsigned long long>(d.cycle),
                         static_cast<long long>(d.beat), d.expected.c_str(), d.got.c_str());
            inner = ", ";
        }
        std::fputs("]}", file);
    }
    std::fputs("\n]}\n", file);
    const bool bad = std::ferror(file) != 0;
    if (std::fclose(file) != 0 || bad || std::rename(part.c_str(), path.c_str()) != 0)
        fail(path + ": cannot be written");
}

int summary(const std::vector<Verdict>& verdicts) {
    unsigned long long cycles = 0, beats = 0, mismatches = 0;
    const Difference* first = nullptr;
    for (const Verdict& v : verdicts) {
        cycles += v.cycles, beats += v.beats, mismatches += v.mismatches;
        if (first == nullptr && !v.differences.empty()) first = &v.differences.front();
    }
    std::printf("%llu cycles, %llu beats compared, %llu mismatches\n", cycles, beats, mismatches);
    if (first != nullptr)
        std::printf("first: %s of %s in cycle %llu: expected %s, got %s\n", first->kind, first->stream,
                    static_cast<unsigned long long>(first->cycle), first->expected.c_str(), first->got.c_str());
    return beats != 0 && mismatches == 0 ? 0 : 1;
}

Options parse(int argc, char** argv) {
    if (argc < 3) fail("needs TRACE and VERDICT");
    Options options;
    options.trace = argv[1];
    options.verdict = argv[2];
    for (int n = 3; n < argc; ++n) {
        const std::string word = argv[n];
        const auto number = [&] { return ++n < argc ? std::strtoull(argv[n], nullptr, 10) : 0; };
        if (word == "--bare") options.bare = true;
        else if (word == "--stop") options.stop = true;
        else if (word == "--check") options.check = true;
        else if (word == "--case") options.only = number();
        else if (word == "--coverage" && n + 1 < argc) options.coverage = argv[++n];
        else if (word == "--waves" && n + 3 < argc) {
            options.waves = argv[++n];
            options.from = number();
            options.to = number();
        } else if (word == "--value" && n + 2 < argc) {
            const std::string port = argv[++n];
            options.values.emplace_back(port, number());
        } else if (word.rfind("+verilator+", 0) != 0) fail("unknown option " + word);
    }
    return options;
}

int run(int argc, char** argv) {
    const Options options = parse(argc, argv);
    VerilatedContext context;
    context.commandArgs(argc, argv);
    const Trace trace(options.trace);
    std::vector<Verdict> verdicts;
    std::vector<double> seconds;
    Bench bench(context, options);
    for (uint64_t number = 0; number < trace.cases(); ++number) {
        if (options.only != UINT64_MAX && number > options.only) break;
        if (options.only != UINT64_MAX && number < options.only && options.waves.empty()) continue;
        const CaseRecord record = trace.open(number);
        const double began = now();
        verdicts.push_back(bench.play(record, number));
        seconds.push_back(now() - began);
    }
#ifdef STEPSCALE_COVERAGE
    if (!options.coverage.empty()) context.coveragep()->write(options.coverage);
#endif
    write_verdict(options.verdict, verdicts, seconds);
    return options.check ? summary(verdicts) : 0;
}

}  // namespace
}  // namespace stepscale

int main(int argc, char** argv) { return stepscale::run(argc, argv); }
