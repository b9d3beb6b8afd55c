-- Cleans a set of chats, and answers for every row that went: damage, length, assistants' phrases, repetition, other languages,
-- near-copies; then what is left, split so that no prompt is on both sides. `temper why RUN ROW` tells a row's story.
local temper = require "temper"
local filter = temper.plugin "filter"

local chats     = temper.records { "chats", doc = "JSON lines with messages, or prompt and completion" }
local phrases   = temper.text    { "phrases",   default = "phrases/assistant-isms.txt", doc = "what an answer may not say" }
local language  = temper.string  { "language",  default = "en", doc = "the language wanted, by its ISO 639 code" }
local shortest  = temper.int     { "shortest",  default = 2,    min = 1, doc = "characters of the shortest text" }
local longest   = temper.int     { "longest",   default = 8000, min = 1, doc = "characters of the longest text" }
local held_out  = temper.number  { "held_out",  default = 0.05, min = 0, max = 1, doc = "share of prompts held out" }
local most      = temper.number  { "most_dropped", default = 0.5, min = 0, max = 1, doc = "share that any one filter may drop" }

local sound  = filter.charset    { records = chats, most_dropped = most }
local sized  = filter.length     { records = sound.kept, minimum = shortest, maximum = longest, most_dropped = most }
local plain  = filter.phrases    { records = sized.kept, phrases = phrases, roles = { "assistant" }, most_dropped = most }
local fresh  = filter.repetition { records = plain.kept, most_dropped = most }
local spoken = filter.language   { records = fresh.kept, languages = { language }, most_dropped = most }
local manner = filter.quality    { records = spoken.kept }
local once   = filter.duplicates { records = manner.kept, compare = "texts", near = true }
local parts  = filter.select     { records = once.kept, held_out = held_out }

return { train = parts.train, held_out = parts.held_out }
