/* host_machine.c: the extension of temper/machine.h: memory there is, and numbers that go into volatile.json. */
#include "worker/host.h"

#include <math.h>
#include <stdlib.h>
#include <temper/checkpoint.h>
#include <temper/machine.h>

static const tm_worker *worker_of(const temper_host *host) {
    return ((const tm_host *)host->self)->worker;
}

static uint64_t memory(const temper_host *host) {
    (void)host;
    return tm_memory_limit();
}

/* The number behind a word at the beginning of one of a file's lines; `otherwise` when it is not there. */
static uint64_t number_behind(const char *path, const char *word, uint64_t otherwise) {
    FILE *file = fopen(path, "re");
    char line[160];
    size_t length = strlen(word);
    uint64_t number = otherwise;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, word, length) == 0 && line[length] >= '0' && line[length] <= '9') {
            number = strtoull(line + length, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return number;
}

/* What the machine says it could give, in kilobytes aligned to the right. */
static uint64_t of_machine(void) {
    FILE *file = fopen("/proc/meminfo", "re");
    char line[160];
    uint64_t bytes = UINT64_MAX;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "MemAvailable:", 13) == 0) {
            bytes = strtoull(line + 13, NULL, 10) * 1024;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return bytes;
}

/* What this control group may still have: pages of files count in what it has, but are given up when it is short. */
static uint64_t of_group(void) {
    uint64_t most = number_behind("/sys/fs/cgroup/memory.max", "", UINT64_MAX);
    uint64_t now = number_behind("/sys/fs/cgroup/memory.current", "", 0);
    uint64_t files = number_behind("/sys/fs/cgroup/memory.stat", "file ", 0);
    now = now > files ? now - files : 0;
    return most > now ? most - now : 0;
}

static uint64_t available(const temper_host *host) {
    uint64_t own = tm_memory_left(), machine = of_machine(), group = of_group();
    (void)host;
    own = own < machine ? own : machine;
    return own < group ? own : group;
}

static void note(const temper_host *host, const char *name, double number) {
    tm_worker *worker = (tm_worker *)(uintptr_t)worker_of(host);
    if (!tm_on_run_thread("note")) {
        return;
    }
    if (name == NULL || *name == 0 || !isfinite(number)) {
        tm_misuse(TEMPER_INVALID, "note: \"%.40s\" is no finite number with a name",
                  name != NULL ? name : "");
        return;
    }
    if (worker->notes == NULL) {
        worker->notes = tm_json_object(worker->arena);
    }
    if (worker->notes == NULL || !tm_json_set_number(worker->arena, worker->notes, name, number)) {
        tm_misuse(TEMPER_INVALID, "note: \"%.40s\" is not UTF-8, or memory is short", name);
    }
}

const void *tm_host_extension(const temper_host *host, const char *id) {
    static const temper_machine machine = {
        .size = sizeof machine, .memory = memory, .available = available, .note = note};
    (void)host;
    if (id != NULL && strcmp(id, TEMPER_ROWS) == 0) {
        return tm_host_rows();
    }
    if (id != NULL && strcmp(id, TEMPER_CHECKPOINT_SERVICE) == 0) {
        return tm_checkpoint_extension();
    }
    return id != NULL && strcmp(id, TEMPER_MACHINE) == 0 ? &machine : NULL;
}
