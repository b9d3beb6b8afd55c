/* report.c: the page of eval.character: one HTML file that needs nothing else.
 *
 * Invariants: every byte that came from a model, a file or a user goes through escape(); no link, no time, no host, nothing is
 * fetched; the one script hides answers that were not asked for and is not needed to read them; the same card gives the same
 * bytes. It reads in light and dark, on paper and on a telephone; what colour says, words say too. */
#include "eval.h"

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c1e21;--soft:#5d646d;--line:#d9dde2;--page:#fbfaf8;--card:#fff;"
    "--tuned:#0b6e5f;--prompted:#7a5a00;--base:#5d646d;--loss:#a3341f;--band:#e9f3f1}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e6e3;--soft:#a5abb3;--line:#3a3f46;--page:#16181b;--"
    "card:#1e2125;"
    "--tuned:#5fd0bb;--prompted:#e3b94f;--base:#a5abb3;--loss:#f08a72;--band:#1d2f2c}}"
    "*{box-sizing:border-box}body{margin:0 auto;padding:2.5rem 1.25rem "
    "4rem;max-width:76rem;background:var(--page);"
    "color:var(--ink);font:1rem/1.55 system-ui,sans-serif}"
    "h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem}h2{font-size:1.2rem;margin:2.6rem 0 .6rem}"
    "h3{font-size:1rem;margin:0}p{max-width:46rem}.soft{color:var(--soft)}"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(12.5rem,1fr));gap:.9rem;margin:1.4rem "
    "0}"
    ".cards>div{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.9rem 1rem}"
    ".cards dt{color:var(--soft);font-size:.86rem}.cards dd{margin:.1rem 0 "
    "0;font-size:1.7rem;font-weight:650;"
    "font-variant-numeric:tabular-nums}.cards "
    "small{display:block;font-size:.82rem;font-weight:400;color:var(--soft)}"
    "table{border-collapse:collapse;width:100%;background:var(--card);font-variant-numeric:tabular-nums}"
    "caption{text-align:left;color:var(--soft);padding:.2rem 0 .5rem}th,td{border-bottom:1px solid "
    "var(--line);"
    "padding:.45rem .7rem;text-align:right;vertical-align:top}thead th{font-size:.86rem;color:var(--soft)}"
    "td{white-space:nowrap}th:first-child,td:first-child{text-align:left;font-weight:500;white-space:normal}."
    "scroll{overflow-x:auto}"
    "svg{display:block;width:100%;min-width:9rem;height:1.3rem}.axis{stroke:var(--line)}.half{stroke:var(--"
    "soft);"
    "stroke-dasharray:2 2}.whisker{stroke:var(--tuned);stroke-width:2}.dot{fill:var(--tuned)}"
    "article{border:1px solid var(--line);border-radius:.6rem;background:var(--card);margin:0 0 "
    "1rem;overflow:hidden}"
    "article header{padding:.7rem 1rem;border-bottom:1px solid "
    "var(--line);display:flex;flex-wrap:wrap;gap:.2rem .8rem;"
    "align-items:baseline;justify-content:space-between}.answers{display:grid;grid-template-columns:repeat(3,"
    "1fr)}"
    ".answers>section{padding:.7rem 1rem;border-left:1px solid var(--line);min-width:0}"
    ".answers>section:first-child{border-left:0}.answers .tuned{background:var(--band)}"
    ".answers h4{margin:0 0 .3rem;font-size:.82rem;font-weight:600}.base h4{color:var(--base)}"
    ".prompted h4{color:var(--prompted)}.tuned h4{color:var(--tuned)}"
    ".answers "
    "p{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}.score{color:var(--soft);font-size:.8rem;"
    "margin-top:.4rem!important}.outcome{font-size:.82rem;font-weight:600;white-space:nowrap}.win{color:var(-"
    "-tuned)}"
    ".loss{color:var(--loss)}@media(max-width:46rem){.answers{grid-template-columns:1fr}"
    ".answers>section{border-left:0;border-top:1px solid "
    "var(--line)}.answers>section:first-child{border-top:0}}"
    ".tools{display:flex;flex-wrap:wrap;gap:.6rem 1.2rem;align-items:center;margin:.8rem "
    "0}.tools[hidden]{display:none}"
    ".tools select{max-width:100%}.tools input,.tools select{font:inherit;padding:.25rem .5rem}"
    ".trait{font-size:.82rem;flex:1}"
    "@media "
    "print{.tools{display:none}article[hidden]{display:block}body{max-width:none;padding:0}article{break-"
    "inside:avoid}}";

/* The search field and the list of traits appear only where the script runs. */
static const char script[] =
    "<script>(function(){var tools=document.querySelector('.tools'),text=tools.querySelector('input'),"
    "trait=tools.querySelector('select'),count=tools.querySelector('output'),"
    "all=[].slice.call(document.querySelectorAll('article'));"
    "function look(){var word=text.value.toLowerCase(),shown=0;all.forEach(function(one){"
    "var "
    "fits=(!trait.value||one.dataset.trait===trait.value)&&one.textContent.toLowerCase().indexOf(word)>=0;"
    "one.hidden=!fits;shown+=fits?1:0});count.textContent=shown+' of '+all.length+' shown'}"
    "tools.hidden=false;text.addEventListener('input',look);trait.addEventListener('change',look);look()})()<"
    "/script>";

static void escape(temper_buffer *out, temper_span text) {
    size_t i;
    for (i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        switch (c) {
        case '&': temper_buffer_text(out, "&amp;"); break;
        case '<': temper_buffer_text(out, "&lt;"); break;
        case '>': temper_buffer_text(out, "&gt;"); break;
        case '"': temper_buffer_text(out, "&quot;"); break;
        case '\'': temper_buffer_text(out, "&#39;"); break;
        default:
            if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
                temper_buffer_text(out, "\xEF\xBF\xBD"); /* control characters are no HTML */
            } else {
                temper_buffer_append(out, &c, 1);
            }
        }
    }
}

static void write_percent(temper_buffer *out, double share) {
    temper_buffer_format(out, "%.1f %%", 100.0 * share);
}

static void write_card(temper_buffer *out, const char *term, const char *value, const char *note) {
    temper_buffer_format(out, "<div><dt>%s</dt><dd>%s<small>%s</small></dd></div>", term, value, note);
}

static void write_cards(temper_buffer *out, const card *c) {
    const voice_numbers *before = &c->voices[BASE], *after = &c->voices[TUNED];
    char value[64], note[160];
    temper_buffer_text(out, "<dl class=\"cards\">");
    snprintf(value, sizeof value, "%.1f %%", 100.0 * c->tuned.rate);
    snprintf(note, sizeof note, "95%% interval %.1f to %.1f %%; nothing changed would be 50 %%",
             100.0 * c->tuned.low, 100.0 * c->tuned.high);
    write_card(out, "Tuned answers more in character than the base&#39;s", value, note);
    snprintf(value, sizeof value, "%.1f %%", 100.0 * c->prompted.rate);
    snprintf(note, sizeof note, "95%% interval %.1f to %.1f %%: the base told to be the character",
             100.0 * c->prompted.low, 100.0 * c->prompted.high);
    write_card(out, "The same by prompting alone", value, note);
    if (c->has_capability) {
        double b = likelihood_nll(&c->before), a = likelihood_nll(&c->after);
        snprintf(value, sizeof value, "%+.2f %%", b > 0.0 ? 100.0 * (a - b) / b : 0.0);
        snprintf(note, sizeof note, "%.4f to %.4f nats a token on %llu held-out tokens; %llu dialogues cut",
                 b, a, (unsigned long long)c->before.tokens, (unsigned long long)c->before.truncated_records);
        write_card(out, "Capability lost on plain dialogues", value, note);
    } else {
        write_card(out, "Capability lost on plain dialogues", "–", "not measured: no dialogues were given");
    }
    snprintf(value, sizeof value, "%.3f", after->distinct_2);
    snprintf(note, sizeof note, "%.3f before: distinct pairs of words over all", before->distinct_2);
    write_card(out, "Variety (distinct-2)", value, note);
    snprintf(value, sizeof value, "%.1f", after->mean_characters);
    snprintf(note, sizeof note, "%.1f before", before->mean_characters);
    write_card(out, "Mean length in characters", value, note);
    temper_buffer_text(out, "</dl>");
}

/* A rate with its interval on a line from 0 to 1. */
static void write_interval(temper_buffer *out, const win_rate *rate) {
    temper_buffer_format(
        out,
        "<svg viewBox=\"0 0 200 20\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%.1f "
        "percent, interval %.1f to %.1f\"><line class=\"axis\" x1=\"0\" x2=\"200\" y1=\"10\" y2=\"10\"/>"
        "<line class=\"half\" x1=\"100\" x2=\"100\" y1=\"1\" y2=\"19\"/>"
        "<line class=\"whisker\" x1=\"%.1f\" x2=\"%.1f\" y1=\"10\" y2=\"10\"/>"
        "<rect class=\"dot\" x=\"%.1f\" y=\"5\" width=\"4\" height=\"10\"/></svg>",
        100.0 * rate->rate, 100.0 * rate->low, 100.0 * rate->high, 200.0 * rate->low, 200.0 * rate->high,
        200.0 * rate->rate - 2.0);
}

static void write_rate_row(temper_buffer *out, temper_span name, const win_rate *rate) {
    temper_buffer_text(out, "<tr><th scope=\"row\" dir=\"auto\">");
    escape(out, name);
    temper_buffer_text(out, "</th><td>");
    write_percent(out, rate->rate);
    temper_buffer_text(out, "</td><td>");
    temper_buffer_format(out, "%.1f – %.1f %%", 100.0 * rate->low, 100.0 * rate->high);
    temper_buffer_text(out, "</td><td>");
    write_interval(out, rate);
    temper_buffer_format(out, "</td><td>%llu</td><td>%llu</td><td>%llu</td></tr>",
                         (unsigned long long)rate->wins, (unsigned long long)rate->ties,
                         (unsigned long long)rate->losses);
}

static void write_rates(temper_buffer *out, const card *c) {
    size_t t;
    temper_buffer_text(
        out,
        "<h2>Against the base</h2><div class=\"scroll\"><table><caption>Share of prompts whose answer is "
        "more in character than the base&#39;s, ties one half; 95 % Wilson intervals, a prompt counting "
        "once.</caption><thead><tr><th scope=\"col\">Answers of</th><th scope=\"col\">Win rate</th>"
        "<th scope=\"col\">Interval</th><th scope=\"col\">0 to 100 %</th><th scope=\"col\">Wins</th>"
        "<th scope=\"col\">Ties</th><th scope=\"col\">Losses</th></tr></thead><tbody>");
    write_rate_row(out, temper_span_of("The tuned model"), &c->tuned);
    write_rate_row(out, temper_span_of("The base, told to be the character"), &c->prompted);
    temper_buffer_text(
        out, "</tbody></table></div><h2>Trait by trait</h2><div class=\"scroll\"><table><caption>The "
             "tuned model against the base.</caption><thead><tr><th scope=\"col\">Trait</th><th "
             "scope=\"col\">Win rate</th><th scope=\"col\">Interval</th><th scope=\"col\">0 to 100 %</th>"
             "<th scope=\"col\">Wins</th><th scope=\"col\">Ties</th><th scope=\"col\">Losses</th></tr>"
             "</thead><tbody>");
    for (t = 0; t < c->character->count; t++) {
        const win_rate *rate = &c->tuned_by_trait[t];
        if (rate->wins + rate->ties + rate->losses > 0) {
            write_rate_row(out, c->character->traits[t].trait, rate);
        }
    }
    temper_buffer_text(out, "</tbody></table></div>");
}

static void write_number_row(temper_buffer *out, const card *c, const char *name, int which) {
    int v;
    temper_buffer_format(out, "<tr><th scope=\"row\">%s</th>", name);
    for (v = 0; v < VOICES; v++) {
        const voice_numbers *n = &c->voices[v];
        switch (which) {
        case 0: temper_buffer_format(out, "<td>%.4f</td>", n->mean_score); break;
        case 1: temper_buffer_format(out, "<td>%.4f</td>", n->distinct_2); break;
        case 2: temper_buffer_format(out, "<td>%.2f</td>", n->mean_characters); break;
        case 3: temper_buffer_format(out, "<td>%.2f</td>", n->mean_tokens); break;
        case 4: temper_buffer_format(out, "<td>%llu</td>", (unsigned long long)n->cut); break;
        case 5: temper_buffer_format(out, "<td>%llu</td>", (unsigned long long)n->empty); break;
        default: temper_buffer_format(out, "<td>%llu</td>", (unsigned long long)n->unjudged); break;
        }
    }
    temper_buffer_text(out, "</tr>");
}

static void write_numbers(temper_buffer *out, const card *c) {
    static const char *const rows[] = {
        "Mean score (nats a token)", "Distinct-2", "Mean characters", "Mean tokens", "Cut by length", "Empty",
        "Too long for the judge"};
    int i;
    temper_buffer_format(
        out,
        "<h2>All answers in numbers</h2><div class=\"scroll\"><table><caption>%zu answers each. The "
        "score says how much the character&#39;s description raises the base&#39;s log-probability of "
        "an answer, per token.</caption><thead><tr><th scope=\"col\"></th><th scope=\"col\">Base</th>"
        "<th scope=\"col\">Base, prompted</th><th scope=\"col\">Tuned</th></tr></thead><tbody>",
        c->trial_count);
    for (i = 0; i < 7; i++) {
        write_number_row(out, c, rows[i], i);
    }
    temper_buffer_text(out, "</tbody></table></div>");
}

static void write_answer(temper_buffer *out, const reply *a, const char *class_name, const char *title) {
    temper_buffer_format(out, "<section class=\"%s\"><h4>%s</h4><p dir=\"auto\">", class_name, title);
    if (a->text.length == 0) {
        temper_buffer_text(out, "<em class=\"soft\">(nothing)</em>");
    }
    escape(out, a->text);
    temper_buffer_format(out, "</p><p class=\"score\">score %.4f%s</p></section>", a->score,
                         a->cut ? " · cut by length" : "");
}

static void write_trial(temper_buffer *out, const card *c, const trial *one) {
    const reply *base = &one->answers[BASE], *tuned = &one->answers[TUNED];
    bool same = temper_span_equal(base->text, tuned->text);
    const char *name = one->outcome > 0 ? "win" : one->outcome < 0 ? "loss" : "tie";
    temper_buffer_format(out, "<article data-trait=\"%zu\"><header><h3 dir=\"auto\">", one->trait);
    escape(out, one->prompt);
    temper_buffer_text(out, "</h3><span class=\"soft trait\" dir=\"auto\">");
    escape(out, c->character->traits[one->trait].trait);
    temper_buffer_format(out, "</span><span class=\"outcome %s\">%s</span></header><div class=\"answers\">",
                         name,
                         one->outcome > 0   ? "tuned more in character"
                         : one->outcome < 0 ? "tuned less in character"
                         : same             ? "tie: the same answer"
                                            : "tie");
    write_answer(out, base, "base", "Base");
    write_answer(out, &one->answers[PROMPTED], "prompted", "Base, told to be the character");
    write_answer(out, tuned, "tuned", "Tuned");
    temper_buffer_text(out, "</div></article>");
}

static void write_tools(temper_buffer *out, const card *c) {
    temper_buffer_text(
        out, "<form class=\"tools\" role=\"search\" hidden><label>Find <input type=\"search\"></label>"
             "<label>Trait <select><option value=\"\">all</option>");
    for (size_t t = 0; t < c->character->count; t++) {
        temper_buffer_format(out, "<option value=\"%zu\">", t);
        escape(out, c->character->traits[t].trait);
        temper_buffer_text(out, "</option>");
    }
    temper_buffer_text(out, "</select></label><output></output></form>");
}

static void write_trials(temper_buffer *out, const card *c) {
    size_t shown = c->shown < c->trial_count ? c->shown : c->trial_count, i;
    temper_buffer_format(out,
                         "<h2>Side by side</h2><p class=\"soft\">%zu of %zu; all of them are in the output "
                         "<code>completions</code>.</p>",
                         shown, c->trial_count);
    write_tools(out, c);
    for (i = 0; i < shown; i++) {
        write_trial(out, c, &c->trials[i * c->trial_count / shown]);
    }
}

static void write_head(temper_buffer *out, const card *c) {
    temper_buffer_text(
        out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
             "content=\"width=device-width,initial-scale=1\"><title>Character report</title><style>");
    temper_buffer_text(out, style);
    temper_buffer_format(
        out,
        "</style></head><body><header><h1>Character report</h1><p class=\"soft\">%zu traits, %zu "
        "prompts%s, %zu answers a model. The untuned base judges all of them.%s</p></header><main>",
        c->character->count, c->prompt_count,
        c->own_questions ? " (the character file&#39;s own questions: the model may have been trained on "
                           "them)"
                         : ", given as held out",
        c->trial_count,
        c->knows_system ? ""
                        : " Its chat template knows no system role: the description stands before the "
                          "user&#39;s message.");
}

temper_status report_write(const temper_host *host, const card *c, temper_error *error) {
    temper_output *output = NULL;
    temper_buffer out;
    temper_status status = host->output(host, "report", &output, error);
    if (status) {
        return status;
    }
    temper_buffer_init(&out, host);
    write_head(&out, c);
    write_cards(&out, c);
    write_rates(&out, c);
    write_numbers(&out, c);
    write_trials(&out, c);
    temper_buffer_text(&out, script);
    temper_buffer_text(&out, "</main></body></html>\n");
    status = out.failed ? temper_no_memory(error) : host->write_bytes(output, out.data, out.length, error);
    temper_buffer_free(&out);
    return status;
}
