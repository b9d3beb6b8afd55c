# The lm rooms files, tokenizer and template.
temper_test(files test_files.c LINK lm-files)
temper_test(quantised test_quantised.c LINK lm-files m)
temper_test(tokenizer test_tokenizer.c LINK lm-tokenizer lm-template)
temper_test(split test_split.c LINK lm-tokenizer)
temper_test(template test_template.c LINK lm-template)
# The generated table is what its generator writes; skipped where Python is missing or knows another Unicode.
find_program(TEMPER_PYTHON3 python3)
if(TEMPER_PYTHON3)
  set(classes ${PROJECT_SOURCE_DIR}/plugins/lm/tokenizer/unicode_classes)
  add_test(NAME unicode-classes COMMAND ${TEMPER_PYTHON3} ${classes}.py --check ${classes}.c)
  set_tests_properties(unicode-classes PROPERTIES SKIP_RETURN_CODE 77)
endif()
