# The lm rooms files, tokenizer and template.
temper_test(files test_files.c LINK lm-files)
temper_test(tokenizer test_tokenizer.c LINK lm-tokenizer lm-template)
temper_test(template test_template.c LINK lm-template)
