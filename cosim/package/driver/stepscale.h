/* Driver of the stepscale accelerator: C11, no library but the compiler's own headers.
 *
 * The caller says how to reach the device (struct stepscale); the driver knows the registers.
 * All functions return STEPSCALE_OK or a negative enum stepscale_result.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STEPSCALE_H
#define STEPSCALE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum stepscale_result {
    STEPSCALE_OK = 0,
    STEPSCALE_NO_DEVICE = -1, /* identity or version of the registers is another */
    STEPSCALE_REFUSED = -2,   /* the bus answered a write with an error */
    STEPSCALE_ARGUMENT = -3,  /* region, size or step out of range */
    STEPSCALE_WAIT = -4,      /* the run did not end within the given waits */
    STEPSCALE_FAILED = -5     /* the run ended with an error: stepscale_cause() */
};

enum stepscale_region { STEPSCALE_PROGRAM, STEPSCALE_WEIGHTS, STEPSCALE_TABLES, STEPSCALE_DATA, STEPSCALE_REGIONS };

/* How to reach the device. context is passed on to every function and is otherwise not looked at. */
struct stepscale {
    void *context;
    uint32_t (*read)(void *context, uint32_t offset);
    int (*write)(void *context, uint32_t offset, uint32_t value); /* 0: the bus answered OKAY */
    void (*store)(void *context, uint64_t address, const void *bytes, size_t size);
    void (*fetch)(void *context, uint64_t address, void *bytes, size_t size);
    void (*wait)(void *context); /* until irq, or a pause between two looks at the status */
    uint64_t base[STEPSCALE_REGIONS];
    uint32_t size[STEPSCALE_REGIONS];
};

struct stepscale_shape {
    uint32_t size, axi_bytes, stream_banks, stream_words, code_words, sum_chunks, channel_tiles;
    uint32_t depth, segments, outstanding;
};

struct stepscale_counters {
    uint64_t cycles, array_beats, vector_beats, words_read, words_written;
};

/* Check identity and version; fill shape unless it is NULL. */
int stepscale_open(struct stepscale *device, struct stepscale_shape *shape);

/* Give a region its place; base is a multiple of the bus's bytes. */
int stepscale_place(struct stepscale *device, enum stepscale_region region, uint64_t base, uint32_t size);

/* Copy bytes into a region, or out of it, from offset on; refused beyond the region's size. */
int stepscale_load(struct stepscale *device, enum stepscale_region region, uint32_t offset, const void *bytes, size_t size);
int stepscale_fetch(struct stepscale *device, enum stepscale_region region, uint32_t offset, void *bytes, size_t size);

/* Start sampler steps first .. last (inclusive). An error of an earlier run is cleared first. */
int stepscale_start(struct stepscale *device, uint16_t first, uint16_t last);

/* Wait for the end, at most waits times device->wait, and acknowledge the interrupt. */
int stepscale_wait(struct stepscale *device, uint32_t waits);

/* End a run; stepscale_wait then returns STEPSCALE_FAILED with cause 13. */
int stepscale_stop(struct stepscale *device);

/* Why the last run failed, as a number and as text; offset of the instruction in the program. */
uint32_t stepscale_cause(struct stepscale *device, uint32_t *offset);
const char *stepscale_cause_text(uint32_t cause);

/* Cycles without progress after which a run ends with cause 12; 0 for none. */
int stepscale_timeout(struct stepscale *device, uint32_t cycles);

void stepscale_count(struct stepscale *device, struct stepscale_counters *counters);

#ifdef __cplusplus
}
#endif
#endif
