/* page.c: what every run's page says, whatever its stages were; see page.h. */
#include "scheduler/page.h"

#include <string.h>

/* Its classes begin with run-, so that it stands in anybody's report; the colours are those of the system's light and dark. */
static const char style[] =
    "<style>.run{--run-line:#8886;--run-ink:#0b6e5f;--run-bad:#a3341f;color-scheme:light dark;"
    "font:1rem/1.5 system-ui,sans-serif;max-width:76rem;margin:2.5rem auto 0}"
    "@media(prefers-color-scheme:dark){.run{--run-ink:#5fd0bb;--run-bad:#f08a72}}"
    ".run h2{font-size:1.2rem;margin:2.6rem 0 .6rem}.run table{border-collapse:collapse;width:100%;"
    "font-variant-numeric:tabular-nums}.run caption{text-align:left;padding:.2rem 0 .5rem}"
    ".run th,.run td{border-bottom:1px solid var(--run-line);padding:.4rem .7rem;text-align:right;"
    "vertical-align:top;font-weight:400}.run thead th{font-weight:600}"
    ".run th:first-child,.run td.run-text,.run th.run-text{text-align:left}"
    ".run .run-over{font-weight:650;color:var(--run-bad)}.run .run-ok{color:var(--run-ink)}"
    ".run details{margin:.8rem 0}.run summary{cursor:pointer;font-weight:600}.run li{overflow-wrap:anywhere}"
    ".run code{font-size:.9em;overflow-wrap:anywhere}.run-wide{overflow-x:auto}"
    ".run pre{overflow-x:auto;padding:.7rem 1rem;border:1px solid var(--run-line);border-radius:.4rem}"
    ".run svg{color:inherit}.run svg text{fill:currentColor;font:12px system-ui,sans-serif}"
    ".run .run-edge{stroke:currentColor;stroke-opacity:.35;fill:none}"
    ".run .run-box{fill:Canvas;stroke:var(--run-ink)}.run .run-source{fill:Canvas;stroke:currentColor;"
    "stroke-opacity:.5;stroke-dasharray:4 3}.run .run-small{opacity:.7;font-size:11px}"
    ".run-charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem}"
    ".run-charts figure{margin:0}.run-charts figcaption{font-size:.86rem}"
    ".run .run-curve{fill:none;stroke:var(--run-ink);stroke-width:1.5;vector-effect:non-scaling-stroke}"
    ".run .run-frame{fill:none;stroke:var(--run-line);vector-effect:non-scaling-stroke}"
    "@media print{.run{max-width:none}.run section{break-inside:avoid-page}}</style>";

void tm_page_escape_bytes(tm_buffer *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
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

void tm_page_escape(tm_buffer *out, const char *text) {
    tm_page_escape_bytes(out, text, strlen(text));
}

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

static temper_status write_value(const temper_json *value, tm_buffer *out, temper_error *error) {
    tm_buffer text = TM_BUFFER_INIT;
    temper_status status = tm_json_write(value, &text, error);
    if (status == TEMPER_OK && tm_buffer_ok(&text)) {
        tm_page_escape(out, text.data);
    }
    tm_buffer_free(&text);
    return status;
}

static void begin_row(tm_buffer *out, const char *kind, const char *name) {
    tm_buffer_text(out, "<tr><th scope=\"row\">");
    tm_page_escape(out, kind);
    tm_buffer_text(out, "</th><td class=\"run-text\">");
    tm_page_escape(out, name);
    tm_buffer_text(out, "</td><td class=\"run-text\">");
}

static void write_digest_rows(const temper_json *list, const char *kind, tm_buffer *out) {
    for (size_t i = 0; i < tm_json_length(list); i++) {
        const temper_json *entry = tm_json_element(list, i);
        const char *id = text_of(entry, "id"), *name = text_of(entry, "name");
        begin_row(out, kind, *id != 0 ? id : name);
        if (*id != 0) {
            tm_page_escape(out, name);
            tm_buffer_text(out, " ");
        }
        tm_buffer_text(out, "<code>");
        tm_page_escape(out, text_of(entry, "digest"));
        tm_buffer_text(out, "</code></td></tr>");
    }
}

static temper_status write_asked(const temper_json *plan, tm_buffer *out, temper_error *error) {
    const temper_json *recipe = tm_json_member(plan, "recipe"),
                      *settings = tm_json_member(plan, "parameters");
    temper_status status;
    tm_buffer_text(
        out,
        "<section id=\"asked\"><h2>What was asked</h2><div class=\"run-wide\"><table><caption>The recipe, "
        "its settings and what it was given: these decide every bit.</caption><thead><tr><th "
        "scope=\"col\">What</th><th scope=\"col\" class=\"run-text\">Name</th><th scope=\"col\" "
        "class=\"run-text\">Value</th></tr></thead><tbody>");
    write_digest_rows(tm_json_member(recipe, "files"), "recipe", out);
    begin_row(out, "setting", "seed");
    status = write_value(tm_json_member(plan, "seed"), out, error);
    tm_buffer_text(out, "</td></tr>");
    begin_row(out, "setting", "profile");
    tm_page_escape(out, text_of(plan, "profile"));
    tm_buffer_text(out, "</td></tr>");
    for (size_t i = 0; i < tm_json_length(settings) && status == TEMPER_OK; i++) {
        const temper_json *value;
        const char *name = tm_json_name(settings, i, &value);
        begin_row(out, "setting", name);
        status = write_value(value, out, error);
        tm_buffer_text(out, "</td></tr>");
    }
    write_digest_rows(tm_json_member(plan, "sources"), "input", out);
    tm_buffer_text(out, "</tbody></table></div></section>");
    return status;
}

static temper_status write_expectations(const temper_json *list, tm_buffer *out, temper_error *error) {
    temper_status status = TEMPER_OK;
    if (tm_json_length(list) == 0) {
        return TEMPER_OK;
    }
    tm_buffer_text(
        out,
        "<section id=\"expected\"><h2>What was expected</h2><div class=\"run-wide\"><table><caption>A run "
        "in which one of these fails is archived, and fails.</caption><thead><tr><th "
        "scope=\"col\">Number</th><th scope=\"col\">Value</th><th scope=\"col\">Bound</th><th "
        "scope=\"col\" class=\"run-text\">Verdict</th></tr></thead><tbody>");
    for (size_t i = 0; i < tm_json_length(list) && status == TEMPER_OK; i++) {
        const temper_json *entry = tm_json_element(list, i);
        bool holds = false;
        double value;
        (void)tm_json_boolean(tm_json_member(entry, "holds"), &holds);
        tm_buffer_text(out, "<tr><th scope=\"row\">");
        tm_page_escape(out, text_of(entry, "stage"));
        tm_buffer_text(out, ".");
        tm_page_escape(out, text_of(entry, "metric"));
        tm_buffer_text(out, "</th><td>");
        if (tm_json_double(tm_json_member(entry, "value"), &value)) {
            tm_buffer_format(out, "%.6g", value);
        }
        tm_buffer_text(out, "</td><td>");
        tm_page_escape(out, text_of(entry, "op"));
        tm_buffer_text(out, " ");
        status = write_value(tm_json_member(entry, "bound"), out, error);
        tm_buffer_format(out, "</td><td class=\"run-text %s\">%s</td></tr>", holds ? "run-ok" : "run-over",
                         holds ? "holds" : "FAILED");
    }
    tm_buffer_text(out, "</tbody></table></div></section>");
    return status;
}

static void write_again(const tm_page *page, tm_buffer *out) {
    const temper_json *left_out = tm_json_member(page->run, "left_out");
    char id[TM_DIGEST_TEXT];
    tm_digest_text(page->id, id);
    tm_buffer_format(
        out,
        "<section id=\"again\"><h2>To do it again</h2><p>The run's id is <code>%s</code>, the SHA-256 of "
        "its record: recipe, inputs, settings and every output.</p><pre><code>temper verify ",
        id);
    tm_page_escape(out, page->archive);
    tm_buffer_text(out, "\ntemper reproduce ");
    tm_page_escape(out, page->archive);
    if (tm_json_length(left_out) > 0) {
        tm_buffer_text(out, " --with FOLDER");
    }
    tm_buffer_text(out, "</code></pre>");
    if (tm_json_length(left_out) > 0) {
        tm_buffer_text(out, "<p>The archive leaves out, and FOLDER must be:</p><ul>");
        for (size_t i = 0; i < tm_json_length(left_out); i++) {
            tm_buffer_text(out, "<li>");
            tm_page_escape(out, text_of(tm_json_element(left_out, i), "name"));
            tm_buffer_text(out, " <code>");
            tm_page_escape(out, text_of(tm_json_element(left_out, i), "digest"));
            tm_buffer_text(out, "</code></li>");
        }
        tm_buffer_text(out, "</ul>");
    }
    tm_buffer_text(out, "</section>");
}

static temper_status write_sections(const tm_page *page, tm_buffer *out, temper_error *error) {
    const temper_json *plan = tm_json_member(page->run, "plan");
    temper_status status;
    tm_buffer_text(out, style);
    tm_buffer_text(out, "<div class=\"run\">");
    status = tm_page_curves(page->store, page->run, out, error);
    status = status ? status : write_expectations(tm_json_member(page->run, "expectations"), out, error);
    if (status == TEMPER_OK && page->ledger->count > 0) {
        tm_page_ledger(page->ledger, out);
    }
    status = status ? status : tm_page_graph(plan, out, error);
    status = status ? status : write_asked(plan, out, error);
    write_again(page, out);
    tm_buffer_text(out, "</div>");
    return status;
}

static const char *last_of(const char *text, size_t length, const char *word) {
    const char *found = NULL, *at = text;
    while ((at = memmem(at, length - (size_t)(at - text), word, strlen(word))) != NULL) {
        found = at++;
    }
    return found;
}

temper_status tm_page_write(const tm_page *page, tm_buffer *out, temper_error *error) {
    const char *end;
    temper_status status;
    if (page->report == NULL) {
        tm_buffer_text(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
                            "name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
        tm_page_escape(out, page->title);
        tm_buffer_text(
            out, "</title></head><body style=\"color-scheme:light dark;font-family:system-ui,sans-serif;"
                 "padding:0 1.25rem 3rem\"><h1>");
        tm_page_escape(out, page->title);
        tm_buffer_text(out, "</h1>");
        status = write_sections(page, out, error);
        tm_buffer_text(out, "</body></html>\n");
    } else {
        end = last_of(page->report, page->report_length, "</body>");
        if (end == NULL) {
            end = page->report + page->report_length; /* browsers close what is open */
        }
        tm_buffer_append(out, page->report, (size_t)(end - page->report));
        status = write_sections(page, out, error);
        tm_buffer_append(out, end, page->report_length - (size_t)(end - page->report));
    }
    return status              ? status
           : tm_buffer_ok(out) ? TEMPER_OK
                               : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}
