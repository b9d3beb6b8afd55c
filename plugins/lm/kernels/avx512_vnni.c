/* avx512_vnni.c: the kernel set for CPUs with avx512_vnni but without avx512_bf16: the set avx512, compiled with flags
 * that give its q8/1 vpdpbusd (tiles_avx512.h). */
#include "avx512.c"
