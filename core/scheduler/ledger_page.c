/* ledger_page.c: the ledger as HTML, in the run's report or as a page of its own.
 *
 * Invariants: every byte that came from a row, a stage or a recipe goes through escape(); no script, no link, no time, no
 * host, no path; the same ledger gives the same bytes. Its style is its own (classes begin with ledger-), so that it stands
 * in anybody's report; light and dark. */
#include "scheduler/ledger.h"

#include <string.h>

static const char style[] =
    "<style>.ledger{--ledger-line:#8886;color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif;"
    "max-width:76rem;margin:2.5rem auto 0}"
    ".ledger table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    ".ledger caption{text-align:left;padding:.2rem 0 .5rem}"
    ".ledger th,.ledger td{border-bottom:1px solid var(--ledger-line);padding:.4rem .7rem;text-align:right;"
    "vertical-align:top}.ledger th:first-child,.ledger td.ledger-text,.ledger th.ledger-text{text-align:left}"
    ".ledger .ledger-over{font-weight:650}.ledger details{margin:.8rem 0}"
    ".ledger summary{cursor:pointer;font-weight:600}.ledger li{overflow-wrap:anywhere}"
    ".ledger code{font-size:.9em}.ledger-wide{overflow-x:auto}</style>";

static void escape(tm_buffer *out, const char *text) {
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;
        switch (c) {
        case '&': tm_buffer_text(out, "&amp;"); break;
        case '<': tm_buffer_text(out, "&lt;"); break;
        case '>': tm_buffer_text(out, "&gt;"); break;
        case '"': tm_buffer_text(out, "&quot;"); break;
        case '\'': tm_buffer_text(out, "&#39;"); break;
        default:
            if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
                tm_buffer_text(out, "\xEF\xBF\xBD"); /* control characters are no HTML */
            } else {
                tm_buffer_byte(out, (char)c);
            }
        }
    }
}

static double share(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0.0 : 100.0 * (double)part / (double)whole;
}

static void write_table(const tm_ledger *ledger, tm_buffer *out) {
    size_t i, r;
    tm_buffer_text(out, "<div class=\"ledger-wide\"><table><caption>What each filter was given, kept and "
                        "dropped, by rule.</caption><thead><tr><th scope=\"col\">Stage</th>"
                        "<th scope=\"col\">In</th><th scope=\"col\">Kept</th><th scope=\"col\">Dropped</th>"
                        "<th scope=\"col\">Share</th><th scope=\"col\" class=\"ledger-text\">Rules</th></tr>"
                        "</thead><tbody>");
    for (i = 0; i < ledger->count; i++) {
        const tm_ledger_stage *stage = &ledger->stages[i];
        double dropped = share(stage->dropped, stage->records);
        const char *separator = "";
        tm_buffer_text(out, "<tr><th scope=\"row\">");
        escape(out, stage->name);
        tm_buffer_format(out, "</th><td>%llu</td><td>%llu</td><td>%llu</td><td>%.1f %%",
                         (unsigned long long)stage->records, (unsigned long long)stage->kept,
                         (unsigned long long)stage->dropped, dropped);
        if (stage->bound < 1.0) {
            bool over = stage->records > 0 && (double)stage->dropped / (double)stage->records > stage->bound;
            tm_buffer_format(out, "<br><span%s>%sat most %.4g %%</span>",
                             over ? " class=\"ledger-over\"" : "", over ? "past the bound: " : "",
                             100.0 * stage->bound);
        }
        tm_buffer_text(out, "</td><td class=\"ledger-text\">");
        for (r = 0; r < stage->rule_count; r++) {
            const tm_ledger_rule *rule = &stage->rules[r];
            if (rule->count == 0) {
                continue;
            }
            tm_buffer_text(out, separator);
            escape(out, rule->name);
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
        escape(out, stage->name);
        tm_buffer_text(out, ": examples</summary><dl>");
        for (r = 0; r < stage->rule_count; r++) {
            const tm_ledger_rule *rule = &stage->rules[r];
            if (rule->example_count == 0) {
                continue;
            }
            tm_buffer_text(out, "<dt>");
            escape(out, rule->name);
            tm_buffer_format(out, " (%llu)</dt><dd><ul>", (unsigned long long)rule->count);
            for (e = 0; e < rule->example_count; e++) {
                tm_buffer_format(out, "<li dir=\"auto\"><code>%s</code> record %llu: ", rule->examples[e].row,
                                 (unsigned long long)rule->examples[e].number);
                escape(out, rule->examples[e].evidence);
                tm_buffer_text(out, "</li>");
            }
            tm_buffer_text(out, "</ul></dd>");
        }
        tm_buffer_text(out, "</dl></details>");
    }
}

static void write_section(const tm_ledger *ledger, tm_buffer *out) {
    tm_buffer_text(out, style);
    tm_buffer_text(out, "<section class=\"ledger\"><h2>The ledger</h2>");
    write_table(ledger, out);
    write_examples(ledger, out);
    tm_buffer_text(out, "<p><code>temper why RUN ROW</code> tells the story of one row; a row goes by its "
                        "number (<code>SOURCE:17</code>) or by its id, as above.</p></section>");
}

static const char *last_of(const char *text, size_t length, const char *word) {
    const char *found = NULL, *at = text;
    while ((at = memmem(at, length - (size_t)(at - text), word, strlen(word))) != NULL) {
        found = at++;
    }
    return found;
}

void tm_ledger_page(const tm_ledger *ledger, const char *report, size_t report_length, const char *title,
                    tm_buffer *out) {
    const char *end;
    if (report == NULL) {
        tm_buffer_text(out, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
                            "name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
        escape(out, title);
        tm_buffer_text(out, "</title></head><body style=\"color-scheme:light dark;padding:0 1.25rem 3rem\">");
        write_section(ledger, out);
        tm_buffer_text(out, "</body></html>\n");
        return;
    }
    end = last_of(report, report_length, "</body>");
    if (end == NULL) {
        end = report + report_length; /* browsers close what is open */
    }
    tm_buffer_append(out, report, (size_t)(end - report));
    write_section(ledger, out);
    tm_buffer_append(out, end, report_length - (size_t)(end - report));
}
