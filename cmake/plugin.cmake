# temper_add_plugin(NAME SOURCES...): a Temper plugin NAME.so exporting temper_plugin_v1 and nothing else, as the target
# plugin-NAME. Inside Temper's own tree it lands in <build>/lib/temper/plugins and is installed; from an installed SDK it
# lands in the project's own build folder.
# temper_plugin_test(NAME [ARGUMENTS...]): a CTest test check-NAME: `temper plugin check NAME.so ARGUMENTS`.
set(TEMPER_PLUGIN_EXPORTS ${CMAKE_CURRENT_LIST_DIR}/plugin.map)

function(temper_add_plugin name)
  add_library(plugin-${name} MODULE ${ARGN})
  set_target_properties(plugin-${name} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name} C_VISIBILITY_PRESET hidden
    LINK_DEPENDS ${TEMPER_PLUGIN_EXPORTS})
  target_compile_features(plugin-${name} PRIVATE c_std_11)
  target_link_options(plugin-${name} PRIVATE -Wl,--version-script=${TEMPER_PLUGIN_EXPORTS})
  if(NOT TEMPER_SANITIZE) # a sanitizer's symbols come from the program that loads the plugin
    target_link_options(plugin-${name} PRIVATE -Wl,-z,defs)
  endif()
  if(TARGET Temper::plugin)
    target_link_libraries(plugin-${name} PRIVATE Temper::plugin)
  else()
    target_link_libraries(plugin-${name} PRIVATE temper-include)
    set_target_properties(plugin-${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/temper/plugins)
    if(NOT TEMPER_PLUGINS_STAY)
      install(TARGETS plugin-${name} LIBRARY DESTINATION lib/temper/plugins COMPONENT runtime)
    endif()
  endif()
endfunction()

function(temper_plugin_test name)
  if(TARGET temper)
    set(program $<TARGET_FILE:temper>)
  else()
    set(program ${TEMPER_PROGRAM})
  endif()
  add_test(NAME check-${name} COMMAND ${program} plugin check $<TARGET_FILE:plugin-${name}> ${ARGN})
endfunction()
