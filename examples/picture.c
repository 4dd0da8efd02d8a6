/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Draws the map of a block device or an image as a picture of 256 by 256
 * pixels, a PGM file on standard output. A pixel is a 65536th of the
 * device, row by row: black is data, white is zeros, and grey is both.
 *
 *	cc -o picture picture.c $(pkg-config --cflags --libs libblksparse)
 *	./picture /dev/sdb | pnmtopng >sdb.png
 */
#include <blksparse.h>
#include <stdio.h>

enum { SIDE = 256, PIXELS = SIDE * SIDE, WHITE = 255 };

/* Where a pixel begins. Exact also for sizes whose product with a pixel's
 * number does not fit in 64 bits. */
static uint64_t start_of(unsigned pixel, uint64_t size)
{
	return size / PIXELS * pixel + size % PIXELS * pixel / PIXELS;
}

/* How many bytes of [off, end) are zero. */
static uint64_t zeros_in(struct bsp_sparse *sp, uint64_t off, uint64_t end)
{
	struct bsp_extent extent;
	uint64_t zeros = 0;

	while (off < end && bsp_sparse_extent(sp, off, &extent) > 0) {
		uint64_t len = MIN(extent.len, end - off);

		if (extent.type == BSP_EXTENT_HOLE)
			zeros += len;
		off += len;
	}
	return zeros;
}

static void draw(struct bsp_sparse *sp)
{
	uint64_t size = bsp_sparse_size(sp);

	printf("P5\n%d %d\n%d\n", SIDE, SIDE, WHITE);
	for (unsigned i = 0; i < PIXELS; i++) {
		uint64_t off = start_of(i, size);
		uint64_t end = start_of(i + 1, size);
		uint64_t zeros = zeros_in(sp, off, end);

		/* A device may have fewer bytes than the picture pixels. */
		putchar(end > off ? (int)((double)zeros / (double)(end - off) *
					  WHITE)
				  : WHITE);
	}
}

int main(int argc, char **argv)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(bsp_sparse) sp = NULL;
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DEVICE >PICTURE\n", argv[0]);
		return 2;
	}
	sp = bsp_sparse_new(bsp_device_open(argv[1], &error), NULL, &error);
	if (!sp) {
		fprintf(stderr, "%s: %s\n", argv[0], error->message);
		return 1;
	}
	r = bsp_sparse_scan(sp, 0, UINT64_MAX, NULL, NULL, NULL);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", argv[0], g_strerror(-r));
		return 1;
	}
	draw(sp);
	return fflush(stdout) == 0 ? 0 : 1;
}
