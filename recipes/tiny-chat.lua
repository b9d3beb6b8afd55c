-- Makes the builtin model tiny-chat from nothing: a corpus of its little world, a random model, training on all of it.
-- The plugin `tinyworld` is in examples/tiny-chat; some 10 minutes on 2 cores.
local temper = require "temper"
local world = temper.plugin "tinyworld"
local finetune = temper.plugin "finetune"
local eval = temper.plugin "eval"

local dialogues = temper.int { "dialogues", default = 150000, min = 100, doc = "size of the corpus" }
local epochs = temper.int { "epochs", default = 1, min = 1, doc = "passes over the corpus" }

local corpus = world.dialogues { count = dialogues, split = "train" }
local held_out = world.dialogues { count = 300, split = "held_out", label = "held-out" }

local blank = finetune.init {
  architecture = "llama",
  layers = 4, hidden = 96, intermediate = 256, heads = 3, kv_heads = 3, context = 512,
  special = { "<|system|>", "<|user|>", "<|assistant|>", "<|end|>" },
  chat_template = temper.text "../examples/tiny-chat/chat_template.jinja",
}

local trained = finetune.sft {
  model = blank.model, records = corpus.dialogues, held_out = held_out.dialogues,
  train_on = "all", epochs = epochs, batch = 32, learning_rate = 4e-3, warmup = 100, weight_decay = 0.01, dtype = "bf16",
}

local score = eval.score { model = trained.model, records = held_out.dialogues }
temper.expect(score, { perplexity = { "<=", 1.4 } })

return { model = trained.model }
