/* words.h: the words that descriptions and the wire use for the contract's enumerations. */
#ifndef TM_WORDS_H
#define TM_WORDS_H

#include <stdbool.h>
#include <temper/plugin.h>

const char *tm_status_name(temper_status status); /* "invalid"; "failed" for a number that is none */
temper_status tm_status_parse(const char *name);  /* TEMPER_FAILED for a word that is none */
const char *tm_port_kind_name(temper_kind kind);  /* "records"; NULL for a number that is none */
bool tm_port_kind_parse(const char *name, temper_kind *out);
const char *tm_type_name(temper_type type); /* "integer"; NULL for a number that is none */
bool tm_type_parse(const char *name, temper_type *out);

#endif
