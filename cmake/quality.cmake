# The `format` and `lint` targets. Both work on the files git knows.
find_program(CLANG_FORMAT clang-format)
find_program(CLANG_TIDY clang-tidy)
if(CLANG_FORMAT)
  add_custom_target(format
    COMMAND sh -c "git ls-files '*.c' '*.h' | xargs ${CLANG_FORMAT} -i"
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
endif()
if(CLANG_TIDY)
  add_custom_target(lint
    COMMAND sh -c "git ls-files 'core/*.c' 'plugins/*.c' 'sdk/*.c' 'examples/*.c' | xargs -P 2 -n 4 ${CLANG_TIDY} --quiet -p ${PROJECT_BINARY_DIR}"
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} VERBATIM)
endif()
