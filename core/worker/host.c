/* host.c: the vtable a plugin sees, put together; chance; and misuses. */
#include "worker/host.h"

#include "base/digest.h"
#include <pthread.h>

static pthread_mutex_t misuse_lock = PTHREAD_MUTEX_INITIALIZER;
static temper_status misuse_status;
static char misuse_message[TEMPER_MESSAGE_SIZE];

void tm_misuse(temper_status status, const char *format, ...) {
    va_list arguments;
    pthread_mutex_lock(&misuse_lock);
    if (misuse_status == TEMPER_OK) {
        misuse_status = status;
        va_start(arguments, format);
        vsnprintf(misuse_message, sizeof misuse_message, format, arguments);
        va_end(arguments);
    }
    pthread_mutex_unlock(&misuse_lock);
}

temper_status tm_misused(temper_error *error) {
    pthread_mutex_lock(&misuse_lock);
    temper_status status = misuse_status;
    if (status) {
        temper_fail(error, status, "%s", misuse_message);
    }
    pthread_mutex_unlock(&misuse_lock);
    return status;
}

/* The first eight bytes, little-endian, of SHA-256("SEED_PATH/NAME"). */
static uint64_t rng_key(const temper_host *host, const char *name) {
    const tm_host *self = host->self;
    char text[1024];
    uint64_t key = 0;
    int length = snprintf(text, sizeof text, "%s/%s", self->worker->seed_path, name);
    if (length < 0 || (size_t)length >= sizeof text) {
        tm_misuse(TEMPER_INVALID, "rng_key: the name is too long: %.40s…", name);
        return 0;
    }
    tm_digest digest = tm_digest_of(text, (size_t)length);
    for (int i = 7; i >= 0; i--) {
        key = key << 8 | digest.bytes[i];
    }
    return key;
}

temper_status tm_host_start(tm_host *host, tm_worker *worker, const char *plugin, temper_error *error) {
    host->worker = worker;
    host->plugin = plugin;
    host->vtable = (temper_host){
        .size = sizeof host->vtable,
        .self = host,
        .version = TM_VERSION,
        .profile = worker->profile,
        .json = tm_host_json(),
        .extension = tm_host_extension,
        .allocate = tm_host_allocate,
        .reallocate = tm_host_reallocate,
        .release = tm_host_release,
        .log = tm_host_log,
        .progress = tm_host_progress,
        .cancelled = tm_host_cancelled,
        .workers = tm_host_workers,
        .parallel_for = tm_host_parallel_for,
        .rng_key = rng_key,
        .input = tm_host_input,
        .bytes = tm_host_bytes,
        .read_records = tm_host_read_records,
        .next = tm_host_next,
        .batch_length = tm_host_batch_length,
        .record = tm_host_record,
        .record_number = tm_host_record_number,
        .release_batch = tm_host_release_batch,
        .close_reader = tm_host_close_reader,
        .file_count = tm_host_file_count,
        .file = tm_host_file,
        .output = tm_host_output,
        .write_record = tm_host_write_record,
        .write_bytes = tm_host_write_bytes,
        .write_metrics = tm_host_write_metrics,
        .begin_file = tm_host_begin_file,
        .link_input = tm_host_link_input,
        .open_model = tm_host_open_model,
    };
    return tm_memory_arena(&host->arena, error);
}
