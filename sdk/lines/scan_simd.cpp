/* scan_simd.cpp: the scan by simdjson, whose first stage finds exactly the tokens' beginnings, 64 bytes at a time. The only
 * file of Temper that is C++; everything that gives JSON its meaning is in parse.c. */
#include "lines/scan.h"

#include <memory>
#include <new>
#include <simdjson.h>

struct temper_scan {
    std::unique_ptr<simdjson::internal::dom_parser_implementation> parser;
    size_t capacity;
};

temper_scan *temper_scan_new(void) {
    temper_scan *scan = new (std::nothrow) temper_scan;
    if (scan != nullptr) {
        scan->capacity = 0;
    }
    return scan;
}

void temper_scan_free(temper_scan *scan) {
    delete scan;
}

/* Room for `length` bytes. It costs four times as much, though only what is used is ever touched. */
static bool make_room(temper_scan *scan, size_t length) {
    const size_t least = size_t(1) << 21;
    if (scan->parser && length <= scan->capacity) {
        return true;
    }
    size_t capacity = length < least ? least : length + length / 2;
    scan->capacity = 0;
    scan->parser.reset();
    if (simdjson::get_active_implementation()->create_dom_parser_implementation(capacity, 4, scan->parser) !=
        simdjson::SUCCESS) {
        return false;
    }
    scan->capacity = capacity;
    return true;
}

temper_scan_result temper_scan_text(temper_scan *scan, const char *text, size_t length,
                                    const uint32_t **positions, uint32_t *count) {
    if (!make_room(scan, length)) {
        return TEMPER_SCAN_NO_MEMORY;
    }
    *count = 0;
    *positions = scan->parser->structural_indexes.get();
    simdjson::error_code code =
        scan->parser->stage1(reinterpret_cast<const uint8_t *>(text), length, simdjson::stage1_mode::regular);
    if (code == simdjson::EMPTY) { /* nothing but white space */
        return TEMPER_SCAN_OK;
    }
    if (code != simdjson::SUCCESS) {
        return TEMPER_SCAN_BAD;
    }
    *positions = scan->parser->structural_indexes.get();
    *count = scan->parser->n_structural_indexes;
    return TEMPER_SCAN_OK;
}
