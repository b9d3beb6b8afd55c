# Hostile model files.
temper_test(hostile-model-files test_model_files.c LINK lm-files lm-tokenizer lm-template LABELS faults)
temper_test(hostile-gguf test_gguf.c LINK lm-files lm-tokenizer lm-template LABELS faults)
