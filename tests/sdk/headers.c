/* headers.c: every public header on its own terms: strict C11, pedantic, in any order. */
#include <temper/checkpoint.h>
#include <temper/model.h>
#include <temper/text.h>
#include <temper/sdk.h>

#include <temper/host.h>
#include <temper/json.h>
#include <temper/machine.h>
#include <temper/math.h>
#include <temper/plugin.h>
#include <temper/rng.h>
#include <temper/status.h>
