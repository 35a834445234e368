/* See stepscale.h. SPDX-License-Identifier: Apache-2.0 */
#include "stepscale.h"

#include "stepscale_registers.h"

#define AT(member) ((uint32_t)offsetof(stepscale_t, member))
#define GET(word, field) (((word) & field##_bm) >> field##_bp)
#define BOTH (STEPSCALE__INTERRUPT__DONE_bm | STEPSCALE__INTERRUPT__ERROR_bm)

static const uint32_t REGION[STEPSCALE_REGIONS] = {AT(program), AT(weights), AT(tables), AT(data)};

static uint32_t get(struct stepscale *device, uint32_t offset) {
    return device->read(device->context, offset);
}

static int put(struct stepscale *device, uint32_t offset, uint32_t value) {
    return device->write(device->context, offset, value) ? STEPSCALE_REFUSED : STEPSCALE_OK;
}

int stepscale_open(struct stepscale *device, struct stepscale_shape *shape) {
    if (get(device, AT(identity)) != STEPSCALE__IDENTITY__VALUE_reset ||
        get(device, AT(version)) != STEPSCALE__VERSION__VALUE_reset)
        return STEPSCALE_NO_DEVICE;
    if (shape != NULL) {
        const uint32_t word = get(device, AT(shape)), tables = get(device, AT(table_sizes));
        const uint32_t blocks = get(device, AT(blocks));
        shape->size = GET(word, STEPSCALE__SHAPE__SIZE);
        shape->axi_bytes = GET(word, STEPSCALE__SHAPE__AXI_BYTES);
        shape->stream_banks = GET(word, STEPSCALE__SHAPE__STREAM_BANKS);
        shape->stream_words = get(device, AT(stream_words));
        shape->code_words = get(device, AT(code_words));
        shape->sum_chunks = GET(tables, STEPSCALE__TABLE_SIZES__SUM_CHUNKS);
        shape->channel_tiles = GET(tables, STEPSCALE__TABLE_SIZES__CHANNEL_TILES);
        shape->depth = get(device, AT(depth));
        shape->segments = GET(blocks, STEPSCALE__BLOCKS__SEGMENTS);
        shape->outstanding = GET(blocks, STEPSCALE__BLOCKS__OUTSTANDING);
    }
    return STEPSCALE_OK;
}

int stepscale_place(struct stepscale *device, enum stepscale_region region, uint64_t base, uint32_t size) {
    const uint32_t bytes = GET(get(device, AT(shape)), STEPSCALE__SHAPE__AXI_BYTES);
    if ((unsigned)region >= STEPSCALE_REGIONS || bytes == 0 || base % bytes != 0) return STEPSCALE_ARGUMENT;
    const uint32_t at = REGION[region];
    if (put(device, at, (uint32_t)base) || put(device, at + 4, (uint32_t)(base >> 32)) || put(device, at + 8, size))
        return STEPSCALE_REFUSED;
    device->base[region] = base;
    device->size[region] = size;
    return STEPSCALE_OK;
}

static int inside(const struct stepscale *device, enum stepscale_region region, uint32_t offset, size_t size) {
    return (unsigned)region < STEPSCALE_REGIONS && offset <= device->size[region] &&
           size <= device->size[region] - offset;
}

int stepscale_load(struct stepscale *device, enum stepscale_region region, uint32_t offset, const void *bytes, size_t size) {
    if (!inside(device, region, offset, size)) return STEPSCALE_ARGUMENT;
    device->store(device->context, device->base[region] + offset, bytes, size);
    return STEPSCALE_OK;
}

int stepscale_fetch(struct stepscale *device, enum stepscale_region region, uint32_t offset, void *bytes, size_t size) {
    if (!inside(device, region, offset, size)) return STEPSCALE_ARGUMENT;
    device->fetch(device->context, device->base[region] + offset, bytes, size);
    return STEPSCALE_OK;
}

int stepscale_start(struct stepscale *device, uint16_t first, uint16_t last) {
    if (first > last) return STEPSCALE_ARGUMENT;
    const uint32_t status = get(device, AT(status));
    if (GET(status, STEPSCALE__STATUS__BUSY)) return STEPSCALE_REFUSED;
    if (status != 0 && put(device, AT(control), STEPSCALE__CONTROL__CLEAR_bm)) return STEPSCALE_REFUSED;
    if (put(device, AT(interrupt), BOTH) || put(device, AT(mask), BOTH) ||
        put(device, AT(steps), (uint32_t)first << STEPSCALE__STEPS__FIRST_bp | (uint32_t)last << STEPSCALE__STEPS__LAST_bp))
        return STEPSCALE_REFUSED;
    return put(device, AT(control), STEPSCALE__CONTROL__START_bm);
}

int stepscale_wait(struct stepscale *device, uint32_t waits) {
    for (;; --waits) {
        const uint32_t status = get(device, AT(status));
        /* an end stands in interrupt too: a status read before the start took effect is not one */
        if (!GET(status, STEPSCALE__STATUS__BUSY) && get(device, AT(interrupt)) != 0) {
            if (put(device, AT(interrupt), BOTH)) return STEPSCALE_REFUSED;
            return GET(status, STEPSCALE__STATUS__ERROR) ? STEPSCALE_FAILED : STEPSCALE_OK;
        }
        if (waits == 0) return STEPSCALE_WAIT;
        device->wait(device->context);
    }
}

int stepscale_stop(struct stepscale *device) {
    return put(device, AT(control), STEPSCALE__CONTROL__STOP_bm);
}

uint32_t stepscale_cause(struct stepscale *device, uint32_t *offset) {
    if (offset != NULL) *offset = get(device, AT(address));
    return GET(get(device, AT(cause)), STEPSCALE__CAUSE__CODE);
}

const char *stepscale_cause_text(uint32_t cause) {
    static const char *const TEXT[] = {STEPSCALE_CAUSES};
    return cause < sizeof TEXT / sizeof TEXT[0] ? TEXT[cause] : "unknown cause";
}

int stepscale_timeout(struct stepscale *device, uint32_t cycles) {
    return put(device, AT(timeout), cycles);
}

static uint64_t count(struct stepscale *device, uint32_t low) {
    const uint64_t word = get(device, low); /* keeps the high half */
    return (uint64_t)get(device, low + 4) << 32 | word;
}

void stepscale_count(struct stepscale *device, struct stepscale_counters *counters) {
    counters->cycles = count(device, AT(cycles));
    counters->array_beats = count(device, AT(array_beats));
    counters->vector_beats = count(device, AT(vector_beats));
    counters->words_read = count(device, AT(words_read));
    counters->words_written = count(device, AT(words_written));
}
