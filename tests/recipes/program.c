/* program.c: see program.h. TEST_TEMPER and TEST_PLUGIN_FOLDER come from the build; $TEMPER_TEST_PROGRAM names another
 * `temper`, an installed one say. */
#include "program.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

int program_setup(void **state) {
    program *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->folder, sizeof p->folder, "/tmp/temper-test-XXXXXX");
    snprintf(p->home, sizeof p->home, "home");
    assert_non_null(mkdtemp(p->folder));
    *state = p;
    return 0;
}

int program_teardown(void **state) {
    program *p = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", p->folder);
    (void)!system(command);
    free(p);
    return 0;
}

static void path_of(const program *p, const char *name, char out[512]) {
    snprintf(out, 512, "%s/%s", p->folder, name);
}

void program_write(const program *p, const char *name, const char *text) {
    char path[512], *slash;
    FILE *file;
    path_of(p, name, path);
    for (slash = strchr(path + strlen(p->folder) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(path, 0777);
        *slash = '/';
    }
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

char *program_read(const program *p, const char *name, size_t *length) {
    char path[512], *text;
    struct stat info;
    FILE *file;
    if (name[0] == '/') {
        snprintf(path, sizeof path, "%s", name);
    } else {
        path_of(p, name, path);
    }
    file = fopen(path, "r");
    if (file == NULL || fstat(fileno(file), &info) != 0) {
        return NULL;
    }
    text = malloc((size_t)info.st_size + 1);
    assert_non_null(text);
    *length = fread(text, 1, (size_t)info.st_size, file);
    text[*length] = 0;
    fclose(file);
    return text;
}

static void start(program *p, const char *arguments, const char *input) {
    char copy[8192], *list[64], *save = NULL, *word;
    int count = 1, out[2], err[2], in[2];
    snprintf(copy, sizeof copy, "%s", arguments);
    list[0] = (char *)"temper";
    for (word = strtok_r(copy, " ", &save); word != NULL && count < 63; word = strtok_r(NULL, " ", &save)) {
        char *byte;
        for (byte = word; *byte != 0; byte++) {
            *byte = *byte == '\001' ? ' ' : *byte; /* a blank inside an argument */
        }
        list[count++] = word;
    }
    list[count] = NULL;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    p->out[0] = p->err[0] = 0;
    fflush(NULL);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        if (chdir(p->folder) != 0) {
            _exit(126);
        }
        setenv("TEMPER_HOME", p->home, 1);
        setenv("TEMPER_PLUGINS", TEST_PLUGIN_FOLDER, 1);
        setenv("TMPDIR", p->folder, 1);
        unsetenv("TEMPER_SHARE");
        execv(getenv("TEMPER_TEST_PROGRAM") != NULL ? getenv("TEMPER_TEST_PROGRAM") : TEST_TEMPER, list);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    if (input != NULL) {
        assert_int_equal(write(in[1], input, strlen(input)), strlen(input));
    }
    close(in[1]);
    p->pipes[0] = out[0];
    p->pipes[1] = err[0];
}

/* Reads what is there; false once both ends are closed. */
static bool drain(program *p, int milliseconds) {
    struct pollfd waits[2] = {{p->pipes[0], POLLIN, 0}, {p->pipes[1], POLLIN, 0}};
    char *texts[2] = {p->out, p->err};
    size_t sizes[2] = {sizeof p->out, sizeof p->err};
    int i;
    if (p->pipes[0] < 0 && p->pipes[1] < 0) {
        return false;
    }
    (void)poll(waits, 2, milliseconds);
    for (i = 0; i < 2; i++) {
        char chunk[4096];
        ssize_t got;
        size_t used = strlen(texts[i]);
        if (p->pipes[i] < 0 || !(waits[i].revents & (POLLIN | POLLHUP))) {
            continue;
        }
        got = read(p->pipes[i], chunk, sizeof chunk);
        if (got <= 0) {
            close(p->pipes[i]);
            p->pipes[i] = -1;
        } else if (used + (size_t)got < sizes[i]) {
            memcpy(texts[i] + used, chunk, (size_t)got);
            texts[i][used + (size_t)got] = 0;
        }
    }
    return true;
}

void program_start(program *p, const char *arguments) {
    start(p, arguments, NULL);
}

int program_wait(program *p) {
    double ends = now() + 200;
    int status = 0;
    while (drain(p, 100)) {
        if (now() > ends) {
            kill(p->pid, SIGKILL);
            fail_msg("temper did not end: %s %s", p->out, p->err);
        }
    }
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) {
    }
    p->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return p->code;
}

int program_run(program *p, const char *arguments) {
    start(p, arguments, NULL);
    return program_wait(p);
}

int program_run_with(program *p, const char *arguments, const char *input) {
    start(p, arguments, input);
    return program_wait(p);
}

bool program_await(program *p, const char *text, double seconds) {
    double ends = now() + seconds;
    while (strstr(p->out, text) == NULL && now() < ends) {
        if (!drain(p, 50)) {
            break;
        }
    }
    return strstr(p->out, text) != NULL;
}

char *program_word(const program *p, const char *label) {
    const char *line = p->out;
    size_t length = strlen(label);
    while (line != NULL && *line != 0) {
        while (*line == ' ') {
            line++;
        }
        if (strncmp(line, label, length) == 0 && line[length] == ' ') {
            line += length;
            line += strspn(line, " ");
            return strndup(line, strcspn(line, " \n"));
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    fail_msg("no line '%s' in: %s", label, p->out);
    return NULL;
}

pid_t program_worker(const program *p) {
    double ends = now() + 10;
    siginfo_t ended;
    DIR *folder;
    struct dirent *entry;
    while (now() < ends) {
        memset(&ended, 0, sizeof ended);
        if (waitid(P_PID, (id_t)p->pid, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid != 0) {
            return 0;
        }
        folder = opendir("/proc");
        assert_non_null(folder);
        while ((entry = readdir(folder)) != NULL) {
            char path[300], line[512], name[64] = "";
            int parent = 0;
            FILE *file;
            if (entry->d_name[0] < '0' || entry->d_name[0] > '9') {
                continue;
            }
            snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
            file = fopen(path, "r");
            if (file == NULL) {
                continue;
            }
            if (fgets(line, sizeof line, file) != NULL &&
                sscanf(line, "%*d (%63[^)]) %*c %d", name, &parent) == 2 && parent == p->pid &&
                strncmp(name, "temper-worker", 13) == 0) {
                pid_t found = (pid_t)atoi(entry->d_name);
                fclose(file);
                closedir(folder);
                return found;
            }
            fclose(file);
        }
        closedir(folder);
        usleep(10000);
    }
    return 0;
}
