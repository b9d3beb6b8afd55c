# find_package(Temper): what a plugin is built with. The package is found wherever the installation was moved to: every
# path is relative to this file.
#   Temper::plugin     headers, the deterministic elementary functions, and the flags a plugin needs
#   Temper::headers    the headers alone
#   Temper::math       temper/math.h
#   Temper::support    support/*.h: what stages keep needing (texts, phrases, whole inputs, conversations); link it if you
#                      use it: target_link_libraries(plugin-NAME PRIVATE Temper::support)
#   Temper::lines      lines/lines.h: JSONL at the speed of memory (needs libsimdjson-dev)
#   temper_add_plugin(NAME SOURCES...) and temper_plugin_test(NAME [ARGUMENTS...]): see plugin.cmake
#   TEMPER_PROGRAM     the installed `temper`
get_filename_component(TEMPER_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(TEMPER_PROGRAM "${TEMPER_PREFIX}/bin/temper")
set(TEMPER_WORKER "${TEMPER_PREFIX}/lib/temper/temper-worker")

if(NOT TARGET Temper::plugin)
  add_library(Temper::headers INTERFACE IMPORTED)
  set_target_properties(Temper::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${TEMPER_PREFIX}/include")

  add_library(Temper::math STATIC IMPORTED)
  set_target_properties(Temper::math PROPERTIES
    IMPORTED_LOCATION "${TEMPER_PREFIX}/lib/libtemper-math.a"
    INTERFACE_LINK_LIBRARIES "Temper::headers;m")

  add_library(Temper::support STATIC IMPORTED)
  set_target_properties(Temper::support PROPERTIES
    IMPORTED_LOCATION "${TEMPER_PREFIX}/lib/libtemper-sdk-support.a"
    INTERFACE_INCLUDE_DIRECTORIES "${TEMPER_PREFIX}/include/temper-sdk"
    INTERFACE_LINK_LIBRARIES "Temper::math")

  add_library(Temper::lines STATIC IMPORTED)
  set_target_properties(Temper::lines PROPERTIES
    IMPORTED_LOCATION "${TEMPER_PREFIX}/lib/libtemper-sdk-lines.a"
    INTERFACE_INCLUDE_DIRECTORIES "${TEMPER_PREFIX}/include/temper-sdk"
    INTERFACE_LINK_LIBRARIES "Temper::support;simdjson;stdc++")

  # -ffp-contract=off: the compiler may not fuse what the source did not, or bits differ between CPUs (docs/numerics.md).
  add_library(Temper::plugin INTERFACE IMPORTED)
  set_target_properties(Temper::plugin PROPERTIES
    INTERFACE_LINK_LIBRARIES "Temper::math"
    INTERFACE_COMPILE_OPTIONS "-ffp-contract=off")
endif()

include("${CMAKE_CURRENT_LIST_DIR}/plugin.cmake")
