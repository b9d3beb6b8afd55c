# Model files, tokenizers, templates.
temper_fuzz(safetensors fuzz_safetensors.c 20000 LINK lm-files)
temper_fuzz(gguf fuzz_gguf.c 4000 LINK lm-files lm-tokenizer)
temper_fuzz(config fuzz_config.c 10000 LINK lm-files)
temper_fuzz(adapter fuzz_adapter.c 20000 LINK lm-files)
temper_fuzz(tokenizer fuzz_tokenizer.c 2500 LINK lm-tokenizer)
temper_fuzz(template fuzz_template.c 10000 LINK lm-template)
temper_fuzz(vocabulary fuzz_vocabulary.c 6000 LINK lm-tokenizer)
