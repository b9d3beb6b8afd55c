# The kernels on machines that are not this one, under qemu's user emulation: AArch64, cross-compiled, and an x86 without
# FMA. Each probe prints a digest of what it computes; all must be one. Skipped, with a word, where tools are missing:
#   apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
add_executable(kernels-probe probe.c)
target_link_libraries(kernels-probe PRIVATE lm-kernels temper-math)

find_program(TEMPER_AARCH64_CC NAMES aarch64-linux-gnu-gcc aarch64-linux-gnu-gcc-12)
find_program(TEMPER_QEMU_AARCH64 NAMES qemu-aarch64 qemu-aarch64-static)
find_program(TEMPER_QEMU_X86_64 NAMES qemu-x86_64 qemu-x86_64-static)

# temper_skipped(NAME WHY): a test that says why it is none.
function(temper_skipped name why)
  add_test(NAME ${name} COMMAND sh -c "echo 'skipped: ${why}'; exit 77")
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 LABELS neon)
endfunction()

set(script ${CMAKE_CURRENT_SOURCE_DIR}/other_machines.sh)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  temper_skipped(kernels-neon "this machine is AArch64: kernels-agree has tried neon")
elseif(TEMPER_SANITIZE)
  temper_skipped(kernels-neon "the cross-compiled program has no sanitizer: the release build tries it")
elseif(NOT TEMPER_AARCH64_CC OR NOT TEMPER_QEMU_AARCH64)
  temper_skipped(kernels-neon "no aarch64-linux-gnu-gcc or no qemu-aarch64 here")
else()
  set(kernels ${PROJECT_SOURCE_DIR}/plugins/lm/kernels)
  set(sources ${kernels}/kernels.c ${kernels}/selftest.c ${kernels}/scalar.c ${kernels}/neon.c
    ${PROJECT_SOURCE_DIR}/sdk/math/exponential.c ${PROJECT_SOURCE_DIR}/sdk/math/logarithm.c
    ${PROJECT_SOURCE_DIR}/sdk/math/circle.c ${CMAKE_CURRENT_SOURCE_DIR}/probe.c)
  file(GLOB headers CONFIGURE_DEPENDS ${kernels}/*.h ${PROJECT_SOURCE_DIR}/include/temper/*.h
    ${PROJECT_SOURCE_DIR}/sdk/math/*.h)
  set(flags -std=gnu11 -O2 -Wall -Wextra -Wshadow -Werror -ffp-contract=off -fno-math-errno -fno-strict-aliasing
    -D_GNU_SOURCE)
  add_custom_command(OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/kernels-probe-aarch64
    COMMAND ${TEMPER_AARCH64_CC} ${flags} -static -I${PROJECT_SOURCE_DIR}/include -I${kernels} ${sources} -lm -pthread
            -o ${CMAKE_CURRENT_BINARY_DIR}/kernels-probe-aarch64
    DEPENDS ${sources} ${headers} VERBATIM)
  add_custom_target(kernels-cross ALL DEPENDS ${CMAKE_CURRENT_BINARY_DIR}/kernels-probe-aarch64)
  add_test(NAME kernels-neon COMMAND ${script} neon $<TARGET_FILE:kernels-probe> ${TEMPER_QEMU_AARCH64}
    ${CMAKE_CURRENT_BINARY_DIR}/kernels-probe-aarch64)
  set_tests_properties(kernels-neon PROPERTIES TIMEOUT 120 LABELS neon)
endif()

if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" OR TEMPER_SANITIZE)
  temper_skipped(kernels-without-fma "only for x86, and not under sanitizers")
elseif(NOT TEMPER_QEMU_X86_64)
  temper_skipped(kernels-without-fma "no qemu-x86_64 here")
else()
  add_test(NAME kernels-without-fma COMMAND ${script} scalar $<TARGET_FILE:kernels-probe> ${TEMPER_QEMU_X86_64}
    -cpu Nehalem $<TARGET_FILE:kernels-probe>)
  set_tests_properties(kernels-without-fma PROPERTIES TIMEOUT 120 LABELS neon)
endif()
