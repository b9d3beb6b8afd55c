# temper_add_plugin(NAME SOURCES...): a Temper plugin NAME.so exporting temper_plugin_v1 and nothing else.
# Inside this tree it lands in <build>/lib/temper/plugins; from an installed SDK, in the project's own folder.
set(TEMPER_PLUGIN_EXPORTS ${CMAKE_CURRENT_LIST_DIR}/plugin.map)

function(temper_add_plugin name)
  add_library(plugin-${name} MODULE ${ARGN})
  set_target_properties(plugin-${name} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name} C_VISIBILITY_PRESET hidden
    LINK_DEPENDS ${TEMPER_PLUGIN_EXPORTS})
  target_link_options(plugin-${name} PRIVATE -Wl,--version-script=${TEMPER_PLUGIN_EXPORTS} -Wl,-z,defs)
  if(TARGET Temper::plugin)
    target_link_libraries(plugin-${name} PRIVATE Temper::plugin)
  else()
    target_link_libraries(plugin-${name} PRIVATE temper-include)
    set_target_properties(plugin-${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/temper/plugins)
  endif()
endfunction()
