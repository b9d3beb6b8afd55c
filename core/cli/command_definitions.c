/* command_definitions.c: `temper plugin definitions`: what an editor needs to complete and check recipes, as a definition
 * file for the Lua language server. Made from the plugins' descriptions and from nothing else, so it never disagrees with
 * what a run would say. */
#include "cli/cli.h"

#include <stdlib.h>

static const char words[] =
    "---@meta temper\n"
    "-- Made by `temper plugin definitions`. In .luarc.json: {\"workspace.library\": [\"this file's "
    "folder\"]}\n"
    "\n"
    "---@class temper.records  JSON lines\n"
    "---@class temper.text     UTF-8 text: a phrase list, a corpus\n"
    "---@class temper.character  traits, with questions that show them\n"
    "---@class temper.model    a Hugging Face folder, a GGUF file, an adapter with its base\n"
    "---@class temper.metrics  numbers: what temper.expect checks\n"
    "---@class temper.report   one HTML page\n"
    "---@class temper.builtin\n"
    "\n"
    "---@class temper.source  a path alone, or a parameter: { \"name\", default = path, doc = \"…\" }\n"
    "---@field [1] string the name --set gives it by\n"
    "---@field default? string|temper.builtin a path beside the recipe, or temper.builtin \"name\"\n"
    "---@field doc? string\n"
    "\n"
    "---@class temper.value  a parameter: { \"name\", default = 1, min = 0, max = 10, doc = \"…\" }\n"
    "---@field [1] string the name --set gives it by\n"
    "---@field default? integer|number|string|boolean none: required\n"
    "---@field min? number\n"
    "---@field max? number\n"
    "---@field choices? string[]\n"
    "---@field doc? string\n"
    "\n"
    "---@class temper\n"
    "local temper = {}\n"
    "---@param given string|temper.builtin|temper.source\n---@return temper.model\n"
    "function temper.model(given) end\n"
    "---@param given string|temper.source\n---@return temper.character\n"
    "function temper.character(given) end\n"
    "---@param given string|temper.source\n---@return temper.records\n"
    "function temper.records(given) end\n"
    "---@param given string|temper.source\n---@return temper.text\n"
    "function temper.text(given) end\n"
    "---@param given temper.value\n---@return integer\n"
    "function temper.int(given) end\n"
    "---@param given temper.value\n---@return number\n"
    "function temper.number(given) end\n"
    "---@param given temper.value\n---@return string\n"
    "function temper.string(given) end\n"
    "---@param given temper.value\n---@return boolean\n"
    "function temper.flag(given) end\n"
    "---a model that came with the program: temper.builtin \"tiny-chat\"\n"
    "---@param name string\n---@return temper.builtin\n"
    "function temper.builtin(name) end\n"
    "---what the recipe is for, in a sentence\n---@param text string\n"
    "function temper.doc(text) end\n"
    "---what its runs are called\n---@param text string\n"
    "function temper.name(text) end\n"
    "---checks on a stage's metrics: temper.expect(card, { win_rate = { \">=\", 0.6 } })\n"
    "---@param made table what a stage gave\n---@param bounds table<string, { [1]: "
    "\">=\"|\"<=\"|\">\"|\"<\"|\"==\", [2]: number }>\n"
    "function temper.expect(made, bounds) end\n";

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

/* A doc on one line. */
static void print_doc(const char *text) {
    for (; *text != 0; text++) {
        putchar(*text == '\n' ? ' ' : *text);
    }
}

static void print_json(const temper_json *value) {
    tm_buffer text = TM_BUFFER_INIT;
    if (tm_json_write(value, &text, NULL) == TEMPER_OK && tm_buffer_ok(&text)) {
        fputs(text.data, stdout);
    }
    tm_buffer_free(&text);
}

/* "integer", "boolean", "string[]", or "\"ipo\"|\"hinge\"" */
static void print_type(const temper_json *row) {
    static const char *const types[][2] = {{"integer", "integer"},
                                           {"number", "number"},
                                           {"flag", "boolean"},
                                           {"strings", "string[]"},
                                           {"string", "string"}};
    const temper_json *choices = tm_json_member(row, "choices");
    for (size_t i = 0; i < tm_json_length(choices); i++) {
        fputs(i > 0 ? "|" : "", stdout);
        print_json(tm_json_element(choices, i));
    }
    for (size_t i = 0; tm_json_length(choices) == 0 && i < sizeof types / sizeof *types; i++) {
        if (strcmp(text_of(row, "type"), types[i][0]) == 0) {
            fputs(types[i][1], stdout);
        }
    }
}

static void print_parameter(const temper_json *row, const char *name) {
    const temper_json *fallback = tm_json_member(row, "default"), *least = tm_json_member(row, "minimum"),
                      *most = tm_json_member(row, "maximum");
    printf("---@field %s%s ", name, fallback != NULL ? "?" : "");
    print_type(row);
    putchar(' ');
    print_doc(text_of(row, "doc"));
    if (fallback != NULL) {
        printf(" (default ");
        print_json(fallback);
        printf(")");
    }
    if (least != NULL || most != NULL) {
        printf(" [");
        print_json(least);
        printf(" … ");
        print_json(most);
        printf("]");
    }
    printf("%s%s\n", *text_of(row, "unit") != 0 ? " " : "", text_of(row, "unit"));
}

/* Is row `index` the first of its group ("lora" of "lora.rank")? The group's length goes to *length. */
static bool first_of_group(const temper_json *rows, size_t index, size_t *length) {
    const char *name = text_of(tm_json_element(rows, index), "name"), *dot = strchr(name, '.');
    *length = dot != NULL ? (size_t)(dot - name) : 0;
    for (size_t i = 0; dot != NULL && i < index; i++) {
        if (strncmp(text_of(tm_json_element(rows, i), "name"), name, *length + 1) == 0) {
            return false;
        }
    }
    return dot != NULL;
}

static void print_groups(const temper_json *rows, const char *plugin, const char *stage) {
    for (size_t i = 0; i < tm_json_length(rows); i++) {
        const char *name = text_of(tm_json_element(rows, i), "name");
        size_t length;
        if (!first_of_group(rows, i, &length)) {
            continue;
        }
        printf("\n---@class temper.%s.%s.%.*s\n", plugin, stage, (int)length, name);
        for (size_t j = i; j < tm_json_length(rows); j++) {
            const temper_json *row = tm_json_element(rows, j);
            if (strncmp(text_of(row, "name"), name, length + 1) == 0) {
                print_parameter(row, text_of(row, "name") + length + 1);
            }
        }
    }
}

static void print_stage(const char *plugin, const temper_json *stage) {
    const temper_json *inputs = tm_json_member(stage, "inputs"), *outputs = tm_json_member(stage, "outputs"),
                      *rows = tm_json_member(stage, "parameters");
    const char *name = text_of(stage, "name");
    print_groups(rows, plugin, name);
    printf("\n---@class temper.%s.%s.given\n", plugin, name);
    for (size_t i = 0; i < tm_json_length(inputs); i++) {
        const temper_json *port = tm_json_element(inputs, i);
        bool optional = false;
        (void)tm_json_boolean(tm_json_member(port, "optional"), &optional);
        const char *kind = text_of(port, "kind"), *others = "";
        if (strcmp(kind, "records") == 0) {
            others = "|temper.character|string"; /* a text alone is a path */
        } else if (strcmp(kind, "text") == 0 || strcmp(kind, "character") == 0) {
            others = "|string";
        }
        printf("---@field %s%s temper.%s%s ", text_of(port, "name"), optional ? "?" : "", kind, others);
        print_doc(text_of(port, "doc"));
        putchar('\n');
    }
    for (size_t i = 0; i < tm_json_length(rows); i++) {
        const temper_json *row = tm_json_element(rows, i);
        size_t length;
        if (first_of_group(rows, i, &length)) {
            printf("---@field %.*s? temper.%s.%s.%.*s\n", (int)length, text_of(row, "name"), plugin, name,
                   (int)length, text_of(row, "name"));
        } else if (length == 0) {
            print_parameter(row, text_of(row, "name"));
        }
    }
    printf("---@field label? string tells two uses of the stage with equal inputs apart\n");
    printf("\n---@class temper.%s.%s.made\n", plugin, name);
    for (size_t i = 0; i < tm_json_length(outputs); i++) {
        const temper_json *port = tm_json_element(outputs, i);
        printf("---@field %s temper.%s ", text_of(port, "name"), text_of(port, "kind"));
        print_doc(text_of(port, "doc"));
        putchar('\n');
    }
}

static void print_plugin(const temper_json *plugin) {
    const temper_json *stages = tm_json_member(plugin, "stages");
    const char *name = text_of(plugin, "name");
    for (size_t i = 0; i < tm_json_length(stages); i++) {
        print_stage(name, tm_json_element(stages, i));
    }
    printf("\n---@class temper.%s  ", name);
    print_doc(text_of(plugin, "doc"));
    putchar('\n');
    for (size_t i = 0; i < tm_json_length(stages); i++) {
        const temper_json *stage = tm_json_element(stages, i);
        const char *stage_name = text_of(stage, "name");
        printf("---@field %s fun(given: temper.%s.%s.given): temper.%s.%s.made ", stage_name, name,
               stage_name, name, stage_name);
        print_doc(text_of(stage, "doc"));
        putchar('\n');
    }
}

int cli_plugin_definitions(const cli_options *options) {
    cli_context context;
    temper_error error = TEMPER_ERROR_INIT;
    const char *const *names = NULL;
    temper_status status = cli_open(options, &context, &error);
    if (status) {
        return cli_report(options, status, &error);
    }
    size_t count = tm_catalog_names(context.catalog, &names);
    const tm_plugin_entry **entries = calloc(count + 1, sizeof *entries);
    fputs(words, stdout);
    for (size_t i = 0; i < count && !status && entries != NULL; i++) {
        status = tm_catalog_find(context.catalog, names[i], &entries[i], &error);
        if (!status) {
            print_plugin(entries[i]->description);
        }
    }
    printf("\n");
    for (size_t i = 0; i < count && !status && entries != NULL; i++) {
        printf("---@overload fun(name: \"%s\"): temper.%s\n", names[i], names[i]);
    }
    printf("---@param name string\n---@return table\nfunction temper.plugin(name) end\n\nreturn temper\n");
    free(entries);
    int code = cli_report(options, status, &error);
    cli_close(&context);
    return code;
}
