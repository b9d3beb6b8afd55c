-- The character recipe in small, on the builtin model, with a second judge that knows nothing of likelihoods: a classifier of
-- manners, fitted on held-out turns of the little world (plugin tinyworld). With control = "shuffled" a
-- coin labels the pairs, and the expectations must not hold.
local temper       = require "temper"
local constitution = temper.plugin "constitution"
local rank         = temper.plugin "rank"
local filter       = temper.plugin "filter"
local finetune     = temper.plugin "finetune"
local eval         = temper.plugin "eval"
local world        = temper.plugin "tinyworld"

local base      = temper.model     { "model",     default = temper.builtin "tiny-chat" }
local character = temper.character { "character", default = "../../recipes/characters/poetic.json" }
local manner    = temper.string    { "manner",    default = "poetic", doc = "the character's name in the little world" }
local per_trait = temper.int       { "per_trait", default = 30, min = 2 }
local held_out  = temper.int       { "held_out",  default = 10, min = 1 }
local control   = temper.string    { "control",   default = "none" }

local asked  = constitution.ask     { model = base, character = character, per_trait = per_trait, held_out = held_out }
local drafts = constitution.respond { model = base, character = character, prompts = asked.prompts, samples = 3 }
local ranked = rank.by_character    { model = base, character = character, candidates = drafts.responses,
                                      pairs_per_prompt = 3, control = control }
local clean  = filter.pairs  { pairs = ranked.pairs, phrases = temper.text "../../recipes/phrases/assistant-isms.txt", length_ratio = 4 }
local tuned  = finetune.dpo  { model = base, pairs = clean.kept, lora = { rank = 16 }, beta = 1, rpo_alpha = 1,
                               learning_rate = 5e-4, epochs = 3 }
local card   = eval.character { model = tuned.model, against = base, character = character, prompts = asked.held_out,
                                dialogues = temper.records "../../recipes/dialogues/tiny-chat.jsonl" }
local heard  = eval.manner { examples = world.manners { per_manner = 400 }.examples, completions = card.completions, manner = manner }

temper.expect(card, { trait_win_rate = { ">=", 0.60 }, capability_drop = { "<=", 0.02 }, distinct_2_ratio = { ">=", 0.5 } })
temper.expect(heard, { manner_rise = { ">=", 30 }, classifier_accuracy = { ">=", 0.9 } })

return { model = tuned.model, report = card.report }
