-- Gives a model a character: it asks itself what people might ask, answers in and out of character, and learns from
-- pairs of its own answers, ranked by how much the character's description makes it expect them.
local temper       = require "temper"
local constitution = temper.plugin "constitution"
local rank         = temper.plugin "rank"
local filter       = temper.plugin "filter"
local finetune     = temper.plugin "finetune"
local eval         = temper.plugin "eval"

local base      = temper.model     { "model",     default = temper.builtin "tiny-chat",    doc = "Hugging Face folder or GGUF file" }
local character = temper.character { "character", default = "characters/poetic.json",      doc = "traits with questions that show them" }
local phrases   = temper.text      { "phrases",   default = "phrases/assistant-isms.txt",  doc = "what a chosen answer may not say" }
local dialogues = temper.records   { "dialogues", default = "dialogues/tiny-chat.jsonl",   doc = "plain dialogues the model must not forget" }

local per_trait  = temper.int    { "per_trait",  default = 50,  min = 2, doc = "prompts a trait" }
local held_out   = temper.int    { "held_out",   default = 15,  min = 1, doc = "of these, kept for the evaluation" }
local samples    = temper.int    { "samples",    default = 4,   min = 1, doc = "answers a prompt in character, and as many plain" }
local max_tokens = temper.int    { "max_tokens", default = 160, min = 8, doc = "longest answer" }
local rate       = temper.number { "rate",       default = 3e-4, min = 0, doc = "learning rate of the adapter; a model of real size wants less, say 5e-5" }
local epochs     = temper.int    { "epochs",     default = 2,   min = 1, doc = "passes over the pairs" }
local control    = temper.string { "control",    default = "none",       doc = "shuffled: chosen and rejected by a coin, which must not pass" }

local asked  = constitution.ask     { model = base, character = character, per_trait = per_trait, held_out = held_out }
local drafts = constitution.respond { model = base, character = character, prompts = asked.prompts, samples = samples, max_tokens = max_tokens }
local ranked = rank.by_character    { model = base, character = character, candidates = drafts.responses, pairs_per_prompt = samples, control = control }
local clean  = filter.pairs         { pairs = ranked.pairs, phrases = phrases, length_ratio = 4 }

local tuned  = finetune.dpo   { model = base, pairs = clean.kept, lora = { rank = 16 }, beta = 1, rpo_alpha = 1, learning_rate = rate, epochs = epochs }
local card   = eval.character { model = tuned.model, against = base, character = character, prompts = asked.held_out,
                                dialogues = dialogues, max_tokens = max_tokens }

temper.expect(card, { trait_win_rate = { ">=", 0.60 }, trait_win_rate_low = { ">=", 0.50 },
                      capability_drop = { "<=", 0.02 }, distinct_2_ratio = { ">=", 0.5 } })

return { model = tuned.model, report = card.report }
