/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sends a block device or an image to standard output as a stream without
 * its zeros, which blksparse recv writes to a device or a file.
 *
 *	cc -o send send.c $(pkg-config --cflags --libs libblksparse)
 *	./send /dev/sdb | ssh host blksparse recv /dev/sdc
 */
#include <blksparse.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(bsp_sparse) sp = NULL;
	struct bsp_progress done;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DEVICE >STREAM\n", argv[0]);
		return 2;
	}
	/* A receiver that ends early is an error, and not the end of us. */
	signal(SIGPIPE, SIG_IGN);
	sp = bsp_sparse_new(bsp_device_open(argv[1], &error), NULL, &error);
	if (!sp || !bsp_send(sp, STDOUT_FILENO, NULL, &done, &error)) {
		fprintf(stderr, "%s: %s\n", argv[0], error->message);
		return 1;
	}
	fprintf(stderr,
		"%" PRIu64 " bytes: %" PRIu64 " of data, %" PRIu64
		" zero; the stream has %" PRIu64 " bytes\n",
		done.size, done.data, done.hole, done.moved);
	return 0;
}
