# Flags every target shares. -ffp-contract=off: the compiler may not fuse what the source did not
# (docs/numerics.md); where an FMA is meant, the source says fma. Nothing here may enable -ffast-math.
add_compile_options(
  -Wall -Wextra -Wshadow $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
  -Wpointer-arith -Wvla -Wundef -Wwrite-strings -Wformat=2 -ffp-contract=off -fno-math-errno -fno-strict-aliasing)
if(TEMPER_WERROR)
  add_compile_options(-Werror)
endif()
add_compile_definitions(_GNU_SOURCE)
if(TEMPER_SANITIZE)
  add_compile_options(-fsanitize=${TEMPER_SANITIZE} -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${TEMPER_SANITIZE})
endif()
