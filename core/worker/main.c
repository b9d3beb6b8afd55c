/* main.c: temper-worker. Started by temper (core/plugin), not by people:
 *   temper-worker                   a job on descriptor 3 (core/plugin/job.h)
 *   temper-worker --describe FILE   FILE's description, as JSON on standard output
 * Hygiene: killed when its parent dies, working directory "/" (no path means anything here), standard output never
 * carries a plugin's words. It ends by _exit: a plugin's own exit handlers run in nobody's interest. */
#include "worker/modes.h"

#include "plugin/words.h"
#include "worker/crash.h"
#include "worker/describe.h"
#include "worker/foreign.h"
#include "worker/load.h"
#include "worker/wire.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, LOCK_SECONDS = 20 };

static temper_json *failure(temper_arena *arena, temper_status status, const temper_error *error) {
    temper_json *object = tm_json_object(arena);
    bool ok = object != NULL && tm_json_set_string(arena, object, "status", tm_status_name(status)) &&
              tm_json_set_string(arena, object, "message", tm_wire_text(arena, error->message));
    return ok ? object : NULL;
}

/* The answer is one line of JSON: the description, or {"failed":{status,message}}. */
int tm_mode_describe(const char *file, int answer) {
    temper_error error = TEMPER_ERROR_INIT;
    temper_arena *arena = tm_arena_new();
    const temper_plugin *plugin;
    const temper_json *description = NULL;
    tm_buffer text = TM_BUFFER_INIT;
    temper_status status = tm_load_plugin(file, &plugin, &error);
    if (!status) {
        status = tm_describe_plugin(arena, plugin, file, &description, &error);
    }
    if (status) {
        temper_json *object = tm_json_object(arena);
        tm_json_set(arena, object, "failed", failure(arena, status, &error));
        description = object;
    }
    tm_json_write(description, &text, NULL);
    tm_buffer_byte(&text, '\n');
    for (size_t at = 0; at < text.length;) {
        ssize_t wrote = write(answer, text.data + at, text.length - at);
        if (wrote <= 0) {
            return EXIT_FAILED;
        }
        at += (size_t)wrote;
    }
    return status ? EXIT_FAILED : EXIT_DONE;
}

static temper_status read_job(tm_worker *worker, temper_error *error) {
    tm_buffer line = TM_BUFFER_INIT;
    int64_t threads = 0, memory = 0, batch = 0, refuse_after = 0;
    temper_status status = tm_wire_read(&line, error);
    if (!status) {
        status = tm_json_parse(worker->arena, line.data, line.length, &worker->job, error);
    }
    tm_buffer_free(&line);
    if (status) {
        return temper_fail_in(error, status, "the job");
    }
    worker->stage = tm_json_text(tm_json_member(worker->job, "stage"), "");
    worker->seed_path = tm_json_text(tm_json_member(worker->job, "seed_path"), "");
    worker->profile = tm_json_text(tm_json_member(worker->job, "profile"), "bf16/1");
    worker->provider_path = tm_json_text(tm_json_member(worker->job, "provider"), NULL);
    tm_json_integer(tm_json_member(worker->job, "threads"), &threads);
    tm_json_integer(tm_json_member(worker->job, "memory"), &memory);
    tm_json_integer(tm_json_member(worker->job, "batch"), &batch);
    tm_json_integer(tm_json_member(worker->job, "refuse_after"), &refuse_after);
    tm_memory_refuse_after(refuse_after > 0 ? (uint64_t)refuse_after : 0);
    worker->batch_limit = batch > 0 ? (size_t)batch : 0;
    if (threads <= 0) {
        threads = sysconf(_SC_NPROCESSORS_ONLN);
    }
    status = tm_memory_start(memory > 0 ? (uint64_t)memory : 0, error);
    if (!status) {
        status = tm_pool_new((uint32_t)(threads < 1024 ? threads : 1024), &worker->pool, error);
    }
    return status
               ? status
               : tm_store_open(tm_json_text(tm_json_member(worker->job, "store"), ""), &worker->store, error);
}

/* One process a stage id at a time: a second run of the same stage waits for the first. */
static temper_status lock_stage(const tm_worker *worker, temper_error *error) {
    const char *id = tm_json_text(tm_json_member(worker->job, "stage_id"), "");
    const char *colon = strchr(id, ':');
    int lock;
    if (*id == 0) {
        return TEMPER_OK;
    }
    temper_status status =
        tm_store_lock(worker->store, colon != NULL ? colon + 1 : id, LOCK_SECONDS, &lock, error);
    return status ? temper_fail_in(error, status, "another process runs this very stage") : TEMPER_OK;
}

static void say_done(tm_worker *worker, const temper_json *outputs) {
    struct rusage usage;
    temper_json *done = tm_json_object(worker->arena);
    getrusage(RUSAGE_SELF, &usage);
    if (done != NULL && tm_json_set(worker->arena, done, "outputs", outputs) &&
        tm_json_set_integer(worker->arena, done, "peak_memory", (int64_t)tm_memory_peak()) &&
        tm_json_set_integer(worker->arena, done, "peak_resident", (int64_t)usage.ru_maxrss * 1024) &&
        (worker->notes == NULL || tm_json_set(worker->arena, done, "notes", worker->notes))) {
        tm_wire_say(worker->arena, "done", done);
    }
}

/* A refused allocation is the likely cause of whatever failed after it. */
static void add_memory(temper_error *error) {
    uint64_t bytes;
    if (tm_memory_refused(&bytes)) {
        char cause[TEMPER_MESSAGE_SIZE];
        snprintf(cause, sizeof cause, "%.700s", error->message);
        temper_fail(error, TEMPER_NO_MEMORY,
                    "%s (memory: %llu bytes were refused at the limit of %llu bytes; --memory sets it)",
                    cause, (unsigned long long)bytes, (unsigned long long)tm_memory_limit());
    }
}

int tm_mode_job(void) {
    static tm_worker worker;
    temper_error error = TEMPER_ERROR_INIT;
    const temper_json *outputs = NULL;
    bool serve = false;
    temper_status status = tm_wire_open(&error);
    if (status) {
        fprintf(stderr, "temper-worker: %s\n", error.message);
        return EXIT_USAGE;
    }
    worker.arena = tm_arena_new();
    status = worker.arena != NULL ? read_job(&worker, &error) : TEMPER_NO_MEMORY;
    tm_run_thread_begin();
    tm_crash_watch();
    if (!status) {
        status = tm_wire_listen(&error);
    }
    if (!status) {
        tm_json_boolean(tm_json_member(worker.job, "serve"), &serve);
        bool text = strcmp(tm_json_text(tm_json_member(worker.job, "serve"), ""), "text") == 0;
        status = text    ? tm_serve_text(&worker, &error)
                 : serve ? tm_serve(&worker, &error)
                         : lock_stage(&worker, &error);
    }
    if (!status) {
        status = tm_run_stage(&worker, &outputs, &error);
    }
    if (status) {
        add_memory(&error);
        temper_json *failed = failure(worker.arena, status, &error);
        if (failed != NULL) {
            tm_wire_say(worker.arena, "failed", failed);
        }
        return EXIT_FAILED;
    }
    say_done(&worker, outputs);
    return EXIT_DONE;
}

int main(int count, char **arguments) {
    int code = EXIT_USAGE;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (chdir("/") != 0) {
        return EXIT_FAILED;
    }
    if (count == 3 && strcmp(arguments[1], "--describe") == 0) {
        int answer = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        dup2(STDERR_FILENO, STDOUT_FILENO); /* what a plugin prints is no description */
        code = tm_mode_describe(arguments[2], answer);
    } else if (count == 1) {
        code = tm_mode_job();
    } else {
        fprintf(stderr, "usage: temper-worker [--describe FILE]; started by temper\n");
    }
    fflush(NULL);
    _exit(code);
}
