/* avx512.c: the kernel set for AVX-512 (f, bw, dq, vl) without avx512_bf16: bf16/1 by widening, two FMAs a
 * pair. Compiled a second time, with VNNI for q8/1, by avx512_vnni.c. */
#include "sets.h"
#include "tile.h"
#include "tiles_avx512.h"

TILES(f32_tile, f32_tiles)

TILE_BODY bf16_tile(size_t rows, size_t vectors, size_t k, const void *left, const void *right, float *c,
                    size_t c_stride, size_t columns, bool load) {
    const float *a = left;
    const uint32_t *b = right;
    const __m512i odd_half = _mm512_set1_epi32((int)0xffff0000u);
    __m512 chain[TILE_ROWS][2];
    tile_begin(chain, rows, vectors, c, c_stride, columns, load);
    for (; k > 1; k -= 2, a += 2 * rows, b += LM_PANEL) {
        __m512 even[2], odd[2];
        UNROLL for (size_t v = 0; v < vectors; v++) {
            __m512i pairs = _mm512_loadu_si512(b + 16 * v);
            odd[v] = _mm512_castsi512_ps(_mm512_and_si512(pairs, odd_half));
            even[v] = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
        }
        UNROLL for (size_t r = 0; r < rows; r++) {
            UNROLL for (size_t v = 0; v < vectors; v++) {
                chain[r][v] = _mm512_fmadd_ps(_mm512_set1_ps(a[rows + r]), odd[v], chain[r][v]);
            }
        }
        UNROLL for (size_t r = 0; r < rows; r++) {
            UNROLL for (size_t v = 0; v < vectors; v++) {
                chain[r][v] = _mm512_fmadd_ps(_mm512_set1_ps(a[r]), even[v], chain[r][v]);
            }
        }
    }
    if (k == 1) { /* no odd partner: no FMA for it */
        UNROLL for (size_t v = 0; v < vectors; v++) {
            __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(b + 16 * v), 16));
            UNROLL for (size_t r = 0; r < rows; r++) {
                chain[r][v] = _mm512_fmadd_ps(_mm512_set1_ps(a[r]), even, chain[r][v]);
            }
        }
    }
    tile_end(chain, rows, vectors, c, c_stride, columns);
}
TILES(bf16_tile, bf16_tiles)

#define BF16_OPERAND ROUNDED
#include "product.h"
#include "q8_product.h"

#ifdef __AVX512VNNI__
#define LM_SET lm_kernels_avx512_vnni
#define LM_SET_NAME "avx512-vnni"
#else
#define LM_SET lm_kernels_avx512
#define LM_SET_NAME "avx512"
#endif

const lm_kernels LM_SET = {.name = LM_SET_NAME, LM_PRODUCTS, LM_Q8, LM_ROWS};
