# Every library Temper stands on, found here and nowhere else; docs/dependencies.md says why each is there.
find_package(PkgConfig QUIET)
if(NOT PKG_CONFIG_FOUND)
  message(FATAL_ERROR "pkg-config is missing: apt-get install pkg-config")
endif()

# temper_require(NAME MODULE DEBIAN_PACKAGE): an imported target PkgConfig::NAME, or an error that says what to install.
function(temper_require name module package)
  pkg_check_modules(${name} QUIET IMPORTED_TARGET GLOBAL ${module})
  if(NOT ${name}_FOUND)
    message(FATAL_ERROR "${module} is missing: apt-get install ${package}")
  endif()
endfunction()

temper_require(JANSSON jansson libjansson-dev)
temper_require(CRYPTO libcrypto libssl-dev)
temper_require(ARCHIVE libarchive libarchive-dev)
temper_require(LUA lua5.4 liblua5.4-dev)
temper_require(JEMALLOC jemalloc libjemalloc-dev)
temper_require(PCRE2 libpcre2-8 libpcre2-dev)
temper_require(UTF8PROC libutf8proc libutf8proc-dev)
temper_require(SIMDJSON simdjson libsimdjson-dev)
temper_require(CMOCKA cmocka libcmocka-dev)
find_package(Threads REQUIRED)
