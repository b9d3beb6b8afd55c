/* broken.c: a plugin whose description is spoilt in the way $TEST_BROKEN says; or which cannot even be loaded in peace. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <temper/plugin.h>
#include <unistd.h>
#include <xmmintrin.h>

typedef struct fields {
    int64_t steps;
    const char *loss;
} fields;

static temper_parameter steps = {
    sizeof steps, TEMPER_TYPE_INTEGER, "steps", offsetof(fields, steps), "10", 1, 100, "steps",
    "",           "How many.",         "0.1"};
static temper_parameter loss = {
    sizeof loss,   TEMPER_TYPE_STRING, "loss", offsetof(fields, loss), "\"ipo\"", 0, 0, "",
    "sigmoid|ipo", "Which.",           "0.1"};
static const temper_parameter *parameters[] = {&steps, &loss, NULL};
static temper_port first = {sizeof first, TEMPER_RECORDS, "pairs", 0, "", "Pairs."};
static temper_port second = {sizeof second, TEMPER_TEXT, "words", TEMPER_OPTIONAL, "", "Words."};
static const temper_port *inputs[] = {&first, &second, NULL};
static temper_port made = {sizeof made, TEMPER_RECORDS, "made", 0, "", "Made."};
static const temper_port *outputs[] = {&made, NULL};

static temper_status create(const temper_host *host, const void *p, void **self, temper_error *error) {
    (void)host, (void)p, (void)self;
    return temper_fail(error, TEMPER_FAILED, "never to be run");
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    (void)self, (void)host;
    return temper_fail(error, TEMPER_FAILED, "never to be run");
}

static void destroy(void *self) {
    (void)self;
}

static temper_stage one = {sizeof one,     1,      "one", "A stage.", inputs, outputs, parameters,
                           sizeof(fields), create, run,   destroy};
static temper_stage two = {sizeof two,     1,      "two", "A stage.", inputs, outputs, parameters,
                           sizeof(fields), create, run,   destroy};
static const temper_stage *stages[] = {&one, &two, NULL};
static temper_plugin plugin = {sizeof plugin, "broken",  "0.1.0", "Temper's tests",
                               "MIT",         "Broken.", stages,  NULL};

static const char *way(void) {
    const char *text = getenv("TEST_BROKEN");
    return text != NULL ? text : "";
}

static bool is(const char *name) {
    return strcmp(way(), name) == 0;
}

__attribute__((constructor)) static void when_loaded(void) {
    if (is("abort on load")) {
        abort();
    } else if (is("hang on load")) {
        pause();
    } else if (is("print on load")) {
        printf("{\"name\":\"not a description\"}\n");
        fflush(stdout);
    } else if (is("flush to zero on load")) {
        _mm_setcsr(_mm_getcsr() | 0x8040);
    }
}

static void spoil_ports(void) {
    if (is("two inputs of one name")) {
        second.name = "pairs";
    } else if (is("optional output")) {
        made.flags = TEMPER_OPTIONAL;
    } else if (is("unknown kind")) {
        first.kind = (temper_kind)77;
    } else if (is("no outputs")) {
        outputs[0] = NULL;
    } else if (is("no doc")) {
        first.doc = "";
    } else if (is("reserved word")) {
        first.name = "label";
    }
}

static void spoil_parameters(void) {
    if (is("two parameters of one name")) {
        loss.name = "steps";
    } else if (is("a group and its member")) {
        steps.name = "loss.steps";
    } else if (is("default out of bounds")) {
        steps.default_json = "1000";
    } else if (is("default of another type")) {
        steps.default_json = "\"ten\"";
    } else if (is("default among no choices")) {
        loss.default_json = "\"hinge\"";
    } else if (is("default no JSON")) {
        loss.default_json = "ipo";
    } else if (is("choices of a number")) {
        steps.choices = "1|2";
    } else if (is("offset outside")) {
        loss.offset = sizeof(fields);
    } else if (is("shared field")) {
        loss.offset = 0;
    } else if (is("unknown type")) {
        loss.type = (temper_type)9;
    } else if (is("bound NaN")) {
        steps.minimum = NAN;
    } else if (is("input and parameter")) {
        steps.name = "pairs";
    } else if (is("bad name")) {
        steps.name = "Steps";
    } else if (is("no since")) {
        steps.since = "";
    } else if (is("missing text")) {
        steps.unit = NULL;
    } else if (is("not UTF-8")) {
        steps.doc = "caf\xe9";
    }
}

static void spoil_stages(void) {
    if (is("two stages of one name")) {
        two.name = "one";
    } else if (is("no run")) {
        two.run = NULL;
    } else if (is("revision 0")) {
        one.revision = 0;
    } else if (is("another name")) {
        plugin.name = "mended";
    } else if (is("nothing offered")) {
        stages[0] = NULL;
    } else if (is("no version")) {
        plugin.version = "";
    } else if (is("small struct")) {
        one.size = 8;
    }
}

__attribute__((visibility("default"))) temper_status temper_plugin_v1(const temper_hello *hello,
                                                                      const temper_plugin **out) {
    (void)hello;
    if (is("refuse")) {
        return TEMPER_UNSUPPORTED;
    }
    if (is("give nothing")) {
        return TEMPER_OK;
    }
    spoil_ports();
    spoil_parameters();
    spoil_stages();
    *out = &plugin;
    return TEMPER_OK;
}
