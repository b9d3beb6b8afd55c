/* tile.h: the shape of a tile's function, shared by the tiles of every vector set and product.h. */
#ifndef LM_KERNELS_TILE_H
#define LM_KERNELS_TILE_H

#include "kernels.h"

/* C[rows x columns] (+)= A . B over k indices; `a` is packed with as many lanes as the tile has rows, `b`
 * points at the tile's first column in a panel. `load`: the chains go on from C, else they start from +0. */
typedef void tile_function(size_t k, const void *a, const void *b, float *c, size_t c_stride, size_t columns,
                           bool load);

/* q8/1, likewise, over k indices in groups. `b` is at a group of a panel, whose column `first` is C's first. */
typedef void q8_tile_function(size_t k, const void *a, const void *b, size_t first, float *c, size_t c_stride,
                              size_t columns, bool load);

#endif
