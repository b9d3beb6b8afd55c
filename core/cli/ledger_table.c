/* ledger_table.c: what the filters of a run kept and dropped, on a terminal: a line a stage, a line a rule, up to three
 * examples. */
#include "cli/cli.h"

void cli_print_line(const char *text, size_t length, size_t most) {
    size_t i, end = length < most ? length : most;
    while (end < length && end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80) {
        end--;
    }
    for (i = 0; i < end; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '\n' || byte == '\t' || byte == '\r') {
            putchar(' ');
        } else if (byte < 0x20 || byte == 0x7f) {
            printf("\\x%02x", byte);
        } else {
            putchar(byte);
        }
    }
    if (end < length) {
        printf("…");
    }
}

static double share(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0.0 : 100.0 * (double)part / (double)whole;
}

static void print_stage(const tm_ledger_stage *stage, int width, int indent, bool examples) {
    char records[32], kept[32], dropped[32];
    size_t r, e;
    printf("%*s%-*s %11s %11s %11s  %5.1f %%", indent, "", width, stage->name,
           cli_count((double)stage->records, records), cli_count((double)stage->kept, kept),
           cli_count((double)stage->dropped, dropped), share(stage->dropped, stage->records));
    if (stage->bound < 1.0) {
        printf("  (at most %.4g %%)", 100.0 * stage->bound);
    }
    printf("\n");
    for (r = 0; r < stage->rule_count; r++) {
        const tm_ledger_rule *rule = &stage->rules[r];
        bool drops = strcmp(rule->does, "dropped") == 0;
        if (rule->count == 0) {
            continue;
        }
        printf("%*s  %-*s %*s  %s%s%s\n", indent, "", width - 2, rule->name, 35,
               cli_count((double)rule->count, dropped), drops ? "" : "(", drops ? "" : rule->does,
               drops ? "" : ")");
        for (e = 0; examples && e < rule->example_count; e++) {
            if (rule->examples[e].row[0] != 0) {
                printf("%*s    %s  ", indent, "", rule->examples[e].row);
            } else {
                printf("%*s    %-12llu  ", indent, "", (unsigned long long)rule->examples[e].number);
            }
            cli_print_line(rule->examples[e].evidence, strlen(rule->examples[e].evidence), 96);
            printf("\n");
        }
    }
}

void cli_print_ledger(const tm_ledger *ledger, int indent, bool examples) {
    size_t i, r;
    int width = 18;
    if (ledger->count == 0) {
        return;
    }
    for (i = 0; i < ledger->count; i++) {
        int length = (int)strlen(ledger->stages[i].name);
        width = length > width && length <= 40 ? length : width;
        for (r = 0; r < ledger->stages[i].rule_count; r++) {
            length = (int)strlen(ledger->stages[i].rules[r].name) + 2;
            width = ledger->stages[i].rules[r].count > 0 && length > width && length <= 40 ? length : width;
        }
    }
    printf("%*s%-*s %11s %11s %11s\n", indent, "", width, "filter", "in", "kept", "dropped");
    for (i = 0; i < ledger->count; i++) {
        print_stage(&ledger->stages[i], width, indent, examples);
    }
}

void cli_ledger_events(const tm_ledger *ledger) {
    size_t i, r;
    for (i = 0; i < ledger->count; i++) {
        const tm_ledger_stage *stage = &ledger->stages[i];
        char records[24], kept[24], dropped[24];
        snprintf(records, sizeof records, "%llu", (unsigned long long)stage->records);
        snprintf(kept, sizeof kept, "%llu", (unsigned long long)stage->kept);
        snprintf(dropped, sizeof dropped, "%llu", (unsigned long long)stage->dropped);
        cli_event("filtered", "stage", stage->name, "#records", records, "#kept", kept, "#dropped", dropped,
                  (char *)NULL);
        for (r = 0; r < stage->rule_count; r++) {
            snprintf(dropped, sizeof dropped, "%llu", (unsigned long long)stage->rules[r].count);
            cli_event("rule", "stage", stage->name, "rule", stage->rules[r].name, "does",
                      stage->rules[r].does, "#count", dropped, (char *)NULL);
        }
    }
}
