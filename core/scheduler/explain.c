/* explain.c: see explain.h. */
#include "scheduler/explain.h"

#include "base/digest.h"

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

static const temper_json *find_named(const temper_json *list, const char *name) {
    size_t i;
    for (i = 0; i < tm_json_length(list); i++) {
        if (strcmp(text_of(tm_json_element(list, i), "name"), name) == 0) {
            return tm_json_element(list, i);
        }
    }
    return NULL;
}

static void append_value(tm_buffer *out, const temper_json *value) {
    if (value == NULL) {
        tm_buffer_text(out, "(absent)");
    } else {
        (void)tm_json_write(value, out, NULL);
    }
}

static size_t differ(tm_buffer *out, const char *what, const temper_json *a, const temper_json *b) {
    if ((a == NULL && b == NULL) || (a != NULL && b != NULL && tm_json_equal(a, b))) {
        return 0;
    }
    tm_buffer_format(out, "  %-24s ", what);
    append_value(out, a);
    tm_buffer_text(out, "  |  ");
    append_value(out, b);
    tm_buffer_byte(out, '\n');
    return 1;
}

static size_t compare_parameters(tm_buffer *out, const temper_json *a, const temper_json *b) {
    size_t i, found = 0;
    for (i = 0; i < tm_json_length(a); i++) {
        const temper_json *value;
        const char *name = tm_json_name(a, i, &value);
        found += differ(out, name, value, tm_json_member(b, name));
    }
    for (i = 0; i < tm_json_length(b); i++) {
        const temper_json *value;
        const char *name = tm_json_name(b, i, &value);
        if (tm_json_member(a, name) == NULL) {
            found += differ(out, name, NULL, value);
        }
    }
    return found;
}

/* Where an input of a planned node comes from, in words. */
static void append_origin(tm_buffer *out, const temper_json *plan, const temper_json *edge) {
    const char *source = tm_json_string(tm_json_member(edge, "source"), NULL);
    const temper_json *sources = tm_json_member(plan, "sources"), *nodes = tm_json_member(plan, "nodes");
    int64_t node = -1;
    size_t i;
    if (source != NULL) {
        for (i = 0; i < tm_json_length(sources); i++) {
            const temper_json *entry = tm_json_element(sources, i);
            if (strcmp(text_of(entry, "id"), source) == 0) {
                tm_buffer_format(out, "%s '%s' %.15s…", text_of(entry, "kind"), text_of(entry, "name"),
                                 text_of(entry, "digest"));
                return;
            }
        }
    }
    if (tm_json_integer(tm_json_member(edge, "node"), &node) && node >= 0) {
        tm_buffer_format(out, "%s.%s", text_of(tm_json_element(nodes, (size_t)node), "name"),
                         text_of(edge, "output"));
    }
}

static size_t compare_inputs(tm_buffer *out, const temper_json *plan_a, const temper_json *plan_b,
                             const temper_json *planned_a, const temper_json *planned_b,
                             const temper_json *done_a, const temper_json *done_b) {
    const temper_json *sides[2] = {tm_json_member(done_a, "inputs"), tm_json_member(done_b, "inputs")};
    size_t side, i, found = 0;
    for (side = 0; side < 2; side++) {
        for (i = 0; i < tm_json_length(sides[side]); i++) {
            const char *name = text_of(tm_json_element(sides[side], i), "name");
            const temper_json *a = find_named(sides[0], name), *b = find_named(sides[1], name);
            if (side == 1 && a != NULL) {
                continue; /* seen from the other side */
            }
            if (a != NULL && b != NULL && strcmp(text_of(a, "digest"), text_of(b, "digest")) == 0) {
                continue;
            }
            tm_buffer_format(out, "  input %-18s ", name);
            if (a != NULL) {
                append_origin(out, plan_a, find_named(tm_json_member(planned_a, "inputs"), name));
            } else {
                tm_buffer_text(out, "(absent)");
            }
            tm_buffer_text(out, "  |  ");
            if (b != NULL) {
                append_origin(out, plan_b, find_named(tm_json_member(planned_b, "inputs"), name));
            } else {
                tm_buffer_text(out, "(absent)");
            }
            tm_buffer_byte(out, '\n');
            found++;
        }
    }
    return found;
}

/* The parts of a stage id, one by one. */
static void compare_nodes(tm_buffer *out, const temper_json *run_a, const temper_json *run_b, size_t index_a,
                          size_t index_b) {
    const temper_json *plan_a = tm_json_member(run_a, "plan"), *plan_b = tm_json_member(run_b, "plan");
    const temper_json *a = tm_json_element(tm_json_member(plan_a, "nodes"), index_a),
                      *b = tm_json_element(tm_json_member(plan_b, "nodes"), index_b);
    static const char *const parts[] = {"plugin", "version", "stage", "revision", "label"};
    size_t i, found = 0;
    for (i = 0; i < 5; i++) {
        found += differ(out, parts[i], tm_json_member(a, parts[i]), tm_json_member(b, parts[i]));
    }
    found += differ(out, "seed", tm_json_member(plan_a, "seed"), tm_json_member(plan_b, "seed"));
    found += differ(out, "profile", tm_json_member(plan_a, "profile"), tm_json_member(plan_b, "profile"));
    found += compare_parameters(out, tm_json_member(a, "parameters"), tm_json_member(b, "parameters"));
    found +=
        compare_inputs(out, plan_a, plan_b, a, b, tm_json_element(tm_json_member(run_a, "nodes"), index_a),
                       tm_json_element(tm_json_member(run_b, "nodes"), index_b));
    if (found == 0) {
        tm_buffer_text(
            out,
            "  (its id differs, but no part of it: one of the records is not of this program's making)\n");
    }
}

static bool same_outputs(tm_buffer *out, const temper_json *a, const temper_json *b) {
    const temper_json *outputs_a = tm_json_member(a, "outputs"), *outputs_b = tm_json_member(b, "outputs");
    size_t i;
    for (i = 0; i < tm_json_length(outputs_a); i++) {
        const temper_json *one = tm_json_element(outputs_a, i),
                          *other = find_named(outputs_b, text_of(one, "name"));
        if (strcmp(text_of(one, "digest"), text_of(other, "digest")) != 0) {
            tm_buffer_format(out,
                             "%s: the same stage id, but output '%s' has other bits (%.15s… | %.15s…): one "
                             "of the two was not "
                             "reproducible\n",
                             text_of(a, "name"), text_of(one, "name"), text_of(one, "digest"),
                             text_of(other, "digest"));
            return false;
        }
    }
    return true;
}

temper_status tm_explain(const temper_json *run_a, const temper_json *run_b, tm_buffer *out, bool *same,
                         temper_error *error) {
    const temper_json *nodes_a = tm_json_member(run_a, "nodes"), *nodes_b = tm_json_member(run_b, "nodes");
    size_t i, j, agreeing = 0;
    *same = false;
    for (i = 0; i < tm_json_length(nodes_a); i++) {
        const temper_json *a = tm_json_element(nodes_a, i), *b = NULL;
        for (j = 0; j < tm_json_length(nodes_b) && b == NULL; j++) {
            b = strcmp(text_of(tm_json_element(nodes_b, j), "name"), text_of(a, "name")) == 0
                    ? tm_json_element(nodes_b, j)
                    : NULL;
        }
        if (b == NULL) {
            tm_buffer_format(out, "%s: only the first run has this stage; %zu before it agree\n",
                             text_of(a, "name"), agreeing);
            goto out;
        }
        if (strcmp(text_of(a, "stage_id"), text_of(b, "stage_id")) != 0) {
            tm_buffer_format(out, "the runs part at %s (%zu before it agree):\n", text_of(a, "name"),
                             agreeing);
            compare_nodes(out, run_a, run_b, i, j - 1);
            goto out;
        }
        if (!same_outputs(out, a, b)) {
            goto out;
        }
        agreeing++;
    }
    for (j = 0; j < tm_json_length(nodes_b); j++) {
        if (find_named(nodes_a, text_of(tm_json_element(nodes_b, j), "name")) == NULL) {
            tm_buffer_format(out, "%s: only the second run has this stage\n",
                             text_of(tm_json_element(nodes_b, j), "name"));
            goto out;
        }
    }
    *same = true;
    tm_buffer_format(out, "the runs agree in all %zu stages, bit for bit\n", agreeing);
    (void)differ(out, "recipe", tm_json_member(tm_json_member(run_a, "plan"), "recipe"),
                 tm_json_member(tm_json_member(run_b, "plan"), "recipe"));
out:
    return tm_buffer_ok(out) ? TEMPER_OK : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}
