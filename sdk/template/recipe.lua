-- temper run recipe.lua --plugins build
local temper = require "temper"
local mine = temper.plugin "@name@"

local records = temper.records { "records", default = "sample.jsonl", doc = "records with a text" }
local chosen = mine.enough { records = records, least = 20 }

return { kept = chosen.kept, dropped = chosen.dropped }
