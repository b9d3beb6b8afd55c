/* stranger.c: a shared object that is no plugin; with NEEDS_MISSING, one that needs a symbol nobody has. */
#ifdef NEEDS_MISSING
int symbol_that_nobody_has(void);
#define ANSWER symbol_that_nobody_has()
#else
#define ANSWER 42
#endif
int stranger(void);

__attribute__((visibility("default"))) int stranger(void) {
    return ANSWER;
}
