temper_test(forward test_forward.c LINK lm-model lm-kernels tm-base m LABELS threads)
temper_test(sampler test_sampler.c LINK lm-generate m)
temper_test(generate test_generate.c LINK lm-generate tm-base m LABELS threads)
