/* command_why.c: the story of one row, for people. What is told is scheduler/story.h's; this only lays it out. */
#include "cli/cli.h"
#include "scheduler/sources.h"
#include "scheduler/story.h"

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

static void print_json(const temper_json *value) {
    tm_buffer text = TM_BUFFER_INIT;
    if (tm_json_write(value, &text, NULL) == TEMPER_OK && tm_buffer_ok(&text)) {
        cli_print_line(text.data, text.length, SIZE_MAX);
    }
    tm_buffer_free(&text);
}

/* The texts of a record, one after the other: what a person knows a row by. */
static void add_texts(const temper_json *value, tm_buffer *out) {
    size_t i, length;
    const char *text = tm_json_string(value, &length);
    if (text != NULL) {
        tm_buffer_text(out, out->length > 0 ? " · " : "");
        tm_buffer_append(out, text, length);
    }
    for (i = 0; text == NULL && i < tm_json_length(value) && out->length < 400; i++) {
        const temper_json *inner = tm_json_element(value, i);
        const char *name = inner == NULL ? tm_json_name(value, i, &inner) : "";
        if (strcmp(name, "role") != 0) {
            add_texts(inner, out);
        }
    }
}

static void print_record(const temper_json *record) {
    tm_buffer text = TM_BUFFER_INIT;
    add_texts(record, &text);
    if (tm_buffer_ok(&text) && text.length > 0) {
        cli_print_line(text.data, text.length, 160);
    } else {
        print_json(record);
    }
    tm_buffer_free(&text);
    printf("\n");
}

static void print_changes(const temper_json *changes) {
    size_t i, side;
    for (i = 0; i < tm_json_length(changes); i++) {
        const temper_json *change = tm_json_element(changes, i);
        printf("%16s", "");
        cli_print_line(text_of(change, "field"), strlen(text_of(change, "field")), 80);
        printf(": ");
        for (side = 0; side < 2; side++) {
            const char *text = tm_json_text(tm_json_member(change, side == 0 ? "before" : "after"), NULL);
            printf("%s", side == 0 ? "" : " → ");
            if (text == NULL) {
                printf("nothing");
            } else {
                printf("\"");
                cli_print_line(text, strlen(text), SIZE_MAX);
                printf("\"");
            }
        }
        printf("\n");
    }
}

static void print_dropped(const temper_json *step) {
    const char *evidence = text_of(step, "evidence");
    size_t i;
    printf("DROPPED  %s\n%16s", text_of(step, "rule"), "");
    cli_print_line(evidence, strlen(evidence), SIZE_MAX);
    printf("\n");
    for (i = 0; i < tm_json_length(step); i++) {
        static const char *const told[] = {"stage",   "kind",     "what",        "rule", "evidence",
                                           "twin_at", "twin_row", "twin_record", "twin"};
        const temper_json *value;
        const char *name = tm_json_name(step, i, &value);
        size_t j;
        for (j = 0; j < sizeof told / sizeof *told && strcmp(told[j], name) != 0; j++) {
        }
        if (j == sizeof told / sizeof *told) {
            printf("%16s%s ", "", name);
            print_json(value);
            printf("\n");
        }
    }
    if (tm_json_member(step, "twin_at") != NULL) {
        printf("%16stwin %s  %s\n%16s", "", text_of(step, "twin_row"), text_of(step, "twin_at"), "");
        print_record(tm_json_member(step, "twin_record"));
    }
}

static void print_step(const temper_json *step) {
    const char *what = text_of(step, "what");
    printf(" %-14s ", text_of(step, "stage"));
    if (strcmp(what, "dropped") == 0) {
        print_dropped(step);
    } else if (strcmp(what, "compared") == 0) {
        printf("compared others with it  (%s)\n", text_of(step, "kind"));
    } else if (strcmp(what, "used") == 0) {
        printf("used     %s makes rows of its own\n", text_of(step, "kind"));
    } else {
        const char *evidence = text_of(step, "evidence");
        printf("%-8s %s", what, text_of(step, "at"));
        if (*evidence != 0) {
            printf("  %s: ", text_of(step, "rule"));
            cli_print_line(evidence, strlen(evidence), SIZE_MAX);
        }
        printf("\n");
        print_changes(tm_json_member(step, "changes"));
    }
}

static void print_story(const temper_json *story) {
    const temper_json *matches = tm_json_member(story, "matches"), *steps = tm_json_member(story, "steps");
    bool more = false;
    size_t i;
    for (i = 0; i < tm_json_length(matches); i++) {
        const temper_json *match = tm_json_element(matches, i);
        printf("%s  %-18s ", text_of(match, "row"), text_of(match, "at"));
        print_record(tm_json_member(match, "record"));
    }
    if (matches != NULL) {
        (void)tm_json_boolean(tm_json_member(story, "more"), &more);
        printf("%s%zu rows%s: name one by its id or place\n", more ? "the first " : "",
               tm_json_length(matches), more ? " of more" : "");
        return;
    }
    printf("row %s  %s\n ", text_of(story, "row"), text_of(story, "at"));
    print_record(tm_json_member(story, "record"));
    for (i = 0; i < tm_json_length(steps); i++) {
        print_step(tm_json_element(steps, i));
    }
    if (tm_json_length(steps) == 0) {
        printf(" no stage reads these rows\n");
    }
}

int cli_why(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    tm_store *store = NULL;
    const temper_json *run = NULL, *story = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest id;
    temper_status status = arena == NULL ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory")
                                         : tm_store_open(NULL, &store, &error);
    if (status == TEMPER_OK) {
        status = tm_run_find(store, options->arguments.items[0], arena, &run, &id, &error);
    }
    if (status == TEMPER_OK) {
        status = tm_story_tell(store, run, options->arguments.items[1], arena, &story, &error);
    }
    if (status == TEMPER_OK && options->json) {
        tm_buffer text = TM_BUFFER_INIT;
        status = tm_json_write(story, &text, &error);
        if (status == TEMPER_OK && !tm_buffer_ok(&text)) {
            status = temper_fail(&error, TEMPER_NO_MEMORY, "out of memory");
        }
        if (status == TEMPER_OK) {
            printf("%s\n", text.data);
        }
        tm_buffer_free(&text);
    } else if (status == TEMPER_OK) {
        print_story(story);
    }
    tm_arena_free(arena);
    if (store != NULL) {
        tm_store_close(store);
    }
    return cli_report(options, status, &error);
}
