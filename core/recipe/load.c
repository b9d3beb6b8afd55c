/* load.c: the parent's side of loading: start the child, answer what it asks about plugins, keep the deadline, and turn what it
 * sends (checked like anything from outside) into a graph. */
#include "recipe/internal.h"
#include "recipe/recipe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { ANSWER_LIMIT = 64 << 20 };

typedef struct loading {
    const tm_recipe_request *request;
    temper_arena *arena;
    const char *folder, *main_file; /* of the recipe */
    const char *shown_folder;       /* as messages show it: "recipes/" or "" */
    loader_page *page;
    pid_t child;
    int socket, page_file;
    tm_buffer received;
    double ends; /* on the monotonic clock */
} loading;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static temper_status start_child(loading *state, temper_error *error) {
    int pair[2] = {-1, -1}, failure;
    posix_spawn_file_actions_t actions;
    const char *program = state->request->program != NULL ? state->request->program : "/proc/self/exe";
    char *arguments[] = {(char *)"temper", (char *)"--load-recipe", NULL};

    state->page_file = memfd_create("temper-loader", MFD_CLOEXEC);
    if (state->page_file < 0 || ftruncate(state->page_file, sizeof *state->page) != 0) {
        return temper_fail(error, TEMPER_IO, "the recipe loader's page: %s", strerror(errno));
    }
    state->page = mmap(NULL, sizeof *state->page, PROT_READ | PROT_WRITE, MAP_SHARED, state->page_file, 0);
    if (state->page == MAP_FAILED) {
        state->page = NULL;
        return temper_fail(error, TEMPER_NO_MEMORY, "the recipe loader's page: %s", strerror(errno));
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return temper_fail(error, TEMPER_IO, "the recipe loader's socket: %s", strerror(errno));
    }
    state->socket = pair[0];
    /* The numbers 3 and 4 may be taken by the very descriptors that go there: move those away first. */
    {
        int socket_end = fcntl(pair[1], F_DUPFD_CLOEXEC, 10),
            page_end = fcntl(state->page_file, F_DUPFD_CLOEXEC, 10);
        close(pair[1]);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, socket_end, LOADER_SOCKET);
        posix_spawn_file_actions_adddup2(&actions, page_end, LOADER_PAGE);
        failure = posix_spawn(&state->child, program, &actions, NULL, arguments, environ);
        posix_spawn_file_actions_destroy(&actions);
        close(socket_end);
        close(page_end);
    }
    if (failure != 0) {
        state->child = 0;
        return temper_fail(error, TEMPER_IO, "cannot start the recipe loader (%s): %s", program,
                           strerror(failure));
    }
    return TEMPER_OK;
}

static temper_status send_json(loading *state, const temper_json *message, temper_error *error) {
    tm_buffer line = TM_BUFFER_INIT;
    size_t sent = 0;
    temper_status status = tm_json_write(message, &line, error);
    tm_buffer_byte(&line, '\n');
    if (status == TEMPER_OK && !tm_buffer_ok(&line)) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    while (status == TEMPER_OK && sent < line.length) {
        ssize_t wrote = send(state->socket, line.data + sent, line.length - sent, MSG_NOSIGNAL);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            status = temper_fail(error, TEMPER_FAILED, "the recipe loader went away");
        } else {
            sent += (size_t)wrote;
        }
    }
    tm_buffer_free(&line);
    return status;
}

static temper_status send_request(loading *state, temper_error *error) {
    temper_arena *arena = state->arena;
    const tm_recipe_request *request = state->request;
    temper_json *message = tm_json_object(arena), *settings = tm_json_array(arena);
    char *working = getcwd(NULL, 0);
    size_t i;
    bool made = message != NULL && settings != NULL && working != NULL;
    for (i = 0; made && i < request->setting_count; i++) {
        const char *equals = strchr(request->settings[i], '=');
        temper_json *setting = tm_json_object(arena);
        const temper_json *name;
        if (equals == NULL || equals == request->settings[i]) {
            free(working);
            return temper_fail(error, TEMPER_INVALID, "--set %s: write --set NAME=VALUE",
                               request->settings[i]);
        }
        name = tm_json_new_string(arena, request->settings[i], (size_t)(equals - request->settings[i]));
        made = setting != NULL && tm_json_set(arena, setting, "name", name) &&
               tm_json_set_string(arena, setting, "value", equals + 1) &&
               tm_json_append(arena, settings, setting);
    }
    made = made && tm_json_set_string(arena, message, "main", state->main_file) &&
           tm_json_set_string(arena, message, "folder", state->folder) &&
           tm_json_set_string(arena, message, "working_folder", working) &&
           tm_json_set(arena, message, "settings", settings) &&
           tm_json_set_integer(arena, message, "seed", (int64_t)request->seed) &&
           tm_json_set_string(arena, message, "profile",
                              request->profile != NULL ? request->profile : "bf16/1") &&
           tm_json_set_boolean(arena, message, "lenient", request->lenient);
    free(working);
    return made ? send_json(state, message, error)
                : temper_fail(error, TEMPER_INVALID, "the settings are not UTF-8, or memory is short");
}

/* Why the child said nothing more, with the line it was last seen on. */
static temper_status fail_stopped(loading *state, bool late, temper_error *error) {
    int file = state->page->file, line = state->page->line, code = 0;
    double deadline = state->request->deadline > 0 ? state->request->deadline : 5;
    char name[LOADER_NAME];
    if (state->child > 0) {
        kill(state->child, SIGKILL);
        while (waitpid(state->child, &code, 0) < 0 && errno == EINTR) {
        }
        state->child = 0;
    }
    if (file < 0 || file >= LOADER_FILES || line <= 0) {
        file = 0;
        line = 1;
    }
    memcpy(name, state->page->names[file], sizeof name);
    name[sizeof name - 1] = 0;
    if (late) {
        return temper_fail(
            error, TEMPER_INVALID,
            "%s%s:%d: the recipe was still loading after %g s (an endless loop, or a pattern that takes too "
            "long): stopped",
            state->shown_folder, *name != 0 ? name : state->main_file, line, deadline);
    }
    return temper_fail(error, TEMPER_INVALID,
                       "%s%s:%d: the recipe loader ended without an answer (signal %d)", state->shown_folder,
                       *name != 0 ? name : state->main_file, line, WIFSIGNALED(code) ? WTERMSIG(code) : 0);
}

/* Waits for the next line. */
static temper_status receive_json(loading *state, const temper_json **out, temper_error *error) {
    for (;;) {
        char chunk[65536];
        struct pollfd wait = {state->socket, POLLIN, 0};
        double left = state->ends - now();
        char *end =
            state->received.length > 0 ? memchr(state->received.data, '\n', state->received.length) : NULL;
        ssize_t got;
        int ready;
        if (end != NULL) {
            size_t length = (size_t)(end - state->received.data);
            temper_status status = tm_json_parse(state->arena, state->received.data, length, out, error);
            memmove(state->received.data, end + 1, state->received.length - length - 1);
            state->received.length -= length + 1;
            return status;
        }
        if (left <= 0) {
            return fail_stopped(state, true, error);
        }
        ready = poll(&wait, 1, (int)(left * 1000) + 1);
        if (ready < 0 && errno != EINTR) {
            return temper_fail(error, TEMPER_IO, "waiting for the recipe loader: %s", strerror(errno));
        }
        if (ready <= 0) {
            continue;
        }
        got = recv(state->socket, chunk, sizeof chunk, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return fail_stopped(state, false, error);
        }
        tm_buffer_append(&state->received, chunk, (size_t)got);
        if (!tm_buffer_ok(&state->received) || state->received.length > ANSWER_LIMIT) {
            return temper_fail(error, TEMPER_INVALID, "the recipe's plan is larger than 64 MB");
        }
    }
}

static temper_status answer_describe(loading *state, const char *plugin, temper_error *error) {
    temper_json *message = tm_json_object(state->arena);
    const temper_json *description = NULL;
    temper_error cause = TEMPER_ERROR_INIT;
    double began = now();
    bool made = message != NULL;
    if (state->request->describe(state->request->context, plugin, &description, &cause)) {
        made = made && tm_json_set_string(state->arena, message, "error", cause.message);
    } else {
        made = made && tm_json_set(state->arena, message, "description", description);
    }
    state->ends += now() - began; /* not the recipe's time */
    return made ? send_json(state, message, error) : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

/* Does the message begin with one of the recipe's files? */
static bool has_place(const loading *state, const char *text) {
    size_t i;
    for (i = 0; i < LOADER_FILES; i++) {
        size_t length = strnlen(state->page->names[i], LOADER_NAME - 1);
        if (length > 0 && strncmp(text, state->page->names[i], length) == 0 && text[length] == ':') {
            return true;
        }
    }
    return false;
}

static temper_status talk(loading *state, const temper_json **answer, temper_error *error) {
    temper_status status = send_request(state, error);
    while (status == TEMPER_OK) {
        const temper_json *message = NULL;
        const char *text;
        status = receive_json(state, &message, error);
        if (status) {
            break;
        }
        text = tm_json_string(tm_json_member(message, "describe"), NULL);
        if (text != NULL) {
            status = answer_describe(state, text, error);
            continue;
        }
        text = tm_json_string(tm_json_member(message, "print"), NULL);
        if (text != NULL) {
            if (state->request->print != NULL) {
                state->request->print(state->request->context, text);
            }
            continue;
        }
        text = tm_json_string(tm_json_member(message, "error"), NULL);
        if (text != NULL) {
            return temper_fail(error, TEMPER_INVALID, "%s%s",
                               has_place(state, text) ? state->shown_folder : "", text);
        }
        *answer = message;
        return TEMPER_OK;
    }
    return status;
}

/* "recipes/character.lua" is folder /…/recipes and file character.lua; messages show "recipes/". */
static temper_status split_path(loading *state, temper_error *error) {
    const char *path = state->request->path, *slash;
    char *whole = realpath(path, NULL);
    if (whole == NULL) {
        return temper_fail(error, TEMPER_INVALID, "recipe %s: %s", path, strerror(errno));
    }
    slash = strrchr(whole, '/');
    state->folder = tm_arena_copy(state->arena, whole, slash == whole ? 1 : (size_t)(slash - whole));
    state->main_file = tm_arena_copy(state->arena, slash + 1, strlen(slash + 1));
    slash = strrchr(path, '/');
    state->shown_folder = tm_arena_copy(state->arena, path, slash != NULL ? (size_t)(slash + 1 - path) : 0);
    free(whole);
    return state->folder != NULL && state->shown_folder != NULL && state->main_file != NULL
               ? TEMPER_OK
               : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

static void stop_child(loading *state) {
    if (state->socket >= 0) {
        close(state->socket);
    }
    if (state->child > 0) {
        kill(state->child, SIGKILL); /* it has answered, or never will */
        while (waitpid(state->child, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    if (state->page != NULL) {
        munmap(state->page, sizeof *state->page);
    }
    if (state->page_file >= 0) {
        close(state->page_file);
    }
    tm_buffer_free(&state->received);
}

temper_status tm_recipe_load(const tm_recipe_request *request, tm_recipe *out, temper_error *error) {
    loading state = {.request = request, .socket = -1, .page_file = -1, .received = TM_BUFFER_INIT};
    const temper_json *answer = NULL, *plan;
    tm_buffer text = TM_BUFFER_INIT;
    temper_status status;

    memset(out, 0, sizeof *out);
    state.arena = tm_arena_new();
    if (state.arena == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    status = split_path(&state, error);
    if (status) {
        goto out;
    }
    state.ends = now() + (request->deadline > 0 ? request->deadline : 5);
    status = start_child(&state, error);
    if (status) {
        goto out;
    }
    status = talk(&state, &answer, error);
    if (status) {
        goto out;
    }
    plan = tm_json_member(answer, "plan");
    status = tm_json_write(plan, &text, error);
    if (status == TEMPER_OK) {
        status = tm_graph_parse(text.data, text.length, &out->graph, error);
    }
    out->declared = tm_json_member(answer, "declared");
    out->doc = tm_json_text(tm_json_member(answer, "doc"), "");
    out->title = tm_json_text(tm_json_member(answer, "title"), "run");
    out->arena = state.arena;
out:
    stop_child(&state);
    tm_buffer_free(&text);
    if (status) {
        tm_arena_free(state.arena);
        memset(out, 0, sizeof *out);
    }
    return status;
}

void tm_recipe_free(tm_recipe *recipe) {
    if (recipe != NULL && recipe->arena != NULL) {
        tm_graph_free(recipe->graph);
        tm_arena_free(recipe->arena);
        memset(recipe, 0, sizeof *recipe);
    }
}
