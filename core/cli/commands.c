/* commands.c: the table of commands. Help, parsing and dispatch all read it; nothing about a command is written twice. */
#include "cli/cli.h"

#define RUNNING "set seed profile threads memory plugins json"

const cli_command cli_commands[] = {
    {"run", "RECIPE", "run a recipe and archive what it made", RUNNING " out name leave-out", 1, 1, cli_run,
     "Stages whose inputs did not change are taken from the cache; stop it at any moment and run it again to "
     "go on.\n"
     "Ends by naming the archive, the report and the command that reproduces them.\n"
     "Exit code 1 when a stage or an expectation fails; what is finished is kept either way.\n"},
    {"plan", "RECIPE", "say what a run would do: what is cached, what will run and why", RUNNING, 1, 1,
     cli_plan, "Nothing is run.\n"},
    {"explain", "A B", "name the first stage at which two runs part, and why", "json", 2, 2, cli_explain,
     "A and B are archives, run ids (sha256:…) or the beginning of an archive's name in runs/.\n"
     "Exit code 0 when the runs agree, 1 when they part.\n"},
    {"verify", "ARCHIVE", "check every byte of an archive against its record", "json", 1, 1, cli_verify,
     "Checks the container, run.json, every blob and that nothing is missing. Damage is found; a record "
     "whose\n"
     "outputs were exchanged is found by temper reproduce.\n"},
    {"reproduce", "ARCHIVE", "run an archive again, here, and compare stage by stage",
     "with threads memory plugins json", 1, 1, cli_reproduce,
     "Everything is made again in a fresh store. Exit code 0 when every output has the recorded bits.\n"},
    {"show", "RUN [STAGE [OUTPUT]]", "look into a run: stages, numbers, rows", "rows json", 1, 3, cli_show,
     "RUN is an archive, a run id, or the beginning of an archive's name in runs/.\n"},
    {"why", "RUN ROW", "tell the story of one row: where it came from, what changed it, what dropped it",
     "json", 2, 2, cli_why,
     "ROW is PLACE:NUMBER (a source's name, STAGE.OUTPUT, or STAGE for what it kept), the first 6 or more "
     "digits of a row's id,\n"
     "or a text that occurs in it. A row's id is the beginning of the SHA-256 of its canonical JSON.\n"},
    {"runs", "", "list the runs made on this machine", "json", 0, 0, cli_runs,
     "Latest first: the run's id, when it finished, its name, recipe, arithmetic, whether its expectations "
     "held, "
     "and its archive.\n"
     "Deleting an archive lets go of its run; temper gc then frees what only it needed.\n"},
    {"diff", "A B", "what differs between two runs: in what went in, and in numbers", "json", 2, 2, cli_diff,
     "A and B as in temper show. Exit code 0 when the runs agree, 1 when they differ. temper explain says at "
     "which stage they part.\n"},
    {"gc", "", "free what no run needs", "days yes json", 0, 0, cli_gc,
     "Keeps what the runs of temper runs name, and stages that finished lately, so that an interrupted run "
     "can "
     "go on. Says how\n"
     "much can go, and asks. Archives are never touched; what is freed is made again or read from an archive "
     "when "
     "it is wanted.\n"},
    {"doctor", "", "say what this machine has for Temper, and what is missing", "plugins json", 0, 0,
     cli_doctor,
     "The processor and its kernel set, memory, disk, plugins, the builtin model. Exit code 1 when something "
     "keeps "
     "runs from\n"
     "working; each such line says what would mend it.\n"},
    {"chat", "MODEL", "talk with a model",
     "adapter system max-tokens temperature top-k top-p seed profile threads memory plugins", 1, 1, cli_chat,
     "MODEL is a folder, a GGUF file, builtin:NAME, or a run (its model). With --adapter each question is "
     "answered by MODEL and by\n"
     "each adapter on it, side by side: a run, a PEFT folder or a GGUF LoRA; a whole model is one more to "
     "ask. "
     "MODEL's weights are\n"
     "in memory once. Reads one question a line; an empty line is skipped, /reset forgets, /quit ends.\n"},
    {"generate", "MODEL", "continue a prompt and print the continuation alone",
     "prompt raw greedy max-tokens samples temperature top-k top-p min-p repetition-penalty presence-penalty "
     "frequency-penalty bias stop seed profile threads memory plugins json",
     1, 1, cli_generate,
     "The prompt is a user's message in the model's chat template; with --raw it is the text itself.\n"
     "Penalties and biases change logits before a token is chosen; --greedy then takes the likeliest that is "
     "left.\n"},
    {"score", "MODEL", "score records: trained tokens, negative log-likelihood, perplexity",
     "data max-length profile threads memory plugins json", 1, 1, cli_score,
     "Records have messages, or prompt and completion, or text.\n"},
    {"show-batch", "MODEL", "show which tokens training would learn",
     "data method train-on rows max-length plugins json", 1, 1, cli_show_batch,
     "Prints the first records (-n N; default 5) as MODEL's tokenizer and chat template make them, a bar "
     "between "
     "tokens, what is\n"
     "trained in colour; where there is no colour, in brackets.\n\n"
     "  temper show-batch MODEL --data pairs.jsonl --method dpo\n"},
    {"tokenize", "MODEL [FILE]", "turn JSON lines {text} into {ids}, or back", "decode special bare plugins",
     1, 2, cli_tokenize,
     "Reads standard input (or FILE) and answers line by line, in order; a record that cannot be answered "
     "gives "
     "{\"error\"} in its\n"
     "place, and exit code 1 at the end. MODEL may hold nothing but a tokenizer: tokenizer.json, vocab.json "
     "with "
     "merges.txt, a\n"
     "SentencePiece .model, a .gguf, a .tiktoken file, tekken.json. BOS is put before a text as the model's "
     "files "
     "say, once. A\n"
     "record's id comes back in its answer.\n\n"
     "  echo '{\"text\": \"Hello\"}' | temper tokenize ~/models/SmolLM2-135M\n"
     "  temper tokenize MODEL texts.jsonl | temper tokenize MODEL --decode\n"},
    {"render", "MODEL|TEMPLATE.jinja [FILE]", "turn JSON lines {messages} into {text} by a chat template",
     "plugins", 1, 2, cli_render,
     "Reads standard input (or FILE) and answers line by line, as temper tokenize does. A record may say "
     "add_generation_prompt,\n"
     "bos_token and eos_token (default: the tokenizer's), now (seconds since 1970 or a date, for "
     "strftime_now), and "
     "whatever "
     "else the\n"
     "template asks for: tools, documents, enable_thinking.\n\n"
     "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": true}' "
     "\\\n"
     "    | temper render ~/models/SmolLM2-135M-Instruct\n"},
    {"export", "MODEL TARGET", "write a model, or what a run made, as files other tools load",
     "adapter weight format type threads memory plugins json", 2, 2, cli_export,
     "MODEL is as in temper chat; TARGET must not be there yet. Forms:\n"
     "  hf         a Hugging Face folder, adapters merged, with tokenizer, template and generation config\n"
     "  peft       PEFT's adapter folder: of several adapters one, their ranks one after another\n"
     "  gguf       a GGUF with vocabulary and template, adapters merged; also where TARGET ends in .gguf\n"
     "  gguf-lora  a GGUF adapter\n"
     "Without --format: an adapter stays one (peft), everything else is hf. The export is read back, and "
     "fixed "
     "texts are scored\n"
     "with it and with the original; a difference that rounding does not explain is an error, and TARGET is "
     "not "
     "written.\n"},
    {"plugin", "list | new NAME | check FILE.so | definitions",
     "list the plugins there are; begin one; check that one keeps the contract; help an editor",
     "plugins input set json", 1, 2, cli_plugin,
     "definitions prints what an editor's Lua language server needs to complete recipes.\n"
     "new NAME makes a folder NAME with a plugin that builds, a test and a recipe.\n"
     "check FILE.so runs each stage many times: twice, on one thread and on eight, with odd batches, bad "
     "input, "
     "refused memory and\n"
     "a request to stop. Input is made up where --input NAME=PATH gives none; --set NAME=VALUE gives a "
     "parameter. Exit code 1\n"
     "when something is BAD.\n"},
    {"help", "[COMMAND | PLUGIN | PLUGIN.STAGE | RECIPE]",
     "explain a command, a plugin, a stage or a recipe's parameters", "plugins", 0, 1, cli_help, ""},
    {"selftest", "--kernels", "check that this machine computes the specified bits",
     "kernels seed profile threads plugins json", 0, 0, cli_selftest,
     "Runs every kernel set this CPU has against the scalar specification.\n"},
    {"bench", "[train]", "measure this machine, and what is made of it",
     "model shape rounds only full parts profile threads plugins json", 0, 1, cli_bench,
     "First the machine's own limits, then loading, prefill, scoring, decoding, and answers that share a "
     "system "
     "prompt, each beside\n"
     "its limit; medians, of the wall's time. It takes a minute or two (--full: ten) and wants the machine "
     "for "
     "itself.\n"
     "`temper bench train` measures training on the shape of SmolLM2-135M: an adapter, all weights, "
     "preference pairs.\n"
     "tests/bench/compare_llama.py runs it beside llama.cpp on the same weights.\n"},
    {"completion", "bash | zsh", "print a completion script for a shell", "", 1, 1, cli_completion,
     "bash: temper completion bash > ~/.local/share/bash-completion/completions/temper\n"
     "zsh:  temper completion zsh > DIR/_temper, where DIR is in $fpath\n"},
    {"manual", "[COMMAND]", "print the manual page of temper, or of a command, in man's language", "", 0, 1,
     cli_manual, "temper manual run | man -l -\n"},
    {"version", "", "print the version", "", 0, 0, cli_version, ""},
};
const size_t cli_command_count = sizeof cli_commands / sizeof *cli_commands;

const cli_command *cli_find_command(const char *name) {
    size_t i;
    for (i = 0; i < cli_command_count; i++) {
        if (strcmp(cli_commands[i].name, name) == 0) {
            return &cli_commands[i];
        }
    }
    return NULL;
}
