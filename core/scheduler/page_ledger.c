/* page_ledger.c: the ledger on a run's page: a table of the filters, and examples of what each rule dropped. */
#include "scheduler/page.h"

#include <string.h>

static double share(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0.0 : 100.0 * (double)part / (double)whole;
}

static void write_table(const tm_ledger *ledger, tm_buffer *out) {
    size_t i, r;
    tm_buffer_text(out, "<div class=\"run-wide\"><table><caption>What each filter was given, kept and "
                        "dropped, by rule.</caption><thead><tr><th scope=\"col\">Stage</th>"
                        "<th scope=\"col\">In</th><th scope=\"col\">Kept</th><th scope=\"col\">Dropped</th>"
                        "<th scope=\"col\">Share</th><th scope=\"col\" class=\"run-text\">Rules</th></tr>"
                        "</thead><tbody>");
    for (i = 0; i < ledger->count; i++) {
        const tm_ledger_stage *stage = &ledger->stages[i];
        double dropped = share(stage->dropped, stage->records);
        const char *separator = "";
        tm_buffer_text(out, "<tr><th scope=\"row\">");
        tm_page_escape(out, stage->name);
        tm_buffer_format(out, "</th><td>%llu</td><td>%llu</td><td>%llu</td><td>%.1f %%",
                         (unsigned long long)stage->records, (unsigned long long)stage->kept,
                         (unsigned long long)stage->dropped, dropped);
        if (stage->bound < 1.0) {
            bool over = stage->records > 0 && (double)stage->dropped / (double)stage->records > stage->bound;
            tm_buffer_format(out, "<br><span%s>%sat most %.4g %%</span>", over ? " class=\"run-over\"" : "",
                             over ? "past the bound: " : "", 100.0 * stage->bound);
        }
        tm_buffer_text(out, "</td><td class=\"run-text\">");
        for (r = 0; r < stage->rule_count; r++) {
            const tm_ledger_rule *rule = &stage->rules[r];
            if (rule->count == 0) {
                continue;
            }
            tm_buffer_text(out, separator);
            tm_page_escape(out, rule->name);
            tm_buffer_format(out, " %llu%s%s", (unsigned long long)rule->count,
                             strcmp(rule->does, "dropped") == 0 ? "" : " ",
                             strcmp(rule->does, "dropped") == 0 ? "" : rule->does);
            separator = " · ";
        }
        tm_buffer_text(out, "</td></tr>");
    }
    tm_buffer_text(out, "</tbody></table></div>");
}

static void write_examples(const tm_ledger *ledger, tm_buffer *out) {
    size_t i, r, e;
    for (i = 0; i < ledger->count; i++) {
        const tm_ledger_stage *stage = &ledger->stages[i];
        if (stage->dropped == 0) {
            continue;
        }
        tm_buffer_text(out, "<details><summary>");
        tm_page_escape(out, stage->name);
        tm_buffer_text(out, ": examples</summary><dl>");
        for (r = 0; r < stage->rule_count; r++) {
            const tm_ledger_rule *rule = &stage->rules[r];
            if (rule->example_count == 0) {
                continue;
            }
            tm_buffer_text(out, "<dt>");
            tm_page_escape(out, rule->name);
            tm_buffer_format(out, " (%llu)</dt><dd><ul>", (unsigned long long)rule->count);
            for (e = 0; e < rule->example_count; e++) {
                tm_buffer_format(out, "<li dir=\"auto\"><code>%s</code> record %llu: ", rule->examples[e].row,
                                 (unsigned long long)rule->examples[e].number);
                tm_page_escape(out, rule->examples[e].evidence);
                tm_buffer_text(out, "</li>");
            }
            tm_buffer_text(out, "</ul></dd>");
        }
        tm_buffer_text(out, "</dl></details>");
    }
}

void tm_page_ledger(const tm_ledger *ledger, tm_buffer *out) {
    tm_buffer_text(out, "<section id=\"ledger\"><h2>The ledger</h2>");
    write_table(ledger, out);
    write_examples(ledger, out);
    tm_buffer_text(out, "<p><code>temper why RUN ROW</code> tells the story of one row; a row goes by its "
                        "number (<code>SOURCE:17</code>) or by its id, as above.</p></section>");
}
