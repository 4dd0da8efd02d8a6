/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists the extents of a block device or an image: offset, length and
 * type.
 *
 *	cc -o extents extents.c $(pkg-config --cflags --libs libblksparse)
 */
#include <blksparse.h>
#include <inttypes.h>
#include <stdio.h>

static void print(const struct bsp_extent *extent)
{
	if (extent->len > 0)
		printf("%" PRIu64 " %" PRIu64 " %s\n", extent->off, extent->len,
		       extent->type == BSP_EXTENT_HOLE ? "hole" : "data");
}

/* Neighbours may have the same type: merges them. */
static void list(struct bsp_sparse *sp)
{
	struct bsp_extent run = { 0 }, next;

	while (bsp_sparse_extent(sp, run.off + run.len, &next) > 0) {
		if (next.type != run.type) {
			print(&run);
			run = next;
		} else {
			run.len += next.len;
		}
	}
	print(&run);
}

int main(int argc, char **argv)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(bsp_sparse) sp = NULL;
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DEVICE\n", argv[0]);
		return 2;
	}
	sp = bsp_sparse_new(bsp_device_open(argv[1], &error), NULL, &error);
	if (!sp) {
		fprintf(stderr, "%s: %s\n", argv[0], error->message);
		return 1;
	}
	/* Reads the device once. Without this, all of it is unknown. */
	r = bsp_sparse_scan(sp, 0, UINT64_MAX, NULL, NULL, NULL);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", argv[0], g_strerror(-r));
		return 1;
	}
	list(sp);
	return 0;
}
